//! Who may import whom: the table in the crate's documentation, checked against every
//! `crate::` path in the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the table with the modules it may import.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let documentation = include_str!("../src/lib.rs");
    let mut allowed = BTreeMap::<String, BTreeSet<String>>::new();
    for line in documentation.lines() {
        let Some(row) = line.strip_prefix("//! | ") else {
            continue;
        };
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let [module, _, imports, ..] = columns.as_slice() else {
            continue;
        };
        let module = module.trim_start_matches(['[', '`']);
        let module = module.split('`').next().unwrap_or_default();
        if module == "module" {
            continue;
        }
        let above: BTreeSet<_> = allowed.keys().cloned().collect();
        let imports = match *imports {
            "all of the above" => above.clone(),
            list => names(list),
        };
        let unknown: Vec<_> = imports.difference(&above).collect();
        assert!(
            unknown.is_empty(),
            "{module} may import {unknown:?}, which no row above it names"
        );
        allowed.insert(module.to_owned(), imports);
    }
    allowed
}

fn names(list: &str) -> BTreeSet<String> {
    let names = list.split(',').map(|name| name.trim().trim_matches('`'));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The top-level modules that a source file names by `crate::`, outside of its
/// comments and its tests.
fn imported(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next();
    let lines = code.unwrap_or_default().lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .filter_map(|path| {
            let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
            let (name, rest) = path.split_at(end.unwrap_or(path.len()));
            // A macro has no module.
            (!rest.starts_with('!')).then(|| name.to_owned())
        })
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let allowed = allowed();
    assert!(allowed.len() >= 8, "the table was read: {allowed:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);

    let (mut faults, mut checked) = (Vec::new(), 0);
    for file in files {
        let path = file.strip_prefix(&root).expect("below src");
        let first = path.iter().next().and_then(|name| name.to_str());
        let module = first.expect("UTF-8").trim_end_matches(".rs");
        if module == "lib" || path.ends_with("tests.rs") {
            continue;
        }
        let Some(may) = allowed.get(module) else {
            faults.push(format!("{} has no row in the table", path.display()));
            continue;
        };
        let imports = imported(&fs::read_to_string(&file).expect("a source file"));
        checked += imports.len();
        for name in imports {
            if name != module && !may.contains(&name) {
                faults.push(format!("{} imports {name}", path.display()));
            }
        }
    }
    assert!(checked > 50, "only {checked} imports were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_import_is_seen_in_every_form() {
    let source = "use crate::values::id::Id;\npub(crate) use crate::env::{Env, Parameter};\n\
                  fn f() -> crate::serve::run::RunError {}\n/// [`crate::store`]\n\
                  #[cfg(test)]\nmod tests {\n    use crate::testkit::Stub;\n}\n";
    let expected = ["env", "serve", "values"].map(str::to_owned);
    assert_eq!(imported(source), BTreeSet::from(expected));
}
