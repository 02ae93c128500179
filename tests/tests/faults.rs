//! What becomes of a client, and of what the stores hold, when a service that is
//! called dies, hangs, is slow or talks nonsense; and that all is well again soon
//! after. The services are the programs, and they die by SIGKILL. What is only
//! answered wrongly, in any of many ways, is in `shop.rs`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::testkit::Got;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use shop_tests::PATIENCE;
use shop_tests::ask::{all, place, stock};
use shop_tests::fake::{self, Fake};
use shop_tests::faults::{Faults, good};
use shop_tests::program::{Program, found_by, neighbours, send_signal};
use shop_tests::raw;
use tokio::task::block_in_place;
use tokio::time::sleep;

/// How calls are made here: as always, but sooner given up.
const QUICKLY: [(&str, &str); 3] = [
    ("CALL_TIMEOUT_MS", "500"),
    ("CIRCUIT_OPEN_MS", "1000"),
    // Analytics asks when it is asked.
    ("POLL_INTERVAL_MS", "60000"),
];

/// Where the notification alone is to be given up, which has a time-out of its own.
const PATIENTLY: [(&str, &str); 3] = [
    ("CALL_TIMEOUT_MS", "5000"),
    ("DEADLINE_MS", "5000"),
    ("CIRCUIT_OPEN_MS", "1000"),
];

/// The deadline of an order is 2 s, and so is that of a poll, of which one who
/// asks analytics-service may have to wait for two. The rest is for a busy machine.
const PROMPT: Duration = Duration::from_secs(6);

/// Less than any time-out: whoever answers so soon has waited for nobody.
const AT_ONCE: Duration = Duration::from_millis(250);

/// From the moment a service is back until its caller is: what is left of the
/// time that it is left alone, and a call.
const BACK: Duration = Duration::from_secs(1 + PROMPT.as_secs());

/// What there is in stock at first.
const STOCK: u64 = 1000;

/// A call from one service to another.
#[derive(Clone, Copy, Debug)]
struct Edge {
    caller: &'static str,
    neighbour: &'static str,
    /// The requests that are hit: those with a target that ends so.
    hit: &'static str,
    /// What a client of the caller gets while they are.
    client_gets: ClientGets,
}

#[derive(Clone, Copy, Debug)]
enum ClientGets {
    /// 503 that names the one who is missed.
    Unavailable,
    /// Its order, which is marked: its user was not told.
    Unnotified,
    /// The last total known, and who is down.
    LastKnown,
}

const fn edge(
    caller: &'static str,
    neighbour: &'static str,
    hit: &'static str,
    client_gets: ClientGets,
) -> Edge {
    Edge {
        caller,
        neighbour,
        hit,
        client_gets,
    }
}

const EDGES: [Edge; 9] = {
    use ClientGets::{LastKnown, Unavailable, Unnotified};
    [
        edge("order-service", "user-service", "", Unavailable),
        edge("order-service", "product-service", "", Unavailable),
        // Its product is found, and then its stock cannot be taken.
        edge("order-service", "product-service", "/stock", Unavailable),
        edge("order-service", "notification-service", "", Unnotified),
        edge("product-service", "user-service", "", Unavailable),
        edge("analytics-service", "user-service", "", LastKnown),
        edge("analytics-service", "product-service", "", LastKnown),
        edge("analytics-service", "order-service", "", LastKnown),
        edge("analytics-service", "notification-service", "", LastKnown),
    ]
};

/// What can be wrong with the one who is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// SIGKILL: its port refuses. It has forgotten all when it is back.
    Killed,
    /// SIGSTOP: it takes connections and does nothing.
    Stopped,
    /// It does what it is asked to, after a while, when nobody waits any more.
    Slow,
    /// 500, and nothing done.
    Errors,
    /// Something that is no HTTP, and nothing done.
    Garbage,
    /// It does what it is asked to, and dies in the middle of its answer.
    BrokenOff,
}

