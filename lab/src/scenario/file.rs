//! The file of a scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::actions::Action;
use super::formula::Formula;
use super::numbers::Number;
use super::report::FIELDS;
use crate::load::Mix;
use crate::load::shopper::Kind;
use crate::shop::Member;

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, that of its file.
    pub name: String,
    /// The heading.
    pub title: String,
    /// What the learner has to know before the question.
    pub story: String,
    /// What will happen?
    pub question: String,
    /// The possible answers.
    pub choices: Vec<String>,
    /// The number of the right one, 1 for the first.
    pub answer: usize,
    /// Why it is right.
    pub why: String,
    /// About how many seconds it takes.
    pub seconds: u32,
    /// How many requests a second there are.
    pub rate: f64,
    /// What these requests are.
    pub mix: Mix,
    /// How many pieces of each product there are at the start.
    pub stock: u32,
    /// What is read at the end of each phase.
    pub numbers: BTreeMap<String, Number>,
    /// What happens, in this order.
    pub phases: Vec<Phase>,
    /// What must hold then.
    pub assertions: Vec<Assertion>,
}

/// A time with load, in which something may be done.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// By which assertions know it. Without a name, it is not measured.
    pub name: Option<String>,
    /// How long it lasts. If its actions take longer, until they are done.
    pub seconds: f64,
    /// Requests a second, if not those of the scenario.
    pub rate: Option<f64>,
    /// What is done, at its beginning.
    #[serde(default, rename = "do")]
    pub actions: Vec<Action>,
}

/// What must hold at the end.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// What it means, for people.
    pub text: String,
    /// What is compared.
    pub that: Formula,
}

/// A program of the shop: `user-service`, or `analytics-service.2` for its second instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct At {
    /// Which program.
    pub member: Member,
    /// Which instance of it, 1 for the first.
    pub instance: u16,
    /// Whether the instance is named, so that it alone is meant.
    pub is_one: bool,
}

impl TryFrom<String> for At {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, number) = match text.split_once('.') {
            Some((name, number)) => (name, number.parse().ok()),
            None => (&*text, Some(1)),
        };
        let number = number.filter(|number| (1..=5).contains(number));
        let member = Member::named(name).zip(number);
        let (member, instance) = member.ok_or_else(|| {
            let names = Member::ALL.map(Member::name).join(", ");
            format!("there is no {text:?}; there are {names}")
        })?;
        Ok(Self {
            member,
            instance,
            is_one: text.contains('.'),
        })
    }
}

