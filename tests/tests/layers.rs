//! Which crate may depend on which, by the `[dependencies]` in each Cargo.toml. Inside the
//! chassis, `chassis/tests/layers.rs` does the same for modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use shop_tests::program::SERVICES;

/// The frameworks in the order of their [`SERVICES`], each with the crate that holds what a
/// service on it needs.
const FRAMEWORKS: [(&str, &str); 5] = [
    ("axum", "on-axum"),
    ("rocket", "on-rocket"),
    ("poem", "on-poem"),
    ("warp", "on-warp"),
    ("actix-web", "on-actix-web"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a crate depends on.
struct Manifest {
    dependencies: BTreeSet<String>,
    for_tests: BTreeSet<String>,
}

impl Manifest {
    fn parse(text: &str) -> Self {
        let section = |header: &str| {
            let lines = text.lines().skip_while(|line| *line != header).skip(1);
            let lines = lines.take_while(|line| !line.starts_with('['));
            let names = lines.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
            names.collect()
        };
        Self {
            dependencies: section("[dependencies]"),
            for_tests: section("[dev-dependencies]"),
        }
    }
}

/// The crates of the workspace by their names.
fn members() -> BTreeMap<String, Manifest> {
    let workspace = read("Cargo.toml");
    let members = workspace.split("members = [").nth(1).expect("members");
    let members = members.split(']').next().unwrap_or_default();
    let members = members.split('"').skip(1).step_by(2);
    let members = members.map(|folder| {
        let text = read(Path::new(folder).join("Cargo.toml"));
        let name = text.split("name = \"").nth(1).expect("a name");
        let name = name.split('"').next().unwrap_or_default().to_owned();
        (name, Manifest::parse(&text))
    });
    members.collect()
}

/// The members of the workspace that each member may use, outside of its tests.
fn allowed(name: &str) -> BTreeSet<&'static str> {
    let of_service = SERVICES.iter().position(|service| *service == name);
    if let Some(place) = of_service {
        let (_, adapter) = FRAMEWORKS[place];
        return BTreeSet::from(["chassis", adapter]);
    }
    if FRAMEWORKS.iter().any(|(_, adapter)| *adapter == name) {
        return BTreeSet::from(["chassis"]);
    }
    let adapters = FRAMEWORKS.map(|(_, adapter)| adapter);
    let tools = ["chassis", "harness", "product-service"];
    match name {
        "harness" | "lab" => BTreeSet::new(),
        // For its test kit alone: see `a_service_contains_nothing_of_the_tests`.
        "chassis" => BTreeSet::from(["harness"]),
        "gateway" => BTreeSet::from(["chassis", "lab"]),
        "bench" => tools.into_iter().chain(["gateway"]).collect(),
        "framework-comparison" => adapters.into_iter().chain(tools).chain(["bench"]).collect(),
        "shop-tests" => SERVICES
            .into_iter()
            .chain(tools)
            .chain(["framework-comparison", "gateway", "lab"])
            .collect(),
        "exercises" => adapters
            .into_iter()
            .chain(tools)
            .chain(["framework-comparison", "shop-tests"])
            .collect(),
        other => panic!("{other} is new here: say what it may depend on"),
    }
}

#[test]
fn a_crate_depends_on_no_member_above_or_beside_it() {
    let members = members();
    for (name, manifest) in &members {
        let allowed = allowed(name);
        for dependency in &manifest.dependencies {
            assert!(
                !members.contains_key(dependency) || allowed.contains(&**dependency),
                "{name} depends on {dependency}; it may depend on {allowed:?}"
            );
        }
    }
}

#[test]
fn no_service_knows_another_not_even_in_its_tests() {
    let members = members();
    for service in SERVICES {
        let manifest = &members[service];
        let all = manifest.dependencies.union(&manifest.for_tests);
        let services: Vec<_> = all.filter(|name| name.ends_with("-service")).collect();
        assert!(services.is_empty(), "{service} depends on {services:?}");
    }
}

#[test]
fn a_framework_is_named_by_its_service_and_its_crate_alone() {
    let members = members();
    let frameworks = |manifest: &Manifest| -> Vec<String> {
        let dependencies = manifest.dependencies.iter();
        let is_framework =
            |name: &&String| FRAMEWORKS.iter().any(|(framework, _)| framework == name);
        dependencies.filter(is_framework).cloned().collect()
    };
    for ((framework, adapter), service) in FRAMEWORKS.into_iter().zip(SERVICES) {
        for name in [adapter, service] {
            assert_eq!(frameworks(&members[name]), [framework], "{name}");
        }
    }
    for name in ["chassis", "harness", "gateway"] {
        assert_eq!(frameworks(&members[name]), [""; 0], "{name}");
    }
}

#[test]
fn a_service_contains_nothing_of_the_tests() {
    let optional = "harness = { workspace = true, optional = true }\n";
    let chassis = read("chassis/Cargo.toml");
    assert!(
        chassis.contains(optional)
            && chassis.contains("testkit = [\"dep:harness\", \"dep:reqwest\"]\n")
    );
    for member in SERVICES
        .into_iter()
        .chain(FRAMEWORKS.map(|(_, adapter)| adapter))
        .chain(["gateway"])
    {
        let folder = match member.strip_prefix("on-") {
            Some(framework) => format!("frameworks/{framework}"),
            None => member.to_owned(),
        };
        let manifest = read(Path::new(&folder).join("Cargo.toml"));
        let built = manifest.split("[dev-dependencies]").next();
        let built = built.unwrap_or_default();
        assert!(!built.contains("testkit"), "{member}");
    }
}

#[test]
fn the_services_have_the_same_files() {
    for service in SERVICES {
        for file in ["main", "lib", "config", "model", "store", "api", "http"] {
            let path = format!("{service}/src/{file}.rs");
            assert!(root().join(&path).is_file(), "{path} is missing");
        }
        let library = read(format!("{service}/src/lib.rs"));
        for public in ["Config", "App"] {
            assert!(library.contains(public), "{service} has no {public}");
        }
    }
}

#[test]
fn a_dependency_is_seen_with_and_without_features() {
    let manifest = Manifest::parse(
        "[package]\nname = \"a\"\n\n[dependencies]\nb = { workspace = true }\n\n\
         [dev-dependencies]\nc-d = { workspace = true, features = [\"e\"] }\n\n[lints]\nworkspace = true\n",
    );
    assert_eq!(manifest.dependencies, BTreeSet::from(["b".to_owned()]));
    assert_eq!(manifest.for_tests, BTreeSet::from(["c-d".to_owned()]));
}
