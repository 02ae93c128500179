//! `scripts/load.sh`: customers who browse, order and cancel, until Ctrl-C.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lab::client::Client;
use lab::load::customers::{Customers, Through};
use lab::load::shopper::Shopper;
use lab::load::tally::{Counts, Tally};
use lab::load::{Load, MOST_IN_FLIGHT, Mix};
use lab::shop::Shop;
use lexopt::Arg::{Long, Value};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

/// How long a request may take: longer than the gateway waits for a service.
const REQUEST: Duration = Duration::from_secs(10);

/// How often the line is drawn on a terminal, and how often one is printed elsewhere.
const REDRAW: Duration = Duration::from_millis(500);
const PRINT: Duration = Duration::from_secs(3);

/// The line tells of so many intervals together, so that it can be read.
const SHOWN: usize = 6;

/// The pause until the load signs up again after its users have disappeared: whoever has emptied
/// the shop may be about to seed it.
const SIGN_UP_AGAIN: Duration = Duration::from_secs(5);

/// The columns of a terminal.
const COLUMNS: usize = 79;

/// What is asked for.
#[derive(Debug)]
struct Wanted {
    rate: f64,
    seconds: Option<f64>,
    seed: u64,
    direct: bool,
}

fn main() -> ExitCode {
    let wanted = arguments(lexopt::Parser::from_env());
    let (wanted, shop) = match wanted.and_then(|wanted| Ok((wanted, Shop::from_env()?))) {
        Ok(both) => both,
        Err(misuse) => {
            eprintln!("load.sh: {misuse}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(run(&wanted, shop)),
        Err(cause) => Err(format!("It cannot start: {cause}.")),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: lexopt::Parser) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        rate: 20.0,
        seconds: None,
        seed: 1,
        direct: false,
    };
    while let Some(argument) = given.next().map_err(|wrong| wrong.to_string())? {
        let option = match argument {
            Long("direct") => {
                wanted.direct = true;
                continue;
            }
            Value(rate) => {
                wanted.rate = f64::from(whole("the rate", &rate, 2000)?);
                continue;
            }
            Long(name @ ("seconds" | "seed")) => name.to_owned(),
            other => return Err(format!("{}; see --help", other.unexpected())),
        };
        let value = given.value().unwrap_or_default();
        if option == "seed" {
            wanted.seed = u64::from(whole("--seed", &value, u32::MAX)?);
        } else {
            wanted.seconds = Some(f64::from(whole("--seconds", &value, 86_400)?));
        }
    }
    Ok(wanted)
}

fn whole(name: &str, value: &OsStr, most: u32) -> Result<u32, String> {
    let value = value.to_string_lossy();
    let number = value.parse().ok().filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| format!("{name} is {value:?}, expected a whole number, 1 to {most}"))
}

async fn run(wanted: &Wanted, shop: Shop) -> Result<(), String> {
    let client = Client::new(REQUEST);
    let through = if wanted.direct {
        Through::Direct
    } else {
        Through::Gateway
    };
    let customers = Customers::sign_up(&client, &shop, through, now()).await?;
    let shopper = Shopper::new(client.clone(), shop.clone(), wanted.direct, customers);
    let shopper = Arc::new(shopper);
    let load = Load::new(Arc::clone(&shopper), Mix::usual(), wanted.seed);
    let screen = Screen::new();
    say(&format!(
        "{} requests a second {}: of ten customers, six browse, three order and one cancels. {}",
        wanted.rate,
        if wanted.direct {
            "to the services' own ports"
        } else {
            "through the gateway"
        },
        if wanted.seconds.is_none() {
            "Ctrl-C ends it."
        } else {
            ""
        }
    ));

    let current = Arc::new(Tally::default());
    let mut all = Counts::default();
    let mut recent: Vec<(Instant, Counts)> = Vec::new();
    let began = Instant::now();
    let end = end(wanted.seconds)?;
    let tally = Arc::clone(&current);
    let sending = load.run(wanted.rate, move || Arc::clone(&tally), end);
    let mut sending = std::pin::pin!(sending);
    let mut tick = interval_at(began + screen.interval, screen.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drawn = began;
    let mut may_sign_up = began;
    loop {
        let is_over = tokio::select! {
            biased;
            () = &mut sending => true,
            _ = tick.tick() => false,
        };
        let counts = current.take();
        all.merge(&counts);
        if is_over {
            break;
        }
        let lost = counts.others().any(|(label, _)| is_of_the_lost(label));
        recent.push((drawn, counts));
        drawn = Instant::now();
        if recent.len() > screen.together {
            recent.remove(0);
        }
        let mut shown = Counts::default();
        for (_, counts) in &recent {
            shown.merge(counts);
        }
        let seconds = recent
            .first()
            .map_or(0.0, |(since, _)| since.elapsed().as_secs_f64());
        screen.draw(&line(&shown, seconds));
        if lost && drawn > may_sign_up {
            may_sign_up = drawn + 2 * SIGN_UP_AGAIN;
            tokio::spawn(sign_up_again(
                client.clone(),
                shop.clone(),
                through,
                Arc::clone(&shopper),
            ));
        }
    }
    screen.clear();
    summary(&all, began.elapsed());
    Ok(())
}

/// Whether it is the answer about a user, a product or an order that is not there. The load uses
/// only its own.
fn is_of_the_lost(label: &str) -> bool {
    label.starts_with("404") || label == "400 validation_failed"
}

async fn sign_up_again(client: Client, shop: Shop, through: Through, shopper: Arc<Shopper>) {
    sleep(SIGN_UP_AGAIN).await;
    // If it fails, the next answers will say so, and it is tried again.
    if let Ok(customers) = Customers::sign_up(&client, &shop, through, now()).await {
        shopper.become_others(customers);
    }
}

/// Seconds and more, so that two runs have different emails.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis();
    u64::try_from(millis).unwrap_or_default()
}

