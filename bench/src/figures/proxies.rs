//! The gateway, and what people would use instead: nginx and haproxy. All pass requests on to the
//! same product-service, over connections that they keep, and write a line for each request.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bench::Failed;
use bench::measure::process;
use bench::measure::server::{self, Started};

use crate::lab::{self, Lab};
use crate::nginx;
use crate::shop::{ANALYTICS, NOTIFICATION, ORDER, PRODUCT, Shop, USER, free_ports};

pub(crate) const GATEWAY: &str = "gateway";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const HAPROXY: &str = "haproxy";

/// A program between the load generator and product-service.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// As the tables call it.
    pub(crate) name: &'static str,
    started: Started,
    log: PathBuf,
}

impl Proxy {
    pub(crate) fn process(&self) -> u32 {
        self.started.process.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.started.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.started.url() + path
    }

    pub(crate) fn empty_log(&self) -> Result<(), Failed> {
        lab::empty(&self.log)
    }
}

/// Whether a program is installed. If not, a line of the report says that it is left out.
pub(crate) fn is_there(lab: &mut Lab, program: &str) -> Result<bool, Failed> {
    let is_there = process::is_installed(program);
    if !is_there {
        lab.tell(&format!(
            "\n{program} is not installed, so it is left out; \"apt install {program}\" installs it.\n"
        ))?;
    }
    Ok(is_there)
}

/// The gateway to a shop. It only forwards: it keeps nothing and limits nobody, unless `settings`
/// say so.
pub(crate) fn gateway(
    lab: &Lab,
    shop: &Shop,
    name: &'static str,
    settings: &[(&str, &str)],
) -> Result<Proxy, Failed> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)?));
    gateway_at(address, lab, shop, name, settings)
}

/// The same at an address that was free.
pub(crate) fn gateway_at(
    address: SocketAddr,
    lab: &Lab,
    shop: &Shop,
    name: &'static str,
    settings: &[(&str, &str)],
) -> Result<Proxy, Failed> {
    let mut command = server::command(&lab.programs.join("gateway"), None);
    command
        .env("HOST", "127.0.0.1")
        .env("PORT", address.port().to_string())
        .env("CLIENT_SHARE_PERCENT", "100")
        .env("CACHE_TTL_MS", "0")
        .env("RATE_LIMIT", "off");
    for (variable, of) in [
        ("USER_SERVICE_URL", USER),
        ("PRODUCT_SERVICE_URL", PRODUCT),
        ("ORDER_SERVICE_URL", ORDER),
        ("NOTIFICATION_SERVICE_URL", NOTIFICATION),
        ("ANALYTICS_SERVICE_URL", ANALYTICS),
    ] {
        command.env(variable, shop.url(of, ""));
    }
    command.envs(settings.iter().copied());
    let log = lab.log(&name.replace([' ', ',', ':'], "-"));
    lab::empty(&log)?;
    let mut started = server::start_at(command, address, &log)?;
    started.wait_until_ready()?;
    Ok(Proxy { name, started, log })
}

/// nginx in front of the shop's products. It keeps responses if it `keeps` them.
pub(crate) fn nginx(lab: &Lab, shop: &Shop, keeps: bool) -> Result<Proxy, Failed> {
    let folder = if keeps { "nginx-cache" } else { "nginx-proxy" };
    let home = lab.scratch.join(folder);
    // What an earlier run has kept.
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    Ok(Proxy {
        name: NGINX,
        started: nginx::start_proxy(&home, shop.address(PRODUCT), keeps)?,
        log: home.join("access.log"),
    })
}

/// haproxy in front of the shop's products.
pub(crate) fn haproxy(lab: &Lab, shop: &Shop) -> Result<Proxy, Failed> {
    let program = process::find(HAPROXY).ok_or("haproxy is not installed")?;
    let home = lab.scratch.join(HAPROXY);
    fs::create_dir_all(&home)?;
    let port = free_ports(1)?;
    let settings = home.join("haproxy.cfg");
    fs::write(
        &settings,
        haproxy_configuration(port, shop.address(PRODUCT)),
    )?;
    let log = home.join("access.log");
    lab::empty(&log)?;
    let mut command = server::command(&program, None);
    command.args(["-db", "-f"]).arg(&settings);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut started = server::start_at(command, address, &log)?;
    started
        .wait_until_ready()
        .map_err(|error| format!("haproxy: {error}; see {}", log.display()))?;
    Ok(Proxy {
        name: HAPROXY,
        started,
        log,
    })
}

/// One thread, as many as the gateway and nginx have. A line of the log for each request, written
/// at once to standard output: haproxy writes to no file.
fn haproxy_configuration(port: u16, upstream: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    maxconn 4096
    log stdout format raw local0 info
defaults
    mode http
    log global
    option httplog
    option forwardfor
    http-reuse always
    timeout connect 1s
    timeout client 60s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{port}
    http-request return status 200 content-type application/json string {{}} if {{ path /health }}
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Request-Id %[uuid]
    default_backend products
backend products
    server product-service {upstream}
"
    )
}
