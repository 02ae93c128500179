//! The shop under load.

use bench::Failed;
use bench::measure::load::Load;
use bench::measure::server;
use bench::measure::table::thousands;

use crate::lab::{self, CONNECTIONS, Lab, cpu, number};
use crate::record::{Record, Show};
use crate::shop::{
    ANALYTICS, FRAMEWORKS, NAMES, NOTIFICATION, ORDER, PRODUCT, Place, Shop, USER, free_ports,
};

const ADA: &str = r#"{"name":"Ada Lovelace","email":"ada@example.com"}"#;

/// A user or an item, with an email that no other one has in any round.
fn another(round: usize) -> String {
    format!(r#"{{"name":"Ada Lovelace","email":"ada-{round}-#@example.com"}}"#)
}

/// A route of a service, and the similar route of the bare server.
struct Pair {
    name: &'static str,
    path: &'static str,
    bare: &'static str,
    /// A POST of this JSON; a GET if there is none.
    json: Option<&'static str>,
}

const HEALTH: Pair = Pair {
    name: "health",
    path: "/health",
    bare: "/health",
    json: None,
};

const fn read(name: &'static str, path: &'static str) -> Pair {
    let bare = "/items/1";
    Pair {
        name,
        path,
        bare,
        json: None,
    }
}

const fn create(name: &'static str, path: &'static str, json: &'static str) -> Pair {
    let bare = "/items";
    Pair {
        name,
        path,
        bare,
        json: Some(json),
    }
}

fn pairs(place: Place) -> Vec<Pair> {
    let user = r#"{"name":"Ada Lovelace","email":"ada-ROUND-#@example.com"}"#;
    let product = r#"{"name":"Desk lamp #","price":19.99,"stock":100}"#;
    let message =
        r#"{"userId":"1","message":"Your order # has been confirmed","type":"order_confirmation"}"#;
    match place {
        USER => vec![
            HEALTH,
            read("one", "/api/users/1"),
            create("create", "/api/users", user),
        ],
        PRODUCT => vec![
            HEALTH,
            read("one", "/api/products/1"),
            create("create", "/api/products", product),
        ],
        ORDER => vec![HEALTH, read("one", "/api/orders/1")],
        NOTIFICATION => vec![HEALTH, create("send", "/api/notifications/send", message)],
        _ => vec![HEALTH],
    }
}

pub(crate) fn throughput(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "Requests per second at 32 connections",
        "Beside the smallest server on the same framework, in interleaved rounds: medians, and\n\
         the ratios of each round. CPU is the processor time of a request as a multiple of the\n\
         smallest server's, for where wrk is what holds the rate up. A service writes a line\n\
         of JSON a request to a file. The smallest server has the threads of a service, but on\n\
         actix-web one for each core.",
    )?;
    let shop = Shop::stocked(lab, "shop")?;
    for place in 0..NAMES.len() {
        let bare = lab.bare(FRAMEWORKS[place])?;
        let post = lab.http.post(bare.url() + "/items").body(ADA);
        server::answered(post.header("content-type", "application/json"), 201)?;
        for pair in pairs(place).into_iter().rev().take(lab.plan.routes) {
            let service = NAMES[place].trim_end_matches("-service");
            let row = format!("{service}: {}", pair.name);
            let loads = |round: usize| {
                let (ours, bare) = (shop.url(place, pair.path), bare.url() + pair.bare);
                match pair.json {
                    Some(json) => (
                        Load::post(ours, &json.replace("ROUND", &round.to_string())),
                        Load::post(bare, &another(round)),
                    ),
                    None => (Load::get(ours), Load::get(bare)),
                }
            };
            let (ours, beside) = loads(0);
            lab.warm_up(&ours, CONNECTIONS)?;
            lab.warm_up(&beside, CONNECTIONS)?;
            for round in 1..=lab.plan.rounds {
                lab.progress.show(pair.path, NAMES[place]);
                let (ours, beside) = loads(round);
                let (loaded, used) = lab.load_on(&[shop.process(place)], &ours, CONNECTIONS)?;
                let (floor, by_floor) = lab.load_on(&[bare.process.id()], &beside, CONNECTIONS)?;
                record.check(&row, &loaded);
                record.check(&row, &floor);
                let each = |used, requests: u64| used / number(requests.max(1));
                let (used, by_floor) =
                    (each(used, loaded.requests), each(by_floor, floor.requests));
                for (column, number) in [
                    ("ours/s", loaded.rate()),
                    ("bare/s", floor.rate()),
                    ("ratio", loaded.rate() / floor.rate()),
                    ("CPU", used / by_floor),
                    ("µs, ours", used),
                    ("µs, bare", by_floor),
                ] {
                    record.add(&row, column, number)?;
                }
                shop.empty_log()?;
            }
        }
    }
    let columns = [
        ("ours/s", Show::Median),
        ("bare/s", Show::Median),
        ("ratio", Show::Spread),
        ("CPU", Show::Median),
    ];
    record.print(lab, "request", &columns)
}

