//! Request bodies that are not valid.

use std::collections::BTreeSet;

use chassis::testkit::Got;
use harness::raw::{chunked, request};
use serde_json::{Value, json};
use shop_tests::faults::Faults;

use super::{JSON, NUMBERS, World, bytes, error, named, status};

/// What serde and hyper say, and no client should read.
const WORDS_OF_LIBRARIES: [&str; 8] = [
    "invalid type",
    "wrong type",
    "expected a",
    "expected value",
    "trailing",
    "duplicate field",
    "EOF",
    "utf-8",
];

/// Whether the sentence of an error is one for people.
fn plain(got: &Result<Got, String>) -> Result<(), String> {
    let sentence = got.as_ref()?.json()["error"].clone();
    let sentence = sentence.as_str().unwrap_or_default();
    match WORDS_OF_LIBRARIES
        .iter()
        .find(|words| sentence.contains(**words))
    {
        Some(words) => Err(format!("{words:?} is in {sentence:?}")),
        None => Ok(()),
    }
}

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
                faults.check(&what, plain(&got));
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
                let expected = match &wrong[field] {
                    // For a number instead of a text, and a text instead of a number, the
                    // example is what was meant.
                    Value::Number(number) => {
                        format!("{field} must be a string, such as \"{number}\"")
                    }
                    Value::String(number) => format!("{field} must be a number, such as {number}"),
                    _ if NUMBERS.contains(&field.as_str()) => {
                        format!("{field} must be a number, such as 1")
                    }
                    _ => format!("{field} must be a string, such as \"text\""),
                };
                let sentence = got.map(|got| got.json()["error"].clone());
                faults.expect(&what, sentence, Ok(json!(expected)));
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

#[tokio::test]
async fn every_text_is_trimmed_by_one_rule() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            let what = format!("{}: {} {}", subject.name, route.method, route.path);
            let send = async |body: &Value| {
                subject
                    .raw(&request(route.method, route.path, &[JSON], &bytes(body)))
                    .await
            };
            let good = (route.good)(world.fresh());
            let fields = good.as_object().into_iter().flatten();
            let texts: Vec<_> = fields
                .filter_map(|(name, value)| Some((name, value.as_str()?)))
                .collect();
            if texts.is_empty() {
                continue;
            }
            let mut wrapped = good.clone();
            let mut blank = good.clone();
            for (name, text) in &texts {
                // White space, control characters, and characters that nobody sees.
                wrapped[*name] = json!(format!(
                    "\u{200b}\u{feff} \u{a0}{text}\u{ad}\t\u{0}\u{2060}\u{3164}"
                ));
                blank[*name] = json!("\u{200b}\u{e0001} \u{0}");
            }
            let got = send(&wrapped).await;
            faults.expect(
                format!("{what} ({wrapped})"),
                status(&got),
                Ok(route.status),
            );
            let record = got.map(|got| got.json()).unwrap_or_default();
            for (name, text) in &texts {
                faults.expect(format!("{what}: {name}"), &record[*name], &json!(text));
            }
            let got = send(&blank).await;
            faults.check(
                format!("{what} ({blank})"),
                error(&got, 400, "validation_failed"),
            );
            let names = texts.iter().map(|(name, _)| (*name).clone()).collect();
            faults.expect(format!("{what} ({blank})"), named(&got), names);
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_number_is_read_exactly_however_it_is_written() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let zeros = "0".repeat(40);
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            let good = (route.good)(world.fresh());
            let numbers = good.as_object().into_iter().flatten();
            for (name, number) in numbers.filter(|(_, value)| value.is_number()) {
                let point = if number.is_f64() { "" } else { "." };
                for (written, taken) in [
                    (format!("{number}e0"), true),
                    (format!("{number}E+0{zeros}"), true),
                    (format!("{number}{point}{zeros}"), true),
                    (format!("{number}{point}{zeros}e0"), true),
                    (format!("{number}{point}{zeros}1e0"), false),
                    (format!("{number}{point}{zeros}1"), false),
                    (format!("{number}e-{zeros}40"), false),
                    (format!("{number}e99999999999999999999"), false),
                ] {
                    let fresh = (route.good)(world.fresh()).to_string();
                    let body = fresh.replacen(
                        &format!("\"{name}\":{number}"),
                        &format!("\"{name}\":{written}"),
                        1,
                    );
                    let what = format!("{}: {} {} {body}", subject.name, route.method, route.path);
                    faults.ensure(&what, body != fresh, || {
                        "the number is not there".to_owned()
                    });
                    let got = subject
                        .raw(&request(route.method, route.path, &[JSON], body.as_bytes()))
                        .await;
                    if taken {
                        faults.expect(&what, status(&got), Ok(route.status));
                        if let Ok(got) = got
                            && let Some(read) = got.json().get(name)
                        {
                            faults.expect(&what, read, number);
                        }
                    } else {
                        faults.check(&what, error(&got, 400, "validation_failed"));
                        faults.expect(&what, named(&got), BTreeSet::from([name.clone()]));
                    }
                }
            }
        }
    }
    faults.finish();
}
