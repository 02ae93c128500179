//! The X-ray in the terminal, character by character, for traces that are always the same.

use lab::xray::screen::Style;
use lab::xray::trace::Trace;
use lab::xray::{sequence, waterfall};
use serde_json::{Value, json};

const PLAIN: Style = Style {
    colour: false,
    unicode: true,
};

/// A request that `service` answered.
fn request(depth: usize, service: &str, name: &str, (from, ms): (f64, f64), status: u16) -> Value {
    json!({
        "spanId": "00f067aa0ba902b7", "parentId": null, "depth": depth, "service": service,
        "name": name, "kind": "server", "offsetMs": from, "durationMs": ms, "status": status,
        "attributes": {}, "gapMs": null, "concurrent": false, "parentMissing": false,
        "shiftedMs": 0.0,
    })
}

/// A call that `service` made.
fn call(depth: usize, service: &str, to: &str, times: (f64, f64), status: Option<u16>) -> Value {
    let name = format!("call {to}");
    let mut call = request(depth, service, &name, times, 200);
    call["kind"] = json!("client");
    call["status"] = json!(status);
    call["attributes"] = json!({"dependency": to, "attempt": 1, "circuit": "closed"});
    call
}

/// A request that the gateway forwarded to order-service: without a circuit.
fn forwarded(times: (f64, f64), status: u16) -> Value {
    let mut forwarded = call(1, "gateway", "order-service", times, Some(status));
    forwarded["attributes"] = json!({"dependency": "order-service", "attempt": 1});
    forwarded
}

/// `value` with these attributes.
fn with(mut value: Value, attributes: &Value) -> Value {
    for (name, attribute) in attributes.as_object().expect("an object") {
        value["attributes"][name] = attribute.clone();
    }
    value
}

fn trace(ms: f64, spans: &[Value]) -> Value {
    json!({
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "requestId": "demo-1",
        "start": "2026-01-01T12:00:00.000Z", "durationMs": ms, "spans": spans, "cut": null,
        "unavailable": [],
    })
}

/// An order for which all goes well.
fn order() -> Value {
    let orders = "order-service";
    let created = json!({"created": "/api/orders/7"});
    trace(
        9.6,
        &[
            request(0, "gateway", "POST /api/orders", (0.0, 9.6), 201),
            forwarded((0.6, 8.4), 201),
            with(
                request(2, orders, "POST /api/orders", (0.8, 8.0), 201),
                &created,
            ),
            call(3, orders, "user-service", (1.2, 2.4), Some(200)),
            request(4, "user-service", "GET /api/users/{id}", (2.0, 0.8), 200),
            call(3, orders, "product-service", (1.3, 2.8), Some(200)),
            request(
                4,
                "product-service",
                "GET /api/products/{id}",
                (2.4, 0.9),
                200,
            ),
            call(3, orders, "product-service", (4.4, 1.6), Some(200)),
            request(
                4,
                "product-service",
                "PATCH /api/products/{id}/stock",
                (4.8, 0.8),
                200,
            ),
            call(3, orders, "notification-service", (6.2, 2.0), Some(201)),
            request(
                4,
                "notification-service",
                "POST /api/notifications/send",
                (6.6, 1.1),
                201,
            ),
        ],
    )
}

/// An order for which much goes wrong.
fn failed() -> Value {
    let orders = "order-service";
    let mut late = call(3, orders, "product-service", (1.0, 800.0), None);
    late = with(late, &json!({"failure": "timed_out"}));
    let mut second = call(3, orders, "product-service", (850.0, 100.0), Some(503));
    second = with(
        second,
        &json!({"failure": "failed", "attempt": 2, "circuit": "half_open"}),
    );
    let mut third = call(3, orders, "product-service", (1000.0, 0.0), None);
    third = with(
        third,
        &json!({"notMade": "circuit_open", "attempt": 3, "circuit": "open"}),
    );
    let mut orphan = request(
        0,
        "notification-service",
        "GET /api/notifications",
        (1000.0, 200.0),
        200,
    );
    orphan["parentMissing"] = json!(true);
    let mut queued = request(
        4,
        "product-service",
        "GET /api/products/{id}",
        (930.0, 5.0),
        503,
    );
    queued["gapMs"] = json!(95.0);
    queued["shiftedMs"] = json!(-3_600_000.0);
    let mut value = trace(
        1200.0,
        &[
            request(0, "gateway", "POST /api/orders", (0.0, 1010.0), 503),
            forwarded((0.3, 1006.0), 503),
            request(2, orders, "POST /api/orders", (0.5, 1005.0), 503),
            late,
            // It did its work when nobody waited any more.
            request(
                4,
                "product-service",
                "GET /api/products/{id}",
                (2.0, 900.0),
                200,
            ),
            second,
            queued,
            third,
            orphan,
        ],
    );
    value["unavailable"] = json!(["user-service", "analytics-service"]);
    value["cut"] = json!({"shown": 9, "of": 10_000});
    value
}

