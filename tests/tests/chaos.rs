//! Thousands of orders while the services die, hang and come back at random.
//!
//! What must hold: for every product, what is in stock and what was sold in
//! orders that are confirmed come to what there was. That is said of a shelf that
//! lives: product-service keeps its products in memory, and is given new ones when
//! it is back. Their price is another one, and tells which shelf an order is from.
//! order-service takes the orders with it when it dies; then what is missing is at
//! least what clients know to be sold, and at most that and what they were never
//! told of.
//!
//! What happens is drawn from a seed, which a failure tells. It is tried again by
//! `CHAOS_SEED=… cargo test --test chaos`, as far as the clock plays along.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chassis::testkit::Got;
use fastrand::Rng;
use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use shop_tests::PATIENCE;
use shop_tests::ask::{all, place, stock};
use shop_tests::faults::good;
use shop_tests::program::Program;
use shop_tests::raw;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

const CLIENTS: usize = 64;
const PRODUCTS: u32 = 8;

/// A stock change is in doubt only after it, where product-service does not die.
const CALL_TIMEOUT: Duration = Duration::from_millis(300);

/// How calls are made here: as always, but sooner given up.
const QUICKLY: [(&str, &str); 3] = [
    ("DEADLINE_MS", "1000"),
    ("CALL_TIMEOUT_MS", "300"),
    ("CIRCUIT_OPEN_MS", "200"),
];

/// How long a client waits for an answer before it asks again.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long it goes on asking.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

