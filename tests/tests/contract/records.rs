//! Created records and lists of them.

use chassis::testkit::Server;
use harness::raw::request;
use regex_lite::Regex;
use reqwest::Url;
use serde_json::{Value, json};
use shop_tests::faults::Faults;
use shop_tests::shop;

use super::{SUBJECTS, World, error, named, standard, status};

#[tokio::test]
async fn a_created_record_says_where_it_is() {
    let mut faults = Faults::default();
    let moment = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").expect("a pattern");
    for index in 0..SUBJECTS {
        // A separate shop, because orders add notifications.
        let world = World::start().await;
        let subject = world.subjects().swap_remove(index);
        faults.of(subject.name, subject.framework);
        let Some(route) = subject.bodies.first() else {
            continue;
        };
        let got = subject
            .server
            .post(route.path, (route.good)(world.fresh()))
            .await;
        faults.check(subject.name, standard(&got));
        let location = got.header("location").to_owned();
        let record = got.expect(201);
        faults.expect(
            format!("{}: id", subject.name),
            record["id"].as_str(),
            Some("2"),
        );
        faults.ensure(
            subject.name,
            record["createdAt"]
                .as_str()
                .is_some_and(|time| moment.is_match(time)),
            || format!("createdAt is {}", record["createdAt"]),
        );
        faults.ensure(subject.name, location.starts_with("/api/"), || {
            format!("Location is {location:?}")
        });
        // A notification has no GET of its own; what can be done with it there,
        // is to mark it as read.
        let (there, expected) = if subject.name == "notification-service" {
            let mut read = record.clone();
            read["read"] = json!(true);
            (
                subject
                    .server
                    .send("PATCH", &format!("{location}/read"), json!({}))
                    .await,
                read,
            )
        } else {
            (subject.server.get(&location).await, record)
        };
        faults.expect(format!("{}: {location}", subject.name), there.status, 200);
        if there.status == 200 {
            faults.expect(
                format!("{}: {location}", subject.name),
                there.json(),
                expected,
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_list_is_paged_from_either_end() {
    let mut faults = Faults::default();
    for index in 0..SUBJECTS {
        // A separate shop, because orders add notifications.
        let world = World::start().await;
        let subject = world.subjects().swap_remove(index);
        faults.of(subject.name, subject.framework);
        let Some(route) = subject.bodies.first() else {
            continue;
        };
        // Twelve, so that "10" would come before "9" in the order of text.
        for _ in 0..11 {
            subject
                .server
                .post(route.path, (route.good)(world.fresh()))
                .await
                .expect(201);
        }
        let expected: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        for list in &subject.lists {
            let what = format!("{}: {list}", subject.name);
            let whole = subject.server.get(list).await;
            faults.expect(&what, whole.header("x-total-count"), "12");
            faults.expect(
                format!("{what}: link of the only page"),
                whole.header("link"),
                "",
            );
            faults.expect(&what, ids(&whole.expect(200)), expected.clone());

            let cases = [1, 5, 12, 1000].map(|limit| ["asc", "desc"].map(|order| (limit, order)));
            for (limit, order) in cases.into_iter().flatten() {
                let what = format!("{what}?limit={limit}&order={order}");
                let mut expected = expected.clone();
                if order == "desc" {
                    expected.reverse();
                }
                let mut visited = Vec::new();
                let mut next = Some(format!("{list}?limit={limit}&order={order}"));
                while let Some(path) = next.take() {
                    let got = subject.server.get(&path).await;
                    faults.expect(format!("{what}: count"), got.header("x-total-count"), "12");
                    let link = got.header("link").to_owned();
                    let page = ids(&got.expect(200));
                    faults.ensure(&what, page.len() <= limit, || {
                        format!("{} records", page.len())
                    });
                    visited.extend(page);
                    if !link.is_empty() && visited.len() <= 12 {
                        next = next_page(&link, subject.server);
                        faults.ensure(&what, next.is_some(), || format!("Link is {link:?}"));
                    }
                }
                faults.expect(format!("{what}: all pages"), visited, expected);
            }

            for (query, expected, more, reason) in [
                ("after=0", 1..13, false, "before the first"),
                ("after=9", 10..13, false, "behind the ninth"),
                ("after=12", 13..13, false, "behind the last"),
                ("after=999999", 13..13, false, "far behind it"),
                ("limit=3&after=2", 3..6, true, "both"),
                ("after=2&limit=3", 3..6, true, "in the other order"),
                ("limit=%33&after=%32", 3..6, true, "percent-encoded"),
                ("limit=3.0&after=2", 3..6, true, "with a point"),
                ("limit=0.3e1&after=2", 3..6, true, "with an exponent"),
                (
                    "limit=2&other=%20+&x",
                    1..3,
                    true,
                    "parameters that nobody knows",
                ),
                (
                    "limit=10&x=[{|}]",
                    1..11,
                    true,
                    "characters that need encoding",
                ),
                ("", 1..13, false, "an empty query"),
                ("order=asc&limit=2", 1..3, true, "the default"),
                ("order=desc", 1..13, false, "the newest first"),
                ("order=desc&limit=3", 10..13, true, "the newest three"),
                (
                    "order=desc&before=999999",
                    1..13,
                    false,
                    "far behind the last",
                ),
                ("order=desc&before=12", 1..12, false, "before the last"),
                ("order=desc&before=5&limit=2", 3..5, true, "in the middle"),
                (
                    "order=desc&before=%35&limit=2",
                    3..5,
                    true,
                    "percent-encoded",
                ),
                (
                    "order=desc&before=3&limit=2",
                    1..3,
                    false,
                    "exactly to the end",
                ),
                ("order=desc&before=1", 1..1, false, "before the first"),
                ("order=desc&before=0", 1..1, false, "before every id"),
                (
                    "order=desc&after=9&limit=2",
                    11..13,
                    true,
                    "the newest of the last three",
                ),
                (
                    "order=desc&after=9&limit=3",
                    10..13,
                    false,
                    "down to a bound",
                ),
                (
                    "before=4&limit=2",
                    1..3,
                    true,
                    "the oldest of the first three",
                ),
                ("before=4&limit=3", 1..4, false, "up to a bound"),
                (
                    "after=3&before=8&limit=2",
                    4..6,
                    true,
                    "between two, from below",
                ),
                (
                    "after=3&before=8&order=desc&limit=2",
                    6..8,
                    true,
                    "between two, from above",
                ),
                ("after=3&before=4", 1..1, false, "nothing in between"),
                ("after=8&before=3", 1..1, false, "no id is both"),
                ("after=5&before=5&order=desc", 1..1, false, "nor here"),
                (
                    "after=18446744073709551615&before=18446744073709551615",
                    1..1,
                    false,
                    "the greatest id",
                ),
            ] {
                let what = format!("{what}?{query} ({reason})");
                match subject
                    .raw(&request("GET", &format!("{list}?{query}"), &[], b""))
                    .await
                {
                    Ok(got) if got.status == 200 => {
                        faults.expect(&what, got.header("x-total-count"), "12");
                        faults.expect(
                            format!("{what}: has a next page"),
                            got.header("link").contains("rel=\"next\""),
                            more,
                        );
                        let mut expected: Vec<_> = expected.map(|n: i32| n.to_string()).collect();
                        if query.contains("order=desc") {
                            expected.reverse();
                        }
                        faults.expect(&what, ids(&got.json()), expected);
                    }
                    got => faults.expect(what, status(&got), Ok(200)),
                }
            }
            for (query, fields, reason) in [
                ("limit=0", &["limit"][..], "no records"),
                ("limit=1001", &["limit"], "more than 1000"),
                ("limit=-1", &["limit"], "negative"),
                ("limit=1.5", &["limit"], "not whole"),
                (
                    "limit=1.00000000000000000000000000000000000001",
                    &["limit"],
                    "nearly whole",
                ),
                ("limit=%2B1", &["limit"], "a plus"),
                ("limit=ten", &["limit"], "no number"),
                ("limit=", &["limit"], "empty"),
                ("limit=99999999999999999999", &["limit"], "does not fit"),
                ("after=abc", &["after"], "no id"),
                ("after=-1", &["after"], "a negative id"),
                ("after=1.0", &["after"], "not whole"),
                ("order=up", &["order"], "no order"),
                ("order=DESC", &["order"], "in capitals"),
                ("order=", &["order"], "empty"),
                ("order=desc&order=x", &["order"], "the second one"),
                ("before=abc", &["before"], "no id"),
                ("before=-1&order=desc", &["before"], "a negative id"),
                ("before=01", &["before"], "a leading zero"),
                (
                    "limit=0&after=x&order=x&before=x",
                    &["limit", "after", "order", "before"],
                    "all",
                ),
            ] {
                let what = format!("{what}?{query} ({reason})");
                let got = subject
                    .raw(&request("GET", &format!("{list}?{query}"), &[], b""))
                    .await;
                faults.check(&what, error(&got, 400, "validation_failed"));
                faults.expect(
                    what,
                    named(&got),
                    fields.iter().map(ToString::to_string).collect(),
                );
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn paging_from_the_newest_visits_each_record_once_while_others_come_and_go() {
    let mut faults = Faults::default();
    for index in 0..SUBJECTS {
        // A separate shop, because orders add notifications.
        let world = World::start().await;
        let subject = world.subjects().swap_remove(index);
        faults.of(subject.name, subject.framework);
        let Some(route) = subject.bodies.first() else {
            continue;
        };
        // Orders are never deleted.
        let deletion = subject.by_id.iter().find(|(method, _)| *method == "DELETE");
        let create = async || {
            let body = (route.good)(world.fresh());
            subject.server.post(route.path, body).await.expect(201)
        };
        let delete = async |id: &String| {
            if let Some((method, path)) = deletion {
                let path = path.replace("{}", id);
                subject
                    .server
                    .send(method, &path, json!({}))
                    .await
                    .expect(200);
            }
        };
        for list in &subject.lists {
            for _ in 0..12 {
                create().await;
            }
            let newest_first = format!("{list}?order=desc");
            let mut expected = ids(&subject.server.get(&newest_first).await.expect(200));
            let mut visited: Vec<String> = Vec::new();
            let mut next = Some(format!("{newest_first}&limit=4"));
            while let Some(path) = next.take() {
                let got = subject.server.get(&path).await;
                next = next_page(got.header("link"), subject.server);
                visited.extend(ids(&got.expect(200)));
                if visited.len() > expected.len() {
                    break;
                }
                // One comes; the last one visited and the next one go.
                create().await;
                let gone = visited.len() - 1..expected.len().min(visited.len() + 1);
                for id in &expected[gone] {
                    delete(id).await;
                }
                if deletion.is_some() && visited.len() < expected.len() {
                    expected.remove(visited.len());
                }
            }
            faults.expect(format!("{}: {list}", subject.name), visited, expected);

            if deletion.is_none() {
                continue;
            }
            for id in ids(&subject.server.get(list).await.expect(200)) {
                delete(&id).await;
            }
            let what = format!("{}: {list} without records", subject.name);
            let got = subject.server.get(&newest_first).await;
            faults.expect(&what, got.header("x-total-count"), "0");
            faults.expect(&what, got.header("link"), "");
            faults.expect(&what, got.expect(200), json!([]));
        }
    }
    faults.finish();
}

/// The path of the next page.
fn next_page(link: &str, server: &Server) -> Option<String> {
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    let base = Url::parse(&format!("http://{}/", server.address())).ok()?;
    let url = base
        .join(target)
        .ok()
        .filter(|url| url.origin() == base.origin())?;
    (parameters.trim() == "; rel=\"next\"")
        .then(|| format!("{}?{}", url.path(), url.query().unwrap_or_default()))
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(shop::id)
        .collect()
}
