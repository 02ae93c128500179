//! The choice among instances at given moments, and instances that are stubs on the network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::testkit::Stub;
use crate::upstream::client::{Connections, Upstream};
use crate::upstream::registry::{Listing, Registered};
use crate::upstream::resilience::Resilience;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// So many instances. Their tasks never run: a test that awaits nothing leaves them no time.
fn instances(count: u16, balance: Balance) -> Instances {
    let urls = (1..=count).map(UpstreamUrl::local).collect();
    let settings = Settings {
        balance,
        ..Settings::default()
    };
    Instances::new("user-service", &Source::Fixed(urls), settings)
}

impl Instances {
    fn nth(&self, n: usize) -> Arc<Instance> {
        self.all.with(|all| Arc::clone(&all[n]))
    }

    fn state(&self, n: usize) -> State {
        self.states()[n].state
    }

    /// A request to the nth that ends in this way.
    fn end(&self, n: usize, end: End, taken: Duration, now: Instant) {
        let instance = self.nth(n);
        instance.begin();
        instance.ended(end, Some(taken), false, now, self.settings.eject_for);
        instance.leave();
    }

    /// How many of so many requests, one after the other, each gets. They change nothing.
    fn spread(&self, requests: u32, now: Instant) -> Vec<u32> {
        let picked = (0..requests).map(|_| self.choose_at(now, None).expect("an instance"));
        let ports = picked.map(|mut picked| {
            picked.has_ended = true;
            picked.url().host_and_port().1
        });
        let mut counts = BTreeMap::new();
        ports.for_each(|port| *counts.entry(port).or_default() += 1);
        let ports = (1..).take(self.states().len());
        ports
            .map(|port| counts.get(&port).copied().unwrap_or_default())
            .collect()
    }
}

#[tokio::test]
async fn requests_are_spread_as_configured() {
    let now = Instant::now();
    let in_turn = instances(3, Balance::RoundRobin);
    assert_eq!(in_turn.spread(30, now), [10, 10, 10]);
    for balance in [Balance::Random, Balance::P2c] {
        let spread = instances(3, balance).spread(600, now);
        assert!(
            spread.iter().all(|count| *count > 100),
            "{balance:?}: {spread:?}"
        );
    }
}

#[tokio::test]
async fn of_two_the_one_with_the_lower_load_gets_the_request() {
    let (two, now) = (instances(2, Balance::P2c), Instant::now());
    two.end(0, End::Answered(200), MS, now);
    two.end(1, End::Answered(200), 10 * MS, now);
    assert_eq!(two.spread(100, now), [100, 0], "the second is slower");

    let held: Vec<_> = (0..22).map(|_| two.choose_at(now, None)).collect();
    let in_flight: Vec<_> = two.states().iter().map(|state| state.in_flight).collect();
    assert_eq!(in_flight, [20, 2], "ten at the first are one at the second");
    drop(held);
    let in_flight: Vec<_> = two.states().iter().map(|state| state.in_flight).collect();
    assert_eq!(in_flight, [0, 0]);

    let later = now + 11 * SECOND;
    let spread = two.spread(100, later);
    assert!(spread[1] > 20, "tried again after a while: {spread:?}");
}

#[tokio::test]
async fn a_new_instance_does_not_attract_all_requests_before_its_first_response() {
    let (two, now) = (instances(2, Balance::P2c), Instant::now());
    two.end(0, End::Answered(200), MS, now);
    let _held: Vec<_> = (0..200).map(|_| two.choose_at(now, None)).collect();
    let in_flight: Vec<_> = two.states().iter().map(|state| state.in_flight).collect();
    assert_eq!(in_flight, [100, 100]);
}

#[tokio::test]
async fn one_that_fails_fast_or_makes_its_callers_give_up_counts_as_slow() {
    let now = Instant::now();
    for (end, taken) in [
        (End::Answered(500), MS),
        (End::Answered(503), MS),
        (End::Failed, MS),
        (End::TimedOut, 800 * MS),
        (End::Abandoned, 2 * SECOND),
    ] {
        let two = instances(2, Balance::P2c);
        two.end(0, End::Answered(200), 100 * MS, now);
        two.end(1, end, taken, now);
        assert_eq!(two.spread(50, now), [50, 0], "{end:?}");
    }
    let two = instances(2, Balance::P2c);
    two.end(0, End::Answered(200), 2 * MS, now);
    two.end(1, End::Answered(200), MS, now);
    two.end(1, End::Abandoned, MS / 10, now);
    assert_eq!(
        two.spread(50, now),
        [0, 50],
        "a caller that left at once says nothing"
    );
}

