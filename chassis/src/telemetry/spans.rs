//! What a trace says of a request and of a call to another service, in the words
//! of OpenTelemetry's conventions for HTTP. Where no spans are exported, or a
//! trace is not sampled, nothing here costs anything.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;
use reqwest::{Method, RequestBuilder, Url};

use crate::telemetry::context::{Context, Trace};
use crate::telemetry::export::{self, Exporter};
use crate::values::headers::{TRACEPARENT, TRACESTATE};

/// Records a request that is answered.
pub(crate) fn server(
    context: &Context,
    method: &'static str,
    route: Option<&'static str>,
    path: &str,
    status: u16,
    taken: Duration,
) {
    let Some(exporter) = recording(context) else {
        return;
    };
    let (verb, method) = match method {
        "OTHER" => ("HTTP", "_OTHER"),
        known => (known, known),
    };
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.path", path.to_owned()),
        KeyValue::new("url.scheme", "http"),
        KeyValue::new("http.response.status_code", i64::from(status)),
    ];
    attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
    let name = match route {
        Some(route) => Cow::Owned(format!("{verb} {route}")),
        None => Cow::Borrowed(verb),
    };
    let trace = context.trace();
    record(
        exporter,
        context,
        Recorded {
            trace,
            parent: context.parent(),
            kind: SpanKind::Server,
            name,
            attributes,
            error: (status >= 500).then(|| status.to_string().into()),
            taken,
        },
    );
}

/// A call of a request to another service: from here until it is dropped.
pub(crate) fn client(
    context: &Context,
    peer: &'static str,
    method: &Method,
    url: &Url,
) -> ClientSpan {
    let call = recording(context).map(|exporter| Call {
        exporter,
        started: Instant::now(),
        trace: Trace::below(Some(context.trace())),
        peer,
        method: method.clone(),
        url: url.clone(),
        status: None,
        failure: None,
    });
    ClientSpan {
        context: context.clone(),
        call: call.map(Box::new),
    }
}

/// A call to another service, as it appears in a trace.
#[derive(Debug)]
pub(crate) struct ClientSpan {
    context: Context,
    /// `None` if it is not recorded.
    call: Option<Box<Call>>,
}

#[derive(Debug)]
struct Call {
    exporter: &'static Exporter,
    started: Instant,
    trace: Trace,
    peer: &'static str,
    method: Method,
    url: Url,
    status: Option<u16>,
    failure: Option<&'static str>,
}

impl ClientSpan {
    /// Tells whoever is called which trace it is part of.
    pub(crate) fn inject(&self, request: RequestBuilder) -> RequestBuilder {
        let trace = self.call.as_ref().map(|call| call.trace);
        let trace = trace.unwrap_or_else(|| self.context.trace());
        let request = request.header(TRACEPARENT, trace.traceparent());
        match self.context.tracestate() {
            Some(tracestate) => request.header(TRACESTATE, tracestate),
            None => request,
        }
    }

    /// There is an answer with this status.
    pub(crate) fn answered(&mut self, status: u16) {
        if let Some(call) = &mut self.call {
            call.status = Some(status);
        }
    }

    /// The call did not bring what it was made for; `kind` is why, in one word.
    pub(crate) fn failed(&mut self, kind: &'static str) {
        if let Some(call) = &mut self.call {
            call.failure = Some(kind);
        }
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else {
            return;
        };
        let mut attributes = vec![
            KeyValue::new("http.request.method", call.method.to_string()),
            KeyValue::new("url.full", String::from(call.url.clone())),
            KeyValue::new("peer.service", call.peer),
        ];
        attributes.extend(
            call.url
                .host_str()
                .map(|host| KeyValue::new("server.address", host.to_owned())),
        );
        attributes.extend(
            call.url
                .port_or_known_default()
                .map(|port| KeyValue::new("server.port", i64::from(port))),
        );
        attributes.extend(
            call.status
                .map(|status| KeyValue::new("http.response.status_code", i64::from(status))),
        );
        let error: Option<StringValue> = match (call.status, call.failure) {
            (Some(status @ 400..), _) => Some(status.to_string().into()),
            (_, Some(failure)) => Some(failure.into()),
            (Some(_), None) => None,
            // Whoever asked had no need of the answer any more.
            (None, None) => Some("cancelled".into()),
        };
        record(
            call.exporter,
            &self.context,
            Recorded {
                trace: call.trace,
                parent: Some(self.context.trace().span),
                kind: SpanKind::Client,
                name: Cow::Owned(call.method.to_string()),
                attributes,
                error,
                taken: call.started.elapsed(),
            },
        );
    }
}

/// The exporter, if there is one and the trace is sampled.
fn recording(context: &Context) -> Option<&'static Exporter> {
    export::exporter().filter(|_| context.trace().is_sampled())
}

struct Recorded {
    trace: Trace,
    parent: Option<u64>,
    kind: SpanKind,
    name: Cow<'static, str>,
    attributes: Vec<KeyValue>,
    error: Option<StringValue>,
    taken: Duration,
}

fn record(exporter: &'static Exporter, context: &Context, mut span: Recorded) {
    let end_time = SystemTime::now();
    let tracestate = context.tracestate().and_then(|state| state.parse().ok());
    let status = match span.error {
        Some(kind) => {
            let kind = Value::String(kind);
            span.attributes.push(KeyValue::new("error.type", kind));
            Status::error("")
        }
        None => Status::Unset,
    };
    exporter.take(SpanData {
        span_context: SpanContext::new(
            TraceId::from(span.trace.id),
            SpanId::from(span.trace.span),
            TraceFlags::new(span.trace.flags),
            false,
            tracestate.unwrap_or(TraceState::NONE),
        ),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: span.kind == SpanKind::Server && span.parent.is_some(),
        span_kind: span.kind,
        name: span.name,
        start_time: end_time.checked_sub(span.taken).unwrap_or(end_time),
        end_time,
        attributes: span.attributes,
        dropped_attributes_count: 0,
        events: opentelemetry_sdk::trace::SpanEvents::default(),
        links: opentelemetry_sdk::trace::SpanLinks::default(),
        status,
        instrumentation_scope: exporter.scope.clone(),
    });
}