pub(crate) fn orders(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "Orders at 32 connections",
        "POST /api/orders. Processor time is that of all five processes, including the kernel.",
    )?;
    let shop = Shop::stocked(lab, "shop")?;
    lab.warm_up(&shop.orders(), CONNECTIONS)?;
    let list = "/api/orders";
    for round in 1..=lab.plan.rounds {
        lab.progress.show("orders", &format!("round {round}"));
        let placed = shop.count(ORDER, list)?;
        let before: Result<Vec<f64>, _> = shop.processes().iter().map(|id| cpu(&[*id])).collect();
        let loaded = lab.load(&shop.orders(), CONNECTIONS)?;
        // Orders that wrk left in flight also use processor time.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let placed = number((shop.count(ORDER, list)? - placed).max(1));
        let mut all = 0.0;
        for (place, before) in before?.into_iter().enumerate() {
            let used = (cpu(&[shop.process(place)])? - before) / 1e3 / placed;
            let service = NAMES[place].trim_end_matches("-service");
            record.add(&format!("CPU ms, {service}"), "median", used)?;
            all += used;
        }
        for (row, number) in [
            ("CPU ms, all five", all),
            ("orders per second", loaded.rate()),
            ("p50, ms", loaded.p50_ms),
            ("p99, ms", loaded.p99_ms),
        ] {
            record.check(row, &loaded);
            record.add(row, "median", number)?;
        }
        shop.empty_log()?;
    }
    record.print(lab, "", &[("median", Show::Spread)])?;
    let sent = shop.count(NOTIFICATION, "/api/notifications")?;
    lab.tell(&format!(
        "\n{} orders, {} notifications.\n",
        thousands(number(shop.count(ORDER, list)?), 0),
        thousands(number(sent), 0)
    ))
}

/// Creates users until there are `wanted`.
fn seed_users(lab: &mut Lab, shop: &Shop, wanted: u64) -> Result<(), Failed> {
    for burst in 0..1000 {
        let there = shop.count(USER, "/api/users")?;
        if there >= wanted {
            return Ok(());
        }
        lab.progress.show("users", &format!("{there} of {wanted}"));
        let json = another(burst).replace("ada", "seed");
        let load = Load {
            // For the rest of its second, wrk sends requests that create no record.
            count: Some(wanted - there),
            ..Load::post(shop.url(USER, "/api/users"), &json)
        };
        lab.generator().wrk(&load, CONNECTIONS, 1)?;
        shop.empty_log()?;
    }
    Err(format!("{wanted} users were not created within 1,000 seconds").into())
}

