//! Changes that count themselves, with keys that are kept for less than ten minutes.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use tokio::time::sleep;

use super::*;

/// How long a change takes in these tests.
const TAKES: Duration = Duration::from_millis(20);

/// How long keys are kept, where a test waits for it.
const KEEP: Duration = Duration::from_millis(400);

fn key(name: &str) -> Option<Key> {
    asked(name, "POST", "/api/things", None)
}

fn asked(name: &str, method: &str, path: &str, query: Option<&str>) -> Option<Key> {
    Key::parse(Some(name.as_bytes()), method, path, query).expect("a good key")
}

/// Changes that count themselves.
struct Changes {
    keys: Keys,
    made: AtomicU32,
}

/// The number of the change in an answer, and whether it is replayed.
fn read(answer: &Result<Reply, ApiError>) -> (String, bool) {
    match answer {
        Ok(reply) => {
            let Body::Bytes(body) = &reply.body else {
                panic!("no stream");
            };
            let text = String::from_utf8_lossy(body).into_owned();
            (text, reply.header("idempotency-replayed").is_some())
        }
        Err(error) => (format!("{}: {}", error.status(), error.message), false),
    }
}

impl Changes {
    fn at_most(most: u32) -> Self {
        Self {
            keys: Keys::new(most, TAKES),
            made: AtomicU32::new(0),
        }
    }

    /// The same, with keys that are kept for [`KEEP`].
    fn forgetful(most: u32) -> Self {
        let mut changes = Self::at_most(most);
        changes.keys.keep = KEEP;
        changes
    }

    async fn make(&self, name: &str, body: &str) -> (String, bool) {
        self.make_with(key(name), body, 201).await
    }

    async fn make_with(&self, key: Option<Key>, body: &str, status: u16) -> (String, bool) {
        let make = async || {
            sleep(TAKES).await;
            let made = self.made.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(Reply::json(status, &made).with_header("location", format!("/{made}")))
        };
        read(&self.keys.once(key, body, make).await)
    }
}

fn first(number: u32) -> (String, bool) {
    (number.to_string(), false)
}

fn replayed(number: u32) -> (String, bool) {
    (number.to_string(), true)
}

#[tokio::test]
async fn a_change_is_made_once() {
    let changes = Changes::at_most(10);
    let together = join_all((0..8).map(|_| changes.make("a", "x"))).await;
    let count = |wanted: (String, bool)| together.iter().filter(|it| **it == wanted).count();
    assert_eq!((count(first(1)), count(replayed(1))), (1, 7));
    assert_eq!(changes.make("b", "x").await, first(2));
    let without = async || changes.make_with(None, "x", 201).await;
    assert_eq!(without().await, first(3));
    assert_eq!(without().await, first(4), "no key, no promise");
}

