//! What the lab costs: recording spans, faults, and watching the console.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bench::Failed;
use bench::measure::load::Load;
use bench::measure::server::answered;
use serde_json::json;

use crate::lab::{CONNECTIONS, Lab, cpu, number};
use crate::proxies;
use crate::record::{Record, Show};
use crate::shop::{ANALYTICS, GATEWAY, ORDER, Shop, USER};

const LAB_MODE: &[(&str, &str)] = &[("LAB_MODE", "on")];

const OFF: &str = "off";
const ON: &str = "on";
const FAULT: &str = "on, with a fault";

pub(crate) fn requests(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "CPU of a request with and without LAB_MODE, at 32 connections",
        "Three shops side by side, in interleaved rounds and in random order. With LAB_MODE=on \
         a service records its spans: one of a request for a user, nine of an order, by four of \
         the services. The fault matches each request, and hits none. Microseconds, and the \
         difference to LAB_MODE=off.",
    )?;
    let shops = [
        (OFF, Shop::open(lab, "lab-off")?),
        (ON, Shop::start(lab, "lab-on", LAB_MODE)?),
        (FAULT, Shop::start(lab, "lab-fault", LAB_MODE)?),
    ];
    for (mode, shop) in &shops {
        shop.stock()?;
        if *mode == FAULT {
            set_faults(lab, shop)?;
        }
        lab.warm_up(&one_user(shop), CONNECTIONS)?;
        lab.warm_up(&shop.orders(), CONNECTIONS)?;
    }
    for round in 1..=lab.plan.rounds {
        let mut order: Vec<usize> = (0..shops.len()).collect();
        fastrand::shuffle(&mut order);
        let mut micros = [[0.0; 2]; 3];
        for place in order {
            let (mode, shop) = &shops[place];
            lab.progress.show(mode, &format!("round {round}"));
            let (loaded, used) =
                lab.load_on(&[shop.process(USER)], &one_user(shop), CONNECTIONS)?;
            record.check(&format!("one user: {mode}"), &loaded);
            let of_user = used / number(loaded.requests.max(1));

            let placed = shop.count(ORDER, "/api/orders")?;
            let before = cpu(&shop.processes())?;
            let loaded = lab.load(&shop.orders(), CONNECTIONS)?;
            // Orders that wrk left in flight also use processor time.
            thread::sleep(Duration::from_millis(100));
            let used = cpu(&shop.processes())? - before;
            record.check(&format!("an order: {mode}"), &loaded);
            let placed = shop.count(ORDER, "/api/orders")? - placed;
            micros[place] = [of_user, used / number(placed.max(1))];
            shop.empty_log()?;
        }
        let [off, ..] = micros;
        for (place, request) in ["one user", "an order"].into_iter().enumerate() {
            for ((mode, _), micros) in shops.iter().zip(micros) {
                let row = format!("{request}: {mode}");
                record.add(&row, "CPU, µs", micros[place])?;
                record.add(&row, "difference", micros[place] - off[place])?;
            }
        }
    }
    let columns = [("CPU, µs", Show::Spread), ("difference", Show::Spread)];
    record.print(lab, "request: LAB_MODE", &columns)
}

fn one_user(shop: &Shop) -> Load {
    Load::get(shop.url(USER, "/api/users/1"))
}

/// A fault of each service that matches all requests and hits none.
fn set_faults(lab: &Lab, shop: &Shop) -> Result<(), Failed> {
    let faults =
        json!([{"route": "*", "kind": "status", "status": 503, "share": 0, "seconds": 3600}]);
    for place in USER..=ANALYTICS {
        let request = lab.http.put(shop.url(place, "/lab/faults"));
        let request = request.header("content-type", "application/json");
        answered(request.body(faults.to_string()), 200)?;
    }
    Ok(())
}

pub(crate) fn viewers(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "CPU of the shop while somebody watches",
        "Milliseconds of processor time per second, of analytics-service, which polls the \
         others once a second for all viewers, and of all five and the gateway, which passes \
         the streams on. Nobody does anything else. In interleaved rounds.",
    )?;
    let shop = Shop::start(lab, "watched-shop", LAB_MODE)?;
    shop.stock()?;
    let address = shop.address(GATEWAY);
    let gateway = proxies::gateway_at(address, lab, &shop, "watched gateway", LAB_MODE)?;
    let mut all = shop.processes();
    all.push(gateway.process());
    let time = Duration::from_secs(2 * lab.plan.seconds);
    for round in 1..=lab.plan.rounds {
        for count in [0, 1, 30] {
            let row = match count {
                1 => "1 viewer".to_owned(),
                _ => format!("{count} viewers"),
            };
            lab.progress.show(&row, &format!("round {round}"));
            let watching = watch(address, count)?;
            // Not what they get at first. That viewers have left shows when they are sent ticks.
            let settled = if count == 0 { 8 } else { 2 };
            thread::sleep(Duration::from_secs(settled));
            let before = (cpu(&[shop.process(ANALYTICS)])?, cpu(&all)?);
            thread::sleep(time);
            let after = (cpu(&[shop.process(ANALYTICS)])?, cpu(&all)?);
            for stream in &watching {
                stream.shutdown(Shutdown::Both)?;
            }
            let each_second = |micros: f64| micros / 1e3 / time.as_secs_f64();
            record.add(&row, "analytics-service", each_second(after.0 - before.0))?;
            record.add(&row, "all six", each_second(after.1 - before.1))?;
        }
    }
    let columns = [
        ("analytics-service", Show::Spread),
        ("all six", Show::Spread),
    ];
    record.print(lab, "watching", &columns)
}

/// Opens so many event streams. Each is read by a thread of its own, until it ends.
fn watch(gateway: SocketAddr, count: u32) -> Result<Vec<TcpStream>, Failed> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(gateway)?;
        stream.write_all(b"GET /api/analytics/stream HTTP/1.1\r\nHost: shop\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        if head != *b"HTTP/1.1 200" {
            let head = String::from_utf8_lossy(&head);
            return Err(
                format!("the event stream begins with {head:?}, expected status 200").into(),
            );
        }
        streams.push(stream.try_clone()?);
        thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
    }
    Ok(streams)
}
