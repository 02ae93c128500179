//! Around every request: its ids, its log line, its limits; then its route.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use chassis::contract::accept::Accept;
use chassis::contract::api::Api;
use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::error::ApiError;
use chassis::contract::reply::Reply;
use chassis::serve::exchange::{Exchange, STANDARD_HEADERS};
use chassis::serve::guarded::Guarded;
use chassis::serve::run::RunError;
use chassis::serve::server;
use chassis::serve::service::Service;
use chassis::values::headers::REQUEST_ID;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_EXPOSE_HEADERS, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use hyper::{Method, Request};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::call::{Body, Call, Response, respond};
use crate::compression::Compression;
use crate::registry::InstanceId;
use crate::routes::{self, destination};
use crate::security::Security;
use crate::tls::Tls;
use crate::{App, api, console, lab};

/// The API of the gateway, and the paths that it forwards.
pub static API: LazyLock<Api> = LazyLock::new(|| {
    api::on("hyper")
        .forwarding(routes::prefixes())
        .forwarding_streams(routes::STREAMS)
        .forwarding_labs(routes::labs())
});

/// The headers of the gateway's own that scripts of other sites may read, besides those of the
/// services.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("RateLimit, RateLimit-Policy, Cache-Status, Age, ETag");

/// Serves the gateway on `listener`, and with `tls` if there is that, until the app has shut down.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, app: App) -> Result<(), RunError> {
    let app = Arc::new(app);
    let service = Arc::clone(&app.service);
    let (serving, limiter) = (Arc::clone(&service), app.limiter.clone());
    // Boxed where they are made: what is around them moves pointers, not kilobytes, and an idle
    // connection has no room for them.
    let http = ServiceBuilder::new()
        .layer(Security)
        .layer_fn(|next| {
            let serving = Arc::clone(&serving);
            service_fn(move |request| {
                Box::pin(exchange(Arc::clone(&serving), Clone::clone(&next), request))
            })
        })
        .layer(limiter)
        .layer(Compression::new())
        .service_fn(move |request| Box::pin(answer(Arc::clone(&app), request)));
    let http = TowerToHyperService::new(http);
    let plain = server::serve_as_sent(listener, http.clone(), &service);
    match tls {
        Some(tls) => tokio::join!(plain, tls.serve(http, &service)).0,
        None => plain.await,
    }
    Ok(())
}

/// Wraps a request in the exchange that all services have, and passes it on to the `next` layer.
async fn exchange<S>(
    service: Arc<Service>,
    next: S,
    request: Request<Incoming>,
) -> Result<hyper::Response<Guarded<Body, Exchange>>, Infallible>
where
    S: tower::Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let header = |name| {
        let values = request.headers().get_all(name).into_iter();
        values.map(HeaderValue::as_bytes)
    };
    let (method, path) = (request.method().as_str(), request.uri().path());
    let exchange = Exchange::begin(&service, method, path, header);
    let answered = exchange.run(next.oneshot(request)).await;
    let mut response = match answered {
        Ok(answered) => answered?,
        Err(refused) => respond(refused),
    };
    if let Err(refused) = exchange.reserve_memory(response.body().size_hint().exact()) {
        response = respond(refused);
    }
    let headers = response.headers_mut();
    for (name, value) in STANDARD_HEADERS {
        // A service has set its own.
        headers
            .entry(HeaderName::from_static(name))
            .or_insert(HeaderValue::from_static(value));
    }
    headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if let Ok(id) = HeaderValue::from_str(exchange.context().request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    let location = response.headers().get(LOCATION);
    exchange.answered(
        response.status().as_u16(),
        location.map(HeaderValue::as_bytes),
    );
    Ok(response.map(|body| Guarded::new(body, exchange)))
}

