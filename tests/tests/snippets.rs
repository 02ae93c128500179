//! The code on the pages of `docs/frameworks/` matches the sources, and the versions there match
//! `Cargo.lock`.
//!
//! A section of a source is between `// ANCHOR: name` and `// ANCHOR_END: name`,
//! as in `mdBook`. A page shows it by a link to the source, the name of the section in
//! a comment, and a block of code:
//!
//! ````text
//! [frameworks/axum/src/serve.rs](../../frameworks/axum/src/serve.rs) <!-- ANCHOR: serve -->
//! ```rust
//! ```
//! ````
//!
//! This command writes the contents of the blocks:
//!
//! ```sh
//! UPDATE_SNIPPETS=1 cargo test -p shop-tests --test snippets
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The frameworks as the pages name them, in the order of the ports.
const FRAMEWORKS: [&str; 5] = ["axum", "Rocket", "poem", "warp", "actix-web"];

/// Pages that are not about one concern.
const NOT_A_CONCERN: [&str; 5] = [
    "README.md",
    "choosing.md",
    "malformed-requests.md",
    "projects.md",
    "results.md",
];

const CONCERNS: usize = 14;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages by their names.
fn pages() -> BTreeMap<String, String> {
    let files = fs::read_dir(root().join("docs/frameworks")).expect("the pages");
    let files = files.flatten().map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy();
            (name.into_owned(), read(&path))
        })
        .collect()
}

/// Those that show one concern on all five.
fn concerns() -> BTreeMap<String, String> {
    let mut pages = pages();
    pages.retain(|name, _| !NOT_A_CONCERN.contains(&name.as_str()));
    pages
}

/// All sources below `folder`, by their paths from the root.
fn sources(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            let from_root = path.strip_prefix(root()).expect("below the root");
            found.insert(from_root.to_string_lossy().into_owned(), read(&path));
        }
    }
}

/// The sections of a source by their names, moved to the left margin.
fn sections(source: &str) -> Result<BTreeMap<String, String>, String> {
    let mut open: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut closed = BTreeMap::new();
    for line in source.lines() {
        let marker = line.trim_start();
        if let Some(name) = marker.strip_prefix("// ANCHOR: ") {
            let twice = closed.contains_key(name) || open.insert(name.to_owned(), vec![]).is_some();
            if twice {
                return Err(format!("{name} is opened twice"));
            }
        } else if let Some(name) = marker.strip_prefix("// ANCHOR_END: ") {
            let lines = open
                .remove(name)
                .ok_or_else(|| format!("{name} is closed, and was not opened"))?;
            closed.insert(name.to_owned(), at_the_margin(&lines));
        } else {
            for lines in open.values_mut() {
                lines.push(line);
            }
        }
    }
    match open.into_keys().next() {
        Some(name) => Err(format!("{name} is opened, and never closed")),
        None => Ok(closed),
    }
}

fn at_the_margin(lines: &[&str]) -> String {
    let written = lines.iter().filter(|line| !line.trim().is_empty());
    let margin = written.map(|line| line.len() - line.trim_start().len());
    let margin = margin.min().unwrap_or(0);
    lines.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{}", line.get(margin..).unwrap_or_default()).expect("a string");
        text
    })
}

/// A section of a source that a page shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    source: String,
    section: String,
}

impl Shown {
    /// What a line of a page announces.
    fn announced(text: &str) -> Option<Self> {
        let (link, section) = text.split_once(" <!-- ANCHOR: ")?;
        let (_, source) = link.split_once("](../../")?;
        Some(Self {
            source: source.strip_suffix(')')?.to_owned(),
            section: section.strip_suffix(" -->")?.to_owned(),
        })
    }
}

/// The page, with each block filled with the code from `cut`.
fn filled(
    page: &str,
    mut cut: impl FnMut(&Shown) -> Result<String, String>,
) -> Result<String, String> {
    let mut text = String::new();
    let mut announced = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        text.push_str(line);
        text.push('\n');
        if line == "```rust" {
            let shown = announced.ok_or("there is code that is cut from no source")?;
            text.push_str(&cut(&shown)?);
            // What was there before.
            let end = lines.find(|line| *line == "```");
            text.push_str(end.ok_or("a block of code has no end")?);
            text.push('\n');
            announced = None;
        } else {
            if let Some(shown) = announced {
                return Err(format!("{} has no block of code below it", shown.section));
            }
            announced = Shown::announced(line);
            if announced.is_none() && line.contains("ANCHOR") {
                return Err(format!("this shows no section of a source: {line}"));
            }
        }
    }
    Ok(text)
}

