//! `Idempotency-Key`: a change that is sent twice is made once, on every POST and PATCH.

use chassis::testkit::Got;
use futures_util::future::join_all;
use harness::raw::request;
use serde_json::{Value, json};
use shop_tests::faults::Faults;

use super::{JSON, Subject, World, bytes, error};

/// A change that a client may send twice.
struct Change {
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    /// The same route with another path, if it has a parameter.
    elsewhere: Option<&'static str>,
    /// A list, to count the records.
    list: Option<&'static str>,
}

fn changes(world: &World, subject: &Subject<'_>) -> Vec<Change> {
    let created = |n: usize| {
        let route = &subject.bodies[0];
        Change {
            method: route.method,
            path: route.path,
            body: Some((route.good)(n)),
            elsewhere: None,
            list: subject.lists.first().copied(),
        }
    };
    let mut changes = Vec::new();
    if !subject.bodies.is_empty() {
        changes.push(created(world.fresh()));
    }
    match subject.name {
        "product-service" => changes.push(Change {
            method: "PATCH",
            path: "/api/products/1/stock",
            body: Some(json!({"delta": -1})),
            elsewhere: Some("/api/products/2/stock"),
            list: None,
        }),
        "order-service" => changes.push(Change {
            method: "POST",
            path: "/api/orders/1/cancel",
            body: None,
            elsewhere: Some("/api/orders/2/cancel"),
            list: None,
        }),
        "notification-service" => changes.push(Change {
            method: "PATCH",
            path: "/api/notifications/1/read",
            body: None,
            elsewhere: Some("/api/notifications/2/read"),
            list: None,
        }),
        _ => {}
    }
    changes
}

impl Change {
    async fn send(&self, subject: &Subject<'_>, key: &str) -> Result<Got, String> {
        let body = self.body.as_ref().map(bytes).unwrap_or_default();
        self.send_as(subject, key, self.path, &body).await
    }

