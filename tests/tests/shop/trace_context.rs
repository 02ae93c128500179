//! [W3C Trace Context](https://www.w3.org/TR/trace-context/) on every framework: what a service
//! passes on to the services it calls. The cases are those of the
//! [test suite of the W3C](https://github.com/w3c/trace-context/tree/main/test), its strict
//! ones and that of level 2 included.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use harness::raw::{self, Request, request};
use serde_json::{Value, json};
use shop_tests::fake::Fake;
use shop_tests::faults::Faults;
use shop_tests::shop;

use super::order;

const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "1234567890123456";
const GOOD: &str = "00-12345678901234567890123456789012-1234567890123456-01";

/// An upstream that is all four services in one.
async fn agreeable() -> Fake {
    Fake::start(|request| async move {
        let body = json!({
            "id": "1", "name": "Ada", "email": "ada@example.com", "price": 1, "stock": 5, "sellerId": null,
            "userId": "1", "message": "Hello", "type": "info", "read": false,
            "total": 1, "confirmed": 1, "cancelled": 0, "revenue": 1,
            "createdAt": "2026-01-01T12:00:00.000Z", "updatedAt": "2026-01-01T12:00:00.000Z",
        });
        let status = if request.method == "POST" { "201 Created" } else { "200 OK" };
        raw::json(status, "x-total-count: 1\r\n", &body.to_string())
    })
    .await
}

/// A server that calls others, and the request that makes it do so.
struct Caller {
    name: String,
    address: SocketAddr,
    method: &'static str,
    path: &'static str,
    body: Value,
}

impl Caller {
    /// Sends the request with these headers, and returns the calls that it causes.
    async fn calls(&self, upstream: &Fake, headers: &[(&str, &str)]) -> Vec<Request> {
        let before = upstream.seen().len();
        let id = format!("case-{before}");
        let json = [("content-type", "application/json"), ("x-request-id", &id)];
        let headers = [&json, headers].concat();
        let body = match &self.body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let got = raw::exchange(
            self.address,
            &request(self.method, self.path, &headers, &body),
        )
        .await;
        let status = got.map(|got| got.status);
        assert!(matches!(status, Ok(200 | 201)), "{}: {status:?}", self.name);
        let mut calls = upstream.seen().split_off(before);
        // analytics-service polls as well.
        calls.retain(|call| call.header("x-request-id") == id);
        assert!(!calls.is_empty(), "{} calls somebody", self.name);
        calls
    }
}

/// The parts of the one `traceparent` of a call: trace, parent and flags.
fn sent(call: &Request) -> Result<[String; 3], String> {
    let text = call.text().to_ascii_lowercase();
    let headers = text.lines().filter(|line| line.starts_with("traceparent:"));
    let parts: Vec<_> = call.header("traceparent").split('-').collect();
    match parts[..] {
        ["00", trace, parent, flags]
            if (trace.len(), parent.len(), flags.len()) == (32, 16, 2) && headers.count() == 1 =>
        {
            Ok([trace, parent, flags].map(ToOwned::to_owned))
        }
        _ => Err(format!("no single valid traceparent: {text}")),
    }
}

/// A case: headers, whether the trace goes on, and the `tracestate` that is passed on.
type Case<'a> = (Vec<(&'a str, &'a str)>, bool, &'a str, &'a str);

