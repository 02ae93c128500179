//! A collector: what takes the spans of the services over OTLP/HTTP.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use harness::PATIENCE;
use harness::raw::Request;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

use crate::fake::Fake;

/// A collector that takes all there is. Dropped, it is stopped.
#[derive(Debug)]
pub struct Collector(Fake);

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Span {
    /// The service it is from.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Whether it is a request that was answered or a call that was made.
    pub kind: SpanKind,
    /// The id of the trace, in hexadecimal digits.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of the span above it, empty at the root.
    pub parent: String,
    /// What other tracing systems have noted.
    pub tracestate: String,
    /// What it says of itself.
    pub attributes: BTreeMap<String, String>,
    /// Whether it failed.
    pub failed: bool,
    /// From its start to its end.
    pub taken: Duration,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let taken = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        Self(Fake::start(|_| async { taken.to_vec() }).await)
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` has to be.
    pub fn endpoint(&self) -> String {
        self.0.url().as_str().to_owned()
    }

    /// What was sent to it so far, as it came.
    pub fn requests(&self) -> Vec<Request> {
        self.0.seen()
    }

    /// The spans that it was sent so far.
    pub fn spans(&self) -> Vec<Span> {
        self.requests().iter().flat_map(spans).collect()
    }

    /// The spans, as soon as they are `enough`.
    pub async fn wait_for(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return spans;
            }
            assert!(Instant::now() < deadline, "not enough came: {spans:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn spans(request: &Request) -> Vec<Span> {
    let batch = ExportTraceServiceRequest::decode(request.body_bytes()).expect("OTLP");
    let mut spans = Vec::new();
    for of_service in batch.resource_spans {
        let resource = attributes(of_service.resource.expect("a resource").attributes);
        for span in of_service.scope_spans.into_iter().flat_map(|s| s.spans) {
            let nanos = span.end_time_unix_nano - span.start_time_unix_nano;
            spans.push(Span {
                service: resource["service.name"].clone(),
                kind: span.kind(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                tracestate: span.trace_state,
                failed: span.status.is_some_and(|s| s.code() == StatusCode::Error),
                attributes: attributes(span.attributes),
                name: span.name,
                taken: Duration::from_nanos(nanos),
            });
        }
    }
    spans
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("nobody sends {other:?}"),
    };
    let pair = |one: KeyValue| Some((one.key, text(one.value?.value?)));
    list.into_iter().filter_map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("never fails");
        text
    })
}
