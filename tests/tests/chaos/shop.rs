//! The shop under chaos: its clients, its failures, and the check of the invariant.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use fastrand::Rng;
use harness::{TIMEOUT, raw};
use serde_json::json;
use shop_tests::ask::{all, place, stock};
use shop_tests::faults::good;
use shop_tests::program::Program;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

use super::{
    Book, CLIENT_DEADLINE, CLIENT_TIMEOUT, Clear, Doubt, FAILURES, PRODUCTS, Plan, Shop, Sold,
    sold, text,
};

impl Shop {
    pub(super) fn at(plan: Plan, orders: SocketAddr) -> Self {
        Self {
            plan,
            begun: AtomicU32::new(0),
            life: Mutex::new((0, orders)),
            generation: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
            deaths: AtomicU32::new(0),
            hangs: AtomicU32::new(0),
            book: Mutex::default(),
        }
    }

    fn order_service(&self) -> (usize, SocketAddr) {
        *self.life.lock().expect("no panic")
    }

    /// The number of deaths and of hangs.
    pub(super) fn happened(&self) -> [u32; 2] {
        [&self.deaths, &self.hangs].map(|times| times.load(Ordering::SeqCst))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no panic")
    }

    /// Creates the records of a service that has lost them.
    pub(super) async fn stock_up(&self, name: &str, address: SocketAddr) -> Result<(), String> {
        let (path, body, times) = match name {
            "user-service" => {
                let ada = json!({"name": "Ada", "email": "ada@example.com"});
                ("/api/users", ada, 1)
            }
            "product-service" => {
                let price = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
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

    /// Makes a service hang, or die if the plan says so, while clients place orders.
    pub(super) async fn fail_at_random(
        self: Arc<Self>,
        mut program: Program,
        mut rng: Rng,
    ) -> Result<Program, String> {
        let name = program.name().to_owned();
        let mut pause = async |from, to| sleep(Duration::from_millis(rng.u64(from..to))).await;
        let mut to_die = false;
        for _ in 0..FAILURES {
            pause(300, 2500).await;
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            // In turns, so that both happen. The last generation is the one that is counted, and
            // it should see half of the orders.
            let is_last = name == "product-service"
                && self.begun.load(Ordering::SeqCst) > self.plan.orders / 2;
            to_die = !to_die && !is_last && self.plan.dies.contains(&name.as_str());
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
                block_in_place(|| program.come_back_elsewhere());
                let mut life = self.life.lock().expect("no panic");
                *life = (life.0 + 1, program.address());
            } else {
                block_in_place(|| program.come_back());
                self.stock_up(&name, program.address()).await?;
            }
        }
        Ok(program)
    }

    /// Places one order after the other, until there are enough, and at least one failure has
    /// happened: on a fast machine all orders could be placed before the first one.
    pub(super) async fn client(self: Arc<Self>, mut rng: Rng) -> Result<(), String> {
        let deadline = Instant::now() + CLIENT_DEADLINE;
        loop {
            let number = self.begun.fetch_add(1, Ordering::SeqCst);
            let happened = !self.happened().contains(&0) || Instant::now() > deadline;
            if number >= self.plan.orders && happened {
                return Ok(());
            }
            let wanted = Sold {
                product: rng.u32(1..=PRODUCTS),
                quantity: rng.u32(1..=4),
                is_cancelled: false,
            };
            let placed = self.order(number, wanted, &mut rng).await;
            let placed = placed.map_err(|fault| format!("order {number}: {fault}"))?;
            if let Some(id) = placed
                && self.plan.cancels
                && rng.u8(0..3) == 0
            {
                self.cancel(&id, &mut rng).await?;
            }
            sleep(Duration::from_millis(rng.u64(0..100))).await;
        }
    }

    /// Places an order, with retries until the outcome is clear. Returns the id if it is placed.
    async fn order(
        &self,
        number: u32,
        wanted: Sold,
        rng: &mut Rng,
    ) -> Result<Option<String>, String> {
        let key = format!("order-{number}");
        let headers = [("idempotency-key", key.as_str())];
        let deadline = Instant::now() + CLIENT_DEADLINE;
        loop {
            let (life, address) = self.order_service();
            let tried = Doubt {
                life,
                generation: self.generation.load(Ordering::SeqCst),
                wanted,
            };
            let began = Instant::now();
            let asking = place(address, wanted.product, wanted.quantity, &headers);
            let asked = timeout(CLIENT_TIMEOUT, asking).await;
            let asked = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            match self.book().note(tried, &asked, began.elapsed())? {
                Clear::Placed(id) => return Ok(Some(id)),
                Clear::Refused => return Ok(None),
                Clear::NotYet => {}
            }
            good(Instant::now() < deadline, format!("still {asked:?}"))?;
            sleep(Duration::from_millis(rng.u64(20..300))).await;
        }
    }

    /// Cancels an order, with retries.
    async fn cancel(&self, id: &str, rng: &mut Rng) -> Result<(), String> {
        let (life, address) = self.order_service();
        let deadline = Instant::now() + CLIENT_DEADLINE;
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

    /// Checks the stores against the knowledge of the clients. Returns a summary.
    pub(super) async fn agrees(
        &self,
        programs: &mut [Program],
        products: SocketAddr,
        notifications: SocketAddr,
    ) -> Result<String, String> {
        let (life, address) = self.order_service();
        let orders = all(address, "/api/orders").await?;
        let listed = orders.iter().map(|order| (text(order, "id"), sold(order)));
        let listed: BTreeMap<_, _> = listed.collect();
        let known = self.book().of(life);
        good(
            listed == known,
            format!("there are {listed:?}, and clients know of {known:?}"),
        )?;
        let cancelled = listed.values().filter(|sold| sold.is_cancelled).count();
        let stats = raw::get(address, "/api/orders/stats").await?.expect(200);
        good(
            stats["total"] == listed.len() && stats["cancelled"] == cancelled,
            format!("{cancelled} of {} are cancelled, not {stats}", listed.len()),
        )?;

        // Before it stops, order-service settles changes with an unknown outcome.
        let orders_ended = programs.iter_mut().find(|one| one.address() == address);
        let orders_ended = orders_ended.expect("it is one of them");
        orders_ended.signal("TERM");
        let ended = block_in_place(|| orders_ended.ended(TIMEOUT));
        good(ended.status == Some(0), format!("{ended:?}"))?;
        let given_up = ended.stdout.lines().find(|line| line.contains("by hand"));
        good(given_up.is_none(), format!("{given_up:?}"))?;

        let there_were = self.plan.stock;
        let price = self.generation.load(Ordering::SeqCst);
        let (mut lost, mut found) = ((0, 0), (0, 0));
        for product in 1..=PRODUCTS {
            let left = stock(products, product).await?;
            let of_it = orders.iter().filter(|order| {
                order["unitPrice"] == price
                    && order["status"] == "confirmed"
                    && sold(order).product == product
            });
            let confirmed: u64 = of_it.map(|order| u64::from(sold(order).quantity)).sum();
            let book = self.book();
            let gone = book.sold_before(life, product);
            let may_be_lost = book.in_doubt(product, |doubt| doubt.life < life);
            let may_be_found = book.in_doubt(product, |doubt| doubt.generation < price);
            drop(book);
            let there = left + confirmed + gone;
            good(
                there <= there_were + may_be_found && there_were <= there + may_be_lost,
                format!(
                    "product {product}: {left} in stock, {confirmed} in confirmed orders, {gone} in orders that are gone; there were {there_were}, of which up to {may_be_lost} may be lost, and up to {may_be_found} given back from before"
                ),
            )?;
            lost = (
                lost.0 + there_were.saturating_sub(there),
                lost.1 + may_be_lost,
            );
            found = (
                found.0 + there.saturating_sub(there_were),
                found.1 + may_be_found,
            );
        }

        let messages = all(notifications, "/api/notifications").await?;
        let different: BTreeSet<_> = messages.iter().map(|one| text(one, "message")).collect();
        // Each order-service starts with id 1.
        good(
            life > 0 || different.len() == messages.len(),
            "somebody was told twice of an order",
        )?;

        let book = self.book();
        let (placed, refused, asked) = (book.placed.len(), book.refused, book.asked);
        good(
            placed > self.plan.orders as usize / 2,
            format!("only {placed} orders were placed"),
        )?;
        Ok(format!(
            "{placed} orders placed and {refused} refused, asked for {asked} times, {cancelled} cancelled; {} pieces are lost, of {} in doubt, and {} were found, of {}",
            lost.0, lost.1, found.0, found.1
        ))
    }
}