fn parsed(value: &Value) -> Trace {
    serde_json::from_value(value.clone()).expect("a trace")
}

/// Compares line by line, so that a failure shows both.
fn assert_drawn(drawn: &str, expected: &str) {
    let expected = expected.strip_prefix('\n').expect("it begins below");
    assert!(drawn == expected, "drawn:\n{drawn}\nexpected:\n{expected}");
}

#[test]
fn an_order_as_a_waterfall() {
    assert_drawn(
        &waterfall::draw(&parsed(&order()), PLAIN),
        r"
POST /api/orders  201 after 9.60 ms
request  demo-1                                        2026-01-01T12:00:00.000Z
trace    4bf92f3577b34da6a3ce929d0e0e4736              11 spans, 5 services
created  /api/orders/7

                                    0         4.80      9.60      ms
gateway POST /api/orders            ━━━━━━━━━━━━━━━━━━━━━━━━    9.60 201
└ order POST /api/orders             ─━━━━━━━━━━━━━━━━━━━━─     8.40 201
  ├ user GET /api/users/{id}           ──━━──                   2.40 200
  ├ product GET /api/products/{id}     ───━━━──                 2.80 200
  ├ product PATCH …/{id}/stock                 ─━━─             1.60 200
  └ notification POST …/send                       ─━━━━─       2.00 201

━ the service works   ─ its caller waits
",
    );
}

#[test]
fn an_order_as_a_sequence() {
    assert_drawn(
        &sequence::draw(&parsed(&order()), PLAIN),
        r"
POST /api/orders  201 after 9.60 ms
request  demo-1                                        2026-01-01T12:00:00.000Z
trace    4bf92f3577b34da6a3ce929d0e0e4736              11 spans, 5 services
created  /api/orders/7

      ms  client  gateway  order   user   product notifi…
    0.00    │───────▶       │       │       │       │     POST /api/orders
    0.60    │       ┃───────▶       │       │       │     POST /api/orders
    1.20    │       ┃       ┃───────▶       │       │     GET /api/users/{id}
    1.30    │       ┃       ┃───────────────▶       │     GET /api/products/{id}
    3.60    │       ┃       ◀╌╌╌╌╌╌╌┃       ┃       │     200 in 2.40 ms
    4.10    │       ┃       ◀╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┃       │     200 in 2.80 ms
    4.40    │       ┃       ┃───────────────▶       │     PATCH …/{id}/stock
    6.00    │       ┃       ◀╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┃       │     200 in 1.60 ms
    6.20    │       ┃       ┃───────────────────────▶     POST …/send
    8.20    │       ┃       ◀╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┃     201 in 2.00 ms
    9.00    │       ◀╌╌╌╌╌╌╌┃       │       │       │     201 in 8.40 ms
    9.60    ◀╌╌╌╌╌╌╌┃       │       │       │       │     201 in 9.60 ms

┃ the service works   ▶ a request, ◀ its response
",
    );
}

