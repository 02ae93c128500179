//! The program. What it does is tested with the whole shop, in `tests/tests/gateway`. But
//! `cargo test` builds the program of a package only if the package has a test in this folder.

use std::process::Command;

#[test]
fn a_wrong_setting_is_named_in_one_line() {
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let ended = gateway.env_clear().env("RATE_LIMIT", "many").output();
    let ended = ended.expect("it starts");
    let said = String::from_utf8(ended.stderr).expect("UTF-8");
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.starts_with("RATE_LIMIT is \"many\""), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
