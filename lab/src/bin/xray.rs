//! Draws one request in the terminal: what each service did for it, and how long that took.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use lab::client::Client;
use lab::shop::{Member, Shop};
use lab::xray::screen::Style;
use lab::xray::trace::Trace;
use lab::xray::{sequence, waterfall};
use lexopt::Arg;
use serde::Deserialize;

/// How long an answer may take. analytics-service waits for the others for two seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    which: Which,
    as_sequence: bool,
}

/// Which request.
#[derive(Debug, PartialEq, Eq)]
enum Which {
    /// With this id, of the request or its trace.
    Id(String),
    /// The latest one.
    Last,
    /// The one that created this order.
    Order(String),
}

fn main() -> ExitCode {
    let asked = match read(lexopt::Parser::from_env()) {
        Ok(asked) => asked,
        Err(wrong) => {
            eprintln!("xray.sh: {wrong}; --help shows what there is");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let drawn = match runtime {
        Ok(runtime) => runtime.block_on(drawn(&asked)),
        Err(cause) => Err(format!("xray.sh cannot start: {cause}")),
    };
    match drawn {
        Ok(text) => {
            // A closed pipe (| head) is no reason to complain.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn read(mut arguments: lexopt::Parser) -> Result<Asked, String> {
    let (mut which, mut as_sequence) = (Vec::new(), false);
    while let Some(argument) = arguments.next().map_err(|wrong| wrong.to_string())? {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        match argument {
            Arg::Long("last") => which.push(Which::Last),
            Arg::Long("order") => {
                let id = arguments.value().map_err(|wrong| wrong.to_string())?;
                let id = text(id);
                if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(format!("--order is {id:?}, expected the id of an order"));
                }
                which.push(Which::Order(id));
            }
            Arg::Long("sequence") => as_sequence = true,
            Arg::Long("waterfall") => as_sequence = false,
            Arg::Value(id) => {
                let id = text(id);
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                if !(1..=128).contains(&id.len()) || !id.bytes().all(allowed) {
                    return Err(format!("{id:?} is not the id of a request or a trace"));
                }
                which.push(Which::Id(id));
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    if which.len() > 1 {
        return Err("that is more than one request".to_owned());
    }
    let which = which
        .pop()
        .ok_or("which request? Its id, --last, or --order and the id of the order")?;
    Ok(Asked { which, as_sequence })
}

async fn drawn(asked: &Asked) -> Result<String, String> {
    let shop = Shop::from_env()?;
    let client = Client::new(TIMEOUT);
    let id = match &asked.which {
        Which::Id(id) => id.clone(),
        Which::Last => last(&client, &shop).await?,
        Which::Order(id) => of_order(&client, &shop, id).await?,
    };
    let path = format!("/api/analytics/traces/{id}");
    let trace: Trace = get(&client, &shop, Member::Analytics, &path).await?;
    let is_terminal = std::io::stdout().is_terminal();
    let style = Style::of(|name| std::env::var(name).ok(), is_terminal);
    Ok(if asked.as_sequence {
        sequence::draw(&trace, style)
    } else {
        waterfall::draw(&trace, style)
    })
}

/// The trace of the latest request.
async fn last(client: &Client, shop: &Shop) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Latest {
        traces: Vec<One>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct One {
        trace_id: String,
    }
    let path = "/api/analytics/traces?limit=1";
    let latest: Latest = get(client, shop, Member::Analytics, path).await?;
    let one = latest.traces.into_iter().next();
    let one = one.ok_or("No service remembers a request yet; send one.")?;
    Ok(one.trace_id)
}

/// The trace of the request that created this order.
async fn of_order(client: &Client, shop: &Shop, id: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Recorded {
        trace_id: String,
        attributes: Attributes,
    }
    #[derive(Deserialize)]
    struct Attributes {
        created: Option<String>,
    }
    let spans: Vec<Recorded> = get(
        client,
        shop,
        Member::Order,
        "/lab/spans?order=desc&limit=4096",
    )
    .await?;
    let path = format!("/api/orders/{id}");
    // After a reset, ids begin anew: the latest.
    let created = |span: &Recorded| span.attributes.created.as_deref() == Some(&path);
    let span = spans.into_iter().find(created);
    let span = span.ok_or_else(|| {
        format!("order-service does not remember how order {id} was placed; it keeps its latest 4,096 spans.")
    })?;
    Ok(span.trace_id)
}

async fn get<T: serde::de::DeserializeOwned>(
    client: &Client,
    shop: &Shop,
    member: Member,
    path: &str,
) -> Result<T, String> {
    let (url, name) = (shop.url(member, path), member.name());
    let response = client.get(&url).await;
    let response = response.map_err(|error| format!("{name}: {error}. Does the shop run?"))?;
    if !response.status.is_success() {
        let why = response
            .error()
            .unwrap_or_else(|| response.status.to_string());
        // What a program says goes to a terminal.
        let why: String = why.chars().filter(|c| !c.is_control()).collect();
        return Err(format!("{name}: {why}."));
    }
    let read = response.json();
    read.map_err(|error| format!("{name} answers {path} with something else: {error}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(arguments: &[&str]) -> Result<Asked, String> {
        read(lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn a_request_is_named_in_one_of_three_ways() {
        let id = |text: &str| Which::Id(text.to_owned());
        for (arguments, which, as_sequence) in [
            (&["demo-1"][..], id("demo-1"), false),
            (&["--last"], Which::Last, false),
            (&["--order", "7"], Which::Order("7".to_owned()), false),
            (
                &["--order=7", "--sequence"],
                Which::Order("7".to_owned()),
                true,
            ),
            (&["--sequence", "--waterfall", "a"], id("a"), false),
        ] {
            let asked = read_all(arguments).expect("a request");
            assert_eq!(asked, Asked { which, as_sequence });
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (arguments, named) in [
            (&[][..], "which request?"),
            (&["a", "b"], "more than one"),
            (&["--order", "x"], "\"x\""),
            (&["--order"], "--order"),
            (&["a/b"], "\"a/b\""),
            (&["--tree"], "--tree"),
        ] {
            let wrong = read_all(arguments).expect_err("wrong");
            assert!(wrong.contains(named), "{wrong}");
        }
    }
}
