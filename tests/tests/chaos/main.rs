//! Thousands of orders while the services die, hang and restart at random.
//!
//! The invariant: for every product, the stock and the quantities of confirmed orders add up to the
//! initial stock. It holds exactly while product-service and order-service live, even if they hang.
//! They hold their records in memory, so when one of them dies,
//!
//! - order-service loses the orders: the missing stock is at least the quantity that clients know to
//!   be sold, and at most that plus the quantity of orders with an unknown outcome;
//! - product-service loses the products and gets new ones with the same ids. Each generation has a
//!   different price, which shows the generation of an order. Stock with an unknown outcome in one
//!   generation may be returned to the next.
//!
//! The events are random, from a seed that a failure prints. Repeat a run with
//! `CHAOS_SEED=… cargo test --test chaos`; its timing may differ.

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

/// The most times that each of the four hangs or dies, so that clients make progress on a slow
/// machine.
const FAILURES: u32 = 8;

/// A call that failed sooner has a known outcome, or one of a product-service that is dead.
const CALL_TIMEOUT: Duration = Duration::from_millis(300);

/// The settings for calls: the defaults with shorter time-outs.
const SHORT_TIMEOUTS: [(&str, &str); 3] = [
    ("DEADLINE_MS", "1000"),
    ("CALL_TIMEOUT_MS", "300"),
    ("CIRCUIT_OPEN_MS", "200"),
];

/// How long a client waits for an answer before it retries.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a client retries.
const CLIENT_DEADLINE: Duration = Duration::from_mins(1);

/// The events while orders are placed. Each of the four hangs now and then.
#[derive(Clone, Copy)]
struct Plan {
    orders: u32,
    /// The initial stock of each product: not enough for all orders.
    stock: u64,
    /// The services that also die, and restart.
    dies: &'static [&'static str],
    /// Whether clients cancel some of their orders.
    cancels: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_and_sold_quantities_add_up_to_the_initial_stock() {
    chaos(Plan {
        orders: 2000,
        stock: 600,
        dies: &["user-service", "notification-service"],
        cancels: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_product_service_gets_back_at_most_the_stock_with_unknown_outcome() {
    chaos(Plan {
        orders: 600,
        stock: 180,
        dies: &["user-service", "product-service", "notification-service"],
        // Cancelling an order of an earlier generation would return its stock to the current one.
        cancels: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_service_that_dies_loses_at_most_the_stock_with_unknown_outcome() {
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
    let variables: Vec<_> = SHORT_TIMEOUTS.into_iter().chain(urls).collect();
    let orders = Program::start("order-service", &variables);
    let shop = Arc::new(Shop::at(plan, orders.address()));
    programs.push(orders);
    shop.stock_up("user-service", users).await?;
    shop.stock_up("product-service", products).await?;

    let torments: Vec<_> = programs
        .into_iter()
        .map(|program| tokio::spawn(Arc::clone(&shop).fail_at_random(program, rng.fork())))
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
    println!("CHAOS_SEED={seed}: {deaths} deaths, {hangs} hangs, {took} s; {told}");
    Ok(())
}

/// The shop, as its clients see it.
struct Shop {
    plan: Plan,
    /// The number of orders that clients have begun to place.
    begun: AtomicU32,
    /// The number and address of the current order-service. Each has its own port, so that
    /// clients know which one they asked.
    life: Mutex<(usize, SocketAddr)>,
    /// The current generation of products, which is their price.
    generation: AtomicU32,
    is_over: AtomicBool,
    deaths: AtomicU32,
    hangs: AtomicU32,
    book: Mutex<Book>,
}

/// The knowledge of the clients.
#[derive(Default)]
struct Book {
    /// The placed orders, by the life of order-service and the id.
    placed: BTreeMap<(usize, String), Sold>,
    /// The attempts with an unknown outcome.
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
    /// The generation at the time of the request.
    generation: u32,
    wanted: Sold,
}

/// The meaning of an answer for a client.
enum Clear {
    Placed(String),
    Refused,
    NotYet,
}

impl Book {
    /// Records the outcome of an attempt to order.
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
                    // No products yet, or none left.
                    (400, "validation_failed") | (409, "insufficient_stock") => {
                        self.refused += 1;
                        return Ok(Clear::Refused);
                    }
                    (503, "dependency_unavailable") => {
                        let sentence = text(&body, "error");
                        sentence.contains("product-service") && took >= CALL_TIMEOUT
                    }
                    // order-service is at its limit of calls and has sent none, or an
                    // earlier attempt is in progress and already recorded.
                    (503, "overloaded") => false,
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

    /// The quantity of a product sold in earlier lives of order-service.
    fn sold_before(&self, life: usize, product: u32) -> u64 {
        let placed = self.placed.iter().filter(|((of, _), _)| *of < life);
        let sold = placed.filter(|(_, sold)| sold.product == product);
        sold.map(|(_, sold)| u64::from(sold.quantity)).sum()
    }

    /// The quantity of a product that may have been taken.
    fn in_doubt(&self, product: u32, when: impl Fn(&Doubt) -> bool) -> u64 {
        let of_it = |doubt: &&Doubt| doubt.wanted.product == product && when(doubt);
        let doubtful = self.doubtful.iter().filter(of_it);
        doubtful.map(|doubt| u64::from(doubt.wanted.quantity)).sum()
    }
}

/// The data of an order.
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
