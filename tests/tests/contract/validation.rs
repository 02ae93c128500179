//! Request bodies that are not valid.

use std::collections::BTreeSet;

use harness::raw::{chunked, request};
use serde_json::{Value, json};
use shop_tests::faults::Faults;

use super::{JSON, World, bytes, error, named, status};

#[tokio::test]
async fn a_body_that_is_not_one_whole_json_object_is_invalid() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let deep = format!("{{\"x\":{}", "[".repeat(60_000));
    let deep_and_closed = format!("{{\"x\":{}{},", "[".repeat(30_000), "]".repeat(30_000));
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            let good = String::from_utf8(bytes(&(route.good)(world.fresh()))).expect("UTF-8");
            let first = good
                .trim_start_matches('{')
                .split(',')
                .next()
                .unwrap_or_default()
                .trim_end_matches('}')
                .to_owned();
            let twice = good.replacen('{', &format!("{{{first},"), 1);
            let cases: Vec<(Vec<u8>, &str)> = vec![
                (b"".into(), "none"),
                (b" \r\n\t ".into(), "white space"),
                (b"{".into(), "half an object"),
                (b"nonsense".into(), "no JSON"),
                (b"name=Ada".into(), "a form"),
                (b"null".into(), "null"),
                (b"1".into(), "a number"),
                (b"\"{}\"".into(), "a string"),
                (b"[]".into(), "a list"),
                (format!("[{good}]").into(), "a list of one object"),
                (format!("{good}{good}").into(), "two objects"),
                (format!("{good} x").into(), "something behind it"),
                (format!("{good},").into(), "a comma behind it"),
                (format!("\u{feff}{good}").into(), "a byte order mark"),
                (
                    good.replacen('{', "{\"x\":\"\\ud800\",\"y\":NaN,", 1)
                        .into(),
                    "NaN",
                ),
                (good.replacen('{', "{'x':1,", 1).into(), "single quotes"),
                (good.replacen('{', "{/* x */", 1).into(), "a comment"),
                (
                    [good.replace('}', ",\"x\":\"").as_bytes(), b"\xff\xfe\"}"].concat(),
                    "not UTF-8",
                ),
                (twice.into(), "a field twice"),
                (deep.clone().into(), "60 000 lists inside each other"),
            ];
            for (body, reason) in cases {
                let what = format!(
                    "{}: {} {} ({reason})",
                    subject.name, route.method, route.path
                );
                let got = subject
                    .raw(&request(route.method, route.path, &[JSON], &body))
                    .await;
                faults.check(&what, error(&got, 400, "invalid_json"));
                if body.is_empty() {
                    let got = subject
                        .raw(&request(route.method, route.path, &[], b""))
                        .await;
                    faults.check(
                        format!("{what} and no type"),
                        error(&got, 400, "invalid_json"),
                    );
                    let chunks = [JSON, ("transfer-encoding", "chunked")];
                    let got = subject
                        .raw(&request(
                            route.method,
                            route.path,
                            &chunks,
                            &chunked(b"", 1),
                        ))
                        .await;
                    faults.check(
                        format!("{what}, in chunks"),
                        error(&got, 400, "invalid_json"),
                    );
                }
            }
            // An unknown field: ignored or refused, but no stack overflow.
            let fresh = String::from_utf8(bytes(&(route.good)(world.fresh()))).expect("UTF-8");
            let deep = fresh.replacen('{', &deep_and_closed, 1);
            let got = subject
                .raw(&request(route.method, route.path, &[JSON], deep.as_bytes()))
                .await;
            faults.ensure(
                format!("{}: deep JSON", subject.name),
                status(&got).is_ok_and(|status| status == 400 || status == route.status),
                || format!("{got:?}"),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn the_error_names_every_invalid_field() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            let what = format!("{}: {} {}", subject.name, route.method, route.path);
            let send = async |body: Value| {
                subject
                    .raw(&request(route.method, route.path, &[JSON], &bytes(&body)))
                    .await
            };
            let required: BTreeSet<String> =
                route.required.iter().map(ToString::to_string).collect();

            if !required.is_empty() {
                let got = send(json!({})).await;
                faults.check(
                    format!("{what} (all missing)"),
                    error(&got, 400, "validation_failed"),
                );
                faults.expect(
                    format!("{what} (all missing)"),
                    named(&got),
                    required.clone(),
                );
                let nulls: serde_json::Map<_, _> = required
                    .iter()
                    .map(|name| (name.clone(), Value::Null))
                    .collect();
                let got = send(Value::Object(nulls)).await;
                faults.check(
                    format!("{what} (all null)"),
                    error(&got, 400, "validation_failed"),
                );
                faults.expect(format!("{what} (all null)"), named(&got), required.clone());
            }
            for missing in &required {
                let mut body = (route.good)(world.fresh());
                body.as_object_mut().expect("an object").remove(missing);
                let got = send(body).await;
                faults.check(
                    format!("{what} (no {missing})"),
                    error(&got, 400, "validation_failed"),
                );
                faults.expect(
                    format!("{what} (no {missing})"),
                    named(&got),
                    BTreeSet::from([missing.clone()]),
                );
            }

            let wrong = (route.wrong)();
            let fields: BTreeSet<String> = wrong
                .as_object()
                .expect("an object")
                .keys()
                .cloned()
                .collect();
            let got = send(wrong.clone()).await;
            faults.check(
                format!("{what} ({wrong})"),
                error(&got, 400, "invalid_json"),
            );
            faults.ensure(
                format!("{what} ({wrong})"),
                named(&got).is_superset(&fields),
                || format!("named are {:?}", named(&got)),
            );
            for field in &fields {
                let mut body = (route.good)(world.fresh());
                body[field] = wrong[field].clone();
                let got = send(body).await;
                let what = format!("{what} ({field} is {})", wrong[field]);
                faults.check(&what, error(&got, 400, "invalid_json"));
                faults.expect(&what, named(&got), BTreeSet::from([field.clone()]));
            }

            let mut more = (route.good)(world.fresh());
            more["id"] = json!(1);
            more["unknown"] = json!({"a": [1, null, "x"]});
            faults.expect(
                format!("{what} (unknown fields)"),
                status(&send(more).await),
                Ok(route.status),
            );
        }
    }
    faults.finish();
}
