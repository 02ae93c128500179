//! `scripts/scenario.sh`: lists scenarios and runs them.

use std::fs;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use lab::scenario::report::{Progress, Report, State};
use lab::scenario::run::{Place, run};
use lab::scenario::scripts::Scripts;
use lab::scenario::{self, Scenario};
use lab::shop::Shop;
use lexopt::Arg::{Long, Value};
use tokio::signal::unix::{SignalKind, signal};

/// The columns of a terminal.
const COLUMNS: usize = 79;

/// What is asked for.
#[derive(Debug)]
enum Wanted {
    List,
    Run { name: String, predict: bool },
    All,
}

fn main() -> ExitCode {
    let wanted = arguments(lexopt::Parser::from_env());
    let wanted = wanted.and_then(|wanted| Ok((wanted, Shop::from_env()?)));
    let (wanted, shop) = match wanted {
        Ok(both) => both,
        Err(misuse) => {
            eprintln!("scenario.sh: {misuse}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let done = runtime
        .map_err(|cause| format!("It cannot start: {cause}."))
        .and_then(|runtime| runtime.block_on(carry_out(wanted, place(shop))));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: lexopt::Parser) -> Result<Wanted, String> {
    let (mut words, mut predict) = (Vec::new(), false);
    while let Some(argument) = given.next().map_err(|wrong| wrong.to_string())? {
        match argument {
            Long("predict") => predict = true,
            Value(word) => words.push(word.to_string_lossy().into_owned()),
            other => return Err(format!("{}; see --help", other.unexpected())),
        }
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] if !predict => Ok(Wanted::List),
        ["all"] if !predict => Ok(Wanted::All),
        ["run", name] => Ok(Wanted::Run {
            name: name.to_owned(),
            predict,
        }),
        ["run"] => Err("which one? scripts/scenario.sh list shows them".to_owned()),
        _ => Err("expected list, run <name> [--predict], or all; see --help".to_owned()),
    }
}

/// The shop, with the scripts if it was started by them.
fn place(shop: Shop) -> Place {
    let is_local = std::env::var_os("RUN_DIR")
        .is_some_and(|folder| PathBuf::from(folder).join("order-service.pid").is_file());
    let root = std::env::current_dir().ok().filter(|_| is_local);
    Place {
        shop,
        scripts: root.map(Scripts::new),
    }
}

async fn carry_out(wanted: Wanted, place: Place) -> Result<bool, String> {
    match wanted {
        Wanted::List => list(),
        Wanted::Run { name, predict } => {
            let scenario = find(&name)?;
            tell(&scenario);
            let choice = if predict { ask(&scenario) } else { None };
            let report = run_one(&scenario, &place, choice, true).await?;
            explain(&scenario, &report);
            Ok(report.state == State::Done)
        }
        Wanted::All => all(&place).await,
    }
}

/// A scenario of this project, or of a file.
fn find(name: &str) -> Result<Scenario, String> {
    if Path::new(name).extension().is_none_or(|it| it != "toml") {
        return scenario::named(name);
    }
    let text = fs::read_to_string(name).map_err(|cause| format!("{name}: {cause}"))?;
    let stem = Path::new(name).file_stem().unwrap_or_default();
    Scenario::parse(&stem.to_string_lossy(), name, &text)
}

fn list() -> Result<bool, String> {
    for (name, _) in scenario::ALL {
        let one = scenario::named(name)?;
        let needs = if one.needs_terminal() { "terminal" } else { "" };
        say(&format!(
            "{name:<24} {:>3} s  {:<8}  {}",
            one.seconds, needs, one.title
        ));
    }
    say("");
    say("\"terminal\": it stops processes, so the page of the gateway cannot run it.");
    Ok(true)
}

fn tell(scenario: &Scenario) {
    say(&bold(&scenario.title));
    say("");
    say(&wrapped("", &scenario.story, ""));
    say("");
    say(&wrapped("", &scenario.question, ""));
    for (number, choice) in scenario.choices.iter().enumerate() {
        say(&wrapped(&format!("{}. ", number + 1), choice, "   "));
    }
    say("");
}

/// Asks for a prediction. Without somebody who answers, there is none.
fn ask(scenario: &Scenario) -> Option<usize> {
    let most = scenario.choices.len();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        let mut out = std::io::stdout();
        let _ = write!(out, "Your prediction, 1 to {most}: ").and_then(|()| out.flush());
        let Some(Ok(line)) = lines.next() else {
            say("none");
            return None;
        };
        let choice = line.trim().parse().ok();
        if let Some(choice) = choice.filter(|choice| (1..=most).contains(choice)) {
            say("");
            return Some(choice);
        }
        say(&format!("{:?} is none of the choices.", line.trim()));
    }
}

/// Runs it; Ctrl-C stops it.
async fn run_one(
    scenario: &Scenario,
    place: &Place,
    choice: Option<usize>,
    aloud: bool,
) -> Result<Report, String> {
    let on = |kind| signal(kind).map_err(|cause| format!("It cannot wait for Ctrl-C: {cause}."));
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hangup = on(SignalKind::hangup())?;
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    let began = Instant::now();
    let progress = Progress::new(&scenario.name, choice, move |line| {
        if aloud {
            let at = format!("{:5.1} s  ", began.elapsed().as_secs_f64());
            say(&wrapped(&at, line, &" ".repeat(at.len())));
        }
    });
    run(scenario, place, &progress, stop).await;
    Ok(progress.report())
}

fn explain(scenario: &Scenario, report: &Report) {
    say("");
    if let (Some(answer), Some(why)) = (report.answer, &report.why) {
        let choice = &scenario.choices[answer - 1];
        let predicted = match report.choice {
            Some(choice) if choice == answer => "You predicted it: ",
            Some(_) => "Not as you predicted: ",
            None => "The answer: ",
        };
        say(&bold(&wrapped(
            predicted,
            &format!("{answer}. {choice}"),
            "",
        )));
        say("");
        say(&wrapped("", why, ""));
        say("");
    }
    for one in &report.assertions {
        let mark = if one.holds { "ok  " } else { "FAIL" };
        say(&wrapped(
            &format!("  {mark}  "),
            &format!("{} ({})", one.text, one.saw),
            "        ",
        ));
    }
    if let Some(error) = &report.error {
        say(&wrapped("", error, ""));
    }
}

async fn all(place: &Place) -> Result<bool, String> {
    let began = Instant::now();
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for (name, _) in scenario::ALL {
        let one = scenario::named(name)?;
        if one.needs_terminal() && place.scripts.is_none() {
            say(&format!(
                "-     {name}: skipped, the shop was not started by scripts/start.sh"
            ));
            skipped += 1;
            continue;
        }
        let started = Instant::now();
        let report = run_one(&one, place, None, false).await?;
        let took = started.elapsed().as_secs_f64();
        if report.state == State::Done {
            say(&format!(
                "ok    {name} {took:.0} s: {}",
                one.choices[one.answer - 1]
            ));
            passed += 1;
            continue;
        }
        failed.push(name);
        say(&format!("FAIL  {name} {took:.0} s"));
        for line in &report.log {
            say(&wrapped("        ", line, "        "));
        }
        explain(&one, &report);
        if report.error.as_deref() == Some("It was stopped.") {
            break;
        }
    }
    let seconds = began.elapsed().as_secs();
    let skipped = if skipped > 0 {
        format!(", {skipped} skipped")
    } else {
        String::new()
    };
    if failed.is_empty() {
        say(&format!("{passed} scenarios hold{skipped}, {seconds} s."));
    } else {
        let failed = failed.join(", ");
        say(&format!(
            "{passed} scenarios hold{skipped}; not so: {failed}. {seconds} s."
        ));
    }
    Ok(failed.is_empty())
}

/// Prints a line. A reader that has left is no reason to complain.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn bold(text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    if std::io::stdout().is_terminal() && !plain {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// `first` and the words of `text`, in lines that fit a terminal. All but the first line begin with
/// `indent`.
fn wrapped(first: &str, text: &str, indent: &str) -> String {
    let mut lines = vec![first.to_owned()];
    let mut is_start = true;
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if !is_start && last.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push(format!("{indent}{word}"));
            continue;
        }
        if !is_start {
            last.push(' ');
        }
        last.push_str(word);
        is_start = false;
    }
    lines.join("\n")
}
