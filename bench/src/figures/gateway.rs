//! What the gateway costs, beside nginx and haproxy.
//!
//! Processor time is that of the program alone: not of the load generator, nor of the service.

use std::thread;
use std::time::Duration;

use bench::Failed;
use bench::measure::load::{FIXED_RATE_CONNECTIONS, FixedRate, Load};
use bench::measure::server;
use bench::measure::table::counted;

use crate::footprint::resident;
use crate::lab::{CONNECTIONS, Lab, number};
use crate::layers;
use crate::proxies::{self, GATEWAY, HAPROXY, NGINX, Proxy};
use crate::record::{Record, Show};
use crate::shop::{PRODUCT, Shop};

const LAMP: &str = r#"{"name":"Desk lamp","price":19.99,"stock":100}"#;
const PRODUCTS: &str = "/api/products";
const ONE: &str = "/api/products/1";

/// The service itself, without a program in between.
const DIRECT: &str = "direct";

/// The requests per second of the load at a fixed rate: a third of what two cores can do.
const RATE: u32 = 1000;

pub(crate) fn measure(lab: &mut Lab) -> Result<(), Failed> {
    let shop = Shop::stocked(lab, "shop")?;
    // A page of a hundred, for compression.
    for _ in 1..100 {
        shop.post(PRODUCT, PRODUCTS, LAMP)?;
    }
    let is_there = Installed {
        nginx: proxies::is_there(lab, NGINX)?,
        haproxy: proxies::is_there(lab, HAPROXY)?,
    };
    idle(lab, &shop, is_there)?;
    let proxies = is_there.start(lab, &shop)?;
    forwarding(lab, &shop, &proxies)?;
    latency(lab, &shop, &proxies)?;
    drop(proxies);
    caching(lab, &shop, is_there)?;
    compression(lab, &shop, is_there)?;
    settings(lab, &shop)?;
    layers::measure(lab)
}

/// What there is to compare with.
#[derive(Clone, Copy)]
struct Installed {
    nginx: bool,
    haproxy: bool,
}

impl Installed {
    /// The gateway and the others, as they only forward.
    fn start(self, lab: &Lab, shop: &Shop) -> Result<Vec<Proxy>, Failed> {
        let mut proxies = vec![proxies::gateway(lab, shop, GATEWAY, &[])?];
        if self.nginx {
            proxies.push(proxies::nginx(lab, shop, false)?);
        }
        if self.haproxy {
            proxies.push(proxies::haproxy(lab, shop)?);
        }
        Ok(proxies)
    }
}

/// The columns of a program, which are static: microseconds, requests a second, and both as
/// multiples of nginx's.
fn columns(name: &str) -> [&'static str; 4] {
    match name {
        GATEWAY => [GATEWAY, "gateway/s", "to nginx", "rate to nginx"],
        NGINX => [NGINX, "nginx/s", "-", "-"],
        HAPROXY => [HAPROXY, "haproxy/s", "haproxy's", "haproxy's rate"],
        _ => ["-", "direct/s", "-", "direct's rate"],
    }
}

