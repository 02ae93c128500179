//! Spans on their way to a collector, over OTLP/HTTP, if the standard `OTEL_*`
//! variables name one. Nothing is contacted otherwise.
//!
//! A request never waits for a collector: finished spans go to a queue with a
//! bound, and a thread of the OpenTelemetry SDK sends what has gathered. What the
//! queue has no room for is lost, and so is what the collector does not take; a
//! log line now and then says how much.

mod sampler;
mod settings;

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanProcessor};
use parking_lot::Mutex;
use reqwest::Url;
use reqwest::redirect::Policy;

use sampler::Sampler;
pub use settings::Export;

/// How long a service that stops waits for its last spans to be sent.
const FLUSH: Duration = Duration::from_secs(1);

/// How often the log says that spans are lost, at most.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

static EXPORTER: OnceLock<Exporter> = OnceLock::new();

impl Export {
    /// Begins to export the spans of this process, until the guard is dropped.
    pub(crate) fn start(self) -> io::Result<Guard> {
        let http = reqwest::blocking::Client::builder()
            // As for calls between the services: variables say where it goes.
            .no_proxy()
            .redirect(Policy::none())
            .timeout(self.timeout);
        // It has a runtime of its own, which must not be made on another one.
        let http = thread::spawn(move || http.build()).join();
        let http = http.map_err(|_| io::Error::other("the client of the collector panicked"))?;
        let otlp = SpanExporter::builder()
            .with_http()
            .with_http_client(http.map_err(io::Error::other)?)
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
        let mut processor = BatchSpanProcessor::builder(sending)
            .with_batch_config(batches.build())
            .build();
        let attributes = self.resource.into_iter().chain([
            ("service.version".into(), env!("CARGO_PKG_VERSION").into()),
            ("telemetry.sdk.name".into(), "opentelemetry".into()),
            ("telemetry.sdk.language".into(), "rust".into()),
        ]);
        let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
        let resource = Resource::builder_empty().with_attributes(attributes);
        processor.set_resource(&resource.build());

        let exporter = Exporter {
            sampler: self.sampler,
            processor,
            scope: InstrumentationScope::builder("chassis").build(),
            queue: self.queue,
            backlog,
        };
        EXPORTER
            .set(exporter)
            .map_err(|_| io::Error::other("spans are exported already"))?;
        Ok(Guard(()))
    }
}

/// The exporter of this process, if there is one.
pub(crate) fn exporter() -> Option<&'static Exporter> {
    EXPORTER.get()
}

/// Takes finished spans.
#[derive(Debug)]
pub(crate) struct Exporter {
    sampler: Sampler,
    processor: BatchSpanProcessor,
    pub(crate) scope: InstrumentationScope,
    queue: usize,
    backlog: Arc<Backlog>,
}

/// Spans that are not sent yet, and those that never will be.
#[derive(Debug, Default)]
struct Backlog {
    queued: AtomicUsize,
    lost: AtomicU64,
}

impl Exporter {
    pub(crate) fn samples(&self, trace: u128, parent: Option<bool>) -> bool {
        self.sampler.samples(trace, parent)
    }

    /// Queues `span`, if there is room. Never waits.
    pub(crate) fn take(&self, span: SpanData) {
        // The SDK's queue has a bound as well, but does not tell what it drops.
        if self.backlog.queued.fetch_add(1, Ordering::Relaxed) < self.queue {
            self.processor.on_end(span);
        } else {
            self.backlog.queued.fetch_sub(1, Ordering::Relaxed);
            self.backlog.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends what is queued when it is dropped, but does not wait long for it.
#[derive(Debug)]
pub(crate) struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(exporter) = exporter() else { return };
        // Whether all of it went out in time is plain from what is left.
        let _ = exporter.processor.shutdown_with_timeout(FLUSH);
        let backlog = &exporter.backlog;
        let queued = backlog.queued.load(Ordering::Relaxed);
        let lost = backlog.lost.load(Ordering::Relaxed) + queued.try_into().unwrap_or(0);
        if lost > 0 {
            tracing::warn!(lost, "the last spans did not reach the collector");
        }
    }
}

/// The exporter of the SDK, and what the log says of it.
#[derive(Debug)]
struct Sending {
    otlp: SpanExporter,
    url: Url,
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
    /// Says how many spans were lost since it last said so, unless that was just
    /// now.
    fn complain(&self, error: Option<&OTelSdkError>) {
        let mut complained = self.complained.lock();
        if self.backlog.lost.load(Ordering::Relaxed) == 0
            || complained.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY)
        {
            return;
        }
        *complained = Some(Instant::now());
        let lost = self.backlog.lost.swap(0, Ordering::Relaxed);
        let error = error.map_or_else(
            || "it takes fewer than there are".to_owned(),
            ToString::to_string,
        );
        tracing::warn!(lost, collector = %self.url, error, "spans do not reach the collector");
    }
}
