//! The layers of the gateway one at a time, called in this program, without a network: what
//! cannot be switched off can be measured alone.

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bench::Failed;
use chassis::contract::error::ApiError;
use chassis::env::Parameter;
use chassis::telemetry::context::Context;
use gateway::cache::Caching;
use gateway::cache::store::Store;
use gateway::call::{Call, Response};
use gateway::compression::Compression;
use gateway::headers::Headers;
use gateway::paths::Paths;
use gateway::proxies::TrustedProxies;
use gateway::rate_limit::{Limiter, RateLimit};
use gateway::routes::DESTINATIONS;
use gateway::security::Security;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::lab::Lab;
use crate::record::{Record, Show};

/// The headers of a request through the gateway.
const REQUEST: [(&str, &str); 4] = [
    ("host", "127.0.0.1:8000"),
    ("user-agent", "bench"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip"),
];

/// The headers of a response of product-service.
const RESPONSE: [(&str, &str); 6] = [
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("access-control-allow-origin", "*"),
    (
        "access-control-expose-headers",
        "X-Request-Id, X-Total-Count, Link, Location, Allow",
    ),
    ("x-request-id", "5f0c3d5e-0f4b-4c4e-9f55-3b6c2a4a7a11"),
    ("date", "Mon, 30 Nov 2026 12:00:00 GMT"),
];

/// The lengths of a small and of a large body.
const SMALL: usize = 120;
const LARGE: usize = 12_000;

pub(crate) fn measure(lab: &mut Lab) -> Result<(), Failed> {
    "gateway-layers".clone_into(&mut lab.progress.stage);
    let mut record = Record::open(
        lab,
        "Each layer alone",
        "In microseconds: a call of the layer in one program, without a network, less the call \
         that it passes on. The response has 120 bytes, or 12,000 where it is compressed.",
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for round in 1..=lab.plan.rounds {
        lab.progress.show("layers", &format!("round {round}"));
        let context = Context::new(None, None);
        runtime.block_on(context.scope(a_round(&mut record, lab.plan.calls)))?;
    }
    record.print(lab, "layer", &[("µs", Show::Spread)])
}

async fn a_round(record: &mut Record, calls: u32) -> Result<(), Failed> {
    let small = service_fn(|_| ready(Ok::<_, Infallible>(response(SMALL))));
    let large = service_fn(|_| ready(Ok::<_, Infallible>(response(LARGE))));
    let limit = RateLimit::parse("1000000").ok_or("a limit")?;
    let limiter = Limiter::new(limit, TrustedProxies::default());
    let alone = each(calls, request, small).await;
    let alone_large = each(calls, request, large).await;
    for (row, time) in [
        (
            "security headers",
            each(calls, request, Security.layer(small)).await - alone,
        ),
        (
            "rate limit",
            each(calls, request, limiter.layer(small)).await - alone,
        ),
        (
            "compression, of a small response",
            each(calls, request, Compression::new().layer(small)).await - alone,
        ),
        (
            "compression, gzip",
            each(calls.div_ceil(20), request, Compression::new().layer(large)).await - alone_large,
        ),
    ] {
        record.add(row, "µs", time)?;
    }

    let forward = service_fn(|_| ready(Ok::<_, ApiError>(response(SMALL))));
    let alone = each(calls, call, forward).await;
    let store = Store::new(Duration::from_hours(1), 1 << 20);
    let headers = Headers::new(TrustedProxies::default());
    for (row, time) in [
        (
            "paths",
            each(calls, call, Paths.layer(forward)).await - alone,
        ),
        (
            "headers",
            each(calls, call, headers.layer(forward)).await - alone,
        ),
        (
            "cache, off",
            each(calls, call, Caching::new(None).layer(forward)).await - alone,
        ),
        (
            "cache, a hit",
            each(calls, call, Caching::new(Some(store)).layer(forward)).await - alone,
        ),
    ] {
        record.add(row, "µs", time)?;
    }
    Ok(())
}

/// The microseconds that one of so many calls takes, with the body of its response: the least of ten
/// batches, since what else the machine does can only add to them.
async fn each<R, S>(calls: u32, request: impl Fn() -> R, service: S) -> f64
where
    S: Service<R, Response = Response> + Clone,
{
    let calls = calls.div_ceil(10);
    let mut least = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        for _ in 0..calls {
            if let Ok(response) = service.clone().oneshot(request()).await {
                let _ = black_box(response.into_body().collect().await);
            }
        }
        least = least.min(began.elapsed());
    }
    least.as_secs_f64() * 1e6 / f64::from(calls)
}

fn request() -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = hyper::Uri::from_static("/api/products/1");
    *request.headers_mut() = headers(&REQUEST);
    request
}

fn call() -> Call {
    let service = DESTINATIONS
        .iter()
        .position(|to| to.service == "product-service");
    Call {
        to: service.unwrap_or_default(),
        instance: None,
        request: request().map(|()| None),
    }
}

fn response(bytes: usize) -> Response {
    let body = Full::new(b"{\"a\":1} ".repeat(bytes / 8).into());
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.headers_mut() = headers(&RESPONSE);
    response
}

fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
    let fields = of.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    fields.collect()
}
