//! The program: what it is told, and what it tells of the frameworks.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use framework_comparison::probes;
use harness::process::{self, Ended};
use serde_json::Value;

/// Longer than all of the probes take, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

fn run(arguments: &[&str]) -> Ended {
    let mut program = Command::new(env!("CARGO_BIN_EXE_framework-comparison"));
    process::run(program.args(arguments), PATIENCE).expect("it ends")
}

#[test]
fn what_cannot_be_done_is_said_in_one_sentence() {
    for (arguments, sentence) in [
        (
            &["serve", "--framework", "hyper"][..],
            "there is no framework \"hyper\" here; there are axum, rocket, poem, warp, actix-web",
        ),
        (&["serve"], "serve needs --framework"),
        (&["default-server"], "default-server needs --framework"),
        (&["serve", "--framework"], "missing argument"),
        (
            &["defaults", "--format", "xml"],
            "there is no format \"xml\"",
        ),
        (&["swim"], "there is no command \"swim\""),
        (&["serve", "axum"], "unexpected argument \"axum\""),
        (&["--fish"], "invalid option '--fish'"),
        (&[], "say what to do"),
    ] {
        let ended = run(arguments);
        let said = ended.stderr;
        assert_eq!(ended.status, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(ended.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_names_the_commands() {
    for flag in ["--help", "-h"] {
        let ended = run(&["serve", flag]);
        assert_eq!(ended.status, Some(0));
        for command in ["serve", "defaults", "default-server"] {
            assert!(
                ended
                    .stdout
                    .contains(&format!("framework-comparison {command}"))
            );
        }
    }
}

/// What is known of the frameworks, so that a new version that does otherwise is
/// noticed; and that the rooms of the lab do all the same.
#[test]
fn each_framework_does_by_itself_what_it_is_known_for_and_in_the_lab_what_all_do() {
    let ended = run(&["defaults", "--format", "json"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let findings: Vec<Value> = serde_json::from_str(&ended.stdout).expect("JSON");
    assert!(findings.len() > 30, "{}", findings.len());

    for (probe, expected, room) in [
        (
            "wrong method",
            [
                "405 empty + Allow",
                "404 HTML",
                "405 text",
                "405 text",
                "404 empty",
            ],
            "405 JSON + Allow",
        ),
        (
            "a missing field",
            ["422 text", "422 HTML", "400 text", "400 text", "400 text"],
            "400 JSON",
        ),
        (
            "no content type",
            ["415 text", "201 JSON", "415 text", "201 JSON", "400 text"],
            "415 JSON",
        ),
        (
            "trailing slash",
            ["404 empty", "200 JSON", "404 text", "200 JSON", "404 empty"],
            "404 JSON",
        ),
        (
            "a panic in the handler",
            ["closed", "500 HTML", "closed", "closed", "closed"],
            "-",
        ),
        (
            "half a head",
            [
                "open > 12 s",
                "open > 12 s",
                "open > 12 s",
                "open > 12 s",
                "408 empty, ",
            ],
            "closed, ",
        ),
        ("a body that stalls", ["open > 12 s"; 5], "408 JSON, "),
    ] {
        let found = findings.iter().find(|one| one["probe"] == probe);
        let found = found.unwrap_or_else(|| panic!("no probe {probe:?}"));
        for (framework, cell) in ["axum", "rocket", "poem", "warp", "actix-web"]
            .into_iter()
            .zip(expected)
        {
            // How long it took is left out.
            for (server, cell) in [("defaults", cell), ("lab", room)] {
                let got = found[server][framework].as_str().unwrap_or_default();
                assert!(
                    got == cell || cell.ends_with(' ') && got.starts_with(cell),
                    "{probe}, {server}, on {framework}: {got}, expected {cell}"
                );
            }
        }
    }

    // What is in flight is answered, however long the rest takes on a busy machine.
    let stopping = findings
        .iter()
        .find(|one| one["probe"] == "SIGTERM, a request in flight");
    let lab = stopping.expect("such a probe")["lab"]
        .as_object()
        .expect("an object");
    for (framework, cell) in lab {
        let cell = cell.as_str().unwrap_or_default();
        assert!(cell.starts_with("201, exits"), "{framework}: {cell}");
    }
}

/// In italics they name nothing else.
#[test]
fn the_probes_that_the_pages_name_are_there() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/frameworks");
    let known: Vec<&str> = probes::names().map(|(_, name)| name).collect();
    let mut named = 0;
    for page in fs::read_dir(pages).expect("a folder") {
        let page = page.expect("a file").path();
        // What is written by scripts/compare.sh has no probes.
        if page.extension().is_none_or(|end| end != "md") || page.ends_with("results.md") {
            continue;
        }
        let text = fs::read_to_string(&page).expect("text");
        // Every other piece is code.
        let prose: String = text.split('`').step_by(2).collect();
        for italics in prose.replace("**", "").split('*').skip(1).step_by(2) {
            let name = italics.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(known.contains(&name.as_str()), "{}: {name}", page.display());
            named += 1;
        }
    }
    assert!(named > 10, "{named}");
}
