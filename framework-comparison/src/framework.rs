//! The five by name.

use std::net::SocketAddr;

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use chassis::serve::shutdown::Shutdown;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use product_service::{App, Config};
use tokio::net::TcpListener;

/// A web framework, and the product API on it.
#[derive(Clone, Copy, Debug)]
pub struct Framework {
    /// What it is called.
    pub name: &'static str,
    api: fn() -> &'static Api,
    serve: fn(TcpListener, App) -> BoxFuture<'static, Result<(), RunError>>,
    /// Runs the smallest server on it, at this address.
    pub serve_default: fn(SocketAddr) -> Result<(), bench::Failed>,
}

/// A framework by its room, a module of this crate, and by its smallest server, the
/// module of that name in `bench`.
macro_rules! framework {
    ($name:literal, $room:ident) => {
        Framework {
            name: $name,
            api: || &crate::$room::API,
            serve: |listener, app| crate::$room::serve(listener, app).boxed(),
            serve_default: bench::$room::serve,
        }
    };
}

/// Those that this build has, in the order of the services that are built on them.
pub const ALL: &[Framework] = &[
    #[cfg(feature = "axum")]
    framework!("axum", axum),
    #[cfg(feature = "rocket")]
    framework!("rocket", rocket),
    #[cfg(feature = "poem")]
    framework!("poem", poem),
    #[cfg(feature = "warp")]
    framework!("warp", warp),
    #[cfg(feature = "actix-web")]
    framework!("actix-web", actix),
];

impl Framework {
    /// The one of this name, or what there is instead, as a sentence.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|one| one.name == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = ALL.iter().map(|one| one.name).collect();
            let names = names.join(", ");
            format!("there is no framework {name:?} here; there are {names}")
        })
    }

    /// Is a whole product-service on `listener`, until its shutdown is over.
    pub async fn serve(
        self,
        listener: TcpListener,
        config: &Config,
        shutdown: Shutdown,
    ) -> Result<(), RunError> {
        let app = App::new(config, (self.api)(), shutdown)?;
        (self.serve)(listener, app).await
    }
}