/// Values of one `traceparent`.
fn parents() -> Vec<(String, bool, &'static str)> {
    let with = |version: &str, trace: &str, parent: &str, flags: &str| {
        format!("{version}-{trace}-{parent}-{flags}")
    };
    let zeros = "0".repeat(32);
    vec![
        (GOOD.to_owned(), true, "a valid one"),
        (
            with("00", TRACE, PARENT, "01."),
            false,
            "something behind version 00",
        ),
        (
            with("00", TRACE, PARENT, "01-what"),
            false,
            "a field behind version 00",
        ),
        (with("cc", TRACE, PARENT, "01"), true, "a later version"),
        (
            with("cc", TRACE, PARENT, "01-what"),
            true,
            "a field behind a later version",
        ),
        (
            with("cc", TRACE, PARENT, "01.what"),
            false,
            "no dash before it",
        ),
        (
            with("ff", TRACE, PARENT, "01"),
            false,
            "the forbidden version",
        ),
        (with(".0", TRACE, PARENT, "01"), false, "a bad version"),
        (with("0.", TRACE, PARENT, "01"), false, "a bad version"),
        (with("000", TRACE, PARENT, "01"), false, "a long version"),
        (with("0000", TRACE, PARENT, "01"), false, "a longer version"),
        (with("0", TRACE, PARENT, "01"), false, "a short version"),
        (with("00", &zeros, PARENT, "01"), false, "no trace"),
        (
            with("00", &TRACE.replacen('1', ".", 1), PARENT, "01"),
            false,
            "a bad trace",
        ),
        (
            with("00", &format!("{}.", &TRACE[1..]), PARENT, "01"),
            false,
            "a bad trace",
        ),
        (
            with("00", &format!("{TRACE}3"), PARENT, "01"),
            false,
            "a long trace",
        ),
        (
            with("00", &TRACE[1..], PARENT, "01"),
            false,
            "a short trace",
        ),
        (with("00", TRACE, &zeros[..16], "01"), false, "no parent"),
        (
            with("00", TRACE, ".234567890123456", "01"),
            false,
            "a bad parent",
        ),
        (
            with("00", TRACE, "123456789012345.", "01"),
            false,
            "a bad parent",
        ),
        (
            with("00", TRACE, "12345678901234567", "01"),
            false,
            "a long parent",
        ),
        (
            with("00", TRACE, "123456789012345", "01"),
            false,
            "a short parent",
        ),
        (with("00", TRACE, PARENT, ".0"), false, "bad flags"),
        (with("00", TRACE, PARENT, "0."), false, "bad flags"),
        (with("00", TRACE, PARENT, "001"), false, "long flags"),
        (with("00", TRACE, PARENT, "1"), false, "short flags"),
        (format!(" {GOOD}"), true, "a space before"),
        (format!("\t{GOOD}"), true, "a tab before"),
        (format!("{GOOD} "), true, "a space behind"),
        (format!("{GOOD}\t"), true, "a tab behind"),
        (format!("\t {GOOD} \t"), true, "both around"),
    ]
}

