//! One fault between two services of a shop, and what comes of it.

mod gate;
mod stores;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::testkit::Got;
use futures_util::future::join_all;
use harness::{PATIENCE, raw};
use serde_json::{Value, json};
use shop_tests::ask::place;
use shop_tests::fake::Fake;
use shop_tests::faults::good;
use shop_tests::program::{Program, found_by, neighbours};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::{AT_ONCE, BACK, ClientGets, Edge, Fault, PATIENTLY, PROMPT, QUICKLY, stock_up};
use gate::gate;

pub(super) async fn in_a_shop(edge: Edge, fault: Fault) -> Result<(), String> {
    let mut shop = Shop::open(edge, fault).await?;
    shop.until_well().await?;

    shop.hurt();
    // As many as open a circuit, all at once.
    for answer in join_all((0..6).map(|_| shop.ask_in_need())).await {
        answer?;
    }
    // Where the rest of it answers, it is not left alone.
    if edge.hit.is_empty() {
        shop.until_left_alone().await?;
        shop.answers_at_once().await?;
    }

    shop.mend().await?;
    let mended = Instant::now();
    shop.until_well().await?;
    let back = mended.elapsed();
    good(back < BACK, format!("it took {back:?} to be back"))?;
    shop.stores_agree().await
}

/// The caller, those that it calls, and the fault between them.
struct Shop {
    edge: Edge,
    fault: Fault,
    caller: Program,
    others: Vec<(&'static str, Program)>,
    hurts: Arc<AtomicBool>,
    // In front of the one that is called, where there has to be something.
    _gate: Fake,
    /// What clients were told was created.
    created: Mutex<Vec<Value>>,
    /// How much of that was in a store that has died since.
    lost: usize,
}

impl Shop {
    async fn open(edge: Edge, fault: Fault) -> Result<Self, String> {
        let services = neighbours(edge.caller).iter().map(|url| found_by(url));
        let others: Vec<_> = block_in_place(|| {
            services
                .map(|name| (name, Program::start_to_come_back(name, &[])))
                .collect()
        });
        for (name, program) in &others {
            stock_up(name, program.address()).await?;
        }
        let neighbour = find(&others, edge.neighbour);
        let hurts = Arc::new(AtomicBool::new(false));
        let gate = gate(edge, fault, neighbour, Arc::clone(&hurts)).await;
        // A port that refuses can only be shown without anything before it.
        let direct = matches!(fault, Fault::Killed | Fault::Stopped) && edge.hit.is_empty();
        let urls = neighbours(edge.caller).iter().zip(&others);
        let urls: Vec<_> = urls
            .map(|(variable, (name, program))| {
                let through_the_gate = *name == edge.neighbour && !direct;
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
            ClientGets::Unnotified => PATIENTLY,
            _ => QUICKLY,
        };
        let variables: Vec<_> = settings.into_iter().chain(urls).collect();
        Ok(Self {
            caller: block_in_place(|| Program::start(edge.caller, &variables)),
            edge,
            fault,
            others,
            hurts,
            _gate: gate,
            created: Mutex::default(),
            lost: 0,
        })
    }

    fn address(&self, name: &str) -> SocketAddr {
        find(&self.others, name).address()
    }

    /// Asks for what needs the one that is called.
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

    /// Asks until all is as it should be.
    async fn until_well(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
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

    /// What the summary says of the one that is called.
    fn told_of(&self, summary: &Value) -> Value {
        let services = summary["services"].as_array();
        let mut services = services.into_iter().flatten();
        let found = services.find(|one| one["name"] == self.edge.neighbour);
        found.cloned().unwrap_or_default()
    }

    fn hurt(&self) {
        self.hurts.store(true, Ordering::SeqCst);
        let signal = match self.fault {
            Fault::Killed => "KILL",
            Fault::Stopped => "STOP",
            _ => return,
        };
        // Otherwise the gate does it, in the middle of a request.
        if self.edge.hit.is_empty() {
            find(&self.others, self.edge.neighbour).signal(signal);
        }
    }

    /// Asks while it hurts: what a client gets, and how soon.
    async fn ask_in_need(&self) -> Result<(), String> {
        let asked = Instant::now();
        let got = self.ask().await?;
        let took = asked.elapsed();
        good(took < PROMPT, format!("an answer took {took:?}"))?;
        let (status, body) = (got.status, got.json());
        let Edge { neighbour, .. } = self.edge;
        let as_expected = match self.edge.client_gets {
            ClientGets::Unavailable => {
                let wait: Option<u32> = got.header("retry-after").parse().ok();
                let sentence = body["error"].as_str().unwrap_or_default();
                status == 503
                    && body["code"] == "dependency_unavailable"
                    && sentence.contains(neighbour)
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

    /// Asks until the circuit is open, and all can see it.
    async fn until_left_alone(&self) -> Result<(), String> {
        let (caller, neighbour) = (self.caller.address(), self.edge.neighbour);
        // product-service can do without, but for sellers.
        let required = matches!(self.edge.client_gets, ClientGets::Unavailable)
            && self.edge.caller != "product-service";
        let expected = if required {
            (503, "unavailable")
        } else {
            (200, "degraded")
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.ask_in_need().await?;
            let ready = raw::get(caller, "/health/ready").await?;
            let (status, body) = (ready.status, ready.json());
            let dependencies = body["dependencies"].as_array().expect("a list");
            let is_seen = dependencies.iter().all(|one| {
                let shown = (one["status"].as_str(), one["circuit"].as_str());
                if one["name"] == neighbour {
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

    /// Whoever is left alone is not waited for.
    async fn answers_at_once(&self) -> Result<(), String> {
        let mut took = Duration::MAX;
        // Once a second one of them goes to see whether it is back.
        for _ in 0..20 {
            let asked = Instant::now();
            self.ask_in_need().await?;
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
            self.edge.neighbour
        );
        let refused = metrics.lines().find(|line| line.contains(&counted));
        let refused = refused.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        good(refused > Some(0), format!("{refused:?} calls not made"))
    }

    /// What was wrong is over.
    async fn mend(&mut self) -> Result<(), String> {
        self.hurts.store(false, Ordering::SeqCst);
        let neighbour = self
            .others
            .iter_mut()
            .find(|(name, _)| *name == self.edge.neighbour);
        let (name, program) = neighbour.expect("one of them");
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
}

fn find<'a>(others: &'a [(&str, Program)], name: &str) -> &'a Program {
    let found = others.iter().find(|(known, _)| *known == name);
    &found.expect("one of them").1
}
