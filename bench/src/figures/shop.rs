//! A shop of the five services on free ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use bench::Failed;
use bench::measure::load::Load;
use bench::measure::server::{self, Started, answered, plain};
use reqwest::blocking::{Client, Response};
use serde_json::Value;

use crate::lab::{self, Lab};

/// The index of a service. Its port is the first port plus this.
pub(crate) type Place = usize;
pub(crate) const USER: Place = 0;
pub(crate) const PRODUCT: Place = 1;
pub(crate) const ORDER: Place = 2;
pub(crate) const NOTIFICATION: Place = 3;
pub(crate) const ANALYTICS: Place = 4;
/// The port of a gateway, which a shop does not start by itself.
pub(crate) const GATEWAY: Place = 5;

pub(crate) const NAMES: [&str; 5] = [
    "user-service",
    "product-service",
    "order-service",
    "notification-service",
    "analytics-service",
];
pub(crate) const FRAMEWORKS: [&str; 5] = ["axum", "rocket", "poem", "warp", "actix-web"];

/// An order of one piece.
pub(crate) const ONE_PIECE: &str = r#"{"userId":"1","productId":"1","quantity":1}"#;

/// A running shop. Its services end when it is dropped.
#[derive(Debug)]
pub(crate) struct Shop {
    first_port: u16,
    /// A separate log, because several shops run side by side.
    log: std::path::PathBuf,
    programs: std::path::PathBuf,
    /// Variables of each service, besides those that all shops have.
    settings: &'static [(&'static str, &'static str)],
    services: Vec<Started>,
    http: Client,
}

impl Shop {
    /// Starts a shop without records, and waits until it is ready.
    pub(crate) fn open(lab: &Lab, name: &str) -> Result<Self, Failed> {
        Self::start(lab, name, &[])
    }

    /// Starts a shop whose services have these variables, such as `RESILIENCE=off`.
    pub(crate) fn start(
        lab: &Lab,
        name: &str,
        settings: &'static [(&'static str, &'static str)],
    ) -> Result<Self, Failed> {
        let mut attempts = 1;
        loop {
            match Self::try_start(lab, name, settings) {
                // Another program took a port after it was found free.
                Err(error) if attempts < 3 && error.to_string().contains("in use") => attempts += 1,
                result => return result,
            }
        }
    }

    fn try_start(
        lab: &Lab,
        name: &str,
        settings: &'static [(&'static str, &'static str)],
    ) -> Result<Self, Failed> {
        let log = lab.log(name);
        lab::empty(&log)?;
        let mut shop = Self {
            first_port: free_ports(6)?,
            log,
            programs: lab.programs.clone(),
            settings,
            services: Vec::new(),
            http: lab.http.clone(),
        };
        for place in 0..NAMES.len() {
            let started = shop.launch(place)?;
            shop.services.push(started);
        }
        for service in &mut shop.services {
            service.wait_until_ready()?;
        }
        Ok(shop)
    }

    /// Starts a shop with a user, a product that never sells out, and an order.
    pub(crate) fn stocked(lab: &Lab, name: &str) -> Result<Self, Failed> {
        let shop = Self::open(lab, name)?;
        shop.stock()?;
        Ok(shop)
    }

    pub(crate) fn stock(&self) -> Result<(), Failed> {
        self.stock_up(USER)?;
        self.stock_up(PRODUCT)?;
        self.post(ORDER, "/api/orders", ONE_PIECE)?;
        Ok(())
    }