fn forwarding(lab: &mut Lab, shop: &Shop, proxies: &[Proxy]) -> Result<(), Failed> {
    "gateway-forwarding".clone_into(&mut lab.progress.stage);
    let rounds = counted(lab.plan.rounds as u64, "round");
    let mut record = Record::open(
        lab,
        "A request that is forwarded",
        &format!(
            "GET of one product and POST of a new one, at 1, 32 and 256 connections. Processor \
             time in microseconds, of the program in between alone; then requests per second, \
             also without a program in between. The medians of {rounds}, interleaved, and the \
             least and the greatest ratio.",
        ),
    )?;
    let loads = [("GET", None), ("POST", Some(LAMP))];
    let path = |json: Option<&str>| if json.is_some() { PRODUCTS } else { ONE };
    let load = |url: String, json: Option<&str>| match json {
        Some(json) => Load::post(url, json),
        None => Load::get(url),
    };
    for proxy in proxies {
        for (_, json) in loads {
            lab.warm_up(&load(proxy.url(path(json)), json), CONNECTIONS)?;
        }
    }
    for round in 1..=lab.plan.rounds {
        for (method, json) in loads {
            for connections in [1, 32, 256] {
                let row = format!("{method}, {connections}");
                lab.progress.show(&row, &format!("round {round}"));
                let mut order: Vec<Option<&Proxy>> = proxies.iter().map(Some).collect();
                order.push(None);
                fastrand::shuffle(&mut order);
                let mut measured = Vec::new();
                for proxy in order {
                    let name = proxy.map_or(DIRECT, |proxy| proxy.name);
                    let url = proxy.map_or_else(
                        || shop.url(PRODUCT, path(json)),
                        |proxy| proxy.url(path(json)),
                    );
                    let processes: Vec<u32> = proxy.iter().map(|proxy| proxy.process()).collect();
                    let (loaded, used) = lab.load_on(&processes, &load(url, json), connections)?;
                    record.check(&row, &loaded);
                    let micros = used / number(loaded.requests.max(1));
                    measured.push((name, micros, loaded.rate()));
                }
                let nginx = measured.iter().find(|(name, ..)| *name == NGINX).copied();
                for (name, micros, rate) in measured {
                    let [time, a_second, ratio, rate_ratio] = columns(name);
                    record.add(&row, a_second, rate)?;
                    if name != DIRECT {
                        record.add(&row, time, micros)?;
                    }
                    if let Some((_, by_nginx, nginx_rate)) = nginx.filter(|_| name != NGINX) {
                        record.add(&row, rate_ratio, rate / nginx_rate)?;
                        if name != DIRECT {
                            record.add(&row, ratio, micros / by_nginx)?;
                        }
                    }
                }
            }
        }
        shop.empty_log()?;
        for proxy in proxies {
            proxy.empty_log()?;
        }
    }
    record.print(
        lab,
        "CPU, µs",
        &[
            (GATEWAY, Show::Median),
            (NGINX, Show::Median),
            (HAPROXY, Show::Median),
            ("to nginx", Show::Spread),
            ("haproxy's", Show::Median),
        ],
    )?;
    record.print_also(
        lab,
        "requests",
        &[
            ("direct/s", Show::Median),
            ("gateway/s", Show::Median),
            ("nginx/s", Show::Median),
            ("haproxy/s", Show::Median),
            ("rate to nginx", Show::Median),
        ],
    )
}

fn latency(lab: &mut Lab, shop: &Shop, proxies: &[Proxy]) -> Result<(), Failed> {
    "gateway-latency".clone_into(&mut lab.progress.stage);
    let Some(tool) = FixedRate::installed() else {
        return lab.tell(
            "\nNeither oha nor hey is installed, so there is no latency at a fixed rate; \"apt \
             install hey\" installs one.\n",
        );
    };
    let mut record = Record::open(
        lab,
        &format!("Latency of GET of one product, at {RATE} requests per second"),
        &format!(
            "In milliseconds, on {FIXED_RATE_CONNECTIONS} connections, and the ratio of p99 in \
             each round. {tool}"
        ),
    )?;
    // p99 of the requests of one second would be that of ten requests.
    let seconds = lab.plan.seconds * 2;
    for round in 1..=lab.plan.rounds {
        let mut order: Vec<Option<&Proxy>> = proxies.iter().map(Some).collect();
        order.push(None);
        fastrand::shuffle(&mut order);
        let mut measured = Vec::new();
        for proxy in order {
            let name = proxy.map_or(DIRECT, |proxy| proxy.name);
            lab.progress.show(name, &format!("round {round}"));
            let url = proxy.map_or_else(|| shop.url(PRODUCT, ONE), |proxy| proxy.url(ONE));
            let paced = lab
                .generator()
                .at_rate(tool, &Load::get(url), RATE, seconds)?;
            record.check_rate(name, &paced, RATE);
            record.add(name, "p50", paced.p50_ms)?;
            record.add(name, "p99", paced.p99_ms)?;
            measured.push((name, paced.p99_ms));
        }
        let nginx = measured.iter().find(|(name, _)| *name == NGINX).copied();
        if let Some((_, by_nginx)) = nginx {
            for (name, p99) in measured {
                record.add(name, "p99 to nginx", p99 / by_nginx)?;
            }
        }
    }
    record.print(
        lab,
        "through",
        &[
            ("p50", Show::Median),
            ("p99", Show::Spread),
            ("p99 to nginx", Show::Spread),
        ],
    )
}

