//! What a framework costs before the first request: to build, to ship, to read.
//!
//! A program with all five in it tells nothing of one. So the smallest server on
//! each, `bench/src/<framework>.rs`, is built by itself, with the features that it
//! needs and nothing of the shop. The lines are those of its room in
//! framework-comparison, which does all that the contract asks.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bench::Failed;
use bench::measure::lines::code_lines;
use bench::measure::process::output;
use harness::process::Process;

/// The crates in the tree of the smallest server on a framework, its own not counted.
pub(crate) fn crates(feature: &str) -> Option<usize> {
    let tree = output(
        "cargo",
        &[
            "tree",
            "--locked",
            "-p",
            "bench",
            "--no-default-features",
            "--features",
            feature,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ],
    )?;
    Some(distinct(&tree))
}

/// The lines of a tree, each crate once.
fn distinct(tree: &str) -> usize {
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    let crates: BTreeSet<&str> = lines.filter(|line| !line.is_empty()).collect();
    crates.len().saturating_sub(1)
}

/// The files of product-service on a framework: its routes and handlers, and the
/// framework's adapter, which it shares with a service.
pub(crate) fn adapter(framework: &str) -> Vec<PathBuf> {
    let routes = match framework {
        "rocket" => PathBuf::from("product-service/src/http.rs"),
        "axum" | "poem" | "warp" | "actix-web" => {
            format!("framework-comparison/src/{}.rs", module(framework)).into()
        }
        // The floor: all of it.
        _ => {
            return ["floor", "hyper"]
                .map(|name| format!("bench/src/{name}.rs").into())
                .into();
        }
    };
    let mut files = vec![routes];
    let folder = fs::read_dir(format!("frameworks/{framework}/src"));
    let entries = folder.into_iter().flatten().flatten();
    files.extend(entries.map(|entry| entry.path()));
    files.sort();
    files
}

/// The lines of an adapter that are neither blank nor comment, up to its tests.
pub(crate) fn adapter_lines(files: &[PathBuf]) -> Option<usize> {
    let texts = files.iter().map(fs::read_to_string);
    texts.map(|text| Some(code_lines(&text.ok()?))).sum()
}

/// How long a build may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// A place to build in, apart from all else: a copy of the sources, because a build
/// after a change is measured by changing one.
#[derive(Debug)]
pub(crate) struct Workshop {
    sources: PathBuf,
    /// Cargo's target directory; removed for each clean build.
    target: PathBuf,
}

impl Workshop {
    /// Copies the sources, which are in the current directory.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failed> {
        let sources = folder.join("sources");
        if sources.exists() {
            fs::remove_dir_all(&sources)?;
        }
        fs::create_dir_all(&sources)?;
        for entry in fs::read_dir(".")? {
            let path = entry?.path();
            let Some(name) = path.file_name() else {
                continue;
            };
            if path.join("Cargo.toml").is_file() || name == "frameworks" {
                copy_folder(&path, &sources.join(name))?;
            } else if path.is_file() {
                fs::copy(&path, sources.join(name))?;
            }
        }
        Ok(Self {
            target: std::path::absolute(folder.join("target"))?,
            sources,
        })
    }

    /// The size of the smallest server on a framework, in bytes, built by `profile`.
    pub(crate) fn size(&self, framework: &str, profile: &str) -> Result<u64, Failed> {
        self.build(framework, profile)?;
        let folder = if profile == "dev" { "debug" } else { profile };
        Ok(fs::metadata(self.target.join(folder).join("bare"))?.len())
    }

    /// How long `cargo build` takes when nothing is built yet.
    pub(crate) fn clean_build(&self, framework: &str) -> Result<Duration, Failed> {
        if self.target.exists() {
            fs::remove_dir_all(&self.target)?;
        }
        self.build(framework, "dev")
    }

    /// How long it takes after a handler was changed: another text in each round.
    pub(crate) fn incremental_build(
        &self,
        framework: &str,
        round: usize,
    ) -> Result<Duration, Failed> {
        let file = format!("bench/src/{}.rs", module(framework));
        let handler = handler(framework);
        let before = fs::read_to_string(&file)?;
        let after = before.replace(
            &handler,
            &handler.replace(framework, &format!("{framework} {round}")),
        );
        if after == before {
            return Err(format!("{file} has no {handler} to change").into());
        }
        fs::write(self.sources.join(&file), after)?;
        self.build(framework, "dev")
    }

    fn build(&self, feature: &str, profile: &str) -> Result<Duration, Failed> {
        let errors = self.target.with_extension("err");
        let mut cargo = Command::new("cargo");
        cargo
            .args([
                "build",
                "--locked",
                "--offline",
                "-p",
                "bench",
                "--bin",
                "bare",
            ])
            .args(["--no-default-features", "--features", feature])
            .args(["--profile", profile, "--target-dir"])
            .arg(&self.target)
            .current_dir(&self.sources)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors)?);
        let began = Instant::now();
        let status = Process::start(&mut cargo)?.wait(PATIENCE);
        let status = status.map_err(|error| format!("a build failed: {error}"))?;
        let took = began.elapsed();
        if status.success() {
            Ok(took)
        } else {
            let errors = errors.display();
            Err(format!("the bare server on {feature} does not build; see {errors}").into())
        }
    }
}

/// What a handler of the smallest server on a framework has in it, and nothing else.
fn handler(framework: &str) -> String {
    format!("Health::of(\"{framework}\")")
}

/// The file of a framework's room has its name, or what Rust takes for one.
pub(crate) fn module(framework: &str) -> &str {
    framework.trim_end_matches("-web")
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_however_often_it_is_in_the_tree() {
        let tree = "bench v0.1.0 (/here)\naxum v0.8.9\nhttp v1.5.0\nhttp v1.5.0 (*)\n\nsyn v2.0.1\nsyn v3.0.9";
        assert_eq!(distinct(tree), 4, "two versions are two crates");
    }

    #[test]
    fn each_room_is_there_to_be_counted_and_each_handler_to_be_changed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for framework in crate::servers::FRAMEWORKS.into_iter().chain(["hyper"]) {
            for file in adapter(framework) {
                assert!(root.join(&file).is_file(), "{}", file.display());
            }
            let server = root.join(format!("bench/src/{}.rs", module(framework)));
            let server = fs::read_to_string(server).expect("a bare server");
            assert!(server.contains(&handler(framework)), "{framework}");
        }
    }
}