    /// Creates the record that an order needs from the service at this place.
    fn stock_up(&self, place: Place) -> Result<(), Failed> {
        match place {
            USER => {
                let ada = r#"{"name":"Ada Lovelace","email":"ada@example.com"}"#;
                self.post(USER, "/api/users", ada)?;
            }
            PRODUCT => {
                let lamp = r#"{"name":"Desk lamp","price":19.99,"stock":1000000000}"#;
                self.post(PRODUCT, "/api/products", lamp)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn launch(&self, place: Place) -> Result<Started, Failed> {
        let program = self.programs.join(NAMES[place]);
        let mut command = server::command(&program, None);
        let address = self.address(place);
        command
            .env("HOST", "127.0.0.1")
            .env("PORT", address.port().to_string())
            .env("LOG_FORMAT", "json")
            .env("MAX_RECORDS", "100000000")
            .env("MAX_KEYS", "100000000")
            .env("GATEWAY_URL", self.url(GATEWAY, ""))
            .envs(self.settings.iter().copied());
        for (variable, of) in [
            ("USER_SERVICE_URL", USER),
            ("PRODUCT_SERVICE_URL", PRODUCT),
            ("ORDER_SERVICE_URL", ORDER),
            ("NOTIFICATION_SERVICE_URL", NOTIFICATION),
        ] {
            command.env(variable, self.url(of, ""));
        }
        server::start_at(command, address, &self.log)
    }

    /// Restarts a service, and creates the record that orders need from it.
    pub(crate) fn restart(&mut self, place: Place) -> Result<(), Failed> {
        self.services[place] = self.launch(place)?;
        self.services[place].wait_until_ready()?;
        self.stock_up(place)
    }

    pub(crate) fn process(&self, place: Place) -> u32 {
        self.services[place].process.id()
    }

    pub(crate) fn processes(&self) -> Vec<u32> {
        (0..NAMES.len()).map(|place| self.process(place)).collect()
    }

    pub(crate) fn address(&self, place: Place) -> SocketAddr {
        let offset = u16::try_from(place).unwrap_or_default();
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.first_port + offset))
    }

    pub(crate) fn url(&self, place: Place, path: &str) -> String {
        format!("http://{}{path}", self.address(place))
    }

    pub(crate) fn get(&self, place: Place, path: &str) -> Result<Value, Failed> {
        answered(self.http.get(self.url(place, path)), 200)
    }

    /// The body of an answer with any status; empty if there is no answer.
    pub(crate) fn text(&self, place: Place, path: &str) -> String {
        let answer = self.http.get(self.url(place, path)).send();
        answer.and_then(Response::text).unwrap_or_default()
    }

    /// Creates a record.
    pub(crate) fn post(&self, place: Place, path: &str, json: &str) -> Result<Value, Failed> {
        let request = self.http.post(self.url(place, path)).body(json.to_owned());
        answered(request.header("content-type", "application/json"), 201)
    }

    /// The body of the answer to a POST, with any status; empty if there is no answer.
    pub(crate) fn try_post(&self, place: Place, path: &str, json: &str) -> String {
        let request = self.http.post(self.url(place, path)).body(json.to_owned());
        let answer = request.header("content-type", "application/json").send();
        answer.and_then(Response::text).unwrap_or_default()
    }

    /// The number of records in a list.
    pub(crate) fn count(&self, place: Place, path: &str) -> Result<u64, Failed> {
        let url = self.url(place, &format!("{path}?limit=1"));
        let answer = self.http.get(&url).send().map_err(|error| plain(&error))?;
        let total = answer.headers().get("x-total-count");
        let total = total.and_then(|total| total.to_str().ok()?.parse().ok());
        total.ok_or_else(|| format!("{url} has no X-Total-Count").into())
    }

    /// The load that places orders.
    pub(crate) fn orders(&self) -> Load {
        Load::post(self.url(ORDER, "/api/orders"), ONE_PIECE)
    }

    pub(crate) fn empty_log(&self) -> Result<(), Failed> {
        lab::empty(&self.log)
    }
}

/// The first of `count` consecutive free ports. They are below the range that systems assign
/// automatically.
pub(crate) fn free_ports(count: u16) -> Result<u16, Failed> {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for _ in 0..1000 {
        let first = fastrand::u16(20_000..30_000);
        if (first..first + count).all(is_free) {
            return Ok(first);
        }
    }
    Err(format!("no {count} consecutive ports are free between 20000 and 30000").into())
}
