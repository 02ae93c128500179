//! Log lines: one JSON object each, or one short line for people. [`init`] starts the log
//! and the export of spans, and the end of its [`Guard`] ends both.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::telemetry::config::{LogFormat, TelemetryConfig};
use crate::telemetry::context::Context;
use crate::telemetry::export::{self, Export};
use crate::telemetry::output::{DROPPED, LogGuard, Output};
use crate::values::time::Timestamp;

/// Writes the last log lines and sends the last spans when it is dropped, at the end of
/// `main`.
#[derive(Debug)]
#[must_use = "dropped at once, the log ends at once"]
pub struct Guard {
    // In this order: the export logs the loss of its last spans.
    _spans: Option<export::Guard>,
    _log: LogGuard,
}

/// Sends the log lines of this process to standard output, and its spans to the
/// collector if there is one, until the guard is dropped. A panic becomes a log
/// line too.
pub fn init(config: &TelemetryConfig) -> io::Result<Guard> {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = Lines {
        service: config.service.clone(),
        format: config.format,
        colour: io::stdout().is_terminal() && !no_colour,
    };
    let (output, guard) = Output::start(io::stdout(), DROPPED.clone())?;
    let lines = layer(lines, output, config.filter.clone());
    let lines = tracing_subscriber::registry().with(lines);
    let spans = config.export.clone().map(Export::start).transpose()?;
    match &spans {
        Some(spans) => lines.with(spans.layer()).init(),
        // A layer that is `None` would enable all spans.
        None => lines.init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, panic = message, "panicked");
    }));
    Ok(Guard {
        _spans: spans,
        _log: guard,
    })
}

/// Writes the events that `filter` lets through. It enables no span: a line shows none,
/// and each would cost something in a service that exports no spans.
fn layer<W>(lines: Lines, writer: W, filter: Targets) -> impl Layer<Registry>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let events = filter_fn(|metadata| !metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
    tracing_subscriber::fmt::layer()
        .event_format(lines)
        .with_writer(writer)
        .with_filter(filter.and(events))
}

struct Lines {
    service: String,
    format: LogFormat,
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.format {
            LogFormat::Json => self.json(&mut line, event),
            LogFormat::Pretty => self.pretty(&mut line, event),
        }
    }
}