/// Answers a request: by a service, or by the gateway itself.
async fn answer(app: Arc<App>, request: Request<Incoming>) -> Result<Response, Infallible> {
    let Some(route) = app.service.route(request.uri().path()) else {
        return Ok(respond(unrouted(&app, &request)));
    };
    let is_lab = route.template.starts_with(lab::PREFIX);
    if let Some(to) = destination(route) {
        let (instance, request) = if is_lab {
            match lab::to_service(&route.template, app.instances(to), request) {
                Ok(found) => found,
                Err(unknown) => return Ok(respond(unknown.reply())),
            }
        } else {
            (None, request)
        };
        let request = request.map(|body| (!body.is_end_stream()).then_some(body));
        let call = Call {
            to,
            instance,
            request,
        };
        let answered = app.forwarding.clone().oneshot(call).await;
        return Ok(answered.map_or_else(|error: ApiError| respond(error.reply()), lab::cut));
    }
    if is_lab {
        return Ok(respond(Box::pin(lab::own(&app, request)).await));
    }
    // Boxed, so that a request that is forwarded has no room for it.
    Ok(respond(match *request.method() {
        Method::GET | Method::HEAD => Box::pin(own(&app, &route.template, &request)).await,
        Method::PUT | Method::DELETE if route.template == INSTANCE => {
            let changed = Box::pin(change_registry(&app, request)).await;
            changed.unwrap_or_else(ApiError::reply)
        }
        _ => unrouted(&app, &request),
    }))
}

/// The one route that changes something in the gateway.
const INSTANCE: &str = "/registry/{service}/{instance}";

/// The reply to a request that registers or deregisters an instance.
async fn change_registry(app: &App, request: Request<Incoming>) -> Result<Reply, ApiError> {
    app.registry.admit(request.headers())?;
    let mut segments = request.uri().path().split('/').skip(2);
    let [service, instance] = [segments.next(), segments.next()].map(Option::unwrap_or_default);
    let id = InstanceId::in_path(service, instance)?;
    if request.method() == Method::DELETE {
        return Ok(api::deregister(app, id));
    }
    body::check_headers(|name| request.headers().get(name)?.to_str().ok())?;
    let reading = Limited::new(request.into_body(), MAX_BODY).collect();
    let read = app.service.receive(reading).await?;
    let read = read.map_err(|error| match error.downcast_ref() {
        Some(LengthLimitError { .. }) => ApiError::payload_too_large(MAX_BODY),
        None => body::unreadable(error),
    })?;
    api::register(app, id, body::parse(&read.to_bytes())?)
}

/// The reply of a route of the gateway itself that is read with GET.
async fn own(app: &App, template: &str, request: &Request<Incoming>) -> Reply {
    let service = &app.service;
    let accept = || {
        let lines = request.headers().get_all(ACCEPT).iter();
        Accept::parse(lines.map(HeaderValue::as_bytes))
    };
    let below = |before: &str| {
        let path = request.uri().path();
        path.get(before.len()..).unwrap_or_default()
    };
    let of_console = |file: fn(&str, &HeaderMap) -> Reply| {
        let path = below(console::PREFIX);
        Ok(file(path, request.headers()))
    };
    // The segment of the path in place of the parameter.
    let parameter = |before: &str| {
        let rest = below(before);
        rest.split('/').next().unwrap_or_default().to_owned()
    };
    let replied = match template {
        "/" => Ok(api::index(app, &accept(), request.headers())),
        "/console/{file}" => of_console(api::console_file),
        "/console/{folder}/{file}" => of_console(api::console_module),
        "/console/{folder}/{page}/{file}" => of_console(api::console_part),
        "/status" => Ok(api::status(app)),
        "/registry" => Ok(api::registry(app)),
        "/health" => Ok(service.health()),
        "/health/ready" => Ok(service.ready().await),
        "/metrics" => Ok(service.metrics_text(&accept())),
        "/openapi.json" => app.document.now().await,
        "/docs" => Ok(service.api().page()),
        "/docs/{file}" => Ok(service.api().page_file(&parameter("/docs/"))),
        "/api/users/{id}/dashboard" => api::dashboard(app, &parameter("/api/users/")).await,
        _ => Ok(unrouted(app, request)),
    };
    replied.unwrap_or_else(ApiError::reply)
}

fn unrouted(app: &App, request: &Request<Incoming>) -> Reply {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let (method, path) = (request.method().as_str(), request.uri().path());
    app.service.api().unrouted(method, path, header)
}
