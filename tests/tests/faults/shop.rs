//! A fault between two services of a shop, and its effects.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::testkit::Got;
use futures_util::future::join_all;
use harness::{TIMEOUT, process, raw};
use serde_json::{Value, json};
use shop_tests::ask::{all, place, stock};
use shop_tests::fake::Fake;
use shop_tests::faults::good;
use shop_tests::program::{Program, found_by, upstream_variables};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::{
    AT_ONCE, BACK, ClientGets, Edge, Fault, PROMPT, SHORT_TIMEOUTS, SLOW_CALLS, STOCK, count,
    stock_up,
};

pub(super) async fn in_a_shop(edge: Edge, fault: Fault) -> Result<(), String> {
    let mut shop = Shop::open(edge, fault).await?;
    shop.until_recovered().await?;

    shop.hurt();
    // Enough concurrent requests to open a circuit.
    for answer in join_all((0..6).map(|_| shop.ask_during_fault())).await {
        answer?;
    }
    // If other requests succeed, the circuit stays closed.
    if edge.hit.is_empty() {
        shop.until_circuit_opens().await?;
        shop.answers_at_once().await?;
    }

    shop.end_fault().await?;
    let mended = Instant::now();
    shop.until_recovered().await?;
    let back = mended.elapsed();
    good(back < BACK, format!("it took {back:?} to be back"))?;
    shop.stores_agree().await
}

/// The caller, its upstreams, and the fault between them.
struct Shop {
    edge: Edge,
    fault: Fault,
    caller: Program,
    others: Vec<(&'static str, Program)>,
    active: Arc<AtomicBool>,
    // A proxy in front of the upstream, if the fault needs one.
    _gate: Fake,
    /// The orders that clients know of.
    created: Mutex<Vec<Value>>,
    /// How many of them were in a store that has died since.
    lost: usize,
}

impl Shop {
    async fn open(edge: Edge, fault: Fault) -> Result<Self, String> {
        let services = upstream_variables(edge.caller)
            .iter()
            .map(|url| found_by(url));
        let others: Vec<_> = block_in_place(|| {
            services
                .map(|name| (name, Program::start_to_come_back(name, &[])))
                .collect()
        });
        for (name, program) in &others {
            stock_up(name, program.address()).await?;
        }
        let upstream = find(&others, edge.upstream);
        let active = Arc::new(AtomicBool::new(false));
        let gate = gate(edge, fault, upstream, Arc::clone(&active)).await;
        // A port that refuses connections cannot be shown through a proxy.
        let direct = matches!(fault, Fault::Killed | Fault::Stopped) && edge.hit.is_empty();
        let urls = upstream_variables(edge.caller).iter().zip(&others);
        let urls: Vec<_> = urls
            .map(|(variable, (name, program))| {
                let through_the_gate = *name == edge.upstream && !direct;
                let url = if through_the_gate {
                    gate.url().as_str().to_owned()
                } else {
                    program.url()
                };
                (*variable, url)
            })
            .collect();
        let urls = urls.iter().map(|(variable, url)| (*variable, url.as_str()));
        let settings = match edge.client_gets {
            ClientGets::Unnotified => SLOW_CALLS,
            _ => SHORT_TIMEOUTS,
        };
        let variables: Vec<_> = settings.into_iter().chain(urls).collect();
        Ok(Self {
            caller: block_in_place(|| Program::start(edge.caller, &variables)),
            edge,
            fault,
            others,
            active,
            _gate: gate,
            created: Mutex::default(),
            lost: 0,
        })
    }

    fn address(&self, name: &str) -> SocketAddr {
        find(&self.others, name).address()
    }

    /// Sends a request that needs the upstream.
    async fn ask(&self) -> Result<Got, String> {
        let caller = self.caller.address();
        let got = match self.edge.caller {
            "order-service" => place(caller, 1, 2, &[]).await?,
            "product-service" => {
                let cup = json!({"name": "Cup", "price": 1, "sellerId": "1"});
                raw::post(caller, "/api/products", &[], &cup).await?
            }
            _ => raw::get(caller, "/api/analytics/summary").await?,
        };
        if got.status == 201 {
            self.created.lock().expect("no panic").push(got.json());
        }
        Ok(got)
    }

    /// Sends requests until the caller has recovered.
    async fn until_recovered(&self) -> Result<(), String> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let got = self.ask().await?;
            let well = match self.edge.client_gets {
                ClientGets::Unavailable => got.status == 201,
                ClientGets::Unnotified => got.status == 201 && got.json()["notification"] == "sent",
                ClientGets::LastKnown => self.told_of(&got.json())["status"] == "up",
            };
            if well {
                return Ok(());
            }
            good(Instant::now() < deadline, format!("not well: {got:?}"))?;
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The upstream in the summary.
    fn told_of(&self, summary: &Value) -> Value {
        let services = summary["services"].as_array();
        let mut services = services.into_iter().flatten();
        let found = services.find(|one| one["name"] == self.edge.upstream);
        found.cloned().unwrap_or_default()
    }