#[tokio::test]
async fn the_whole_answer_is_repeated() {
    let keys = Keys::new(10, TAKES);
    let make = async || Ok(Reply::created("/api/things/1".to_owned(), &"thing"));
    let first = keys.once(key("a"), "", make).await.expect("made");
    let again = keys.once(key("a"), "", make).await.expect("replayed");
    assert_eq!(again.status, first.status);
    for name in ["content-type", "location", "cache-control"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    let refuse = async || Err(ApiError::conflict("taken"));
    let first = keys.once(key("b"), "", refuse).await.expect_err("refused");
    let again = keys.once(key("b"), "", refuse).await.expect("replayed");
    assert_eq!((first.status(), again.status), (409, 409));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn a_key_of_another_request_is_refused_with_what_differs() {
    let changes = Changes::at_most(10);
    let one = asked("a", "POST", "/api/things/1", Some("x=1"));
    assert_eq!(changes.make_with(one, "x", 200).await, first(1));
    for (method, path, query, body, differ) in [
        ("POST", "/api/things/%31", Some("x=1"), "x", ""),
        ("PATCH", "/api/things/1", Some("x=1"), "x", "method"),
        ("POST", "/api/things/2", Some("x=1"), "x", "path"),
        ("POST", "/api/things/1", Some("x=2"), "x", "query"),
        ("POST", "/api/things/1", None, "x", "query"),
        ("POST", "/api/things/1", Some("x=1"), "y", "body"),
        (
            "POST",
            "/api/things/2",
            Some("x=1"),
            "y",
            "path and another body",
        ),
    ] {
        let key = asked("a", method, path, query);
        let (text, replayed) = changes.make_with(key, body, 200).await;
        if differ.is_empty() {
            assert!(replayed, "{path} is the same path: {text}");
        } else {
            let expected = format!("409: This Idempotency-Key was used with another {differ};");
            assert!(text.starts_with(&expected), "{text}");
        }
    }
}

#[tokio::test]
async fn what_may_pass_is_not_kept_and_frees_the_key() {
    for (status, kept) in [
        (200, true),
        (202, false),
        (400, false),
        (404, true),
        (408, false),
        (409, true),
        (429, false),
        (500, false),
        (503, false),
        (507, false),
    ] {
        let changes = Changes::at_most(1);
        let make = async |body| changes.make_with(key("a"), body, status).await;
        assert_eq!(make("x").await, first(1), "{status}");
        if kept {
            assert_eq!(make("x").await, replayed(1), "{status}");
        } else {
            assert_eq!(make("y").await, first(2), "{status}: even another body");
            assert_eq!(changes.make("b", "x").await, first(3), "{status}");
        }
    }
}

#[tokio::test]
async fn if_the_first_fails_in_passing_the_one_that_waits_tries() {
    let changes = Changes::at_most(10);
    let (one, other) = tokio::join!(
        changes.make_with(key("a"), "x", 503),
        changes.make_with(key("a"), "x", 201),
    );
    assert_eq!((one, other), (first(1), first(2)));
    assert_eq!(changes.make("a", "x").await, replayed(2));
}

#[tokio::test]
async fn nobody_waits_for_ever_and_who_hangs_up_frees_the_key() {
    let keys = Keys {
        wait: TAKES,
        ..Keys::new(10, TAKES)
    };
    let stuck = keys.once(key("a"), "x", std::future::pending);
    let other = keys.once(key("a"), "x", async || Ok(Reply::json(200, &1)));
    let other = tokio::select! {
        biased;
        _ = stuck => unreachable!("it is stuck"),
        other = other => other,
    };
    let reply = other.expect_err("it waited long enough").reply();
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    let after = keys.once(key("a"), "y", async || Ok(Reply::json(200, &2)));
    assert_eq!(read(&after.await), first(2), "who was stuck has gone");
}

#[test]
fn a_key_is_kept_for_the_ten_minutes_that_are_promised() {
    let keys = Keys::new(10, TAKES);
    assert!(keys.keep > Duration::from_mins(10));
    assert!(
        keys.wait > TAKES,
        "who waits does not give up before who acts"
    );
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_time() {
    let changes = Changes::forgetful(10);
    assert_eq!(changes.make("a", "x").await, first(1));
    assert_eq!(changes.make("a", "x").await, replayed(1));
    sleep(KEEP).await;
    assert_eq!(changes.make("a", "x").await, first(2));
    let kept = changes.keys.kept.lock();
    assert_eq!((kept.changes.len(), kept.answered.len()), (1, 1));
    assert_eq!(kept.bytes, kept.answered[0].bytes);
}

#[tokio::test]
async fn when_full_a_new_key_is_refused_and_no_key_is_forgotten() {
    let changes = Changes::forgetful(2);
    changes.make("a", "x").await;
    let (in_progress, refused) = tokio::join!(changes.make("b", "x"), changes.make("c", "x"));
    assert_eq!(in_progress, first(2));
    assert!(refused.0.starts_with("503: No more "), "{refused:?}");
    assert_eq!(changes.make("a", "x").await, replayed(1));
    assert_eq!(changes.make_with(None, "x", 201).await, first(3));
    sleep(KEEP).await;
    assert_eq!(changes.make("c", "x").await, first(4), "the others are old");
}

#[tokio::test]
async fn the_refusal_says_when_the_oldest_key_is_forgotten() {
    let changes = Changes::at_most(1);
    changes.make("a", "x").await;
    let refused = changes
        .keys
        .once(key("b"), "x", async || Ok(Reply::json(200, &0)));
    let reply = refused.await.expect_err("full").reply();
    let after = reply.header("retry-after").and_then(|it| it.parse().ok());
    let after = Duration::from_secs(after.expect("seconds"));
    assert!(
        (Duration::from_mins(10)..=KEPT).contains(&after),
        "{after:?}"
    );
}

#[tokio::test]
async fn long_answers_count_more_than_one_key() {
    let keys = Keys::new(10, TAKES);
    let long = "x".repeat(10 * BYTES_PER_KEY);
    let make = async || Ok(Reply::json(200, &long));
    keys.once(key("a"), "", make).await.expect("made");
    let refused = keys.once(key("b"), "", make).await.expect_err("full");
    assert_eq!(refused.status(), 503);
    assert_eq!(
        keys.once(key("a"), "", make).await.expect("kept").status,
        200
    );
}

#[test]
fn a_key_is_visible_ascii() {
    let longest = "k".repeat(128);
    for good in ["1", "order-7", "!~", &longest] {
        assert!(key(good).is_some(), "{good}");
    }
    assert_eq!(Key::parse(None, "POST", "/", None), Ok(None));
    let too_long = "k".repeat(129);
    for bad in ["", "two words", "tab\t", "schlüssel", &too_long] {
        let key = Key::parse(Some(bad.as_bytes()), "POST", "/", None);
        assert!(key.is_err(), "{bad:?}");
    }
}