#[test]
fn all_that_can_go_wrong_as_a_waterfall() {
    assert_drawn(
        &waterfall::draw(&parsed(&failed()), PLAIN),
        r"
POST /api/orders  503 after 1010 ms
request  demo-1                                        2026-01-01T12:00:00.000Z
trace    4bf92f3577b34da6a3ce929d0e0e4736              10000 spans, 4 services

                                    0         600.0     1200      ms
gateway POST /api/orders            ━━━━━━━━━━━━━━━━━━━━×       1010 503
└ order POST /api/orders            ━━━━━━━━━━━━━━━━━━━━×       1006 503
  ├ product call                    ────────────────×          800.0 timed out
  │ └ product GET …/products/{id}   ━━━━━━━━━━━━━━━━━━━        900.0 200
  ├ product #2 GET …/products/{id}                   ─×        100.0 503
  │   circuit is half open: this call finds out whether to close it
  └ product #3 call                                     ×          — not made
      circuit to product is open: nothing was sent
notification GET /api/notifications                     ━━━━   200.0 200
  whoever called it is missing: no service has that span

━ the service works   ─ its caller waits   × failed   #2 the second attempt
Only 9 of 10000 spans are shown.
Could not be asked, so their spans are missing: user-service, analytics-service.
The clock of product-service is 3600 s ahead: corrected.
",
    );
}

#[test]
fn all_that_can_go_wrong_as_a_sequence() {
    assert_drawn(
        &sequence::draw(&parsed(&failed()), PLAIN),
        r"
POST /api/orders  503 after 1010 ms
request  demo-1                                        2026-01-01T12:00:00.000Z
trace    4bf92f3577b34da6a3ce929d0e0e4736              10000 spans, 4 services

      ms  client  gateway  order  product    ?    notifi…
    0.00    │───────▶       │       │       │       │     POST /api/orders
    0.30    │       ┃───────▶       │       │       │     POST /api/orders
    1.00    │       ┃       ┃───────▶       │       │     GET /api/products/{id}
   801.0    │       ┃       ┃╌╌╌╌╌× ┃       │       │     timed out in 800.0 ms
   850.0    │       ┃       ┃───────▶       │       │     #2 GET …/products/{id}
   950.0    │       ┃       ◀╌╌╌╌╌╌╌┃       │       │     503 in 100.0 ms
    1000    │       ┃       ┃─×     │       │       │     not made: circuit open
    1000    │       ┃       ┃       │       │───────▶     GET /api/notifications
    1006    │       ◀╌╌╌╌╌╌╌┃       │       │       ┃     503 in 1006 ms
    1010    ◀╌╌╌╌╌╌╌┃       │       │       │       ┃     503 in 1010 ms
    1200    │       │       │       │       ◀╌╌╌╌╌╌╌┃     200 in 200.0 ms

┃ the service works   ▶ a request, ◀ its response
Only 9 of 10000 spans are shown.
Could not be asked, so their spans are missing: user-service, analytics-service.
The clock of product-service is 3600 s ahead: corrected.
",
    );
}

#[test]
fn a_call_that_mostly_waits_says_so() {
    let mut queued = request(2, "user-service", "GET /api/users/{id}", (60.0, 10.0), 200);
    queued["gapMs"] = json!(50.0);
    let spans = [
        request(0, "order-service", "GET /api/orders", (0.0, 100.0), 200),
        call(1, "order-service", "user-service", (20.0, 60.0), Some(200)),
        queued,
    ];
    let drawn = waterfall::draw(&parsed(&trace(100.0, &spans)), PLAIN);
    let rows: Vec<_> = drawn.lines().skip(6).take(2).collect();
    assert_eq!(
        rows,
        [
            "└ user GET /api/users/{id}              ──────────━━━───        60.0 200",
            "    50.0 ms of it outside of user: connecting, or in a queue",
        ],
        "{drawn}"
    );
}

#[test]
fn without_unicode_it_is_ascii() {
    let ascii = Style {
        unicode: false,
        ..PLAIN
    };
    assert_drawn(
        &waterfall::draw(&parsed(&order()), ascii),
        r"
POST /api/orders  201 after 9.60 ms
request  demo-1                                        2026-01-01T12:00:00.000Z
trace    4bf92f3577b34da6a3ce929d0e0e4736              11 spans, 5 services
created  /api/orders/7

                                    0         4.80      9.60      ms
gateway POST /api/orders            ========================    9.60 201
` order POST /api/orders             -====================-     8.40 201
  + user GET /api/users/{id}           --==--                   2.40 200
  + product GET /api/products/{id}     ---===--                 2.80 200
  + product PATCH ~/{id}/stock                 -==-             1.60 200
  ` notification POST ~/send                       -====-       2.00 201

= the service works   - its caller waits
",
    );
    let sequence = sequence::draw(&parsed(&order()), ascii);
    assert!(sequence.is_ascii(), "{sequence}");
}

