//! Failures: slow heads, services that hang, and recovery.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use bench::Failed;
use harness::process::signal;
use harness::raw::{Connection, State};
use tokio::time::sleep;

use crate::lab::{CONNECTIONS, Lab};
use crate::record::{Record, Show};
use crate::shop::{
    ANALYTICS, FRAMEWORKS, NAMES, NOTIFICATION, ONE_PIECE, ORDER, PRODUCT, Place, Shop, USER,
};

/// The time-out of each measurement.
const TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) fn slow_heads(lab: &mut Lab) -> Result<(), Failed> {
    const WHOLE: &str = "GET /health HTTP/1.1\r\nHost: shop\r\n\r\n";
    const HALF: &str = "GET /health HTTP/1.1\r\nX-Slow: ";
    /// A column, the bytes sent at once, the bytes sent then, and whether more bytes follow.
    const CASES: [(&str, &str, &str, bool); 4] = [
        ("silent", "", "", false),
        ("half", "", HALF, false),
        ("drip", "", HALF, true),
        ("second head", WHOLE, HALF, false),
    ];
    let mut record = Record::open(
        lab,
        "Time until a slow head is cut off",
        "In seconds, on a connection that sends nothing, that sends half a head, a byte of it\n\
         each half second, and half of its second head. The limit is 10 s, HEAD_TIMEOUT_MS.",
    )?;
    let shop = Shop::open(lab, "shop")?;
    lab.progress.show("slow heads", "all at once");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut waits = Vec::new();
    for (place, framework) in FRAMEWORKS.iter().enumerate() {
        for (case, before, head, drips) in CASES {
            let address = shop.address(place);
            let wait = runtime.spawn(until_cut_off(address, before, head, drips));
            waits.push((framework, case, wait));
        }
    }
    for (framework, case, wait) in waits {
        let waited = runtime.block_on(wait)?;
        let waited = waited.map_err(|error| format!("{framework}, {case}: {error}"))?;
        record.add(framework, case, waited.as_secs_f64())?;
    }
    let columns = CASES.map(|(case, ..)| (case, Show::Median));
    record.print(lab, "framework", &columns)
}

/// Sends some bytes, then others, and waits until the other side has closed.
async fn until_cut_off(
    address: SocketAddr,
    before: &str,
    head: &str,
    drips: bool,
) -> std::io::Result<Duration> {
    let mut connection = Connection::connect(address).await?;
    connection.send(before.as_bytes()).await?;
    if !before.is_empty() {
        // Not together: what comes along with a request is not waited for yet.
        sleep(Duration::from_millis(100)).await;
    }
    let began = Instant::now();
    connection.send(head.as_bytes()).await?;
    let state = if drips {
        let pause = Duration::from_millis(500);
        connection.drip(b"", pause, TIMEOUT).await
    } else {
        connection.until_closed(TIMEOUT).await
    };
    match state {
        State::Open => Err(std::io::Error::other(format!("open for {TIMEOUT:?}"))),
        State::Closed | State::Reset => Ok(began.elapsed()),
    }
}

/// Whether the circuit from the service at `caller` to the one at `place` is open.
fn circuit_is_open(shop: &Shop, caller: Place, place: Place) -> bool {
    let dependency = format!("dependency=\"{}\"", NAMES[place]);
    shop.text(caller, "/metrics").lines().any(|line| {
        line.starts_with("upstream_circuit_state{")
            && line.contains(&dependency)
            && line.contains("state=\"open\"")
            && line.ends_with(" 1")
    })
}

pub(crate) fn hung(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "Orders while a service hangs",
        "It is stopped with SIGSTOP, each time in a new shop, with RESILIENCE=on and off in\n\
         turns. Latency in milliseconds of orders one after the other, and orders per second\n\
         are answered at 32 connections. Without product-service an answer is a 503; without\n\
         notification-service it is an order.",
    )?;
    for round in 1..=lab.plan.rounds {
        for place in [NOTIFICATION, PRODUCT] {
            for resilience in ["on", "off"] {
                let what = format!("RESILIENCE={resilience}, round {round}");
                lab.progress.show(&what, NAMES[place]);
                hang(lab, &mut record, place, resilience)?;
            }
        }
    }
    let columns = [
        ("p50", Show::Median),
        ("p99", Show::Median),
        ("answers/s", Show::Median),
    ];
    record.print(lab, "hanging service", &columns)
}

