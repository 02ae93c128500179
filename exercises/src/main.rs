//! Checks an exercise: `exercises <number> <program>`. `scripts/exercise.sh` builds the program and
//! runs this.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let checked = match arguments.as_slice() {
        [number, program] => match number.parse() {
            // A check that is dropped stops the programs that it started.
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
            eprintln!("The check cannot run: {fault}");
            return ExitCode::from(2);
        }
    };
    print!("{report}");
    let (all, wrong) = (report.len(), report.wrong().count());
    if wrong == 0 {
        println!("\nAll {all} answers are as expected.");
        ExitCode::SUCCESS
    } else {
        println!("\n{wrong} of {all} answers are not as expected.");
        ExitCode::FAILURE
    }
}