#[tokio::test]
async fn failures_in_a_row_eject_an_instance() {
    let now = Instant::now();
    let good = End::Answered(200);
    for (ends, ejects, reason) in [
        (&[End::Failed; 3][..], true, "three failed connections"),
        (&[End::Failed; 2], false, "two"),
        (
            &[End::Failed, End::Failed, good, End::Failed],
            false,
            "not in a row",
        ),
        (&[End::Answered(500); 5], true, "five 500"),
        (&[End::Answered(503); 4], false, "four 503"),
        (
            &[500, 502, 503, 502, 500].map(End::Answered),
            true,
            "of different kinds",
        ),
        (
            &[500, 502, 404, 503, 502, 500].map(End::Answered),
            false,
            "a refusal is a response",
        ),
        (
            &[End::Answered(504); 9],
            false,
            "a gateway waited for another one",
        ),
        (&[End::TimedOut; 9], false, "its health decides"),
        (&[End::Abandoned; 9], false, "nobody waited"),
    ] {
        let two = instances(2, Balance::RoundRobin);
        for end in ends {
            two.end(1, *end, MS, now);
        }
        let (state, spread) = if ejects {
            (State::Ejected, [10, 0])
        } else {
            (State::Up, [5, 5])
        };
        assert_eq!(two.state(1), state, "{reason}");
        assert_eq!(two.spread(10, now), spread, "{reason}");
    }
}

#[tokio::test]
async fn after_five_seconds_one_request_shows_whether_an_ejected_instance_is_back() {
    let (two, now) = (instances(2, Balance::P2c), Instant::now());
    (0..3).for_each(|_| two.end(1, End::Failed, MS, now));
    // Slow or not: the probe goes to the ejected one.
    two.end(0, End::Answered(200), MS, now);
    assert_eq!(two.spread(20, now + 4 * SECOND), [20, 0]);

    let later = now + 6 * SECOND;
    let instance = two.nth(0);
    let repeated = two.choose_at(later, Some(&two.nth(1))).expect("the first");
    assert!(Arc::ptr_eq(repeated.instance(), &instance), "no probe");
    let mut probe = two.choose_at(later, None).expect("the probe");
    assert_eq!(probe.url(), two.nth(1).url());
    assert_eq!(two.spread(20, later), [20, 0], "one probe at a time");
    probe.ended(End::Failed, later + MS);
    drop(probe);
    assert_eq!(two.spread(20, later + 4 * SECOND), [20, 0], "out again");

    let later = later + 6 * SECOND;
    drop(
        two.choose_at(later, None)
            .expect("a probe whose caller leaves"),
    );
    two.end(1, End::Answered(200), MS, later);
    assert_eq!(two.state(1), State::Ejected, "sent before it was ejected");
    let mut probe = two.choose_at(later, None).expect("the next is the probe");
    assert_eq!(probe.url(), two.nth(1).url());
    probe.ended(End::Answered(200), later + MS);
    assert_eq!(two.state(1), State::Up);
    (0..2).for_each(|_| two.end(1, End::Failed, MS, later));
    assert_eq!(two.state(1), State::Up, "counted afresh");
}

#[tokio::test]
async fn the_least_bad_get_the_requests_if_none_is_good() {
    let (three, now) = (instances(3, Balance::RoundRobin), Instant::now());
    for n in 0..3 {
        (0..3).for_each(|_| three.end(n, End::Failed, MS, now));
    }
    assert_eq!(three.spread(9, now), [3, 3, 3], "all are ejected");
    three.nth(0).set_health(Health::Silent);
    assert_eq!(three.spread(8, now), [0, 4, 4], "silent is worse");

    let three = instances(3, Balance::RoundRobin);
    three.nth(0).set_health(Health::Unavailable);
    three.nth(1).set_health(Health::Gone);
    (0..3).for_each(|_| three.end(2, End::Failed, MS, now));
    assert_eq!(
        three.spread(8, now),
        [8, 0, 0],
        "it does a part of its work"
    );
    let other = three.choose_at(now, Some(&three.nth(0))).expect("another");
    assert_eq!(other.url(), three.nth(2).url());

    for n in 0..3 {
        three.nth(n).set_health(Health::Draining);
    }
    assert!(three.choose_at(now, None).is_none(), "all are draining");
}