fn hang(
    lab: &Lab,
    record: &mut Record,
    place: Place,
    resilience: &'static str,
) -> Result<(), Failed> {
    let shop = match resilience {
        "off" => Shop::start(lab, "shop", &[("RESILIENCE", "off")])?,
        _ => Shop::open(lab, "shop")?,
    };
    shop.stock()?;
    let name = NAMES[place].trim_end_matches("-service");
    if resilience == "off" {
        signal(shop.process(place), "STOP")?;
        return load_during_outage(lab, record, &shop, &format!("{name}: RESILIENCE=off"));
    }
    load_during_outage(lab, record, &shop, &format!("{name}: nothing yet"))?;
    // Requests that wrk left in flight would reach a service that hangs.
    thread::sleep(Duration::from_millis(500));
    signal(shop.process(place), "STOP")?;
    let deadline = Instant::now() + TIMEOUT;
    let row = format!("{name}: until its circuit opens");
    while !circuit_is_open(&shop, ORDER, place) {
        if Instant::now() > deadline {
            return Err(format!("no circuit opened while {name} hung").into());
        }
        let began = Instant::now();
        shop.try_post(ORDER, "/api/orders", ONE_PIECE);
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        record.add(&row, "p50", milliseconds)?;
    }
    load_during_outage(
        lab,
        record,
        &shop,
        &format!("{name}: once its circuit is open"),
    )
}

/// Orders on one connection and on many, which may fail.
fn load_during_outage(
    lab: &Lab,
    record: &mut Record,
    shop: &Shop,
    row: &str,
) -> Result<(), Failed> {
    let one = lab.load(&shop.orders(), 1)?;
    let many = lab.load(&shop.orders(), CONNECTIONS)?;
    record.add(row, "p50", one.p50_ms)?;
    record.add(row, "p99", one.p99_ms)?;
    record.add(row, "answers/s", many.rate())?;
    shop.empty_log()
}

/// A caller, and the upstream that fails and returns.
type Edge = (Place, Place);

const EDGES: [Edge; 8] = [
    (ORDER, USER),
    (ORDER, PRODUCT),
    (ORDER, NOTIFICATION),
    (PRODUCT, USER),
    (ANALYTICS, USER),
    (ANALYTICS, PRODUCT),
    (ANALYTICS, ORDER),
    (ANALYTICS, NOTIFICATION),
];

/// How an upstream fails.
const WAYS: [(&str, &str); 2] = [("STOP", "after it hung"), ("KILL", "after it was killed")];

pub(crate) fn recovery(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "Time to recover",
        "In seconds, from the return of an upstream to the first good answer of its\n\
         caller, while one client goes on asking. It had hung (SIGSTOP, SIGCONT), or had been\n\
         killed and started again. A circuit stays open for 5 s, the default.",
    )?;
    lab.progress.show("recovery", "all callers concurrently");
    let rounds = lab.plan.rounds;
    let mut recoveries = Vec::new();
    for (caller, place) in EDGES {
        let name = format!("shop-{caller}-{place}");
        let mut shop = Shop::stocked(lab, &name)?;
        let recovery = move || -> Result<Vec<_>, String> {
            let mut took = Vec::new();
            for _ in 0..rounds {
                for (how, column) in WAYS {
                    let one = recover(&mut shop, (caller, place), how);
                    let one = one.map_err(|error| error.to_string())?;
                    took.push((column, one.as_secs_f64()));
                }
            }
            Ok(took)
        };
        recoveries.push((caller, place, thread::spawn(recovery)));
    }
    for (caller, place, recovery) in recoveries {
        let short = |place: Place| NAMES[place].trim_end_matches("-service");
        let row = format!("{} for {}", short(caller), short(place));
        let took = recovery.join().map_err(|_| "a recovery panicked")?;
        for (column, seconds) in took.map_err(|error| format!("{row}: {error}"))? {
            record.add(&row, column, seconds)?;
        }
    }
    let columns = WAYS.map(|(_, column)| (column, Show::Spread));
    record.print(lab, "caller", &columns)
}

fn recover(shop: &mut Shop, (caller, place): Edge, how: &str) -> Result<Duration, Failed> {
    signal(shop.process(place), how)?;
    let deadline = Instant::now() + TIMEOUT;
    while !circuit_is_open(shop, caller, place) {
        has_recovered(shop, caller, place);
        if Instant::now() > deadline {
            return Err("the circuit did not open".into());
        }
    }
    // The upstream returns at a random moment while the circuit is open.
    let over = Instant::now() + Duration::from_millis(fastrand::u64(1000..6000));
    while Instant::now() < over {
        has_recovered(shop, caller, place);
        thread::sleep(Duration::from_millis(fastrand::u64(0..90)));
    }
    if how == "STOP" {
        signal(shop.process(place), "CONT")?;
    } else {
        shop.restart(place)?;
    }
    let back = Instant::now();
    while !has_recovered(shop, caller, place) {
        if back.elapsed() > TIMEOUT {
            return Err("the caller did not recover".into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(back.elapsed())
}

/// Whether the service at `caller` answers a request that needs the one at `place`.
fn has_recovered(shop: &Shop, caller: Place, place: Place) -> bool {
    match caller {
        ORDER => shop
            .try_post(ORDER, "/api/orders", ONE_PIECE)
            .contains(r#""notification":"sent""#),
        PRODUCT => shop
            .try_post(
                PRODUCT,
                "/api/products",
                r#"{"name":"Cup","price":1,"sellerId":"1"}"#,
            )
            .contains(r#""sellerId":"1""#),
        _ => {
            let up = format!(r#""name":"{}","status":"up""#, NAMES[place]);
            shop.text(ANALYTICS, "/api/analytics/summary").contains(&up)
        }
    }
}
