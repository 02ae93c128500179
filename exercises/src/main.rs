//! Checks an exercise: `exercises <number> <program>`, which `scripts/exercise.sh`
//! runs once the program is built.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let checked = match arguments.as_slice() {
        [number, program] => match number.parse() {
            // Dropped in the middle, a check stops what it has started.
            Ok(number) => tokio::select! {
                checked = exercises::check(number, program) => checked,
                _ = tokio::signal::ctrl_c() => Err("it was interrupted".to_owned()),
            },
            Err(_) => Err(format!("{number:?} is not the number of an exercise")),
        },
        _ => Err("usage: exercises <number> <program>".to_owned()),
    };
    let report = match checked {
        Ok(report) => report,
        Err(fault) => {
            eprintln!("Nothing could be checked: {fault}");
            return ExitCode::from(2);
        }
    };
    print!("{report}");
    let (all, wrong) = (report.len(), report.wrong().count());
    if wrong == 0 {
        println!("\nAll {all} as expected.");
        ExitCode::SUCCESS
    } else {
        println!("\n{wrong} of {all} not as expected.");
        ExitCode::FAILURE
    }
}