impl Lines {
    fn json(&self, line: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // Text goes in piece by piece: a line is written for every request, and
        // `write!` costs more than what it is given.
        write!(line, r#"{{"timestamp":"{}","level":""#, Timestamp::now())?;
        line.write_str(event.metadata().level().as_str())?;
        line.write_str(r#"","service":""#)?;
        line.write_str(&self.service)?;
        line.write_char('"')?;
        Context::with_current(|context| {
            // Request ids are checked: nothing in them needs escaping.
            line.write_str(r#","requestId":""#)?;
            line.write_str(context.request_id())?;
            write!(line, r#"","traceId":"{}""#, context.trace_id())
        })
        .unwrap_or(Ok(()))?;
        let mut fields = JsonFields {
            line,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        line.write_str("}\n")
    }

    fn pretty(&self, line: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        let (colour, plain) = match (self.colour, level) {
            (false, _) => ("", ""),
            (true, Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
            (true, Level::WARN) => ("\x1b[33m", "\x1b[0m"),
            (true, _) => ("\x1b[2m", "\x1b[0m"),
        };
        let now = Timestamp::now().to_string();
        let service = &self.service;
        let time = &now[11..23];
        write!(line, "{time} {colour}{level:5}{plain} {service}")?;
        let mut request = RequestFields::default();
        event.record(&mut request);
        if let RequestFields {
            method: Some(method),
            path: Some(path),
            status: Some(status),
            duration: Some(duration),
            cause,
        } = request
        {
            write!(line, " {method} {path} {status} {duration:.1} ms")?;
            Context::with_current(|context| write!(line, " {}", short(context.request_id())))
                .unwrap_or(Ok(()))?;
            if let Some(cause) = cause {
                write!(line, ": {cause}")?;
            }
            return line.write_str("\n");
        }
        let mut fields = PlainFields {
            line,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        Context::with_current(|context| write!(line, " requestId={}", context.request_id()))
            .unwrap_or(Ok(()))?;
        line.write_str("\n")
    }
}

struct JsonFields<'a, 'w> {
    line: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl JsonFields<'_, '_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            // Field names are identifiers: nothing in them needs escaping.
            self.result = [",\"", field.name(), "\":"]
                .into_iter()
                .try_for_each(|piece| self.line.write_str(piece))
                .and_then(|()| value(self.line));
        }
    }
}

impl Visit for JsonFields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |line| {
            line.write_char('"')?;
            Escaping(line).write_str(value)?;
            line.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN.
        self.write(field, |line| {
            if value.is_finite() {
                write!(line, "{value}")
            } else {
                line.write_str("null")
            }
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |line| {
            line.write_char('"')?;
            write!(Escaping(line), "{value:?}")?;
            line.write_char('"')
        });
    }
}

/// The first part of an id that this service made; another one whole.
fn short(request_id: &str) -> &str {
    let is_uuid = request_id.len() == 36 && request_id.as_bytes()[8] == b'-';
    if is_uuid {
        &request_id[..8]
    } else {
        request_id
    }
}

/// The fields of the line of a request.
#[derive(Default)]
struct RequestFields {
    method: Option<String>,
    path: Option<String>,
    status: Option<u64>,
    duration: Option<f64>,
    cause: Option<String>,
}

impl Visit for RequestFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let text = match field.name() {
            "method" => &mut self.method,
            "path" => &mut self.path,
            "cause" => &mut self.cause,
            _ => return,
        };
        *text = Some(value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "status" {
            self.status = Some(value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "durationMs" {
            self.duration = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

struct PlainFields<'a, 'w> {
    line: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for PlainFields<'_, '_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record_debug(field, &format_args!("{value:.3}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            self.result = match field.name() {
                "message" => write!(self.line, " {value:?}"),
                name => write!(self.line, " {name}={value:?}"),
            };
        }
    }
}

/// Text on its way into a JSON string.
struct Escaping<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let special = |b: u8| b < b' ' || matches!(b, b'"' | b'\\');
        let mut rest = text;
        while let Some(at) = rest.bytes().position(special) {
            self.0.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                code => write!(self.0, "\\u{code:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("not poisoned")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Captured {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(format: LogFormat, event: impl FnOnce()) -> String {
        let captured = Captured::default();
        let lines = Lines {
            service: "user-service".to_owned(),
            format,
            colour: false,
        };
        let filter = Targets::new().with_default(Level::TRACE);
        let layer = layer(lines, captured.clone(), filter);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), event);
        let bytes = captured.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_line_is_one_json_object_with_the_ids_of_the_request_whatever_is_in_it() {
        let nasty = "a \"quoted\" \\ line\nbreak\u{1} ünïcode";
        let context = Context::new(
            Some("demo-1"),
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        );
        let line = logged(LogFormat::Json, || {
            context
                .enter(|| tracing::warn!(nasty, durationMs = 1.235, status = 200_u16, "request"));
        });
        assert_eq!(line.lines().count(), 1, "{line}");
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(json["nasty"], nasty);
        assert_eq!(json["durationMs"], 1.235);
        assert_eq!(json["status"], 200);
        assert_eq!(json["message"], "request");
        assert_eq!(json["level"], "WARN");
        assert_eq!(json["service"], "user-service");
        assert_eq!(json["requestId"], "demo-1");
        assert_eq!(json["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn a_pretty_line_is_short_and_has_no_colour_off_a_terminal() {
        let line = logged(LogFormat::Pretty, || {
            tracing::info!(status = 200_u16, "request");
        });
        assert!(
            line.ends_with(" INFO  user-service request status=200\n"),
            "{line}"
        );
        assert!(!line.contains('\x1b'), "{line}");
    }

    #[test]
    fn a_pretty_line_of_a_request_has_what_a_person_looks_for_and_no_more() {
        let of_request = |id, cause: Option<&str>| {
            let context = Context::new(Some(id), None);
            logged(LogFormat::Pretty, || {
                context.enter(|| {
                    tracing::warn!(
                        method = "GET",
                        route = "/api/users/{id}",
                        path = "/api/users/1",
                        status = 404_u16,
                        durationMs = 0.3125,
                        cause,
                        "request"
                    );
                });
            })
        };
        let line = of_request("b56c62e0-1111-4222-8333-444455556666", None);
        let expected = " WARN  user-service GET /api/users/1 404 0.3 ms b56c62e0\n";
        assert!(line.ends_with(expected), "{line}");
        assert!(line.len() <= 80, "{line}");
        let line = of_request("demo-1", Some("the disk is full"));
        let expected = " /api/users/1 404 0.3 ms demo-1: the disk is full\n";
        assert!(line.ends_with(expected), "{line}");
    }

    #[test]
    fn the_log_alone_enables_no_span() {
        let line = logged(LogFormat::Pretty, || {
            let span = tracing::error_span!("work");
            assert!(span.is_disabled());
            span.in_scope(|| tracing::info!("working"));
        });
        assert!(line.ends_with(" INFO  user-service working\n"), "{line}");
    }
}
