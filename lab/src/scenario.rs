//! Scenarios: lessons in which something changes while there is load on the shop.
//!
//! A scenario is one file, `lab/scenarios/<name>.toml`: a story, a question, phases with load in which
//! something is done, and assertions about what was measured. `docs/scenarios.md` explains how to
//! write one.
//!
//! | module | contents |
//! |---|---|
//! | [`file`](mod@file) | the file, and what can be wrong with it |
//! | [`formula`] | comparisons such as `after.errors < 1%` |
//! | [`numbers`] | what is read from stores and metrics |
//! | [`run`](mod@run) | runs the phases, checks the assertions, mends what was broken |
//! | [`actions`] | what a phase can do |
//! | [`report`] | how far a run is, and its result |
//! | [`scripts`] | the scripts that stop and start processes |

pub mod actions;
pub mod file;
pub mod formula;
pub mod numbers;
pub mod report;
pub mod run;
pub mod scripts;

pub use file::Scenario;

/// The name and the text of a file in `lab/scenarios/`.
macro_rules! included {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../scenarios/", $name, ".toml")),
        )
    };
}

/// The scenarios of this project: their names and their files. They are part of the program, so
/// that the gateway has them in a container too.
pub static ALL: [(&str, &str); 14] = [
    included!("notification-down"),
    included!("slow-user-service"),
    included!("flapping-product-service"),
    included!("poisoned-response"),
    included!("circuit-breaker"),
    included!("retry-storm"),
    included!("hung-with-bulkhead"),
    included!("lost-response"),
    included!("last-five"),
    included!("price-change"),
    included!("stampede"),
    included!("restart-under-load"),
    included!("one-sick-of-three"),
    included!("rolling-deploy"),
];

/// The scenario of this project that is called `name`. The error is a sentence.
pub fn named(name: &str) -> Result<Scenario, String> {
    let found = ALL.iter().find(|(one, _)| *one == name);
    let (name, text) = found.ok_or_else(|| {
        let shown: String = name.chars().take(60).collect();
        format!("there is no scenario called {shown:?}; scripts/scenario.sh list shows them")
    })?;
    Scenario::parse(name, &format!("lab/scenarios/{name}.toml"), text)
}
