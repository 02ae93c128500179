//! Thousands of orders while the services die, hang and come back at random.
//!
//! What must hold: for every product, what is in stock and what was sold in
//! orders that are confirmed come to what there was. That is so to the piece
//! while product-service and order-service live, however they hang. They keep all
//! that they know in memory, and when one of them dies,
//!
//! - order-service takes the orders with it: what is missing then is at least what
//!   clients know to be sold, and at most that and what they were never told of;
//! - product-service takes the products with it, and is given new ones, of the
//!   same ids. Their price is another one, and tells which shelf an order is from.
//!   What was in doubt on the shelf before may be given back to the new one.
//!
//! What happens is drawn from a seed, which a failure tells. It is tried again by
//! `CHAOS_SEED=… cargo test --test chaos`, as far as the clock plays along.

mod shop;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::testkit::Got;
use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::Value;
use shop_tests::faults::good;
use shop_tests::program::{Program, found_by, upstream_variables};

const CLIENTS: usize = 64;
const PRODUCTS: u32 = 8;

/// How often each of the four hangs or dies at most: on a slow machine the clients
/// are to be served all the same.
const TORMENTS: u32 = 8;

/// Whoever was told sooner that product-service does not answer is in no doubt, or
/// in one about a product-service that is dead.
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
const CLIENT_GIVES_UP: Duration = Duration::from_mins(1);

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
        dies: &["user-service", "notification-service"],
        cancels: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_service_that_is_back_is_given_no_more_than_what_was_in_doubt() {
    chaos(Plan {
        orders: 600,
        stock: 180,
        dies: &["user-service", "product-service", "notification-service"],
        // An order from a shelf that is gone would give its stock to the next.
        cancels: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_service_that_dies_takes_no_more_than_what_it_was_working_on() {
    chaos(Plan {
        orders: 600,
        stock: 180,
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
    let variables = upstream_variables("order-service").iter();
    let needed = variables.map(|variable| Program::start_to_come_back(found_by(variable), &[]));
    let mut programs: Vec<_> = needed.collect();
    let [users, products, notifications] = [0, 1, 2].map(|n: usize| programs[n].address());
    let urls: Vec<_> = programs.iter().map(Program::url).collect();
    let urls = upstream_variables("order-service")
        .iter()
        .copied()
        .zip(urls.iter().map(String::as_str));
    let variables: Vec<_> = QUICKLY.into_iter().chain(urls).collect();
    let orders = Program::start("order-service", &variables);
    let shop = Arc::new(Shop::at(plan, orders.address()));
    programs.push(orders);
    shop.stock_up("user-service", users).await?;
    shop.stock_up("product-service", products).await?;

    let torments: Vec<_> = programs
        .into_iter()
        .map(|program| tokio::spawn(Arc::clone(&shop).torment(program, rng.fork())))
        .collect();
    let clients = (0..CLIENTS).map(|_| tokio::spawn(Arc::clone(&shop).client(rng.fork())));
    let clients: Vec<_> = clients.collect();
    for client in join_all(clients).await {
        client.expect("no panic")?;
    }
    shop.is_over.store(true, Ordering::SeqCst);
    let mut programs = Vec::new();
    for torment in join_all(torments).await {
        programs.push(torment.expect("no panic")?);
    }

    let told = shop.agrees(&mut programs, products, notifications).await?;
    let ([deaths, hangs], took) = (shop.happened(), began.elapsed().as_secs());
    good(deaths > 0 && hangs > 0, "nothing happened")?;
    println!("CHAOS_SEED={seed}: {deaths} deaths, {hangs} times one hung, {took} s; {told}");
    Ok(())
}

/// The shop, as its clients see it.
struct Shop {
    plan: Plan,
    /// How many orders clients have begun to ask for.
    begun: AtomicU32,
    /// Which order-service there is, and where: each has a port of its own, so
    /// that it is known which one was asked.
    life: Mutex<(usize, SocketAddr)>,
    /// Which products there are, by their price.
    shelf: AtomicU32,
    is_over: AtomicBool,
    deaths: AtomicU32,
    hangs: AtomicU32,
    book: Mutex<Book>,
}

/// What clients know.
#[derive(Default)]
struct Book {
    /// The orders that they were told of, by the life of order-service and the id.
    placed: BTreeMap<(usize, String), Sold>,
    /// What was asked for without a clear answer.
    doubtful: Vec<Doubt>,
    refused: u32,
    asked: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sold {
    product: u32,
    quantity: u32,
    is_cancelled: bool,
}

/// Pieces that may have been taken, and when.
struct Doubt {
    life: usize,
    /// When it was asked for; it may have been found out later.
    shelf: u32,
    wanted: Sold,
}

/// What an answer means to a client.
enum Clear {
    Placed(String),
    Refused,
    NotYet,
}

impl Book {
    /// What became of a try to order.
    fn note(
        &mut self,
        tried: Doubt,
        asked: &Result<Got, String>,
        took: Duration,
    ) -> Result<Clear, String> {
        self.asked += 1;
        let may_have_taken = match asked {
            Ok(got) => {
                let body = got.json();
                match (got.status, body["code"].as_str().unwrap_or_default()) {
                    (201, _) => {
                        let id = text(&body, "id");
                        let known = self.placed.insert((tried.life, id.clone()), tried.wanted);
                        good(known.is_none(), format!("{id} is another client's, too"))?;
                        return Ok(Clear::Placed(id));
                    }
                    // Nobody has stocked up yet, or there is nothing left.
                    (400, "validation_failed") | (409, "insufficient_stock") => {
                        self.refused += 1;
                        return Ok(Clear::Refused);
                    }
                    (503, "dependency_unavailable") => {
                        let sentence = text(&body, "error");
                        sentence.contains("product-service") && took >= CALL_TIMEOUT
                    }
                    // An earlier try is still under way, and was noted.
                    (409, "conflict") => false,
                    _ => return Err(format!("{} {body}", got.status)),
                }
            }
            Err(fault) => !fault.starts_with("no connection"),
        };
        if may_have_taken {
            self.doubtful.push(tried);
        }
        Ok(Clear::NotYet)
    }

    /// The orders of a life of order-service.
    fn of(&self, life: usize) -> BTreeMap<String, Sold> {
        let placed = self.placed.iter().filter(|((of, _), _)| *of == life);
        placed.map(|((_, id), sold)| (id.clone(), *sold)).collect()
    }

    /// What was sold of a product in the lives of order-service before this one.
    fn sold_before(&self, life: usize, product: u32) -> u64 {
        let placed = self.placed.iter().filter(|((of, _), _)| *of < life);
        let sold = placed.filter(|(_, sold)| sold.product == product);
        sold.map(|(_, sold)| u64::from(sold.quantity)).sum()
    }

    /// What may have been taken of a product.
    fn in_doubt(&self, product: u32, when: impl Fn(&Doubt) -> bool) -> u64 {
        let of_it = |doubt: &&Doubt| doubt.wanted.product == product && when(doubt);
        let doubtful = self.doubtful.iter().filter(of_it);
        doubtful.map(|doubt| u64::from(doubt.wanted.quantity)).sum()
    }
}

/// What an order says of itself.
fn sold(order: &Value) -> Sold {
    let quantity = order["quantity"].as_u64().and_then(|n| n.try_into().ok());
    Sold {
        product: text(order, "productId").parse().expect("a number"),
        quantity: quantity.expect("a number"),
        is_cancelled: order["status"] == "cancelled",
    }
}

fn text(record: &Value, field: &str) -> String {
    record[field].as_str().expect("text").to_owned()
}