#[test]
fn the_only_instance_is_always_chosen_and_nobody_asks_for_its_health() {
    // There is no runtime here, on which a task could ask.
    let (one, now) = (instances(1, Balance::P2c), Instant::now());
    (0..9).for_each(|_| one.end(0, End::Failed, MS, now));
    assert_eq!(one.spread(9, now), [9]);
    assert!(one.choose_at(now, Some(&one.nth(0))).is_none(), "no other");
    one.choose_at(now + 6 * SECOND, None)
        .expect("a probe")
        .answered(200);
    assert_eq!(one.state(0), State::Up);
    let state = &one.states()[0];
    assert_eq!((state.requests, state.failures), (19, 9));
}

/// Quick to notice.
fn quick() -> Settings {
    Settings {
        ask_every: 20 * MS,
        ask_again: 20 * MS,
        resolve_every: 20 * MS,
        ..Settings::default()
    }
}

/// Waits until `holds`.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + 10 * SECOND;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(5 * MS).await;
    }
}

/// A stub that says this about its health, until the test sets something else. Nothing else is
/// known there.
async fn saying(first: &'static str) -> (Stub, Arc<Mutex<&'static str>>) {
    let said = Arc::new(Mutex::new(first));
    let saying = Arc::clone(&said);
    let stub = Stub::sending(move |request| {
        assert!(request.starts_with("GET /health/ready "), "{request}");
        let head = *saying.lock().expect("no panic");
        let body = if head.starts_with("200") {
            r#"{"status":"ready","service":"user-service","dependencies":[]}"#
        } else {
            r#"{"status":"unavailable","service":"user-service","dependencies":[]}"#
        };
        let length = body.len();
        format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}")
    })
    .await;
    (stub, said)
}

#[tokio::test]
async fn an_instance_that_is_not_ready_gets_no_requests_until_it_is() {
    let (stub, said) = saying("200 OK").await;
    let (other, _) = saying("200 OK").await;
    let source = Source::Fixed(vec![stub.url(), other.url()]);
    let two = Instances::new("user-service", &source, quick());
    for (says, expected) in [
        ("503 Service Unavailable", State::Down),
        ("200 OK", State::Up),
        (
            "503 Service Unavailable\r\nconnection: close",
            State::Draining,
        ),
        ("200 OK", State::Up),
        ("500 Internal Server Error", State::Down),
        ("200 OK", State::Up),
    ] {
        *said.lock().expect("no panic") = says;
        until(says, || two.state(0) == expected).await;
        let picked = (0..50).map(|_| two.choose(None).expect("an instance"));
        let first = picked.filter(|picked| *picked.url() == stub.url()).count();
        assert_eq!(first > 0, expected == State::Up, "{says}");
    }
    assert_eq!(two.state(1), State::Up, "all the time");
}

#[tokio::test]
async fn an_instance_that_does_not_answer_or_is_another_service_is_down() {
    let mistaken = r#"{"status":"ready","service":"order-service","dependencies":[]}"#;
    for (stub, is_used, reason) in [
        (Stub::hanging().await, true, "it hangs"),
        (Stub::refusing().await, true, "nobody is there"),
        (Stub::sending(|_| "what?".to_owned()).await, true, "no HTTP"),
        (
            Stub::answering("200 OK", mistaken).await,
            false,
            "a wrong address",
        ),
        (
            Stub::answering("404 Not Found", "").await,
            true,
            "another program",
        ),
    ] {
        let settings = Settings {
            ask_only_one: true,
            ..quick()
        };
        let one = Instances::new("user-service", &stub.url().into(), settings);
        assert_eq!(one.state(0), State::Up, "{reason}: not asked yet");
        until(reason, || one.state(0) == State::Down).await;
        // If there is no better one.
        assert_eq!(one.choose(None).is_some(), is_used, "{reason}");
    }
}

