//! Sends spans to a collector, over OTLP/HTTP, if the standard `OTEL_*` variables name
//! one. Otherwise nothing is contacted.
//!
//! A request never waits for a collector: finished spans go to a bounded queue, and a
//! thread of the OpenTelemetry SDK sends them in batches. Spans are lost if the queue is
//! full or if the collector does not take them; a log line, at most once a minute, says
//! how many.

mod sampler;
mod settings;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

pub use settings::Export;

/// How long a service that stops waits for its last spans to be sent.
const FLUSH: Duration = Duration::from_secs(1);

/// The largest response of a collector that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The log says at most this often that spans are lost.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

impl Export {
    /// Starts to export the spans that go through the guard's layer, until the guard is
    /// dropped.
    pub(crate) fn start(self) -> io::Result<Guard> {
        let transport = Transport {
            http: Client::builder(TokioExecutor::new()).build_http(),
            runtime: Handle::try_current().map_err(io::Error::other)?,
            timeout: self.timeout,
        };
        let otlp = SpanExporter::builder()
            .with_http()
            .with_http_client(transport)
            .with_endpoint(self.url.as_str())
            .with_timeout(self.timeout)
            .with_headers(self.headers)
            .build()
            .map_err(io::Error::other)?;

        let backlog = Arc::new(Backlog::default());
        let sending = Sending {
            otlp,
            url: self.url,
            backlog: Arc::clone(&backlog),
            complained: Mutex::default(),
        };
        let batches = BatchConfigBuilder::default()
            .with_scheduled_delay(self.delay)
            .with_max_queue_size(self.queue)
            .with_max_export_batch_size(self.batch);
        let queue = Queue {
            batches: BatchSpanProcessor::builder(sending)
                .with_batch_config(batches.build())
                .build(),
            limit: self.queue,
            backlog: Arc::clone(&backlog),
        };
        let attributes = self.resource.into_iter().chain([
            ("service.version".into(), env!("CARGO_PKG_VERSION").into()),
            ("telemetry.sdk.name".into(), "opentelemetry".into()),
            ("telemetry.sdk.language".into(), "rust".into()),
        ]);
        let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
        let resource = Resource::builder_empty().with_attributes(attributes);
        let provider = SdkTracerProvider::builder()
            .with_sampler(self.sampler)
            .with_resource(resource.build())
            .with_span_processor(queue)
            .build();
        Ok(Guard { provider, backlog })
    }
}

/// Sends the batches. The SDK calls it on a thread without a runtime, so requests run on
/// the runtime of the service.
#[derive(Debug)]
struct Transport {
    http: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
    timeout: Duration,
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, limit) = (self.http.clone(), self.timeout);
        let exchange = async move {
            let (head, body) = http.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        // A timer can only be made on a runtime.
        let in_time = async move { timeout(limit, exchange).await? };
        self.runtime.spawn(in_time).await?
    }
}

/// Sends the queued spans when it is dropped, but waits only [`FLUSH`] for them.
#[derive(Debug)]
pub(crate) struct Guard {
    provider: SdkTracerProvider,
    backlog: Arc<Backlog>,
}

impl Guard {
    /// The layer that exports spans of level `info` and above. The log has a filter of
    /// its own.
    pub(crate) fn layer<S>(&self) -> impl Layer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let spans =
            filter_fn(|metadata| metadata.is_span() && *metadata.level() <= tracing::Level::INFO)
                .with_max_level_hint(LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("chassis"))
            // Only the attributes that a span names itself.
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            // The current span of `tracing` is the only one.
            .with_context_activation(false)
            .with_filter(spans)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The backlog shows whether all spans were sent in time.
        let _ = self.provider.shutdown_with_timeout(FLUSH);
        let queued = self.backlog.queued.load(Ordering::Relaxed);
        let lost = self.backlog.lost.load(Ordering::Relaxed) + queued.try_into().unwrap_or(0);
        if lost > 0 {
            tracing::warn!(lost, "the last spans did not reach the collector");
        }
    }
}

/// How many spans are queued, and how many were lost since the log last said so.
#[derive(Debug, Default)]
struct Backlog {
    queued: AtomicUsize,
    lost: AtomicU64,
}

/// A queue of finished spans with a bound. The SDK's queue has the same bound, but does
/// not tell how many spans it drops.
#[derive(Debug)]
struct Queue {
    batches: BatchSpanProcessor,
    limit: usize,
    backlog: Arc<Backlog>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.backlog.queued.fetch_add(1, Ordering::Relaxed) < self.limit {
            self.batches.on_end(span);
        } else {
            self.backlog.queued.fetch_sub(1, Ordering::Relaxed);
            self.backlog.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// The exporter of the SDK, which counts and reports the spans that are lost.
#[derive(Debug)]
struct Sending {
    otlp: SpanExporter,
    url: String,
    backlog: Arc<Backlog>,
    complained: Mutex<Option<Instant>>,
}

impl opentelemetry_sdk::trace::SpanExporter for Sending {
    #[expect(clippy::manual_async_fn, reason = "the trait wants it `Send`")]
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        async move {
            let count = batch.len();
            self.backlog.queued.fetch_sub(count, Ordering::Relaxed);
            let sent = self.otlp.export(batch).await;
            if sent.is_err() {
                let lost = count.try_into().unwrap_or(u64::MAX);
                self.backlog.lost.fetch_add(lost, Ordering::Relaxed);
            }
            self.complain(sent.as_ref().err());
            sent
        }
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.otlp.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

impl Sending {
    /// Logs how many spans were lost since the last such line, at most once in
    /// [`COMPLAIN_EVERY`].
    fn complain(&self, error: Option<&OTelSdkError>) {
        let mut complained = self.complained.lock();
        if self.backlog.lost.load(Ordering::Relaxed) == 0
            || complained.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY)
        {
            return;
        }
        *complained = Some(Instant::now());
        let lost = self.backlog.lost.swap(0, Ordering::Relaxed);
        let error = error.map_or_else(|| "the queue is full".to_owned(), ToString::to_string);
        tracing::warn!(lost, collector = %self.url, error, "spans do not reach the collector");
    }
}