impl At {
    /// As it is written, and as the scripts call it.
    pub fn name(self) -> String {
        let name = self.member.name();
        if self.is_one {
            format!("{name}.{}", self.instance)
        } else {
            name.to_owned()
        }
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    title: String,
    story: String,
    question: String,
    choices: Vec<String>,
    answer: Spanned<usize>,
    why: String,
    seconds: u32,
    #[serde(default = "usual_stock")]
    stock: u32,
    load: Spanned<GivenLoad>,
    #[serde(default)]
    numbers: BTreeMap<String, Number>,
    #[serde(rename = "phase")]
    phases: Vec<Spanned<Phase>>,
    #[serde(rename = "assert")]
    assertions: Vec<GivenAssertion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenLoad {
    rate: f64,
    #[serde(default)]
    browse: u32,
    #[serde(default)]
    order: u32,
    #[serde(default)]
    buy: u32,
    #[serde(default)]
    cancel: u32,
    get: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenAssertion {
    text: String,
    that: Spanned<Formula>,
}

/// The summary of a scenario, for a list.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The heading.
    pub title: String,
    /// What the learner has to know.
    pub story: String,
    /// What will happen?
    pub question: String,
    /// The possible answers.
    pub choices: Vec<String>,
    /// `terminal`, if it stops processes.
    pub needs: Option<&'static str>,
    /// About how many seconds it takes.
    pub seconds: u32,
}

/// So much that no scenario sells out by chance.
fn usual_stock() -> u32 {
    1_000_000
}

/// The rates and lengths that are allowed: a scenario is for a laptop, and for a lesson. The
/// gateway lets 200 requests a second through.
const RATES: RangeInclusive<f64> = 0.0..=150.0;
const SECONDS: RangeInclusive<f64> = 0.0..=60.0;
const MOST_PHASES: usize = 20;

/// The kinds that an assertion can name.
const KINDS: [&str; 6] = ["browse", "order", "buy", "cancel", "get", "send"];

/// What is wrong with a file: where, if that is known, and what.
type Mistake = (Option<usize>, String);

impl Scenario {
    /// The scenario called `name` in the text of a file. The error is a sentence that names the
    /// `file`, the line and the field.
    pub fn parse(name: &str, file: &str, text: &str) -> Result<Self, String> {
        let given = toml::from_str::<Given>(text).map_err(|error| {
            let at = error.span().map(|span| span.start);
            (at, error.message().replace('\n', ", "))
        });
        let parsed = given.and_then(|given| Self::check(name, given));
        parsed.map_err(|(at, what)| match at {
            Some(at) => format!("{file}, {}: {what}", place(text, at)),
            None => format!("{file}: {what}"),
        })
    }

    fn check(name: &str, given: Given) -> Result<Self, Mistake> {
        let at = |spanned: std::ops::Range<usize>| Some(spanned.start);
        let answer = *given.answer.get_ref();
        if !(1..=given.choices.len()).contains(&answer) {
            let choices = given.choices.len();
            let what = format!("answer is {answer}, but there are {choices} choices");
            return Err((at(given.answer.span()), what));
        }
        let span = at(given.load.span());
        let load = given.load.into_inner();
        let (rate, mix) = mix(load).map_err(|what| (span, what))?;

        if given.phases.is_empty() || given.phases.len() > MOST_PHASES {
            let what = format!("there are 1 to {MOST_PHASES} [[phase]]");
            return Err((None, what));
        }
        let mut names = BTreeSet::new();
        let mut phases = Vec::new();
        for phase in given.phases {
            let span = at(phase.span());
            let phase = phase.into_inner();
            check_phase(&phase, &given.numbers, &mut names).map_err(|what| (span, what))?;
            phases.push(phase);
        }
        if names.is_empty() {
            return Err((None, "no [[phase]] has a name".to_owned()));
        }
        let mut assertions = Vec::new();
        for GivenAssertion { text, that } in given.assertions {
            let span = at(that.span());
            let that = that.into_inner();
            check_names(&that, &names, &given.numbers).map_err(|what| (span, what))?;
            assertions.push(Assertion { text, that });
        }
        if assertions.is_empty() {
            return Err((None, "there is no [[assert]]".to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            title: given.title,
            story: given.story,
            question: given.question,
            choices: given.choices,
            answer,
            why: given.why,
            seconds: given.seconds,
            rate,
            mix,
            stock: given.stock,
            numbers: given.numbers,
            phases,
            assertions,
        })
    }

    /// Whether it stops and starts processes, which only the terminal can.
    pub fn needs_terminal(&self) -> bool {
        let actions = self.phases.iter().flat_map(|phase| &phase.actions);
        actions.into_iter().any(Action::needs_terminal)
    }

    /// Its summary.
    pub fn listed(&self) -> Listed {
        Listed {
            name: self.name.clone(),
            title: self.title.clone(),
            story: self.story.clone(),
            question: self.question.clone(),
            choices: self.choices.clone(),
            needs: self.needs_terminal().then_some("terminal"),
            seconds: self.seconds,
        }
    }
}

/// The line of a place in a text, and the field whose value is there: "line 7, seconds".
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let before = before.get(start..).unwrap_or_default().trim_end();
    let key = match before.strip_suffix('=') {
        // The value of a field is wrong.
        Some(before) => before.trim_end().rsplit(|c| !is_key(c)).next(),
        // The field itself is wrong, or a table.
        None => text.get(at..).and_then(|rest| {
            let rest = rest.trim_start_matches(['[', '"']);
            rest.split(|c| !is_key(c)).next()
        }),
    };
    match key.filter(|key| !key.is_empty()) {
        Some(key) => format!("line {line}, {key}"),
        None => format!("line {line}"),
    }
}

fn mix(load: GivenLoad) -> Result<(f64, Mix), String> {
    check_range("rate", load.rate, &RATES)?;
    let weights = [
        (Kind::Browse, load.browse),
        (Kind::Order, load.order),
        (Kind::Buy, load.buy),
        (Kind::Cancel, load.cancel),
    ];
    let get = load.get.into_iter();
    let weights = weights.into_iter();
    let mix = Mix::new(weights.chain(get.map(|path| (Kind::Get(path), 1))));
    let mix = mix.ok_or("the load has none of browse, order, buy, cancel and get")?;
    let has_path = |kind: &Kind| !matches!(kind, Kind::Get(path) if !path.starts_with('/'));
    if !mix.kinds().all(has_path) {
        return Err("get is a path, which begins with a slash".to_owned());
    }
    Ok((load.rate, mix))
}

fn check_range(field: &str, value: f64, range: &RangeInclusive<f64>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(format!("{field} is {value}, expected {least} to {most}"))
}

fn check_phase(
    phase: &Phase,
    numbers: &BTreeMap<String, Number>,
    names: &mut BTreeSet<String>,
) -> Result<(), String> {
    check_range("seconds", phase.seconds, &SECONDS)?;
    check_range("rate", phase.rate.unwrap_or_default(), &RATES)?;
    for action in &phase.actions {
        action.check(numbers)?;
    }
    let Some(name) = &phase.name else {
        return Ok(());
    };
    if names.insert(name.clone()) {
        Ok(())
    } else {
        Err(format!("two phases are called {name:?}"))
    }
}

/// Whether an assertion names only what is measured.
fn check_names(
    formula: &Formula,
    phases: &BTreeSet<String>,
    numbers: &BTreeMap<String, Number>,
) -> Result<(), String> {
    for name in formula.names() {
        let parts: Vec<_> = name.split('.').collect();
        let phase = parts[0];
        if !phases.contains(phase) {
            let phases: Vec<_> = phases.iter().map(String::as_str).collect();
            let phases = phases.join(", ");
            return Err(format!(
                "{name} is of no phase with a name; there are {phases}"
            ));
        }
        let is_known = match parts[1..] {
            [value] => FIELDS.contains(&value) || numbers.contains_key(value),
            [kind, field] => KINDS.contains(&kind) && FIELDS.contains(&field),
            _ => false,
        };
        if !is_known {
            let numbers = numbers.keys().map(String::as_str);
            let known: Vec<_> = FIELDS.into_iter().chain(numbers).collect();
            let known = known.join(", ");
            return Err(format!("{name} is not measured; each phase has {known}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"title = "A title"
story = "A story."
question = "What?"
choices = ["This", "That"]
answer = 1
why = "So."
seconds = 3

[load]
rate = 10
order = 1

[numbers]
orders = { at = "order-service", path = "/api/orders/stats", json = "/total" }

[[phase]]
name = "before"
seconds = 1

[[phase]]
name = "after"
seconds = 1
do = [{ fault = { at = "user-service", kind = "hang" } }]

[[assert]]
text = "Nothing fails"
that = "after.errors <= before.order.errors"
"#;

    #[test]
    fn each_mistake_has_its_line_and_its_field() {
        Scenario::parse("good", "good.toml", GOOD).expect("no mistake");
        for (old, new, sentence) in [
            ("title = \"A title\"\n", "", "missing field `title`"),
            (
                "answer = 1",
                "answer = 3",
                "line 5, answer: answer is 3, but there are 2 choices",
            ),
            (
                "answer = 1",
                "answer = \"1\"",
                "line 5, answer: invalid type: string",
            ),
            (
                "why =",
                "because =",
                "line 6, because: unknown field `because`, expected one of",
            ),
            (
                "rate = 10",
                "rate = 1000",
                "line 9, load: rate is 1000, expected 0 to 150",
            ),
            ("order = 1", "", "line 9, load: the load has none of"),
            ("order = 1", "get = \"x\"", "line 9, load: get is a path"),
            (
                "order = 1",
                "orders = 1",
                "line 11, orders: unknown field `orders`",
            ),
            (
                ", json = \"/total\"",
                "",
                "line 14, orders: a number has a `path` and either",
            ),
            (
                "\"order-service\"",
                "\"shop\"",
                "line 14, at: there is no \"shop\"; there are user-service",
            ),
            (
                "seconds = 1\n\n[[phase]]",
                "seconds = 99\n\n[[phase]]",
                "line 16, phase: seconds is 99",
            ),
            (
                "\"after\"",
                "\"before\"",
                "line 20, phase: two phases are called \"before\"",
            ),
            (
                "fault =",
                "break =",
                "line 23, break: unknown variant `break`, expected one of",
            ),
            (
                "\"hang\"",
                "\"explode\"",
                "line 23, kind: unknown variant `explode`, expected one of",
            ),
            (
                "after.errors",
                "then.errors",
                "line 27, that: then.errors is of no phase with a name; there are after, before",
            ),
            (
                "after.errors",
                "after.eggs",
                "line 27, that: after.eggs is not measured; each phase has requests",
            ),
            (
                "<=",
                "is",
                "line 27, that: \"after.errors is before.order.errors\" compares nothing",
            ),
            ("[load]", "[load", "line 9"),
        ] {
            assert!(GOOD.contains(old), "{old}");
            let text = GOOD.replacen(old, new, 1);
            let fault = Scenario::parse("bad", "bad.toml", &text).expect_err(new);
            assert!(fault.starts_with("bad.toml, line "), "{fault}");
            assert!(
                fault.contains(sentence),
                "{fault:?} does not say {sentence:?}"
            );
            assert!(!fault.contains('\n'), "{fault:?}");
        }
    }
}