/// What happens while orders are placed. Each of the four hangs now and then.
#[derive(Clone, Copy)]
struct Plan {
    orders: u32,
    /// How much there is of each product at first: hardly enough for all orders.
    stock: u64,
    /// Who dies as well, and comes back.
    dies: &'static [&'static str],
    /// Whether clients cancel some of their orders.
    cancels: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_stock_and_what_is_sold_come_to_what_there_was() {
    chaos(Plan {
        orders: 2000,
        stock: 600,
        dies: &["user-service", "product-service", "notification-service"],
        cancels: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_when_orders_are_cancelled() {
    // An order from a shelf that is gone would give its stock to the next one.
    chaos(Plan {
        orders: 1000,
        stock: 300,
        dies: &["user-service", "notification-service"],
        cancels: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_service_that_dies_takes_no_more_than_what_it_was_working_on() {
    chaos(Plan {
        orders: 1000,
        stock: 300,
        dies: &["user-service", "order-service", "notification-service"],
        cancels: false,
    })
    .await;
}

async fn chaos(plan: Plan) {
    let seed = std::env::var("CHAOS_SEED");
    let seed = seed.map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("CHAOS_SEED is a whole number"),
    );
    if let Err(fault) = chaos_from(plan, seed).await {
        panic!("CHAOS_SEED={seed}: {fault}");
    }
}

async fn chaos_from(plan: Plan, seed: u64) -> Result<(), String> {
    let (mut rng, began) = (Rng::with_seed(seed), Instant::now());
    let needed = ["user-service", "product-service", "notification-service"];
    let needed = needed.map(|name| Program::start_to_come_back(name, &[]));
    let urls = needed.each_ref().map(Program::url);
    let names = [
        "USER_SERVICE_URL",
        "PRODUCT_SERVICE_URL",
        "NOTIFICATION_SERVICE_URL",
    ];
    let urls = names.into_iter().zip(urls.iter().map(String::as_str));
    let variables: Vec<_> = QUICKLY.into_iter().chain(urls).collect();
    let orders = Program::start("order-service", &variables);
    let addresses = needed.each_ref().map(Program::address);
    let shop = Shop {
        plan,
        life: Mutex::new((0, orders.address())),
        shelf: AtomicU32::new(0),
        is_over: AtomicBool::new(false),
        deaths: AtomicUsize::new(0),
        hangs: AtomicUsize::new(0),
        book: Mutex::default(),
    };
    let [users, products, notifications] = needed;
    shop.stock_up("user-service", users.address()).await?;
    shop.stock_up("product-service", products.address()).await?;

    let next = AtomicU32::new(0);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| shop.client(&next, rng.fork()))
        .collect();
    let clients = async {
        let done = try_join_all(clients).await;
        shop.is_over.store(true, Ordering::SeqCst);
        done
    };
    let torments = [
        ("user-service", users),
        ("product-service", products),
        ("notification-service", notifications),
        ("order-service", orders),
    ];
    let torments =
        torments.map(|(name, program)| shop.torment(name, program, rng.fork(), &variables));
    let (done, tormented) = tokio::join!(clients, join_all(torments));
    done?;
    let mut programs = Vec::new();
    for program in tormented {
        programs.push(program?);
    }

    // What is in doubt is being found out.
    let [_, products, notifications] = addresses;
    let deadline = Instant::now() + PATIENCE;
    while let Err(fault) = shop.agrees(products, notifications).await {
        good(Instant::now() < deadline, fault)?;
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_millis(300)).await;
    let told = shop.agrees(products, notifications).await?;
    for program in &programs {
        while let Some(line) = program.line(Duration::ZERO) {
            good(!line.contains("by hand"), line.clone())?;
        }
    }
    let (deaths, hangs) = (
        shop.deaths.load(Ordering::SeqCst),
        shop.hangs.load(Ordering::SeqCst),
    );
    good(deaths > 0 && hangs > 0, "nothing happened")?;
    let took = began.elapsed().as_secs();
    println!("CHAOS_SEED={seed}: {deaths} deaths, {hangs} times one hung, {took} s; {told}");
    Ok(())
}

/// The shop, as its clients see it.
struct Shop {
    plan: Plan,
    /// Which order-service there is, and where: each has a port of its own, so
    /// that it is known which one was asked.
    life: Mutex<(usize, SocketAddr)>,
    /// Which products there are, by their price.
    shelf: AtomicU32,
    is_over: AtomicBool,
    deaths: AtomicUsize,
    hangs: AtomicUsize,
    book: Mutex<Book>,
}

/// What clients know.
#[derive(Default)]
struct Book {
    /// The orders that they were told of, by the life of order-service and the id.
    placed: BTreeMap<(usize, String), Sold>,
    /// Pieces that were asked for without a clear answer, by the life of
    /// order-service and the product.
    doubtful: BTreeMap<(usize, u32), u64>,
    refused: u32,
    asked: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sold {
    product: u32,
    quantity: u32,
    is_cancelled: bool,
}

impl Shop {
    fn order_service(&self) -> (usize, SocketAddr) {
        *self.life.lock().expect("no panic")
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("no panic")
    }

    /// What a service that has forgotten all is given.
    async fn stock_up(&self, name: &str, address: SocketAddr) -> Result<(), String> {
        let (path, body, times) = match name {
            "user-service" => {
                let ada = json!({"name": "Ada", "email": "ada@example.com"});
                ("/api/users", ada, 1)
            }
            "product-service" => {
                let price = self.shelf.fetch_add(1, Ordering::SeqCst) + 1;
                let kettle = json!({"name": "Kettle", "price": price, "stock": self.plan.stock});
                ("/api/products", kettle, PRODUCTS)
            }
            _ => return Ok(()),
        };
        for _ in 0..times {
            let got = raw::post(address, path, &[], &body).await?;
            good(got.status == 201, format!("{name}: {got:?}"))?;
        }
        Ok(())
    }

    /// Lets a service hang, and die if it is to, until all clients are served.
    async fn torment(
        &self,
        name: &str,
        mut program: Program,
        mut rng: Rng,
        variables: &[(&str, &str)],
    ) -> Result<Program, String> {
        let mut pause = async |from, to| sleep(Duration::from_millis(rng.u64(from..to))).await;
        let mut to_die = false;
        while !self.is_over.load(Ordering::SeqCst) {
            pause(300, 2500).await;
            // In turns: both are to happen in any case.
            to_die = !to_die && self.plan.dies.contains(&name);
            if !to_die {
                block_in_place(|| program.signal("STOP"));
                pause(50, 600).await;
                block_in_place(|| program.signal("CONT"));
                self.hangs.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            block_in_place(|| program.kill());
            self.deaths.fetch_add(1, Ordering::SeqCst);
            pause(0, 300).await;
            if name == "order-service" {
                program = block_in_place(|| Program::start(name, variables));
                let mut life = self.life.lock().expect("no panic");
                *life = (life.0 + 1, program.address());
            } else {
                block_in_place(|| program.come_back());
                self.stock_up(name, program.address()).await?;
            }
        }
        Ok(program)
    }

    /// Places one order after the other, until there are enough.
    async fn client(&self, next: &AtomicU32, mut rng: Rng) -> Result<(), String> {
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= self.plan.orders {
                return Ok(());
            }
            let (product, quantity) = (rng.u32(1..=PRODUCTS), rng.u32(1..=4));
            let placed = self.order(number, product, quantity, &mut rng).await;
            let placed = placed.map_err(|fault| format!("order {number}: {fault}"))?;
            if let Some(id) = placed
                && self.plan.cancels
                && rng.u8(0..3) == 0
            {
                self.cancel(&id, &mut rng).await?;
            }
            sleep(Duration::from_millis(rng.u64(0..200))).await;
        }
    }

    /// Asks for an order until the answer is clear; returns the id if it is placed.
    async fn order(
        &self,
        number: u32,
        product: u32,
        quantity: u32,
        rng: &mut Rng,
    ) -> Result<Option<String>, String> {
        let key = format!("order-{number}");
        let headers = [("idempotency-key", key.as_str())];
        let deadline = Instant::now() + CLIENT_PATIENCE;
        loop {
            let (life, address) = self.order_service();
            let began = Instant::now();
            let asked = timeout(CLIENT_TIMEOUT, place(address, product, quantity, &headers)).await;
            let asked = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            let mut book = self.book();
            book.asked += 1;
            let may_have_taken = match &asked {
                Ok(got) => match clear(got)? {
                    Clear::Placed => {
                        let id = got.json()["id"].as_str().expect("an id").to_owned();
                        let sold = Sold {
                            product,
                            quantity,
                            is_cancelled: false,
                        };
                        let known = book.placed.insert((life, id.clone()), sold);
                        good(known.is_none(), format!("{id} is another client's, too"))?;
                        return Ok(Some(id));
                    }
                    Clear::Refused => {
                        book.refused += 1;
                        return Ok(None);
                    }
                    Clear::NotYet => String::from_utf8_lossy(&got.body).contains("product-service"),
                },
                Err(fault) => !fault.starts_with("no connection"),
            };
            if may_have_taken {
                *book.doubtful.entry((life, product)).or_default() += u64::from(quantity);
            }
            drop(book);
            good(Instant::now() < deadline, format!("still {asked:?}"))?;
            sleep(Duration::from_millis(rng.u64(20..300))).await;
        }
    }

    /// Asks until an order is cancelled.
    async fn cancel(&self, id: &str, rng: &mut Rng) -> Result<(), String> {
        let (life, address) = self.order_service();
        let deadline = Instant::now() + CLIENT_PATIENCE;
        let (order, cancel) = (
            format!("/api/orders/{id}"),
            format!("/api/orders/{id}/cancel"),
        );
        loop {
            let nothing = json!({});
            let asked = timeout(CLIENT_TIMEOUT, raw::post(address, &cancel, &[], &nothing)).await;
            let looked = timeout(CLIENT_TIMEOUT, raw::get(address, &order)).await;
            if let Ok(Ok(got)) = looked
                && got.json()["status"] == "cancelled"
            {
                let mut book = self.book();
                let sold = book.placed.get_mut(&(life, id.to_owned()));
                sold.expect("it was placed").is_cancelled = true;
                return Ok(());
            }
            good(
                Instant::now() < deadline,
                format!("{id} is not cancelled: {asked:?}"),
            )?;
            sleep(Duration::from_millis(rng.u64(20..300))).await;
        }
    }

    /// Whether what there is agrees with what clients know, and what that is.
    async fn agrees(
        &self,
        products: SocketAddr,
        notifications: SocketAddr,
    ) -> Result<String, String> {
        let (life, address) = self.order_service();
        let orders = all(address, "/api/orders").await?;
        let listed: BTreeMap<_, _> = orders
            .iter()
            .map(|order| ((life, text(order, "id")), sold(order)))
            .collect();
        let book = self.book();
        let known = book.placed.range((life, String::new())..);
        let known: BTreeMap<_, _> = known.map(|(id, sold)| (id.clone(), *sold)).collect();
        drop(book);
        good(
            listed == known,
            format!(
                "there are {} orders, and clients know of {}",
                listed.len(),
                known.len()
            ),
        )?;

        let (shelf, there_were) = (self.shelf.load(Ordering::SeqCst), self.plan.stock);
        let mut lost = 0;
        let mut doubtful = 0;
        for product in 1..=PRODUCTS {
            let left = stock(products, product).await?;
            let of_it = orders.iter().filter(|order| {
                order["unitPrice"] == shelf
                    && text(order, "productId") == product.to_string()
                    && order["status"] == "confirmed"
            });
            let confirmed: u64 = of_it
                .map(|order| order["quantity"].as_u64().expect("a number"))
                .sum();
            let book = self.book();
            let dead = book
                .placed
                .range(..(life, String::new()))
                .map(|(_, sold)| sold);
            let sold: u64 = dead
                .filter(|sold| sold.product == product)
                .map(|sold| u64::from(sold.quantity))
                .sum();
            let doubts = book.doubtful.range(..(life, 0));
            let doubts: u64 = doubts
                .filter(|((_, of), _)| *of == product)
                .map(|(_, pieces)| pieces)
                .sum();
            drop(book);
            let there = left + confirmed + sold;
            good(
                there <= there_were && there_were <= there + doubts,
                format!(
                    "product {product}: {left} in stock, {confirmed} in confirmed orders, {sold} in orders that are gone, up to {doubts} in doubt; there were {there_were}"
                ),
            )?;
            lost += there_were - there;
            doubtful += doubts;
        }

        let messages = all(notifications, "/api/notifications").await?;
        let different: BTreeSet<_> = messages.iter().map(|one| text(one, "message")).collect();
        // Ids begin anew with each order-service.
        good(
            life > 0 || different.len() == messages.len(),
            "one was told twice of an order",
        )?;

        let stats = raw::get(address, "/api/orders/stats").await?.expect(200);
        let cancelled = listed.values().filter(|sold| sold.is_cancelled).count();
        good(
            stats["total"] == listed.len() && stats["cancelled"] == cancelled,
            format!("{stats}, and {cancelled} of {} are cancelled", listed.len()),
        )?;
        let book = self.book();
        let (placed, refused, asked) = (book.placed.len(), book.refused, book.asked);
        good(
            placed > self.plan.orders as usize / 2,
            format!("only {placed} orders were placed"),
        )?;
        Ok(format!(
            "{placed} orders placed and {refused} refused, asked for {asked} times, {cancelled} cancelled; {lost} pieces of up to {doubtful} in doubt are gone"
        ))
    }
}

/// What an answer means to a client.
enum Clear {
    Placed,
    Refused,
    NotYet,
}

fn clear(got: &Got) -> Result<Clear, String> {
    let code = got.json()["code"].as_str().unwrap_or_default().to_owned();
    match (got.status, code.as_str()) {
        (201, _) => Ok(Clear::Placed),
        // Nobody has stocked up yet.
        (400, "validation_failed") | (409, "insufficient_stock") => Ok(Clear::Refused),
        // An earlier try is still under way.
        (503, "dependency_unavailable") | (409, "conflict") => Ok(Clear::NotYet),
        _ => Err(format!("{got:?}")),
    }
}

fn sold(order: &Value) -> Sold {
    Sold {
        product: text(order, "productId").parse().expect("a number"),
        quantity: order["quantity"]
            .as_u64()
            .and_then(|n| n.try_into().ok())
            .expect("a number"),
        is_cancelled: order["status"] == "cancelled",
    }
}

fn text(record: &Value, field: &str) -> String {
    record[field].as_str().expect("text").to_owned()
}