/// Slow to ask, so that only a failed request can be why an instance was asked.
fn slow() -> Settings {
    Settings {
        ask_every: Duration::from_hours(1),
        ask_only_one: true,
        ..quick()
    }
}

#[tokio::test]
async fn a_request_that_fails_makes_its_instance_be_asked_at_once() {
    let asked = AtomicU32::new(0);
    let stub = Stub::replying(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => ("200 OK", String::new()),
        _ => ("500 Internal Server Error", String::new()),
    });
    let stub = stub.await;
    let one = Instances::new("user-service", &stub.url().into(), slow());
    until("asked at the start", || {
        one.nth(0).health() == Health::Ready
    })
    .await;
    sleep(100 * MS).await;
    assert_eq!(one.state(0), State::Up, "nobody has asked");
    one.choose(None).expect("it is up").failed();
    until("asked", || one.state(0) == State::Down).await;
}

#[tokio::test]
async fn one_whose_port_is_closed_is_down_at_once_and_up_soon_after_it_is_back() {
    let down = Stub::refusing().await;
    let address = down.address();
    let one = Instances::new("user-service", &down.url().into(), slow());
    until("refused", || one.state(0) == State::Down).await;
    drop(down);
    let _back = Stub::answering_at(
        address,
        "200 OK",
        r#"{"status":"ready","service":"user-service"}"#,
    )
    .await;
    until("it is back", || one.state(0) == State::Up).await;
}

#[tokio::test]
async fn a_new_instance_gets_no_request_before_it_has_said_that_it_is_ready() {
    let (resolver, addresses) = resolver();
    let ((old, _), hanging) = (saying("200 OK").await, Stub::hanging().await);
    let set = |stubs: &[&Stub]| {
        let stubs = stubs.iter().map(|stub| stub.address());
        *addresses.lock().expect("no panic") = stubs.collect();
    };
    set(&[&old]);
    let source = Source::parse("dns+http://users:8001").expect("a source");
    let users = Instances::new("user-service", &source.resolved_by(resolver), quick());
    until("the old one is ready", || {
        *users.nth(0).url() == old.url() && users.nth(0).health() == Health::Ready
    })
    .await;
    set(&[&old, &hanging]);
    until("two", || users.states().len() == 2).await;
    let others = (0..50).map(|_| users.choose(None).expect("an instance"));
    let others: Vec<_> = others.collect();
    assert!(others.iter().all(|other| *other.url() == old.url()));
}

#[tokio::test]
async fn the_time_in_which_a_client_sends_does_not_count() {
    let now = Instant::now();
    let earlier = now
        .checked_sub(SECOND)
        .expect("the machine runs for a second");
    let send = |sent: Option<Instant>| {
        let one = instances(1, Balance::P2c);
        let mut picked = one.choose_at(now, None).expect("an instance");
        let until_sent = Sent::default();
        picked.waits_for(Arc::clone(&until_sent));
        if let Some(sent) = sent {
            until_sent.set(sent).expect("once");
        }
        picked.ended(End::Answered(200), now + 60 * SECOND);
        drop(picked);
        one.nth(0).latency(now + 60 * SECOND)
    };
    assert_eq!(send(Some(now + 59 * SECOND)), Some(SECOND));
    assert_eq!(send(Some(earlier)), Some(60 * SECOND), "sent before");
    assert_eq!(send(None), None, "it did not want to have all of it");
}

