//! The program: runs the product API on any of the frameworks, and probes what each framework
//! does by itself.

use std::convert::Infallible;
use std::io::{IsTerminal, stderr};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use chassis::env::Env;
use chassis::serve::shutdown::Shutdown;
use chassis::serve::{registration, run, server};
use chassis::telemetry;
use framework_comparison::framework::ALL;
use framework_comparison::report::Format;
use framework_comparison::{Framework, probes};
use lexopt::Arg::{Long, Short, Value};
use product_service::Config;
use tokio::time::{Instant, interval};

const HELP: &str = "\
The product API of the shop on five web frameworks, to compare them.

    framework-comparison serve --framework axum

runs a whole product-service on axum (or rocket, poem, warp, actix-web), with
the routes, rules and environment variables of product-service.

    framework-comparison defaults

runs about forty probes against the smallest server on each framework, as its
guide writes one, and against the adapter of the lab, and prints what each does.
It takes about 15 seconds.

    framework-comparison default-server --framework axum

runs that smallest server on a free port.

Options
    --framework NAME    axum, rocket, poem, warp or actix-web
    --format FORMAT     table, markdown or json; table by default
    --help              print this text
    --version           print the name and the version

Environment variables of serve, with their defaults and what they may be:

";

/// The command to run.
enum Command {
    Help,
    Version,
    Serve(Framework),
    Defaults(Format),
    DefaultServer(Framework),
}

fn main() -> ExitCode {
    match command(lexopt::Parser::from_env()) {
        Ok(Command::Help) => {
            let (_, variables) = run::describe(Config::read);
            print!("{HELP}{variables}");
            ExitCode::SUCCESS
        }
        Ok(Command::Version) => {
            println!("framework-comparison {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Command::Serve(framework)) => serve(framework),
        Ok(Command::Defaults(format)) => defaults(format),
        Ok(Command::DefaultServer(framework)) => match default_server(framework) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(misuse) => {
            eprintln!("framework-comparison: {misuse}");
            ExitCode::from(2)
        }
    }
}

/// Reads the arguments. The error is a sentence.
fn command(mut arguments: lexopt::Parser) -> Result<Command, String> {
    let (mut verb, mut framework, mut format) = (None, None, Format::Table);
    while let Some(argument) = arguments.next().map_err(|wrong| wrong.to_string())? {
        let (name, value) = match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Long(name @ ("framework" | "format")) => (name.to_owned(), arguments.value()),
            Value(word) if verb.is_none() => {
                verb = Some(word.to_string_lossy().into_owned());
                continue;
            }
            other => return Err(format!("{}; see --help", other.unexpected())),
        };
        let value = value.map_err(|wrong| wrong.to_string())?;
        let value = value.to_string_lossy();
        if name == "format" {
            format = Format::named(&value)?;
        } else {
            framework = Some(Framework::named(&value)?);
        }
    }
    let verb = verb.ok_or("the command is missing, such as serve --framework axum; see --help")?;
    let framework =
        framework.ok_or_else(|| format!("{verb} needs --framework, such as --framework axum"));
    match verb.as_str() {
        "serve" => framework.map(Command::Serve),
        "default-server" => framework.map(Command::DefaultServer),
        "defaults" => Ok(Command::Defaults(format)),
        other => Err(format!("unknown command {other:?}; see --help")),
    }
}

/// Runs product-service: the same steps as in the `main` of every service.
fn serve(framework: Framework) -> ExitCode {
    run::until_stopped(async || {
        let config = Config::read(Env::process())?;
        let _log = telemetry::init(&config.service.telemetry)?;
        let shutdown = Shutdown::on_signal()?;
        let listener = server::bind(config.service.listen).await?;
        registration::begin(&config.service, &listener, &shutdown)?;
        framework.serve(listener, &config, shutdown).await
    })
}

/// Runs the smallest server on a free port.
fn default_server(framework: Framework) -> Result<(), bench::Failed> {
    (framework.serve_default)(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

/// Runs the probes and prints the findings.
fn defaults(format: Format) -> ExitCode {
    run::until_stopped(async || {
        let program = std::env::current_exe()?;
        let findings = tokio::select! {
            findings = probes::run(&program, ALL) => findings?,
            never = progress() => match never {},
        };
        print!("{}", format.write(ALL, &findings));
        Ok(())
    })
}

/// Shows on standard error how long the probes have run.
async fn progress() -> Infallible {
    let limit = probes::TIMEOUT.as_secs();
    eprintln!("Probing two servers on each framework; some probes wait {limit} s.");
    let began = Instant::now();
    let mut every_second = interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        if stderr().is_terminal() {
            eprint!("{} s\r", began.elapsed().as_secs());
        }
    }
}
