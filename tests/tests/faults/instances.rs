//! order-service with three instances of notification-service, of which one dies or hangs, or
//! each is restarted, while orders are placed. Sending a notification is a POST without a key, so
//! it is never repeated after it may have arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use harness::{TIMEOUT, raw};
use serde_json::json;
use shop_tests::program::Program;

/// More than ten times as long as an instance may be asked in vain.
const RECOVERY: Duration = Duration::from_secs(20);

/// A running order-service with what it needs.
struct OrderService {
    program: Program,
    _users: Program,
    _products: Program,
}

impl OrderService {
    /// Starts it with these instances of notification-service.
    async fn start(notifiers: &[Program]) -> Self {
        let users = Program::start("user-service", &[]);
        let users_url = users.url();
        let products = Program::start("product-service", &[("USER_SERVICE_URL", &users_url)]);
        let products_url = products.url();
        let notifiers: Vec<_> = notifiers.iter().map(Program::url).collect();
        let orders = Program::start(
            "order-service",
            &[
                ("USER_SERVICE_URL", &users_url),
                ("PRODUCT_SERVICE_URL", &products_url),
                ("NOTIFICATION_SERVICE_URL", &notifiers.join(",")),
                ("DEADLINE_MS", "20000"),
                ("CALL_TIMEOUT_MS", "20000"),
                ("NOTIFY_TIMEOUT_MS", "2000"),
            ],
        );
        let user = json!({"name": "Ada", "email": "ada@example.com"});
        let product = json!({"name": "Kettle", "price": 1, "stock": 1_000_000});
        for (program, path, body) in [
            (&users, "/api/users", user),
            (&products, "/api/products", product),
        ] {
            let got = raw::post(program.address(), path, &[], &body).await;
            got.expect("an answer").expect(201);
        }
        Self {
            program: orders,
            _users: users,
            _products: products,
        }
    }

    /// Places an order. Whether its user was notified.
    async fn notified(&self) -> bool {
        let order = json!({"userId": "1", "productId": "1", "quantity": 1});
        let got = raw::post(self.program.address(), "/api/orders", &[], &order).await;
        got.expect("an answer").expect(201)["notification"] == "sent"
    }

    /// Places so many orders, one after the other. How many users were not notified.
    async fn failures(&self, orders: u32) -> u32 {
        let mut failures = 0;
        for _ in 0..orders {
            failures += u32::from(!self.notified().await);
        }
        failures
    }
}

fn notifiers() -> Vec<Program> {
    let start = || Program::start_to_come_back("notification-service", &[]);
    (0..3).map(|_| start()).collect()
}

/// How many notifications an instance has.
async fn count(notifier: &Program) -> u64 {
    let got = raw::get(notifier.address(), "/api/notifications?limit=1").await;
    let count = got.expect("an answer").header("x-total-count").parse();
    count.expect("a number")
}

#[tokio::test]
async fn an_instance_that_is_killed_is_not_missed_and_gets_calls_when_it_is_back() {
    let mut notifiers = notifiers();
    let orders = OrderService::start(&notifiers).await;
    assert_eq!(orders.failures(30).await, 0);
    for notifier in &notifiers {
        assert!(count(notifier).await > 0, "calls are spread");
    }
    notifiers[0].kill();
    assert_eq!(orders.failures(30).await, 0, "the others are there");
    notifiers[0].come_back();
    let deadline = tokio::time::Instant::now() + RECOVERY;
    while count(&notifiers[0]).await == 0 {
        assert_eq!(orders.failures(1).await, 0);
        assert!(tokio::time::Instant::now() < deadline, "it gets no calls");
    }
}

#[tokio::test]
async fn an_instance_that_hangs_is_left_alone() {
    let notifiers = notifiers();
    let orders = OrderService::start(&notifiers).await;
    assert_eq!(orders.failures(10).await, 0);
    notifiers[0].signal("STOP");
    let failures = orders.failures(50).await;
    notifiers[0].signal("CONT");
    assert!(failures <= 3, "{failures} of 50 orders were sent to it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_is_not_noticed() {
    let notifiers = notifiers();
    let orders = Arc::new(OrderService::start(&notifiers).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let clients = (0..16).map(|_| {
        let (orders, is_over) = (Arc::clone(&orders), Arc::clone(&is_over));
        tokio::spawn(async move {
            let (mut placed, mut failures) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                failures += orders.failures(1).await;
                placed += 1;
            }
            (placed, failures)
        })
    });
    let clients: Vec<_> = clients.collect();
    let restarted = tokio::task::spawn_blocking(move || {
        let pause = || std::thread::sleep(Duration::from_millis(500));
        notifiers
            .into_iter()
            .fold(Vec::new(), |mut restarted, mut notifier| {
                pause();
                notifier.signal("TERM");
                assert_eq!(notifier.exited(TIMEOUT), Some(0));
                notifier.come_back();
                restarted.push(notifier);
                restarted
            })
    });
    let restarted = restarted.await.expect("all three came back");
    tokio::time::sleep(Duration::from_millis(500)).await;
    is_over.store(true, Ordering::Relaxed);
    let counts = join_all(clients).await;
    let counts = counts.into_iter().map(|count| count.expect("no panic"));
    let (placed, failures) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(placed > 100, "only {placed} orders");
    assert_eq!(failures, 0, "of {placed} orders");
    drop(restarted);
}
