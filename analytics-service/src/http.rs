//! actix-web's adapter: routes, and a handler for each.

use std::sync::{Arc, LazyLock};

use actix_web::HttpRequest;
use actix_web::web::{Data, ServiceConfig};
use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use on_actix_web::{Answer, Failure, get};
use tokio::net::TcpListener;

use crate::{App, api};

/// The API of analytics-service, on actix-web.
pub static API: LazyLock<Api> = LazyLock::new(|| api::on("actix-web"));

/// Serves the API on `listener` until the app has shut down.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_actix_web::serve(listener, routes, app, service).await
}

fn routes(routes: &mut ServiceConfig) {
    routes
        .route("/api/analytics/summary", get(summary))
        .route("/api/analytics/users", get(users))
        .route("/api/analytics/products", get(products))
        .route("/api/analytics/orders", get(orders))
        .route("/api/analytics/notifications", get(notifications))
        .route("/api/analytics/services", get(services))
        .route("/api/analytics/history", get(history))
        .route("/api/analytics/stream", get(stream));
}

// Handlers, in the order of the routes.

async fn summary(app: Data<App>) -> Result<Answer, Failure> {
    Ok(Answer(api::summary(&app).await?))
}

async fn users(app: Data<App>) -> Result<Answer, Failure> {
    Ok(Answer(api::users(&app).await?))
}

async fn products(app: Data<App>) -> Result<Answer, Failure> {
    Ok(Answer(api::products(&app).await?))
}

async fn orders(app: Data<App>) -> Result<Answer, Failure> {
    Ok(Answer(api::orders(&app).await?))
}

async fn notifications(app: Data<App>) -> Result<Answer, Failure> {
    Ok(Answer(api::notifications(&app).await?))
}

async fn services(app: Data<App>) -> Result<Answer, Failure> {
    Ok(Answer(api::services(&app).await?))
}

async fn history(app: Data<App>, request: HttpRequest) -> Result<Answer, Failure> {
    Ok(Answer(api::history(&app, request.query_string())?))
}

async fn stream(app: Data<App>) -> Result<Answer, Failure> {
    Ok(Answer(api::stream(&app)?))
}