pub(crate) fn pages(lab: &mut Lab) -> Result<(), Failed> {
    const FEW: u64 = 1000;
    let many = lab.plan.many_users;
    let mut record = Record::open(
        lab,
        &format!(
            "A page and the summary at 1,000 and at {} users",
            thousands(number(many), 0)
        ),
        "Two shops side by side, one connection, in turns: the median latency in\n\
         microseconds, and the ratio of each round.",
    )?;
    let (small, big) = (Shop::open(lab, "shop")?, Shop::open(lab, "big-shop")?);
    seed_users(lab, &small, FEW)?;
    seed_users(lab, &big, many)?;
    let page = |shop: &Shop, from: &str, users: u64| {
        let id = users / 2;
        Load::get(shop.url(USER, &format!("/api/users?limit=100&{from}={id}")))
    };
    let summary = |shop: &Shop| Load::get(shop.url(ANALYTICS, "/api/analytics/summary"));
    for (row, few, much) in [
        (
            "a page of 100, from the middle",
            page(&small, "after", FEW),
            page(&big, "after", many),
        ),
        (
            "the same page, from the newest",
            page(&small, "order=desc&before", FEW),
            page(&big, "order=desc&before", many),
        ),
        ("the summary", summary(&small), summary(&big)),
    ] {
        lab.warm_up(&few, 1)?;
        lab.warm_up(&much, 1)?;
        for round in 1..=lab.plan.rounds {
            lab.progress.show(row, &format!("round {round}"));
            let (few, much) = (lab.load(&few, 1)?, lab.load(&much, 1)?);
            record.check(row, &few);
            record.check(row, &much);
            record.add(row, "few", few.p50_ms * 1e3)?;
            record.add(row, "many", much.p50_ms * 1e3)?;
            record.add(row, "ratio", much.p50_ms / few.p50_ms)?;
            small.empty_log()?;
            big.empty_log()?;
        }
    }
    let columns = [
        ("few", Show::Median),
        ("many", Show::Median),
        ("ratio", Show::Spread),
    ];
    record.print(lab, "request", &columns)
}

pub(crate) fn telemetry(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "user-service with and without telemetry, at 32 connections",
        "Three instances side by side, in interleaved rounds: with a span of every request sent\n\
         to a sink on this machine, with the log alone, and with neither. CPU is the\n\
         processor time of a request in microseconds.",
    )?;
    let sink = lab.bare("sink")?;
    let sink_url = sink.url();
    let mut services = Vec::new();
    for (mode, variable, value) in [
        (
            "log, spans",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            sink_url.as_str(),
        ),
        ("log", "LOG_LEVEL", "info"),
        ("neither", "RUST_LOG", "off"),
    ] {
        let log = lab.log(&mode.replace(", ", "-and-"));
        lab::empty(&log)?;
        let port = free_ports(1)?;
        let mut command = server::command(&lab.programs.join(NAMES[USER]), None);
        command
            .env("HOST", "127.0.0.1")
            .env("PORT", port.to_string())
            .env("LOG_FORMAT", "json")
            .env("MAX_RECORDS", "100000000")
            .env(variable, value);
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let mut service = server::start_at(command, address, &log)?;
        service.wait_until_ready()?;
        let users = service.url() + "/api/users";
        let first = lab.http.post(&users).body(ADA);
        server::answered(first.header("content-type", "application/json"), 201)?;
        lab.warm_up(&Load::get(format!("{users}/1")), CONNECTIONS)?;
        services.push((mode, service, users, log));
    }
    let mut lost = 0;
    for round in 1..=lab.plan.rounds {
        for (request, json) in [("one", None), ("create", Some(another(round)))] {
            for (mode, service, users, _) in &services {
                lab.progress.show(request, mode);
                let load = match &json {
                    None => Load::get(format!("{users}/1")),
                    Some(json) => Load::post(users, json),
                };
                let process = service.process.id();
                let (loaded, used) = lab.load_on(&[process], &load, CONNECTIONS)?;
                let row = format!("{request}: {mode}");
                record.check(&row, &loaded);
                record.add(&row, "requests per second", loaded.rate())?;
                let each = used / number(loaded.requests.max(1));
                record.add(&row, "CPU, µs", each)?;
            }
        }
        for (_, _, _, log) in &services {
            // A span that is dropped because the queue is full costs less than one that is sent.
            let said = std::fs::read_to_string(log)?;
            lost += said.matches("spans do not reach").count();
            lab::empty(log)?;
        }
    }
    let columns = [
        ("requests per second", Show::Spread),
        ("CPU, µs", Show::Spread),
    ];
    record.print(lab, "request", &columns)?;
    if lost > 0 {
        lab.tell("\nSpans were dropped, so the first figures are too good.\n")?;
    }
    Ok(())
}