/// Ends after `seconds`, and when the program is told to stop.
fn end(seconds: Option<f64>) -> Result<impl Future<Output = ()>, String> {
    let on = |kind| signal(kind).map_err(|cause| format!("It cannot wait for Ctrl-C: {cause}."));
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hangup = on(SignalKind::hangup())?;
    Ok(async move {
        let over = async {
            match seconds {
                Some(seconds) => sleep(Duration::from_secs_f64(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// The live line.
fn line(counts: &Counts, seconds: f64) -> String {
    let time = |share| {
        let ms = counts.quantile(share);
        ms.map_or("-".to_owned(), |ms| format!("{ms:.1}"))
    };
    #[expect(clippy::cast_precision_loss)]
    let rate = counts.requests() as f64 / seconds.max(0.001);
    let mut line = format!(
        "{rate:6.1}/s  errors {:5.1} %  p50 {:>7} ms  p99 {:>7} ms",
        counts.error_share() * 100.0,
        time(0.5),
        time(0.99),
    );
    for (label, count) in counts.others() {
        // Writing to a string never fails.
        let _ = write!(line, "  {count} {label}");
    }
    line
}

fn summary(all: &Counts, took: Duration) {
    let seconds = took.as_secs_f64();
    say(&format!("{} requests in {seconds:.0} s:", all.requests()));
    say(&line(all, seconds));
    if all.limited() > 0 {
        say(&format!(
            "429: the gateway lets RATE_LIMIT requests a second of one client through, 200 by default. \
             It refused {}, which are no errors of the shop. RATE_LIMIT=off scripts/start.sh starts \
             a gateway without the limit, and --direct goes past it.",
            all.limited()
        ));
    }
    if all.others().any(|(label, _)| label == "no connection") {
        say("no connection: nobody listened there; scripts/health.sh shows who is up.");
    }
    if all.others().any(|(label, _)| label == "not sent") {
        say(&format!(
            "not sent: {MOST_IN_FLIGHT} requests were in flight already; the shop answered too slowly."
        ));
    }
    if all.others().any(|(label, _)| is_of_the_lost(label)) {
        say(
            "404 and 400: the shop had lost the records of the load, by a reset or a restart; it signed up again.",
        );
    }
}

/// Standard output. On a terminal, one line is drawn again and again. A reader that has left is no
/// reason to complain.
struct Screen {
    is_terminal: bool,
    interval: Duration,
    together: usize,
}

impl Screen {
    fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self {
            is_terminal,
            interval: if is_terminal { REDRAW } else { PRINT },
            together: if is_terminal { SHOWN } else { 1 },
        }
    }

    fn draw(&self, line: &str) {
        if self.is_terminal {
            let line: String = line.chars().take(COLUMNS).collect();
            print(&format!("\r{line}\x1b[K"));
        } else {
            say(line);
        }
    }

    fn clear(&self) {
        if self.is_terminal {
            print("\r\x1b[K");
        }
    }
}

fn say(line: &str) {
    print(&format!("{}\n", line.trim_end()));
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
