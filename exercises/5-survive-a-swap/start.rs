//! Exercise 5: the routes of product-service on poem's own server, started as in poem's guide.

use std::error::Error;
use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::env::Env;
use chassis::serve::shutdown::Shutdown;
use framework_comparison::poem as products;
use poem::listener::TcpListener;
use poem::{EndpointExt, Server};
use product_service::{App, Config, api};

static API: LazyLock<Api> = LazyLock::new(|| api::on("poem"));

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::read(Env::process())?;
    let app = App::new(&config, &API, Shutdown::default())?;
    let service = Arc::clone(&app.service);
    let routes = products::routes().data(app).data(service);
    let listener = TcpListener::bind(config.service.listen);
    Server::new(listener).run(routes).await?;
    Ok(())
}