    fn hurt(&self) {
        self.active.store(true, Ordering::SeqCst);
        let signal = match self.fault {
            Fault::Killed => "KILL",
            Fault::Stopped => "STOP",
            _ => return,
        };
        // Otherwise the proxy does it, in the middle of a request.
        if self.edge.hit.is_empty() {
            find(&self.others, self.edge.upstream).signal(signal);
        }
    }

    /// Sends a request during the fault, and checks the answer and its duration.
    async fn ask_during_fault(&self) -> Result<(), String> {
        let asked = Instant::now();
        let got = self.ask().await?;
        let took = asked.elapsed();
        good(took < PROMPT, format!("an answer took {took:?}"))?;
        let (status, body) = (got.status, got.json());
        let Edge { upstream, .. } = self.edge;
        let as_expected = match self.edge.client_gets {
            ClientGets::Unavailable => {
                let wait: Option<u32> = got.header("retry-after").parse().ok();
                let sentence = body["error"].as_str().unwrap_or_default();
                status == 503
                    && body["code"] == "dependency_unavailable"
                    && sentence.contains(upstream)
                    && wait > Some(0)
            }
            ClientGets::Unnotified => {
                status == 201 && body["status"] == "confirmed" && body["notification"] == "failed"
            }
            ClientGets::LastKnown => {
                let told = self.told_of(&body);
                let known = ["users", "products", "orders", "notifications"];
                let known = known.map(|total| body[format!("total_{total}")].as_u64());
                status == 200
                    && (told["status"] == "down" && told["as_of"].is_string())
                    && known == [Some(1), Some(1), Some(0), Some(1)]
            }
        };
        good(as_expected, format!("a client got {status} {body}"))
    }

    /// Sends requests until the circuit is open, and readiness reports it.
    async fn until_circuit_opens(&self) -> Result<(), String> {
        let (caller, upstream) = (self.caller.address(), self.edge.upstream);
        // product-service needs it only for sellers.
        let required = matches!(self.edge.client_gets, ClientGets::Unavailable)
            && self.edge.caller != "product-service";
        let expected = if required {
            (503, "unavailable")
        } else {
            (200, "degraded")
        };
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.ask_during_fault().await?;
            let ready = raw::get(caller, "/health/ready").await?;
            let (status, body) = (ready.status, ready.json());
            let dependencies = body["dependencies"].as_array().expect("a list");
            let is_seen = dependencies.iter().all(|one| {
                let shown = (one["status"].as_str(), one["circuit"].as_str());
                if one["name"] == upstream {
                    shown == (Some("down"), Some("open")) && one["required"] == required
                } else {
                    shown == (Some("up"), Some("closed"))
                }
            });
            if is_seen && (status, body["status"].as_str()) == (expected.0, Some(expected.1)) {
                break;
            }
            good(
                Instant::now() < deadline,
                format!("/health/ready never says so: {status} {body}"),
            )?;
        }
        let health = raw::get(caller, "/health").await?;
        good(health.status == 200, "it does not say that it lives")
    }

    /// While the circuit is open, answers do not wait for the upstream.
    async fn answers_at_once(&self) -> Result<(), String> {
        let mut took = Duration::MAX;
        // Once a second, one of the requests is the probe.
        for _ in 0..20 {
            let asked = Instant::now();
            self.ask_during_fault().await?;
            took = took.min(asked.elapsed());
            if took < AT_ONCE {
                break;
            }
        }
        good(took < AT_ONCE, format!("the soonest answer took {took:?}"))?;
        let metrics = raw::get(self.caller.address(), "/metrics").await?;
        let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
        let counted = format!(
            "dependency=\"{}\",outcome=\"circuit_open\"",
            self.edge.upstream
        );
        let refused = metrics.lines().find(|line| line.contains(&counted));
        let refused = refused.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        good(refused > Some(0), format!("{refused:?} calls not made"))
    }

    /// Ends the fault.
    async fn end_fault(&mut self) -> Result<(), String> {
        self.active.store(false, Ordering::SeqCst);
        let upstream = self
            .others
            .iter_mut()
            .find(|(name, _)| *name == self.edge.upstream);
        let (name, program) = upstream.expect("one of them");
        match self.fault {
            Fault::Killed => {
                block_in_place(|| program.come_back());
                self.lost = self.created.lock().expect("no panic").len();
                stock_up(name, program.address()).await?;
            }
            Fault::Stopped => program.signal("CONT"),
            _ => {}
        }
        Ok(())
    }