fn idle(lab: &mut Lab, shop: &Shop, is_there: Installed) -> Result<(), Failed> {
    "gateway-idle".clone_into(&mut lab.progress.stage);
    let count = lab.plan.idle.min(1000);
    let mut record = Record::open(
        lab,
        &format!("Resident memory with {count} idle connections"),
        "In MiB, a second after the start and while a program holds connections that have had \
         one answer each; and of one of them in KiB.",
    )?;
    let proxies = is_there.start(lab, shop)?;
    thread::sleep(Duration::from_secs(1));
    for proxy in &proxies {
        lab.progress.show("idle connections", proxy.name);
        let without = resident(proxy.process())?;
        let open = server::open_idle(proxy.address(), count)?;
        let with = resident(proxy.process())?;
        drop(open);
        record.add(proxy.name, "none", without)?;
        record.add(proxy.name, "idle", with)?;
        let each = (with - without) * 1024.0 / f64::from(count);
        record.add(proxy.name, "one, KiB", each)?;
    }
    let columns = ["none", "idle", "one, KiB"].map(|column| (column, Show::Median));
    record.print(lab, "program", &columns)
}

/// A program, a row, and what it is asked.
struct Case<'a> {
    proxy: &'a Proxy,
    row: String,
    load: Load,
    connections: u32,
}