#[tokio::test]
async fn what_is_registered_are_the_instances() {
    let (told, listings) = tokio::sync::watch::channel(Listing::default());
    let registry = Registry::own(listings);
    let source = Source::parse("registry").expect("a source");
    let source = source.registered_at(&registry);
    let users = Instances::new("user-service", &source, quick());
    let tell = |run: &str, complete: bool, ports: &[u16]| {
        let entry = |service: &str, port: u16| Registered {
            service: service.to_owned(),
            instance: port.to_string(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let other = [entry("order-service", 99)];
        let ours = ports.iter().map(|port| entry("user-service", *port));
        let listing = Listing {
            registry: run.to_owned(),
            complete,
            instances: ours.chain(other).collect(),
        };
        told.send(listing).expect("it is followed");
    };
    let ports = || {
        let urls = users.states().into_iter().map(|state| state.url);
        let ports = urls.map(|url| url.rsplit(':').next().expect("a port").parse::<u16>());
        let mut ports: Vec<_> = ports.map(|port| port.expect("a port")).collect();
        ports.sort_unstable();
        ports
    };
    assert!(users.choose(None).is_none());
    assert_eq!(users.none_left(), "none of its instances is registered");
    for (run, complete, named, expected, reason) in [
        ("a", false, &[1, 2][..], &[1, 2][..], "the first ones"),
        ("a", false, &[1], &[1], "it has named it before"),
        ("a", true, &[1, 3], &[1, 3], "a new one"),
        ("b", false, &[], &[1, 3], "a new registry, without memory"),
        ("b", false, &[3, 4], &[1, 3, 4], "it learns"),
        ("b", false, &[4], &[1, 4], "one has deregistered"),
        ("b", true, &[4], &[4], "now it knows all"),
        ("b", true, &[], &[], "and there is none"),
    ] {
        tell(run, complete, named);
        until(reason, || ports() == expected).await;
    }
    let last = users.choose(None);
    assert!(last.is_none(), "{last:?}");
}

/// A resolver that returns what the test sets.
fn resolver() -> (Resolver, Arc<Mutex<Vec<SocketAddr>>>) {
    let addresses = Arc::new(Mutex::new(Vec::new()));
    let current = Arc::clone(&addresses);
    let resolver = Resolver::new(move |_, _| Ok(current.lock().expect("no panic").clone()));
    (resolver, addresses)
}

#[tokio::test]
async fn a_name_has_an_instance_at_each_of_its_addresses() {
    let (resolver, addresses) = resolver();
    let set = |ports: &[u16]| {
        let ports = ports
            .iter()
            .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
        *addresses.lock().expect("no panic") = ports.collect();
    };
    let source = Source::parse("dns+http://users:8001").expect("a source");
    let users = Instances::new("user-service", &source.resolved_by(resolver), quick());
    let ports = || {
        users.all.with(|all| {
            let urls = all.iter();
            let urls = urls.map(|one| (one.url().as_str().to_owned(), one.is_leaving()));
            urls.collect::<Vec<_>>()
        })
    };
    let staying = |port: u16| (format!("http://127.0.0.1:{port}"), false);
    let leaving = |port: u16| (format!("http://127.0.0.1:{port}"), true);
    assert_eq!(
        ports(),
        [("http://users:8001".to_owned(), false)],
        "itself at first"
    );

    set(&[2, 1]);
    until("two", || ports() == [staying(1), staying(2)]).await;
    let first = users.choose(Some(&users.nth(1))).expect("the first");
    assert!(first.url().as_str().ends_with(":1"));
    set(&[3, 2]);
    let expected = [staying(2), staying(3), leaving(1)];
    until("one is new, one is leaving", || ports() == expected).await;
    // In flight, so that the load does not decide.
    let others = (0..50).map(|_| users.choose(None).expect("an instance"));
    let others: Vec<_> = others.collect();
    assert!(
        others.iter().all(|other| other.url() != first.url()),
        "it gets no new request"
    );
    set(&[]);
    sleep(100 * MS).await;
    assert_eq!(
        ports(),
        expected,
        "the last known, while it is not resolved"
    );
    drop(first);
    set(&[2, 3]);
    until("its last request has ended", || ports() == expected[..2]).await;
    set(&(1..=100).collect::<Vec<_>>());
    until("at most 64", || ports().len() == 64).await;
}

/// A stub that is ready, answers other requests as `reply` says, and counts them.
async fn counting(
    reply: impl Fn() -> (&'static str, String) + Send + Sync + 'static,
) -> (Stub, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let stub = Stub::replying(move |request| {
        if request.contains("/health/ready ") {
            return ("200 OK", String::new());
        }
        counted.fetch_add(1, Ordering::SeqCst);
        reply()
    })
    .await;
    (stub, count)
}

fn ok() -> (&'static str, String) {
    ("200 OK", "{}".to_owned())
}

fn upstream(source: &Source) -> Upstream {
    Upstream::new(
        "user-service",
        source,
        Connections::new(),
        Resilience::default(),
    )
}

#[tokio::test]
async fn a_new_address_gets_calls() {
    let (resolver, addresses) = resolver();
    let ((old, _), (new, asked)) = (counting(ok).await, counting(ok).await);
    let set = |stubs: &[&Stub]| {
        let stubs = stubs.iter().map(|stub| stub.address());
        *addresses.lock().expect("no panic") = stubs.collect();
    };
    set(&[&old]);
    let source = Source::parse("dns+http://users:8001").expect("a source");
    let instances = Instances::new("user-service", &source.resolved_by(resolver), quick());
    let instances = Arc::new(instances);
    until("resolved", || {
        instances.states()[0].url == old.url().as_str()
    })
    .await;
    let http = Connections::new();
    let users = Upstream::over(Arc::clone(&instances), http, Resilience::default());
    users
        .get("/")
        .done()
        .await
        .expect("an answer of the old one");
    set(&[&old, &new]);
    until("resolved", || instances.states().len() == 2).await;
    for _ in 0..40 {
        users.get("/").done().await.expect("an answer");
    }
    assert!(asked.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn a_call_that_gets_no_connection_goes_to_another_instance() {
    let down = Stub::refusing().await;
    let (up, asked) = counting(ok).await;
    let source = Source::Fixed(vec![down.url(), up.url()]);
    for balance in [Balance::P2c, Balance::RoundRobin, Balance::Random] {
        let resilience = Resilience {
            balance,
            retries: 0,
            ..Resilience::default()
        };
        let users = Upstream::new("user-service", &source, Connections::new(), resilience);
        let before = asked.load(Ordering::SeqCst);
        for _ in 0..20 {
            let posted = users.post("/", &()).once().done().await;
            posted.expect("nothing was sent to the one that is down");
        }
        assert_eq!(asked.load(Ordering::SeqCst) - before, 20, "each once");
        users
            .ping()
            .await
            .expect_err("it says no name, but it answers");
    }
    let both = Source::Fixed(vec![down.url(), Stub::refusing().await.url()]);
    let error = upstream(&both).post("/", &()).done().await;
    let error = error.expect_err("there is no third one");
    assert!(!error.in_doubt(), "{error}");
}

#[tokio::test]
async fn a_retry_goes_to_another_instance() {
    let (bad, _) = counting(|| ("504 Gateway Timeout", String::new())).await;
    let (good, asked) = counting(ok).await;
    let source = Source::Fixed(vec![bad.url(), good.url()]);
    let one_retry = Resilience {
        retries: 1,
        balance: Balance::Random,
        circuit: None,
        ..Resilience::default()
    };
    let users = Upstream::new("user-service", &source, Connections::new(), one_retry);
    for _ in 0..20 {
        users.get("/").done().await.expect("the other one answers");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 20);
}

/// Without what hides that an instance is bad, and patient on a busy machine.
const BARE: Resilience = Resilience {
    timeout: Duration::from_secs(20),
    deadline: Duration::from_secs(20),
    retries: 0,
    retry_budget: 100,
    backoff: MS,
    circuit: None,
    bulkhead: None,
    balance: Balance::P2c,
};

#[tokio::test]
async fn one_that_fails_fast_gets_hardly_any_calls() {
    let (bad, asked) = counting(|| ("500 Internal Server Error", String::new())).await;
    let (good, _) = counting(ok).await;
    let source = Source::Fixed(vec![bad.url(), good.url()]);
    let users = Upstream::new("user-service", &source, Connections::new(), BARE);
    let mut failures = 0;
    for _ in 0..100 {
        failures += u32::from(users.get("/").done().await.is_err());
    }
    assert!(failures <= 2, "{failures} of 100 failed");
    assert_eq!(asked.load(Ordering::SeqCst), failures);
}

#[tokio::test]
async fn one_that_hangs_gets_hardly_any_calls() {
    let (hanging, (good, _)) = (Stub::hanging().await, counting(ok).await);
    let source = Source::Fixed(vec![hanging.url(), good.url()]);
    let users = Upstream::new("user-service", &source, Connections::new(), BARE);
    let mut failures = 0;
    for _ in 0..100 {
        let users = users.clone().with_timeout(SECOND);
        failures += u32::from(users.get("/").done().await.is_err());
    }
    assert!(failures <= 2, "{failures} of 100 failed");
}