#[test]
fn code_on_the_pages_matches_the_sources_and_every_section_is_shown() {
    let mut all = BTreeMap::new();
    sources(&root(), &mut all);
    let mut marked = BTreeMap::new();
    for (source, text) in all {
        let cut = sections(&text).unwrap_or_else(|fault| panic!("{source}: {fault}"));
        marked.extend(cut.into_iter().map(|(section, code)| {
            let source = source.clone();
            (Shown { source, section }, code)
        }));
    }
    let mut shown = BTreeSet::new();
    let mut stale = Vec::new();
    for (name, page) in pages() {
        let current = filled(&page, |one| {
            shown.insert(one.clone());
            let code = marked.get(one).cloned();
            code.ok_or_else(|| format!("{} has no section {}", one.source, one.section))
        });
        let current = current.unwrap_or_else(|fault| panic!("docs/frameworks/{name}: {fault}"));
        if current != page {
            if env::var_os("UPDATE_SNIPPETS").is_some() {
                fs::write(root().join("docs/frameworks").join(&name), current).expect("is written");
            } else {
                stale.push(name);
            }
        }
    }
    assert!(
        stale.is_empty(),
        "code in {stale:?} is not that of the sources: UPDATE_SNIPPETS=1 cargo test -p shop-tests --test snippets"
    );
    let idle: Vec<_> = marked.keys().filter(|one| !shown.contains(one)).collect();
    assert!(
        idle.is_empty(),
        "these are marked, and no page shows them: {idle:?}"
    );
}

#[test]
fn every_concern_is_shown_on_all_five_in_the_same_order() {
    let concerns = concerns();
    assert_eq!(concerns.len(), CONCERNS, "{:?}", concerns.keys());
    let index = read(root().join("docs/frameworks/README.md"));
    for (name, page) in concerns {
        assert!(
            index.contains(&format!("]({name})")),
            "README.md does not lead to {name}"
        );
        let (code, words) = page
            .split_once("\n## What is easy, what hurts\n")
            .unwrap_or_else(|| panic!("{name} does not say what is easy and what hurts"));
        let sections: Vec<_> = code.split("\n## ").skip(1).collect();
        let headings = sections.iter().filter_map(|text| text.lines().next());
        assert_eq!(headings.collect::<Vec<_>>(), FRAMEWORKS, "{name}");
        for section in sections {
            assert!(
                section.contains("\n```rust\n"),
                "{name} has no code of {section}"
            );
        }
        let spoken_of = words.lines().filter_map(|line| {
            let (framework, _) = line.strip_prefix("**")?.split_once("**")?;
            Some(framework)
        });
        assert_eq!(spoken_of.collect::<Vec<_>>(), FRAMEWORKS, "{name}");
    }
}

#[test]
fn the_projects_have_the_versions_of_this_build() {
    let lock = read(root().join("Cargo.lock"));
    let locked = |name: &str| {
        let (_, rest) = lock.split_once(&format!("\nname = \"{name}\"\nversion = \""))?;
        Some(rest.split_once('"')?.0)
    };
    let page = read(root().join("docs/frameworks/projects.md"));
    let row = page
        .lines()
        .find_map(|line| line.strip_prefix("| version built here |"));
    let row: Vec<_> = row
        .expect("the row of versions")
        .split('|')
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect();
    let built = FRAMEWORKS.map(|name| locked(&name.to_lowercase()).expect("is in Cargo.lock"));
    assert_eq!(row, built);
    for name in ["hyper", "actix-http"] {
        let version = locked(name).expect("is in Cargo.lock");
        let told = format!("{name} {version}");
        assert!(page.contains(&told), "projects.md does not say {told}");
    }
}

const SOURCE: &str = concat!(
    "fn before() {}\n",
    "    // ANCHOR: inner\n",
    "    fn one() {\n",
    "        two();\n",
    "    }\n",
    "    // ANCHOR_END: inner\n",
);

const PAGE: &str =
    "[a.rs](../../a.rs) <!-- ANCHOR: inner -->\n```rust\nfn one() {\n    two();\n}\n```\n";

fn filled_from_source(page: &str) -> Result<String, String> {
    filled(page, |shown| {
        assert_eq!(shown.source, "a.rs");
        let code = sections(SOURCE)?.remove(&shown.section);
        code.ok_or_else(|| format!("no section {}", shown.section))
    })
}

#[test]
fn code_that_has_drifted_is_noticed() {
    assert_eq!(filled_from_source(PAGE).as_deref(), Ok(PAGE));
    let stale = PAGE.replace("two", "three");
    assert_eq!(filled_from_source(&stale).as_deref(), Ok(PAGE));
    for (page, reason) in [
        (PAGE.replace("inner", "outer"), "no such section"),
        (
            PAGE.replace(" <!-- ANCHOR: inner -->", ""),
            "code from nowhere",
        ),
        (
            PAGE.replace("](../../", "](../"),
            "a link that leads elsewhere",
        ),
        (PAGE.replace("```rust", "```text"), "a section and no code"),
        (PAGE.replace("}\n```\n", "}\n"), "code without an end"),
    ] {
        assert!(filled_from_source(&page).is_err(), "{reason}: {page}");
    }
}

#[test]
fn a_marker_without_its_other_half_is_noticed() {
    for (source, reason) in [
        (SOURCE.replace("// ANCHOR_END: inner", ""), "never closed"),
        (SOURCE.replace("// ANCHOR: inner", ""), "never opened"),
        (SOURCE.repeat(2), "twice the same"),
    ] {
        assert!(sections(&source).is_err(), "{reason}: {source}");
    }
}
