//! The start of the programs.

use std::net::TcpListener;

use chassis::testkit::Stub;
use harness::TIMEOUT;
use harness::raw::{self, request};
use serde_json::Value;
use shop_tests::program::{self, PROGRAMS, Program, service_in, upstream_variables};

#[test]
fn a_bad_variable_stops_the_service_at_once_with_one_line() {
    for service in PROGRAMS {
        let mut cases = vec![
            ("PORT", "80000", "more than a port"),
            ("PORT", "http", "no number"),
            ("PORT", "-1", "negative"),
            ("HOST", "localhost", "a name"),
            ("SERVICE_NAME", "two words", "white space"),
            ("LOG_LEVEL", "loud", "no level"),
            ("RUST_LOG", "warning", "no level and no crate"),
            ("LOG_FORMAT", "xml", "no format"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318", "no scheme"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "not built in"),
            ("OTEL_TRACES_SAMPLER", "sometimes", "no sampler"),
        ];
        for url in upstream_variables(service) {
            cases.push((url, "https://127.0.0.1:8001", "no TLS here"));
            cases.push((url, "127.0.0.1:8001", "no scheme"));
            cases.push((url, "http://127.0.0.1:8001/api", "a path"));
        }
        if service == "analytics-service" {
            cases.push(("POLL_INTERVAL_MS", "100", "too often"));
        }
        for (name, value, reason) in cases {
            let variables: &[_] = if name == "PORT" {
                &[(name, value)]
            } else {
                &[("PORT", "0"), (name, value)]
            };
            let ended = program::run(service, variables);
            assert_eq!(
                ended.status,
                Some(2),
                "{service} with {name}={value} ({reason}): {ended:?}"
            );
            let lines: Vec<_> = ended.stderr.lines().collect();
            assert_eq!(
                lines.len(),
                1,
                "{service} with {name}={value} ({reason}): {ended:?}"
            );
            for part in [name, value, "expected"] {
                assert!(
                    lines[0].contains(part),
                    "{service} with {name}={value} ({reason}): {part} is not in {:?}",
                    lines[0]
                );
            }
            assert_eq!(ended.stdout, "", "{service} with {name}={value} ({reason})");
        }
        let ended = program::run(service, &[("PORT", "x"), ("LOG_LEVEL", "y"), ("HOST", "z")]);
        assert_eq!(
            (ended.status, ended.stderr.lines().count()),
            (Some(2), 3),
            "{service} names all of them: {ended:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_or_empty_variable_is_ignored() {
    for service in PROGRAMS {
        let program = Program::start(
            service,
            &[
                ("SHOP_COLOUR", "red"),
                ("HOST", ""),
                ("LOG_LEVEL", ""),
                ("ROCKET_PORT", "x"),
                ("ROCKET_LOG_LEVEL", "debug"),
            ],
        );
        let got = raw::exchange(program.address(), &request("GET", "/health", &[], b""))
            .await
            .expect("an answer");
        assert_eq!(got.expect(200)["service"], service_in(service));
    }
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken
        .local_addr()
        .expect("a bound address")
        .port()
        .to_string();
    for service in PROGRAMS {
        let ended = program::run(service, &[("PORT", &port)]);
        assert_eq!(ended.status, Some(1), "{service}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{service}: {ended:?}");
        for part in [port.as_str(), "another program uses that port", "PORT"] {
            assert!(
                ended.stderr.contains(part),
                "{service}: {part} is not in {:?}",
                ended.stderr
            );
        }
        assert_eq!(ended.stdout, "", "{service}");
    }
}

// The stubs answer while this test waits for the program.
#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_of_a_healthcheck_shows_whether_the_service_is_alive() {
    for service in program::SERVICES {
        let program = Program::start(service, &[]);
        let port = program.address().port().to_string();
        // 0.0.0.0 is not an address to connect to.
        for host in ["127.0.0.1", "0.0.0.0"] {
            let variables = [("PORT", port.as_str()), ("HOST", host)];
            let ended = program::run(&format!("{service} healthcheck"), &variables);
            assert_eq!(
                (ended.status, ended.stdout.trim_end(), &*ended.stderr),
                (Some(0), format!("{service} is healthy").as_str(), ""),
                "{host}"
            );
        }

        let another = [("PORT", port.as_str()), ("SERVICE_NAME", "another")];
        let (nobody, hanging) = (Stub::refusing().await, Stub::hanging().await);
        let broken = Stub::answering("500 Internal Server Error", "{}").await;
        let strange = Stub::answering("200 OK", "[]").await;
        let port_of = |stub: &Stub| {
            let url = stub.url();
            let port = url.as_str().rsplit(':').next();
            port.expect("a port").to_owned()
        };
        for (variables, part) in [
            (&another[..], "is answered by"),
            (&[("PORT", port_of(&nobody).as_str())], "does not answer"),
            (&[("PORT", port_of(&hanging).as_str())], "within 2 s"),
            (&[("PORT", port_of(&broken).as_str())], "answers 500"),
            (
                &[("PORT", port_of(&strange).as_str())],
                "like a service of the shop",
            ),
            (&[("PORT", "0")], "PORT is 0"),
        ] {
            let ended = program::run(&format!("{service} healthcheck"), variables);
            assert_eq!((ended.status, &*ended.stdout), (Some(1), ""), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{part}: {ended:?}");
            assert!(ended.stderr.contains(part), "{part} is not in {ended:?}");
        }
        let ended = program::run(&format!("{service} healthcheck"), &[("PORT", "x")]);
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(2), 1));
    }
}

#[test]
fn an_unknown_argument_is_one_clear_line() {
    for service in program::SERVICES {
        for arguments in ["health", "--port=8001", "healthcheck --now"] {
            let ended = program::run(&format!("{service} {arguments}"), &[("PORT", "0")]);
            assert_eq!((ended.status, &*ended.stdout), (Some(2), ""), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
            let unknown = arguments.rsplit(' ').next().unwrap_or_default();
            for part in [format!("{unknown:?}").as_str(), "healthcheck"] {
                assert!(ended.stderr.contains(part), "{part} is not in {ended:?}");
            }
        }
    }
}

#[test]
fn help_lists_the_variables_with_their_defaults_and_version_has_the_name() {
    let programs = program::SERVICES.into_iter();
    for name in programs.chain(["framework-comparison"]) {
        let help = program::run(&format!("{name} --help"), &[("PORT", "x")]);
        assert_eq!((help.status, &*help.stderr), (Some(0), ""), "{help:?}");
        let described: Vec<&str> = help
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_whitespace().next())
            .collect();
        let service = program::service_in(name);
        let upstreams = program::upstream_variables(service);
        for variable in ["PORT=800", "LOG_LEVEL=info", "MAX_IN_FLIGHT=1024"]
            .iter()
            .chain(upstreams)
        {
            let is_there = described.iter().any(|one| one.starts_with(variable));
            assert!(is_there, "{name} --help lacks {variable}: {described:?}");
        }
        for line in help.stdout.lines() {
            assert!(line.len() <= 80, "{name} --help has a long line: {line}");
        }
        let version = program::run(&format!("{name} --version"), &[]);
        let expected = format!("{name} {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(version.stdout.trim_end(), expected);
    }
    let help = program::run("order-service --help", &[]).stdout;
    assert!(help.contains("healthcheck"), "{help}");
    let described = help.contains(
        "    USER_SERVICE_URL=http://127.0.0.1:8001\n        http://host:port, up to 64 with commas, dns+http://host:port or registry",
    );
    assert!(described, "{help}");
}

#[tokio::test]
async fn the_name_of_a_service_can_be_configured() {
    for service in PROGRAMS {
        let program = Program::start(service, &[("SERVICE_NAME", "shop.eu-1_a")]);
        let got = raw::exchange(program.address(), &request("GET", "/health", &[], b""))
            .await
            .expect("an answer");
        assert_eq!(got.expect(200)["service"], "shop.eu-1_a");
        // The line of this request is at debug, that of the next is not.
        let unknown = request("GET", "/nothing", &[], b"");
        let got = raw::exchange(program.address(), &unknown).await;
        assert_eq!(got.map(|got| got.status), Ok(404));
        let line: Value =
            serde_json::from_str(&program.line(TIMEOUT).expect("a line")).expect("JSON");
        assert_eq!(line["service"], "shop.eu-1_a");
    }
}