const FAULTS: [Fault; 6] = [
    Fault::Killed,
    Fault::Stopped,
    Fault::Slow,
    Fault::Errors,
    Fault::Garbage,
    Fault::BrokenOff,
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_one_who_is_called_the_client_gets_a_clear_answer_in_time() {
    let cells = EDGES
        .into_iter()
        .flat_map(|edge| FAULTS.map(|fault| (edge, fault)));
    // Each has a shop of its own; most of the time they wait.
    let findings = stream::iter(cells)
        .map(async |(edge, fault)| {
            let cell = tokio::spawn(in_a_shop(edge, fault)).await;
            let finding = cell.unwrap_or_else(|panic| Err(panic.to_string()));
            (edge, fault, finding)
        })
        .buffer_unordered(12);
    let mut faults = Faults::default();
    for (edge, fault, finding) in findings.collect::<Vec<_>>().await {
        let Edge {
            caller, neighbour, ..
        } = edge;
        faults.check(
            format!("{caller} → {neighbour}{}, {fault:?}", edge.hit),
            finding,
        );
    }
    faults.finish();
}

async fn in_a_shop(edge: Edge, fault: Fault) -> Result<(), String> {
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

    /// Whether the stores hold what they should.
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

        // What is in doubt is found out, and undone, before it stops.
        self.caller.signal("TERM");
        let ended = block_in_place(|| self.caller.ended(PATIENCE));
        good(ended.status == Some(0), format!("{ended:?}"))?;
        // What is slow may still be on its way.
        let deadline = Instant::now() + PATIENCE;
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
            if self.edge.neighbour == service {
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
        // `failed` is what nobody knows to have been sent.
        let does_it = matches!(self.fault, Fault::Slow | Fault::BrokenOff);
        let is_hit = self.edge.neighbour == "notification-service";
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

/// What does to the requests that are hit what the fault is.
async fn gate(edge: Edge, fault: Fault, neighbour: &Program, hurts: Arc<AtomicBool>) -> Fake {
    let (real, process) = (neighbour.address(), neighbour.id());
    let signalled = Arc::new(Mutex::new(false));
    Fake::start(move |request| {
        let is_hit = request.target.ends_with(edge.hit) && hurts.load(Ordering::SeqCst);
        let signalled = Arc::clone(&signalled);
        let once = move |signal| {
            // Others wait until it is done: it is nobody's last good answer.
            block_in_place(|| {
                let mut signalled = signalled.lock().expect("no panic");
                if !std::mem::replace(&mut *signalled, true) {
                    send_signal(process, signal);
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
                Fault::Errors => fake::json("500 Internal Server Error", "", "{}"),
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

// What is gone, and what is left in doubt.

/// The one hole that a store in memory leaves: who took the stock is dead, and
/// with it all that was known of what it was taken for.
#[tokio::test(flavor = "multi_thread")]
async fn stock_is_lost_only_with_an_order_service_that_dies_between_taking_it_and_its_answer() {
    for (dies_at, is_done, lost, told) in [
        ("/api/users/1", true, 0, 1),
        ("/api/products/1", true, 0, 1),
        ("/api/products/1/stock", false, 0, 1),
        // From here on the stock is taken. Asked again, it is taken again, and
        // the first order is known to nobody.
        ("/api/products/1/stock", true, 3, 1),
        ("/api/notifications/send", false, 3, 1),
        ("/api/notifications/send", true, 3, 2),
    ] {
        let reason = format!("it dies at {dies_at}, {is_done}");
        let names = ["user-service", "product-service", "notification-service"];
        let real = names.map(|name| block_in_place(|| Program::start(name, &[])));
        let addresses = real.each_ref().map(Program::address);
        for (name, address) in names.into_iter().zip(addresses) {
            stock_up(name, address).await.expect(name);
        }
        let doomed = Arc::new(Mutex::new(None));
        let to_kill = Arc::clone(&doomed);
        let gate = Fake::start(move |request| {
            let place = names.iter().position(|name| {
                let list = name.replace("-service", "s");
                request.target.starts_with(&format!("/api/{list}"))
            });
            let real = addresses[place.expect("one of the three")];
            let is_it = request.target == dies_at;
            let doomed = is_it.then(|| to_kill.lock().expect("no panic").take());
            async move {
                let Some(process) = doomed.flatten() else {
                    return request.pass_on(real).await;
                };
                if is_done {
                    request.pass_on(real).await;
                }
                block_in_place(|| send_signal(process, "KILL"));
                Vec::new()
            }
        })
        .await;
        let url = gate.url();
        let urls = neighbours("order-service").iter();
        let urls: Vec<_> = urls.map(|variable| (*variable, url.as_str())).collect();
        let mut orders = block_in_place(|| Program::start_to_come_back("order-service", &urls));
        *doomed.lock().expect("no panic") = Some(orders.id());

        let key = [("idempotency-key", "k")];
        let broken = place(orders.address(), 1, 3, &key).await;
        assert!(broken.is_err(), "{reason}: {broken:?}");
        block_in_place(|| orders.come_back());
        let left = all(orders.address(), "/api/orders").await;
        assert_eq!(left, Ok(Vec::new()), "{reason}");
        assert_eq!(stock(addresses[1], 1).await, Ok(STOCK - lost), "{reason}");

        let again = place(orders.address(), 1, 3, &key)
            .await
            .expect("an answer");
        assert_eq!(again.header("idempotency-replayed"), "", "{reason}");
        assert_eq!(again.expect(201)["id"], "1", "{reason}");
        assert_eq!(
            stock(addresses[1], 1).await,
            Ok(STOCK - lost - 3),
            "{reason}"
        );
        let messages = all(addresses[2], "/api/notifications").await;
        let messages = messages.expect("a list");
        let confirmed = "Your order #1 has been confirmed";
        let confirmed = messages.iter().filter(|one| one["message"] == confirmed);
        assert_eq!(confirmed.count(), told, "{reason}: {messages:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_of_the_five_forgets_when_it_dies() {
    let start = |name, urls: &[_]| block_in_place(|| Program::start_to_come_back(name, urls));
    let mut users = start("user-service", &[]);
    let mut products = start("product-service", &[]);
    let mut notifications = start("notification-service", &[]);
    let (users_url, products_url, notifications_url) =
        (users.url(), products.url(), notifications.url());
    let mut urls = vec![
        ("USER_SERVICE_URL", users_url.as_str()),
        ("PRODUCT_SERVICE_URL", &products_url),
        ("NOTIFICATION_SERVICE_URL", &notifications_url),
    ];
    let mut orders = start("order-service", &urls);
    let orders_url = orders.url();
    urls.extend([
        ("ORDER_SERVICE_URL", orders_url.as_str()),
        ("POLL_INTERVAL_MS", "60000"),
    ]);
    let mut analytics = start("analytics-service", &urls);
    // A service that is back is where it was.
    let at = orders.address();
    let totals = async |analytics: &Program| {
        let summary = raw::get(analytics.address(), "/api/analytics/summary").await;
        let summary = summary.expect("an answer").expect(200);
        ["users", "products", "orders", "notifications"]
            .map(|name| summary[format!("total_{name}")].as_u64().expect("a number"))
    };
    let buy = async || place(at, 1, 2, &[]).await.expect("an answer");
    for (name, program) in [("user-service", &users), ("product-service", &products)] {
        stock_up(name, program.address()).await.expect(name);
    }
    assert_eq!(buy().await.expect(201)["notification"], "sent");
    assert_eq!(totals(&analytics).await, [1, 1, 1, 1]);

    block_in_place(|| notifications.come_back());
    let order = raw::get(at, "/api/orders/1").await.expect("an answer");
    assert_eq!(order.expect(200)["notification"], "sent", "it was");
    assert_eq!(totals(&analytics).await, [1, 1, 1, 0]);

    block_in_place(|| users.come_back());
    let sentence = buy().await.expect_error(400, "validation_failed");
    assert!(sentence.contains("User not found"), "{sentence}");
    assert_eq!(stock(products.address(), 1).await, Ok(STOCK - 2));
    let again = stock_up("user-service", users.address()).await;
    again.expect("the same user");
    assert_eq!(buy().await.expect(201)["id"], "2");
    assert_eq!(totals(&analytics).await, [1, 1, 2, 1]);

    block_in_place(|| products.come_back());
    let sentence = buy().await.expect_error(400, "validation_failed");
    assert!(sentence.contains("Product not found"), "{sentence}");
    let again = stock_up("product-service", products.address()).await;
    again.expect("another product of the same id");
    // Nobody can tell that it is another one.
    let cancelled = raw::post(at, "/api/orders/1/cancel", &[], &json!({})).await;
    cancelled.expect("an answer").expect(200);
    assert_eq!(stock(products.address(), 1).await, Ok(STOCK + 2));

    block_in_place(|| orders.come_back());
    assert_eq!(totals(&analytics).await, [1, 1, 0, 1]);
    assert_eq!(
        stock(products.address(), 1).await,
        Ok(STOCK + 2),
        "as it was"
    );
    assert_eq!(buy().await.expect(201)["id"], "1", "another first one");

    block_in_place(|| analytics.come_back());
    assert_eq!(totals(&analytics).await, [1, 1, 1, 2], "asked afresh");
    let history = all(analytics.address(), "/api/analytics/history").await;
    assert_eq!(history, Ok(Vec::new()), "only what it has seen itself");
}

// Switched off.

/// Ten orders, one after the other, while one that order-service calls hangs: how
/// long each took, and how many calls reached the one that hangs.
async fn ten_orders_while_it_hangs(
    hung: &str,
    resilience: &str,
    expected: u16,
) -> (Vec<Duration>, usize) {
    let fake = Fake::start(|_| std::future::pending()).await;
    let mut real = Vec::new();
    let mut urls = Vec::new();
    for variable in neighbours("order-service") {
        let name = found_by(variable);
        let program = block_in_place(|| Program::start(name, &[]));
        stock_up(name, program.address()).await.expect(name);
        let url = if name == hung {
            fake.url().as_str().to_owned()
        } else {
            program.url()
        };
        urls.push((*variable, url));
        real.push(program);
    }
    let urls = urls.iter().map(|(variable, url)| (*variable, url.as_str()));
    // Those that do not hang are to be in time on any machine.
    let timeout = if hung == "product-service" {
        "500"
    } else {
        "2000"
    };
    let settings = [
        ("RESILIENCE", resilience),
        ("CALL_TIMEOUT_MS", timeout),
        ("NOTIFY_TIMEOUT_MS", "500"),
        // Once open, it stays so.
        ("CIRCUIT_OPEN_MS", "600000"),
    ];
    let variables: Vec<_> = urls.chain(settings).collect();
    let orders = block_in_place(|| Program::start("order-service", &variables));
    let mut took = Vec::new();
    for _ in 0..10 {
        let asked = Instant::now();
        let got = place(orders.address(), 1, 1, &[]).await.expect("an answer");
        took.push(asked.elapsed());
        assert_eq!(got.status, expected, "{hung} hangs: {got:?}");
    }
    (took, fake.seen().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_resilience_off_every_order_waits_for_one_that_hangs() {
    let cases = [("product-service", 503), ("notification-service", 201)];
    join_all(cases.map(async |(hung, status)| {
        let ((off, off_calls), (on, on_calls)) = tokio::join!(
            ten_orders_while_it_hangs(hung, "off", status),
            ten_orders_while_it_hangs(hung, "on", status)
        );
        let waited = |took: &&Duration| **took >= Duration::from_millis(500);
        assert_eq!(off.iter().filter(waited).count(), 10, "{hung}: {off:?}");
        assert!(on.iter().filter(waited).count() < 10, "{hung}: {on:?}");
        // On a busy machine a call may end before it has begun.
        assert!(off_calls > 5, "{hung}: each asks it, {off_calls} in all");
        assert!(
            on_calls <= 5,
            "{hung}: left alone, it is asked {on_calls} times"
        );
    }))
    .await;
}

/// One user, one product, one notification; no order.
async fn stock_up(service: &str, address: SocketAddr) -> Result<(), String> {
    let (path, body) = match service {
        "user-service" => (
            "/api/users",
            json!({"name": "Ada", "email": "ada@example.com"}),
        ),
        "product-service" => (
            "/api/products",
            json!({"name": "Kettle", "price": 1, "stock": STOCK}),
        ),
        "notification-service" => (
            "/api/notifications/send",
            json!({"userId": "1", "message": "Welcome"}),
        ),
        _ => return Ok(()),
    };
    let got = raw::post(address, path, &[], &body).await?;
    good(got.status == 201, format!("{service}: {got:?}"))
}

async fn count(address: SocketAddr, list: &str, expected: usize) -> Result<(), String> {
    let there = all(address, list).await?.len();
    good(
        there == expected,
        format!("{there} in {list}, not {expected}"),
    )
}
