//! The product API on the framework of one's choice, as a program.

use std::process::ExitCode;

use chassis::config::Env;
use chassis::shutdown::Shutdown;
use chassis::{run, server, telemetry};
use framework_comparison::Framework;
use lexopt::Arg::{Long, Short, Value};
use product_service::Config;

const HELP: &str = "\
The product API of the shop on five web frameworks, to compare them.

    framework-comparison serve --framework axum

is a whole product-service on axum, on rocket, poem, warp or actix-web: the same
routes, rules and environment variables as the program product-service has.

Options
    --framework NAME    axum, rocket, poem, warp or actix-web
    --help              this text
";

/// What is to be done.
enum Command {
    Help,
    Serve(Framework),
}

fn main() -> ExitCode {
    match command(lexopt::Parser::from_env()) {
        Ok(Command::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Command::Serve(framework)) => serve(framework),
        Err(misuse) => {
            eprintln!("framework-comparison: {misuse}");
            ExitCode::from(2)
        }
    }
}

/// The beats of every service.
fn serve(framework: Framework) -> ExitCode {
    run::until_stopped(async || {
        let config = Config::read(Env::process())?;
        let _log = telemetry::init(&config.service)?;
        let shutdown = Shutdown::on_signal()?;
        let listener = server::bind(config.service.listen).await?;
        framework.serve(listener, &config, shutdown).await
    })
}

/// Reads the arguments, or says in a sentence what is wrong with them.
fn command(mut arguments: lexopt::Parser) -> Result<Command, String> {
    let (mut verb, mut framework) = (None, None);
    while let Some(argument) = arguments.next().map_err(|wrong| wrong.to_string())? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("framework") => {
                let name = arguments.value().map_err(|wrong| wrong.to_string())?;
                framework = Some(Framework::named(&name.to_string_lossy())?);
            }
            Value(word) if verb.is_none() => verb = Some(word.to_string_lossy().into_owned()),
            other => return Err(format!("{}; see --help", other.unexpected())),
        }
    }
    match verb.as_deref() {
        Some("serve") => framework
            .map(Command::Serve)
            .ok_or_else(|| "serve needs --framework, such as --framework axum".to_owned()),
        Some(other) => Err(format!("there is no command {other:?}; see --help")),
        None => Err("say what to do, such as serve --framework axum; see --help".to_owned()),
    }
}
