//! The scenario files: each is listed and has no mistake, and so is the example in the docs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lab::scenario::{self, Scenario};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn each_file_is_listed_and_has_no_mistake() {
    let folder = fs::read_dir(root().join("lab/scenarios")).expect("a folder");
    let names = folder.map(|entry| entry.expect("a file").path());
    let files: BTreeSet<_> = names
        .map(|path| path.file_stem().expect("a name").display().to_string())
        .collect();
    let listed: BTreeSet<_> = scenario::ALL
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(files, listed);
    assert!(listed.len() >= 14, "{listed:?}");
    for name in listed {
        let one = scenario::named(&name).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(one.choices.len() >= 2, "{name} has something to choose");
        assert!(
            (1..=20).contains(&one.seconds),
            "{name} takes {} s",
            one.seconds
        );
    }
    let unknown = scenario::named("nobody").expect_err("there is none");
    assert!(unknown.contains("\"nobody\""), "{unknown}");
}

#[test]
fn the_page_has_each_scenario_with_its_question_and_an_example_without_a_mistake() {
    let page = fs::read_to_string(root().join("docs/scenarios.md")).expect("the page");
    for (name, _) in scenario::ALL {
        let one = scenario::named(name).expect("no mistake");
        let question = one.question.replace('\n', " ");
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}`")));
        let row = row.unwrap_or_else(|| panic!("docs/scenarios.md has no row of {name}"));
        assert!(row.contains(&question), "{row} does not ask: {question}");
        assert_eq!(row.contains("terminal"), one.needs_terminal(), "{row}");
    }
    let mut examples = page.split("```toml\n").skip(1);
    let example = examples.next().and_then(|rest| rest.split("```").next());
    let example = example.expect("an example");
    Scenario::parse("example", "example.toml", example).unwrap_or_else(|fault| panic!("{fault}"));
}