    /// Checks the contents of the stores.
    async fn stores_agree(&mut self) -> Result<(), String> {
        let created = self.created.lock().expect("no panic").clone();
        let there = match self.edge.caller {
            "order-service" => all(self.caller.address(), "/api/orders").await?,
            "product-service" => all(self.caller.address(), "/api/products").await?,
            _ => Vec::new(),
        };
        let sorted = |mut records: Vec<Value>| {
            records.sort_by_key(|one| one["id"].as_str().and_then(|id| id.parse::<u32>().ok()));
            records
        };
        let created = sorted(created);
        good(there == created, format!("{there:?}, not {created:?}"))?;

        // Before it stops, order-service settles changes with an unknown outcome.
        self.caller.signal("TERM");
        let ended = block_in_place(|| self.caller.ended(TIMEOUT));
        good(ended.status == Some(0), format!("{ended:?}"))?;
        // A slow change may still be in progress.
        let deadline = Instant::now() + TIMEOUT;
        while let Err(fault) = self.others_agree(&created).await {
            good(Instant::now() < deadline, fault)?;
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn others_agree(&self, created: &[Value]) -> Result<(), String> {
        count(self.address("user-service"), "/api/users", 1).await?;
        match self.edge.caller {
            "order-service" => self.orders_agree(created).await,
            "product-service" => Ok(()),
            _ => {
                count(self.address("product-service"), "/api/products", 1).await?;
                count(self.address("order-service"), "/api/orders", 0).await?;
                let notifications = self.address("notification-service");
                count(notifications, "/api/notifications", 1).await
            }
        }
    }

    /// Each order has its stock, and at most one notification; nothing else has any.
    async fn orders_agree(&self, placed: &[Value]) -> Result<(), String> {
        let gone = |service| {
            if self.edge.upstream == service {
                self.lost
            } else {
                0
            }
        };
        let sold = 2 * (placed.len() - gone("product-service")) as u64;
        let stock = stock(self.address("product-service"), 1).await?;
        good(
            stock + sold == STOCK,
            format!("{stock} in stock and {sold} sold of {STOCK}"),
        )?;

        let told = all(self.address("notification-service"), "/api/notifications").await?;
        let told: Vec<_> = told
            .iter()
            .filter_map(|one| one["message"].as_str())
            .collect();
        let mut missed = 0;
        let mut doubtful = 0;
        for order in &placed[gone("notification-service")..] {
            let message = format!(
                "Your order #{} has been confirmed",
                order["id"].as_str().expect("an id")
            );
            let times = told.iter().filter(|one| **one == message).count();
            let is_sent = order["notification"] == "sent";
            missed += usize::from(is_sent && times == 0);
            doubtful += usize::from(!is_sent && times == 1);
            good(times <= 1, format!("{message}, {times} times"))?;
        }
        good(
            missed == 0,
            format!("{missed} were not told, of {placed:?}"),
        )?;
        // `failed` means that the notification is not known to be sent.
        let does_it = matches!(self.fault, Fault::Slow | Fault::BrokenOff);
        let is_hit = self.edge.upstream == "notification-service";
        good(
            !(does_it && is_hit) || doubtful > 0,
            "nobody was told whose order says that he was not",
        )
    }
}

fn find<'a>(others: &'a [(&str, Program)], name: &str) -> &'a Program {
    let found = others.iter().find(|(known, _)| *known == name);
    &found.expect("one of them").1
}

/// A proxy that applies the fault to the affected requests.
async fn gate(edge: Edge, fault: Fault, upstream: &Program, active: Arc<AtomicBool>) -> Fake {
    let (real, id) = (upstream.address(), upstream.id());
    let signalled = Arc::new(Mutex::new(false));
    Fake::start(move |request| {
        let is_hit = request.target.ends_with(edge.hit) && active.load(Ordering::SeqCst);
        let signalled = Arc::clone(&signalled);
        let once = move |signal| {
            // Other requests wait until it is done, so that none of them succeeds in between.
            block_in_place(|| {
                let mut signalled = signalled.lock().expect("no panic");
                if !std::mem::replace(&mut *signalled, true) {
                    process::signal(id, signal).expect("it runs");
                }
            });
        };
        async move {
            if !is_hit {
                return request.pass_on(real).await;
            }
            match fault {
                Fault::Killed => {
                    request.pass_on(real).await;
                    once("KILL");
                    Vec::new()
                }
                Fault::Stopped => {
                    once("STOP");
                    request.pass_on(real).await
                }
                Fault::Slow => {
                    sleep(Duration::from_millis(1500)).await;
                    request.pass_on(real).await
                }
                Fault::Errors => raw::json("500 Internal Server Error", "", "{}"),
                Fault::Garbage => b"\x16\x03\x01 what?\r\n\r\n".to_vec(),
                Fault::BrokenOff => {
                    let mut answer = request.pass_on(real).await;
                    answer.truncate(answer.len() / 2);
                    answer
                }
            }
        }
    })
    .await
}
