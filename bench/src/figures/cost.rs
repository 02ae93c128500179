//! CPU per request, relative to nginx in the same rounds. Unlike microseconds, such ratios can be
//! compared between machines.

use bench::Failed;
use bench::measure::load::Load;
use bench::measure::table::counted;

use crate::lab::{self, CONNECTIONS, Lab, cpu, number};
use crate::nginx;
use crate::record::{Record, Show};
use crate::shop::{NOTIFICATION, ORDER, PRODUCT, Place, Shop, USER};

/// The requests to a service, and to nginx with the same JSON.
const REQUESTS: [(&str, Place, &str); 4] = [
    ("one user (axum)", USER, "/api/users/1"),
    ("one product (Rocket)", PRODUCT, "/api/products/1"),
    ("order totals (poem)", ORDER, "/api/orders/stats"),
    (
        "a user's notifications (warp)",
        NOTIFICATION,
        "/api/notifications/1",
    ),
];

const AN_ORDER: &str = "placing an order, five processes";

const COLUMNS: [(u32, &str); 2] = [(1, "1 connection"), (CONNECTIONS, "32 connections")];

pub(crate) fn beside_nginx(lab: &mut Lab) -> Result<(), Failed> {
    let rounds = lab.plan.rounds.min(3);
    let mut record = Record::open(
        lab,
        "CPU per request, relative to nginx",
        &format!(
            "Processor time of a request, including the kernel, as a multiple of what nginx needs to\n\
             return the same JSON with its access log on. An order is in nginx requests for one\n\
             user. The median of {}, interleaved; the least and the greatest.",
            counted(rounds as u64, "round")
        ),
    )?;
    // Orders go to a separate shop, because they change the data that the requests read.
    let (shop, orders) = (Shop::stocked(lab, "shop")?, Shop::stocked(lab, "orders")?);
    let mut answers = Vec::new();
    for (_, place, path) in REQUESTS {
        shop.get(place, path)?;
        answers.push((path.to_owned(), shop.text(place, path)));
    }
    let home = lab.scratch.join("nginx");
    let nginx = nginx::start(&home, &answers)?;
    for (_, place, path) in REQUESTS {
        lab.warm_up(&Load::get(shop.url(place, path)), CONNECTIONS)?;
        lab.warm_up(&Load::get(nginx.url() + path), CONNECTIONS)?;
    }
    lab.warm_up(&orders.orders(), CONNECTIONS)?;

    for _ in 0..rounds {
        let mut yardstick = None;
        for (name, place, path) in REQUESTS {
            for (connections, column) in COLUMNS {
                lab.progress.show(column, name);
                // In random order.
                let mut pair = [
                    (shop.process(place), shop.url(place, path)),
                    (nginx.process.id(), nginx.url() + path),
                ];
                let ours_first = fastrand::bool();
                if !ours_first {
                    pair.swap(0, 1);
                }
                let mut micros = Vec::new();
                for (process, url) in pair {
                    let load = Load::get(url);
                    let (loaded, used) = lab.load_on(&[process], &load, connections)?;
                    record.check(name, &loaded);
                    micros.push(used / number(loaded.requests.max(1)));
                }
                if !ours_first {
                    micros.swap(0, 1);
                }
                record.add(name, column, micros[0] / micros[1])?;
                record.add(name, "µs, ours", micros[0])?;
                record.add(name, "µs, nginx", micros[1])?;
                if (place, connections) == (USER, CONNECTIONS) {
                    yardstick = Some(micros[1]);
                }
            }
        }
        lab.progress.show("32 connections", "orders");
        let placed = orders.count(ORDER, "/api/orders")?;
        let before = cpu(&orders.processes())?;
        let loaded = lab.load(&orders.orders(), CONNECTIONS)?;
        // Orders that wrk left in flight also use processor time.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let used = cpu(&orders.processes())? - before;
        record.check(AN_ORDER, &loaded);
        let placed = orders.count(ORDER, "/api/orders")? - placed;
        let micros = used / number(placed.max(1));
        record.add(AN_ORDER, "µs, ours", micros)?;
        if let Some(yardstick) = yardstick {
            record.add(AN_ORDER, "32 connections", micros / yardstick)?;
        }
        shop.empty_log()?;
        orders.empty_log()?;
        lab::empty(&home.join("access.log"))?;
    }
    let columns = COLUMNS.map(|(_, column)| (column, Show::Spread));
    record.print(lab, "request", &columns)
}
