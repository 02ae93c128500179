//! The spans of requests and of calls to other services, with the names and attributes
//! of OpenTelemetry's conventions for HTTP.
//!
//! They are spans of `tracing`, so the span of a function with `#[instrument]` appears
//! between the request and the calls that the function makes. Without a collector all
//! spans are disabled, and making one costs next to nothing.

use std::fmt;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context as OtelContext, Value};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::telemetry::context::{Context, Trace};
use crate::telemetry::recorder::{Attempt, Begun, What};
use crate::values::headers::{TRACEPARENT, TRACESTATE};

/// The span of a request that this service answers. It begins now.
pub(crate) fn server(method: &'static str, route: Option<&str>, path: &str) -> Span {
    let (verb, method) = match method {
        "OTHER" => ("HTTP", "_OTHER"),
        known => (known, known),
    };
    tracing::info_span!(
        parent: None,
        "request",
        otel.name = route.map_or_else(|| verb.to_owned(), |route| format!("{verb} {route}")),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        url.path = path,
        url.scheme = "http",
    )
}

/// Makes `span` a child of the caller's span. To be called before [`trace`], which
/// starts the span.
pub(crate) fn set_parent(span: &Span, parent: Trace, tracestate: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    let tracestate = tracestate.and_then(|state| state.parse().ok());
    let parent = SpanContext::new(
        TraceId::from(parent.id),
        SpanId::from(parent.span),
        TraceFlags::new(parent.flags),
        true,
        tracestate.unwrap_or(TraceState::NONE),
    );
    // It fails for disabled and for started spans only.
    let _ = span.set_parent(OtelContext::new().with_remote_span_context(parent));
}

/// The ids of `span`, if spans are exported.
pub(crate) fn trace(span: &Span) -> Option<Trace> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid().then(|| Trace {
        id: u128::from_be_bytes(ids.trace_id().to_bytes()),
        span: u64::from_be_bytes(ids.span_id().to_bytes()),
        flags: ids.trace_flags().to_u8(),
    })
}

/// Ends the span of a request.
pub(crate) fn end_server(span: &Span, status: u16) {
    if span.is_disabled() {
        return;
    }
    set_status(span, status);
    if status >= 500 {
        set_error(span, status.to_string());
    }
    // Background work may hold the span for longer than the request takes.
    span.context().span().end();
}

/// The span of one attempt of a call of `url` at the service `peer`, from here until it is dropped.
pub fn client(
    context: &Context,
    peer: &'static str,
    method: &Method,
    (host, port): (&str, u16),
    url: impl fmt::Display,
) -> ClientSpan {
    // Calls that belong to no request and to no other work are not recorded.
    let span = if Span::current().is_none() {
        Span::none()
    } else {
        tracing::info_span!(
            "call",
            otel.name = method.as_str(),
            otel.kind = "client",
            http.request.method = method.as_str(),
            url.full = %url,
            peer.service = peer,
            server.address = host,
            server.port = i64::from(port),
        )
    };
    ClientSpan {
        // Each call has an id of its own, recorded or not.
        trace: trace(&span).unwrap_or_else(|| Trace::below(Some(context.trace()))),
        context: context.clone(),
        peer,
        span,
        status: None,
        failure: None,
        recording: None,
    }
}

/// One attempt of a call to another service.
#[derive(Debug)]
#[must_use = "the span ends when this is dropped"]
pub struct ClientSpan {
    context: Context,
    peer: &'static str,
    span: Span,
    trace: Trace,
    status: Option<u16>,
    failure: Option<&'static str>,
    recording: Option<(Begun, Attempt)>,
}

impl ClientSpan {
    /// Keeps it for the lab, if the request's spans are kept: as the attempt with this `number`, 1
    /// for the first, and with the state of the `circuit`, if there is one.
    pub fn keep(&mut self, number: u32, circuit: impl FnOnce() -> Option<&'static str>) {
        let attempt = |_| Attempt {
            dependency: self.peer,
            number,
            circuit: circuit(),
            was_made: true,
            failure: None,
        };
        let recorder = self.context.recorder();
        self.recording = recorder.map(attempt).map(|one| (Begun::now(), one));
    }

    /// Adds the headers that tell the other service its trace.
    pub fn inject(&self, headers: &mut HeaderMap) {
        const PARENT: HeaderName = HeaderName::from_static(TRACEPARENT);
        const STATE: HeaderName = HeaderName::from_static(TRACESTATE);
        if let Ok(parent) = HeaderValue::try_from(self.trace.traceparent()) {
            headers.insert(PARENT, parent);
        }
        let state = self.context.tracestate().map(HeaderValue::from_str);
        if let Some(Ok(state)) = state {
            headers.insert(STATE, state);
        }
    }

    /// The head of the response has come, with this status.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// The attempt failed; `kind` is the reason in one word, as in the metrics of calls.
    pub fn failed(&mut self, kind: &'static str) {
        self.failure = Some(kind);
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        if let (Some(recorder), Some((begun, attempt))) = (self.context.recorder(), self.recording)
        {
            let ids = (self.trace.span, Some(self.context.trace().span));
            let failure = match (self.status, self.failure) {
                (_, Some(failure)) => Some(failure),
                (None, None) => Some("cancelled"),
                (Some(_), None) => None,
            };
            let attempt = Attempt { failure, ..attempt };
            recorder.record(
                &self.context,
                ids,
                begun,
                self.status,
                What::Client(attempt),
            );
        }
        if self.span.is_disabled() {
            return;
        }
        if let Some(status) = self.status {
            set_status(&self.span, status);
        }
        match (self.status, self.failure) {
            (Some(status @ 400..), _) => set_error(&self.span, status.to_string()),
            (_, Some(failure)) => set_error(&self.span, failure),
            (Some(_), None) => {}
            // The caller needs no response any more.
            (None, None) => set_error(&self.span, "cancelled"),
        }
    }
}

fn set_status(span: &Span, status: u16) {
    span.set_attribute("http.response.status_code", i64::from(status));
}

fn set_error(span: &Span, kind: impl Into<Value>) {
    span.set_attribute("error.type", kind);
    span.set_status(Status::error(""));
}
