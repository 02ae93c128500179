//! Trees of spans, good and bad. Times are in microseconds.

use std::collections::{HashMap, HashSet};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const SERVICES: [&str; 4] = [
    "gateway",
    "order-service",
    "user-service",
    "product-service",
];

/// A span of 1 ms that begins at 0, of the only trace.
fn span(id: u64, parent: Option<u64>, service: &'static str, kind: Kind) -> Span {
    Span {
        trace: 1,
        id,
        parent,
        request_id: "demo-1".to_owned(),
        service,
        name: format!("span {id}"),
        kind,
        start: 0,
        duration: 1000,
        status: Some(200),
        attributes: Attributes::default(),
    }
}

/// The same from `start` to `end`.
fn at(span: Span, start: i64, end: i64) -> Span {
    Span {
        start,
        duration: end - start,
        ..span
    }
}

fn request(id: u64, parent: Option<u64>, service: &'static str) -> Span {
    span(id, parent, service, Kind::Server)
}

fn call(id: u64, parent: u64, service: &'static str) -> Span {
    span(id, Some(parent), service, Kind::Client)
}

/// The trace of these spans, and its spans by the names that [`span`] gives them.
fn drawn(spans: Vec<Span>) -> (Trace, HashMap<u64, TraceSpan>) {
    let trace = tree(spans, Vec::new()).expect("spans");
    let by_id = trace.spans.iter().map(|span| {
        let id = u64::from_str_radix(&span.span_id, 16).expect("an id");
        (id, span.clone())
    });
    let by_id = by_id.collect();
    (trace, by_id)
}

fn ids(trace: &Trace) -> Vec<u64> {
    let ids = trace.spans.iter().map(|span| &span.span_id);
    ids.map(|id| u64::from_str_radix(id, 16).expect("an id"))
        .collect()
}

/// Numbers that no test computes with.
#[expect(clippy::float_cmp, reason = "microseconds are exact in milliseconds")]
fn assert_ms(got: f64, expected: f64) {
    assert_eq!(got, expected);
}

#[test]
fn an_order_is_drawn_in_the_order_in_which_it_happened() {
    let orders = "order-service";
    let (trace, spans) = drawn(vec![
        at(call(6, 2, orders), 4000, 5000),
        at(request(5, Some(4), "product-service"), 1500, 2500),
        at(call(4, 2, orders), 1100, 3000),
        at(call(3, 2, orders), 1000, 2000),
        at(request(2, Some(1), orders), 500, 6000),
        at(request(1, None, "gateway"), 0, 7000),
    ]);
    assert_eq!(ids(&trace), [1, 2, 3, 4, 5, 6]);
    let depths: Vec<_> = trace.spans.iter().map(|span| span.depth).collect();
    assert_eq!(depths, [0, 1, 2, 2, 3, 2]);
    assert_ms(trace.duration_ms, 7.0);
    assert_ms(spans[&5].offset_ms, 1.5);
    // Both reads at once; the call after them waited.
    assert!(spans[&3].concurrent && spans[&4].concurrent);
    assert!(!spans[&6].concurrent && !spans[&1].concurrent && !spans[&5].concurrent);
    // 1.9 ms of a call, of which 1.0 ms were the request.
    assert_eq!(spans[&5].gap_ms, Some(0.9));
    assert_eq!(
        spans[&2].gap_ms, None,
        "the gateway forwards, without a call"
    );
    assert!(trace.spans.iter().all(|span| span.shifted_ms == 0.0));
    assert_eq!((trace.cut, &*trace.request_id), (None, "demo-1"));
}

