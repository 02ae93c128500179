//! The five frameworks, by name.

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
    /// The name.
    pub name: &'static str,
    api: fn() -> &'static Api,
    serve: fn(TcpListener, App) -> BoxFuture<'static, Result<(), RunError>>,
    /// Runs the smallest server on this framework, at this address.
    pub serve_default: fn(SocketAddr) -> Result<(), bench::Failed>,
}

/// A framework. `$module` is both the module of this crate with its adapter, and the module of
/// `bench` with its smallest server.
macro_rules! framework {
    ($name:literal, $module:ident) => {
        Framework {
            name: $name,
            api: || &crate::$module::API,
            serve: |listener, app| crate::$module::serve(listener, app).boxed(),
            serve_default: bench::$module::serve,
        }
    };
}

/// The frameworks of this build, in the order of the services.
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
    /// The framework of this name. The error lists the known names.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|one| one.name == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = ALL.iter().map(|one| one.name).collect();
            let names = names.join(", ");
            format!("unknown framework {name:?}; use one of {names}")
        })
    }

    /// Runs a whole product-service on `listener` until it has shut down.
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