    async fn send_as(
        &self,
        subject: &Subject<'_>,
        key: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Got, String> {
        // Each change has keys of its own.
        let key = format!("{key}-{}-{}", self.method, self.path);
        let mut headers = vec![("idempotency-key", key.as_str())];
        if !body.is_empty() {
            headers.push(JSON);
        }
        subject
            .raw(&request(self.method, path, &headers, body))
            .await
    }

    async fn count(&self, subject: &Subject<'_>) -> u64 {
        let Some(list) = self.list else { return 0 };
        let got = subject.server.get(list).await;
        got.header("x-total-count").parse().expect("a count")
    }
}

/// The parts of an answer that are repeated.
fn parts(got: &Result<Got, String>) -> Result<(u16, String, String, String), String> {
    let got = got.as_ref()?;
    let header = |name| got.header(name).to_owned();
    Ok((
        got.status,
        header("location"),
        header("content-type"),
        String::from_utf8_lossy(&got.body).into_owned(),
    ))
}

fn replayed(got: &Result<Got, String>) -> bool {
    let header = |got: &Got| got.header("idempotency-replayed") == "true";
    got.as_ref().is_ok_and(header)
}

#[tokio::test]
async fn a_change_that_is_repeated_with_its_key_is_made_once_and_gets_the_same_answer() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for change in changes(&world, &subject) {
            let what = format!("{}: {} {}", subject.name, change.method, change.path);
            let before = change.count(&subject).await;
            let first = change.send(&subject, "one").await;
            faults.ensure(
                &what,
                first.as_ref().is_ok_and(|it| it.status < 300),
                || format!("{first:?}"),
            );
            let again = change.send(&subject, "one").await;
            faults.expect(&what, parts(&again), parts(&first));
            faults.expect(&what, (replayed(&first), replayed(&again)), (false, true));
            let expected = before + u64::from(change.list.is_some());
            faults.expect(
                format!("{what}: records"),
                change.count(&subject).await,
                expected,
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn of_changes_with_one_key_at_the_same_moment_one_is_made() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for change in changes(&world, &subject) {
            let what = format!("{}: {} {}", subject.name, change.method, change.path);
            let before = change.count(&subject).await;
            let answers = join_all((0..8).map(|_| change.send(&subject, "together"))).await;
            let first = answers.iter().filter(|got| !replayed(got)).count();
            faults.expect(format!("{what}: not replayed"), first, 1);
            for got in &answers {
                faults.expect(&what, parts(got), parts(&answers[0]));
            }
            let expected = before + u64::from(change.list.is_some());
            faults.expect(
                format!("{what}: records"),
                change.count(&subject).await,
                expected,
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_is_compared_as_json() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for change in changes(&world, &subject) {
            let Some(Value::Object(fields)) = &change.body else {
                continue;
            };
            let what = format!("{}: {} {}", subject.name, change.method, change.path);
            let first = change.send(&subject, "json").await;
            // The fields in another order, with white space; text with every character
            // escaped, numbers with a fraction.
            let members = fields.iter().rev().map(|(name, value)| {
                let value = match value {
                    Value::String(text) => {
                        let escaped = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
                        format!("\"{}\"", escaped.collect::<String>())
                    }
                    Value::Number(number) if number.is_i64() => format!("{number}.00"),
                    other => other.to_string(),
                };
                format!("\t{name:?} :\r\n {value}")
            });
            let members: Vec<_> = members.collect();
            let body = format!(" {{{}\n}} ", members.join(" ,"));
            let again = change
                .send_as(&subject, "json", change.path, body.as_bytes())
                .await;
            faults.expect(&what, parts(&again), parts(&first));
            faults.expect(&what, replayed(&again), true);
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_key_of_another_request_is_refused_and_the_error_says_what_differs() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for change in changes(&world, &subject) {
            let what = format!("{}: {} {}", subject.name, change.method, change.path);
            let first = change.send(&subject, "mine").await;
            faults.ensure(
                &what,
                first.as_ref().is_ok_and(|it| it.status < 300),
                || format!("{first:?}"),
            );
            let before = change.count(&subject).await;
            let body = change.body.as_ref().map(bytes).unwrap_or_default();
            let with_query = format!("{}?x=1", change.path);
            let mut others = vec![(with_query.as_str(), body.clone(), "query")];
            if let Some(path) = change.elsewhere {
                others.push((path, body, "path"));
            }
            if let Some(mut body) = change.body.clone() {
                for (name, other) in [
                    ("name", json!("Another")),
                    ("delta", json!(7)),
                    ("quantity", json!(2)),
                    ("message", json!("Another")),
                ] {
                    if body.get(name).is_some() {
                        body[name] = other;
                    }
                }
                others.push((change.path, bytes(&body), "body"));
            }
            for (path, body, differs) in others {
                let got = change.send_as(&subject, "mine", path, &body).await;
                let what = format!("{what}: another {differs}");
                faults.check(&what, error(&got, 409, "conflict"));
                let sentence = format!("This Idempotency-Key was used with another {differs};");
                let text = parts(&got).map(|parts| parts.3).unwrap_or_default();
                faults.ensure(&what, text.contains(&sentence), || text.clone());
            }
            let after = change.count(&subject).await;
            faults.expect(format!("{what}: records"), after, before);
        }
    }
    faults.finish();
}

#[tokio::test]
async fn an_invalid_body_does_not_use_up_its_key() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for change in changes(&world, &subject) {
            let Some(body) = &change.body else { continue };
            let what = format!("{}: {} {}", subject.name, change.method, change.path);
            let mut unknown = body.clone();
            if unknown.get("sellerId").is_some() {
                unknown["sellerId"] = json!("987");
            }
            if unknown.get("productId").is_some() {
                unknown["productId"] = json!("987");
            }
            for (wrong, status) in [
                (b"{".to_vec(), 400),
                (b"{}".to_vec(), 400),
                (bytes(&unknown), if unknown == *body { 0 } else { 400 }),
            ] {
                if status != 0 {
                    let got = change
                        .send_as(&subject, "retried", change.path, &wrong)
                        .await;
                    faults.expect(&what, parts(&got).map(|parts| parts.0), Ok(status));
                }
            }
            let good = change.send(&subject, "retried").await;
            faults.ensure(&what, good.as_ref().is_ok_and(|it| it.status < 300), || {
                format!("{good:?}")
            });
            faults.expect(&what, replayed(&good), false);
        }
    }
    faults.finish();
}