#[test]
fn retries_are_one_after_the_other_and_not_concurrent() {
    let attempt = |id, number, start| {
        let mut span = at(call(id, 1, "order-service"), start, start + 100);
        span.attributes.attempt = Some(number);
        span.status = None;
        span
    };
    let (trace, spans) = drawn(vec![
        attempt(4, 3, 400),
        attempt(3, 2, 200),
        attempt(2, 1, 100),
        at(request(1, None, "order-service"), 0, 1000),
    ]);
    assert_eq!(ids(&trace), [1, 2, 3, 4]);
    assert!([2, 3, 4].iter().all(|id| !spans[id].concurrent));
    let attempts = trace
        .spans
        .iter()
        .filter_map(|span| span.attributes.attempt);
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_call_that_was_not_made_is_concurrent_with_what_happens_meanwhile() {
    let mut not_made = at(call(3, 1, "order-service"), 500, 500);
    not_made.status = None;
    not_made.attributes.not_made = Some("circuit_open".to_owned());
    let (_, spans) = drawn(vec![
        at(request(1, None, "order-service"), 0, 2000),
        at(call(2, 1, "order-service"), 100, 1500),
        not_made,
    ]);
    assert!(spans[&2].concurrent && spans[&3].concurrent);
}

#[test]
fn a_clock_that_is_wrong_is_corrected_for_a_request_and_all_below_it() {
    for ahead in [-3_600_000_000, -1000, 1500, 3_600_000_000] {
        let users = "user-service";
        let (trace, spans) = drawn(vec![
            at(request(1, None, "order-service"), 0, 2000),
            at(call(2, 1, "order-service"), 100, 1100),
            at(request(3, Some(2), users), 300 + ahead, 900 + ahead),
            at(call(4, 3, users), 400 + ahead, 500 + ahead),
        ]);
        assert_ms(trace.duration_ms, 2.0);
        // In the middle of the call, whose response it is.
        assert_ms(spans[&3].offset_ms, 0.3);
        assert_ms(spans[&4].offset_ms, 0.4);
        for id in [3, 4] {
            assert_ms(spans[&id].shifted_ms, milliseconds(-ahead));
        }
        assert_eq!(spans[&3].gap_ms, Some(0.4));
    }
}

#[test]
fn a_request_that_its_caller_gave_up_may_come_later() {
    let mut call = at(call(2, 1, "order-service"), 100, 1100);
    call.status = None;
    let (_, spans) = drawn(vec![
        at(request(1, None, "order-service"), 0, 2000),
        call,
        at(request(3, Some(2), "user-service"), 5000, 6000),
    ]);
    assert_ms(spans[&3].offset_ms, 5.0);
    assert_ms(spans[&3].shifted_ms, 0.0);
    assert_eq!(spans[&3].gap_ms, Some(1.0), "none of the call was in it");
}

#[test]
fn a_span_whose_parent_is_missing_says_so() {
    let (trace, spans) = drawn(vec![
        at(request(1, None, "gateway"), 0, 1000),
        at(request(3, Some(99), "user-service"), 400, 900),
    ]);
    assert_eq!(ids(&trace), [1, 3]);
    assert!(spans[&3].parent_missing && !spans[&1].parent_missing);
    assert_eq!(spans[&3].parent_id.as_deref(), Some("0000000000000063"));
    assert_eq!(spans[&3].depth, 0);
}

#[test]
fn spans_below_each_other_in_a_circle_are_all_shown_once() {
    for (parents, first) in [
        (vec![Some(1)], 1),
        (vec![Some(2), Some(1)], 1),
        // Two go round, and one hangs below them.
        (vec![Some(3), Some(3), Some(2)], 2),
    ] {
        let spans = parents.iter().zip(1..);
        let spans = spans.map(|(parent, id)| request(id, *parent, "gateway"));
        let (trace, spans) = drawn(spans.collect());
        assert_eq!(spans.len(), parents.len(), "{parents:?}");
        assert!(spans[&first].parent_missing, "{parents:?}");
        assert_eq!(trace.spans[0].depth, 0);
        let missing = trace.spans.iter().filter(|span| span.parent_missing);
        assert_eq!(missing.count(), 1, "{parents:?}");
    }
}

#[test]
fn of_two_spans_with_one_id_the_first_is_shown() {
    let spans = vec![
        at(request(1, None, "gateway"), 0, 1000),
        at(request(2, Some(1), "order-service"), 100, 900),
        at(request(2, Some(1), "order-service"), 200, 900),
    ];
    let (trace, by_id) = drawn(spans.clone());
    assert_eq!(ids(&trace), [1, 2]);
    assert_ms(by_id[&2].offset_ms, 0.1);
    let reversed: Vec<_> = spans.into_iter().rev().collect();
    assert_eq!(drawn(reversed).0, trace, "whoever answers first");
}

#[test]
fn a_long_trace_is_cut_and_says_so() {
    // As deep as it is long: no stack may overflow.
    let deep = (1..=10_000).map(|id| request(id, (id > 1).then(|| id - 1), "gateway"));
    let wide = (1..=10_000).map(|id| request(id, (id > 1).then_some(1), "gateway"));
    for spans in [deep.collect(), wide.collect::<Vec<_>>()] {
        let (trace, _) = drawn(spans);
        assert_eq!(trace.spans.len(), MOST);
        let (shown, of) = (MOST, 10_000);
        assert_eq!(trace.cut, Some(Cut { shown, of }));
    }
    let exactly = (1..=MOST as u64).map(|id| request(id, None, "gateway"));
    assert_eq!(drawn(exactly.collect()).0.cut, None);
}

#[test]
fn without_spans_there_is_no_trace() {
    assert_eq!(tree(Vec::new(), Vec::new()), None);
    assert_eq!(latest(Vec::new(), 10), []);
}

#[test]
fn the_latest_traces_are_those_of_their_roots_without_those_who_look() {
    let of = |trace, start, spans: Vec<Span>| {
        let spans = spans.into_iter();
        spans.map(move |span| Span {
            trace,
            start: start + span.start,
            ..span
        })
    };
    let mut failed = call(3, 2, "order-service");
    failed.attributes.failure = Some("timed_out".to_owned());
    let order = vec![
        at(request(2, Some(1), "order-service"), 10, 900),
        at(request(1, None, "gateway"), 0, 1000),
        at(failed, 20, 30),
    ];
    let mut look = request(5, Some(4), "analytics-service");
    look.attributes.route = Some("/api/analytics/traces/{id}".to_owned());
    let spans = of(7, 0, order.clone()).chain(of(8, 5000, order)).chain(of(
        9,
        9000,
        vec![request(4, None, "gateway"), look],
    ));
    let listed = latest(spans.collect(), 10);
    let traces: Vec<_> = listed.iter().map(|one| &*one.trace_id).collect();
    assert_eq!(traces, [trace_id(8), trace_id(7)]);
    let one = &listed[0];
    assert_eq!((one.service, &*one.name), ("gateway", "span 1"));
    assert_eq!((one.spans, one.errors), (3, 1));
    assert_eq!(one.services, ["gateway", "order-service"]);
    assert_ms(one.duration_ms, 1.0);
    let spans =
        (0..50_u64).flat_map(|trace| of(trace.into(), 0, vec![request(1, None, "gateway")]));
    assert_eq!(latest(spans.collect(), 20).len(), 20);
}

prop_compose! {
    /// Any span at all, of few ids, so that parents, circles and doubles are common.
    fn any_span()(
        (id, parent) in (0..40_u64, option::of(0..45_u64)),
        service in 0..SERVICES.len(),
        is_call in any::<bool>(),
        start in prop_oneof![-2000..2000_i64, any::<i32>().prop_map(|n| i64::from(n) * 1_000_000)],
        duration in 0..3000_i64,
        status in option::of(100..600_u16),
    ) -> Span {
        let kind = if is_call { Kind::Client } else { Kind::Server };
        Span { start, duration, status, ..span(id, parent, SERVICES[service], kind) }
    }
}

proptest! {
    #[test]
    fn any_spans_make_a_tree_that_can_be_drawn(spans in vec(any_span(), 1..80)) {
        let different: HashSet<_> = spans.iter().map(|span| span.id).collect();
        let (trace, by_id) = drawn(spans.clone());
        prop_assert_eq!(trace.spans.len(), different.len(), "each once");
        prop_assert_eq!(by_id.len(), different.len());
        prop_assert!(trace.duration_ms >= 0.0);
        // The spans above the current one, one for each depth.
        let mut above: Vec<&TraceSpan> = Vec::new();
        let mut before: HashMap<Option<&str>, f64> = HashMap::new();
        for span in &trace.spans {
            prop_assert!(span.depth <= above.len(), "below the one before, at most");
            above.truncate(span.depth);
            prop_assert!(span.offset_ms >= 0.0 && span.duration_ms >= 0.0);
            prop_assert!(span.offset_ms + span.duration_ms <= trace.duration_ms * (1.0 + 1e-9) + 1e-6);
            if let Some(parent) = above.last() {
                prop_assert_eq!(Some(&parent.span_id), span.parent_id.as_ref());
                prop_assert!(!span.parent_missing);
                prop_assert!(span.offset_ms >= parent.offset_ms, "not before its parent");
            } else {
                prop_assert_eq!(span.parent_missing, span.parent_id.is_some());
            }
            if let Some(gap) = span.gap_ms {
                let parent = above.last().expect("a call");
                prop_assert!((0.0..=parent.duration_ms).contains(&gap));
            }
            let parent = above.last().map(|parent| &*parent.span_id);
            let before = before.entry(parent).or_insert(0.0);
            prop_assert!(*before <= span.offset_ms, "siblings by their start");
            *before = span.offset_ms;
            above.push(span);
        }
        // The order in which the services answer does not count.
        let reversed: Vec<_> = spans.into_iter().rev().collect();
        let again = drawn(reversed).0;
        prop_assert_eq!(ids(&again), ids(&trace));
    }

    #[test]
    fn any_spans_make_a_list(spans in vec(any_span(), 0..80), limit in 1..5_usize) {
        let mut spans = spans;
        for span in &mut spans {
            span.trace = (span.id % 7).into();
        }
        let listed = latest(spans, limit);
        prop_assert!(listed.len() <= limit);
        prop_assert!(listed.windows(2).all(|two| two[0].start >= two[1].start));
        prop_assert!(listed.iter().all(|one| one.spans > 0 && one.errors <= one.spans));
    }
}