#[test]
fn colours_change_nothing_that_can_be_read() {
    let coloured = Style {
        colour: true,
        ..PLAIN
    };
    for value in [order(), failed()] {
        let trace = parsed(&value);
        for draw in [waterfall::draw, sequence::draw] {
            let text = draw(&trace, coloured);
            assert!(text.contains("\u{1b}["), "{text}");
            assert_eq!(without_colour(&text), draw(&trace, PLAIN));
        }
    }
}

fn without_colour(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        all + part.split_once('m').map_or(part, |(_, rest)| rest)
    })
}

/// Texts that would break the frame, or the terminal.
const NASTY: [&str; 6] = [
    "\u{1b}]0;owned\u{7}\u{1b}[2J",
    "line\nbreak\r\ttab",
    "\u{202e}right to left\u{200b}",
    "日本語の名前でとても長いもの",
    "👩‍👩‍👧 family",
    "",
];

#[test]
fn whatever_a_trace_contains_no_line_is_too_long_and_none_has_control_characters() {
    let long = "x".repeat(5000);
    for text in NASTY.into_iter().chain([&*long]) {
        let mut value = failed();
        for field in ["traceId", "requestId", "start"] {
            value[field] = json!(text);
        }
        value["unavailable"] = json!([text, text]);
        for (n, span) in value["spans"]
            .as_array_mut()
            .expect("spans")
            .iter_mut()
            .enumerate()
        {
            for field in ["name", "service", "spanId"] {
                span[field] = json!(format!("{text}{n}"));
            }
            for field in ["dependency", "circuit", "failure", "created", "notMade"] {
                if n % 2 == 0 {
                    span["attributes"][field] = json!(text);
                }
            }
            span["attributes"]["attempt"] = json!(u32::MAX);
            span["depth"] = json!(n * n * 1000);
            span["offsetMs"] = json!(if n == 3 { -1e300 } else { 1e300 });
            span["durationMs"] = json!(1e300);
            span["shiftedMs"] = json!(1e300);
        }
        for total in [0.0, -5.0, 1e-300, 1e300] {
            value["durationMs"] = json!(total);
            let trace = parsed(&value);
            for style in [
                PLAIN,
                Style {
                    unicode: false,
                    ..PLAIN
                },
            ] {
                for drawn in [
                    waterfall::draw(&trace, style),
                    sequence::draw(&trace, style),
                ] {
                    for line in drawn.lines() {
                        assert!(line.chars().count() <= 80, "{line}");
                        assert!(!line.chars().any(char::is_control), "{line:?}");
                    }
                    assert!(style.unicode || drawn.is_ascii(), "{drawn}");
                }
            }
        }
    }
}

#[test]
fn a_trace_without_spans_is_drawn() {
    let trace = parsed(&trace(0.0, &[]));
    for draw in [waterfall::draw, sequence::draw] {
        assert!(draw(&trace, PLAIN).contains("0 spans, 0 services"));
    }
}

/// The second drawing of docs/xray.md: the same as [`failed`], from a shop in which all answer.
fn lost() -> Value {
    let mut value = failed();
    value["cut"] = json!(null);
    value["unavailable"] = json!([]);
    value["durationMs"] = json!(1010.0);
    let spans = value["spans"].as_array_mut().expect("spans");
    spans.pop();
    spans[6]["gapMs"] = json!(30.0);
    spans[6]["shiftedMs"] = json!(0.0);
    value
}

#[test]
fn the_docs_show_what_is_drawn() {
    let docs = include_str!("../../docs/xray.md");
    let sequence = sequence::draw(&parsed(&order()), PLAIN);
    // Without its heading and its legend.
    let parts = sequence.split("\n\n").nth(1).expect("the arrows");
    for drawn in [
        &waterfall::draw(&parsed(&order()), PLAIN),
        &waterfall::draw(&parsed(&lost()), PLAIN),
        parts,
    ] {
        assert!(docs.contains(drawn), "docs/xray.md lacks:\n{drawn}");
    }
}