/// Lines of `tracestate` behind a valid `traceparent`, and what is passed on of them.
fn states() -> Vec<(Vec<String>, String, &'static str)> {
    let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (' '..='~').filter(|c| !",=".contains(*c)).collect();
    let all = format!("{key}={value}");
    let vendor = format!("{key}@a-z0-9_-*/={value}");
    let ten = |from: usize| {
        let ten: Vec<_> = (from..from + 10)
            .map(|n| format!("bar{n:02}={n:02}"))
            .collect();
        ten.join(",")
    };
    let thirty = [ten(1), ten(11), ten(21)];
    let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let same = |line: &str, reason| (lines(&[line]), line.to_owned(), reason);
    let lost = |line: &str, reason| (lines(&[line]), String::new(), reason);
    let with = |more: &str| [&thirty[..], &[more.to_owned()]].concat();
    let long = |key: &str| {
        (
            lines(&["foo=1", &format!("{key}=1")]),
            format!("foo=1,{key}=1"),
            "a long key",
        )
    };
    vec![
        same("foo=1,bar=2", "two entries"),
        lost("", "an empty line"),
        (
            lines(&["foo=1", ""]),
            "foo=1".to_owned(),
            "an empty line behind",
        ),
        (
            lines(&["", "foo=1"]),
            "foo=1".to_owned(),
            "an empty line before",
        ),
        (
            lines(&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"]),
            "foo=1,bar=2,rojo=1,congo=2,baz=3".to_owned(),
            "three lines, in their order",
        ),
        same("foo=1,foo=1", "a key twice is kept as it is"),
        same("foo=1,foo=2", "with two values"),
        (
            lines(&["foo=1", "foo=2"]),
            "foo=1,foo=2".to_owned(),
            "and on two lines",
        ),
        same(&all, "every character that may be there"),
        same(&vendor, "a key with a vendor"),
        (
            lines(&["foo=1 \t , \t bar=2, \t baz=3"]),
            "foo=1,bar=2,baz=3".to_owned(),
            "white space",
        ),
        (
            lines(&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"]),
            "foo=1,bar=2,baz=3".to_owned(),
            "tabs",
        ),
        (lines(&[" foo=1"]), "foo=1".to_owned(), "a space before"),
        (lines(&["\tfoo=1"]), "foo=1".to_owned(), "a tab before"),
        (lines(&["foo=1 "]), "foo=1".to_owned(), "a space behind"),
        (lines(&["foo=1\t"]), "foo=1".to_owned(), "a tab behind"),
        (lines(&["\t foo=1 \t"]), "foo=1".to_owned(), "both around"),
        lost("foo =1", "a space in a key"),
        lost("FOO=1", "upper case"),
        lost("foo.bar=1", "a dot"),
        same("foo@=1,bar=2", "an @ at the end of a key"),
        lost("@foo=1,bar=2", "an @ at its start"),
        same("foo@@bar=1,bar=2", "two @"),
        same("foo@bar@baz=1,bar=2", "two @ with something between"),
        (
            with("bar31=31,bar32=32"),
            format!("{},bar31=31,bar32=32", thirty.join(",")),
            "32 entries",
        ),
        (
            with("bar31=31,bar32=32,bar33=33"),
            String::new(),
            "33 entries",
        ),
        long(&"z".repeat(256)),
        (
            lines(&["foo=1", &format!("{}=1", "z".repeat(257))]),
            String::new(),
            "too long a key",
        ),
        long(&format!("{}@{}", "t".repeat(241), "v".repeat(14))),
        long(&format!("{}@v", "t".repeat(242))),
        long(&format!("t@{}", "v".repeat(15))),
        lost("foo=bar=baz", "two values"),
        lost("foo=,bar=3", "no value"),
    ]
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk over every caller and case")]
async fn every_framework_passes_on_what_the_standard_says() {
    let upstream = agreeable().await;
    let (parents, states) = (parents(), states());
    let named = |name| vec![(name, GOOD)];
    let mut cases: Vec<Case<'_>> = vec![
        (vec![], false, "", "no headers"),
        (
            vec![("traceparent", GOOD), ("traceparent", GOOD)],
            false,
            "",
            "two, though equal",
        ),
        (named("trace-parent"), false, "", "another name"),
        (named("trace.parent"), false, "", "another name"),
        (named("TraceParent"), true, "", "capitals in the name"),
        (named("TrAcEpArEnT"), true, "", "in other places"),
        (named("TRACEPARENT"), true, "", "everywhere"),
        (vec![("tracestate", "foo=1")], false, "", "no parent"),
    ];
    for (name, kept) in [
        ("trace-state", ""),
        ("trace.state", ""),
        ("TraceState", "foo=1"),
        ("TrAcEsTaTe", "foo=1"),
        ("TRACESTATE", "foo=1"),
    ] {
        cases.push((
            vec![("traceparent", GOOD), (name, "foo=1")],
            true,
            kept,
            name,
        ));
    }
    for (parent, continued, reason) in &parents {
        cases.push((vec![("traceparent", parent)], *continued, "", reason));
    }
    for (lines, kept, reason) in &states {
        let lines = lines.iter().map(|line| ("tracestate", line.as_str()));
        let headers = [("traceparent", GOOD)].into_iter().chain(lines).collect();
        cases.push((headers, true, kept, reason));
    }

    let url = upstream.url();
    let orders = shop::orders(&url, &url, &url).await;
    let analytics = shop::analytics_polling([&url; 4], 60_000).await;
    let products = shop::products(&url).await;
    let others = shop::products_on_other_frameworks(&url).await;
    let cup = json!({"name": "Cup", "price": 1, "sellerId": "1"});
    let selling = |name: &str, address| Caller {
        name: format!("product-service on {name}"),
        address,
        method: "POST",
        path: "/api/products",
        body: cup.clone(),
    };
    let mut callers = vec![
        Caller {
            name: "order-service".to_owned(),
            address: orders.address(),
            method: "POST",
            path: "/api/orders",
            body: order("1", "1", 1),
        },
        Caller {
            name: "analytics-service".to_owned(),
            address: analytics.address(),
            method: "GET",
            path: "/api/analytics/summary",
            body: Value::Null,
        },
        selling("rocket", products.address()),
    ];
    callers.extend(
        others
            .iter()
            .map(|(framework, server)| selling(framework.name, server.address())),
    );

    let mut faults = Faults::default();
    for caller in &callers {
        for (headers, continued, state, reason) in &cases {
            let what = format!("{} ({reason})", caller.name);
            let calls = caller.calls(&upstream, headers).await;
            let mut ids = BTreeSet::new();
            for call in &calls {
                match sent(call) {
                    Err(fault) => faults.check(&what, Err(fault)),
                    Ok([trace, parent, _]) => {
                        // Invalid ids of the cases are parts of the valid one, or nothing.
                        faults.expect(&what, TRACE.contains(&trace[1..31]), *continued);
                        faults.ensure(&what, parent != PARENT, || "the caller's parent".to_owned());
                        faults.ensure(&what, !trace.bytes().all(|b| b == b'0'), || {
                            "no trace".to_owned()
                        });
                        ids.insert(parent);
                    }
                }
                faults.expect(&what, call.header("tracestate"), *state);
            }
            faults.expect(format!("{what}: ids of the calls"), ids.len(), calls.len());
        }
        for (received, flags, reason) in [
            ("00", "00", "not sampled"),
            ("02", "02", "a random id"),
            ("03", "03", "both"),
            ("fc", "00", "flags without a meaning"),
        ] {
            let parent = format!("00-{TRACE}-{PARENT}-{received}");
            for call in caller.calls(&upstream, &[("traceparent", &parent)]).await {
                let sent = sent(&call).map(|[.., flags]| flags);
                faults.expect(
                    format!("{} ({reason})", caller.name),
                    sent,
                    Ok(flags.to_owned()),
                );
            }
        }
    }
    faults.finish();
}