/// The processor time of a request in microseconds, of each case in each round.
fn rounds(
    lab: &mut Lab,
    shop: &Shop,
    record: &mut Record,
    cases: &[Case<'_>],
) -> Result<Vec<Vec<f64>>, Failed> {
    for case in cases {
        lab.warm_up(&case.load, case.connections)?;
    }
    let mut all = Vec::new();
    for round in 1..=lab.plan.rounds {
        let mut micros = vec![0.0; cases.len()];
        let mut order: Vec<usize> = (0..cases.len()).collect();
        fastrand::shuffle(&mut order);
        for place in order {
            let Case {
                proxy,
                row,
                load,
                connections,
            } = &cases[place];
            lab.progress.show(row, &format!("round {round}"));
            let (loaded, used) = lab.load_on(&[proxy.process()], load, *connections)?;
            record.check(row, &loaded);
            micros[place] = used / number(loaded.requests.max(1));
        }
        for case in cases {
            case.proxy.empty_log()?;
        }
        shop.empty_log()?;
        all.push(micros);
    }
    Ok(all)
}

/// The processor time of the gateway beside that of nginx. The cases come in pairs if nginx is
/// there, the gateway's first.
fn beside_nginx(
    lab: &mut Lab,
    shop: &Shop,
    mut record: Record,
    cases: &[Case<'_>],
    each: usize,
) -> Result<(), Failed> {
    for micros in rounds(lab, shop, &mut record, cases)? {
        for (pair, cases) in micros.chunks(each).zip(cases.chunks(each)) {
            let row = &cases[0].row;
            record.add(row, GATEWAY, pair[0])?;
            if let Some(nginx) = pair.get(1) {
                record.add(row, NGINX, *nginx)?;
                record.add(row, "to nginx", pair[0] / nginx)?;
            }
        }
    }
    record.print(
        lab,
        "CPU, µs",
        &[
            (GATEWAY, Show::Spread),
            (NGINX, Show::Spread),
            ("to nginx", Show::Spread),
        ],
    )
}

const HOUR: (&str, &str) = ("CACHE_TTL_MS", "3600000");

/// A load whose requests all have another target.
fn misses(proxy: &Proxy) -> Load {
    Load {
        script: "new.lua",
        ..Load::get(proxy.url(ONE))
    }
}

fn caching(lab: &mut Lab, shop: &Shop, is_there: Installed) -> Result<(), Failed> {
    "gateway-cache".clone_into(&mut lab.progress.stage);
    let record = Record::open(
        lab,
        "A response that is kept",
        "GET of one product, with the gateway's cache and with nginx's, which keeps files. Of a \
         miss, each request has another target, and its response is stored.",
    )?;
    let mut proxies = vec![proxies::gateway(
        lab,
        shop,
        "gateway with a cache",
        &[HOUR],
    )?];
    if is_there.nginx {
        proxies.push(proxies::nginx(lab, shop, true)?);
    }
    let mut cases = Vec::new();
    for (name, connections) in [("hit", 1), ("hit", CONNECTIONS), ("miss", CONNECTIONS)] {
        for proxy in &proxies {
            cases.push(Case {
                proxy,
                row: format!("{name}, {}", counted(connections.into(), "connection")),
                load: match name {
                    "hit" => Load::get(proxy.url(ONE)),
                    _ => misses(proxy),
                },
                connections,
            });
        }
    }
    beside_nginx(lab, shop, record, &cases, proxies.len())
}

fn compression(lab: &mut Lab, shop: &Shop, is_there: Installed) -> Result<(), Failed> {
    "gateway-compression".clone_into(&mut lab.progress.stage);
    let record = Record::open(
        lab,
        "A page of a hundred products, compressed",
        "At 32 connections. Both compress with gzip at level 4.",
    )?;
    let mut proxies = vec![proxies::gateway(lab, shop, GATEWAY, &[])?];
    if is_there.nginx {
        proxies.push(proxies::nginx(lab, shop, false)?);
    }
    let mut cases = Vec::new();
    for (row, header) in [("as it is", None), ("gzip", Some("Accept-Encoding: gzip"))] {
        for proxy in &proxies {
            cases.push(Case {
                proxy,
                row: row.to_owned(),
                load: Load {
                    header,
                    ..Load::get(proxy.url("/api/products?limit=100"))
                },
                connections: CONNECTIONS,
            });
        }
    }
    beside_nginx(lab, shop, record, &cases, proxies.len())
}

fn settings(lab: &mut Lab, shop: &Shop) -> Result<(), Failed> {
    "gateway-settings".clone_into(&mut lab.progress.stage);
    let mut record = Record::open(
        lab,
        "What can be switched off",
        "GET of one product at 32 connections, with one setting changed. Processor time of the \
         gateway in microseconds, and the difference to a gateway that only forwards and \
         writes its log.",
    )?;
    let (limited, quiet) = (("RATE_LIMIT", "1000000"), ("RUST_LOG", "off"));
    let proxies = [
        proxies::gateway(lab, shop, "forwards and logs", &[])?,
        proxies::gateway(lab, shop, "without the log", &[quiet])?,
        proxies::gateway(lab, shop, "with a rate limit", &[limited])?,
        proxies::gateway(lab, shop, "with the cache: a miss", &[HOUR])?,
        proxies::gateway(lab, shop, "with the cache: a hit", &[HOUR])?,
    ];
    let cases: Vec<_> = proxies
        .iter()
        .map(|proxy| Case {
            row: proxy.name.to_owned(),
            load: if proxy.name.ends_with("miss") {
                misses(proxy)
            } else {
                Load::get(proxy.url(ONE))
            },
            connections: CONNECTIONS,
            proxy,
        })
        .collect();
    for micros in rounds(lab, shop, &mut record, &cases)? {
        for (case, time) in cases.iter().zip(&micros) {
            record.add(&case.row, "CPU, µs", *time)?;
            record.add(&case.row, "difference", time - micros[0])?;
        }
    }
    record.print(
        lab,
        "the gateway",
        &[("CPU, µs", Show::Spread), ("difference", Show::Spread)],
    )
}
