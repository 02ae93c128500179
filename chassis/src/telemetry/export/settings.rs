//! What the standard `OTEL_*` variables say about spans, read strictly.

use std::collections::HashMap;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::sampler::Sampler;
use crate::env::Env;
use crate::values::uri::plain_http;

const PAIRS: &str = "key=value pairs such as team=shop,stage=test, with %XX for special characters";

/// Where spans go, and which: what the `OTEL_*` variables say.
#[derive(Clone, Debug)]
pub struct Export {
    /// The whole URL that spans are sent to.
    pub(super) url: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) timeout: Duration,
    pub(super) sampler: Sampler,
    pub(super) resource: HashMap<String, String>,
    pub(super) delay: Duration,
    pub(super) queue: usize,
    pub(super) batch: usize,
}

impl Export {
    /// Reads the variables; `None` if they name no collector, or turn tracing off.
    /// `name` is that of the service, unless they have another one.
    pub(crate) fn read(env: &mut Env<'_>, name: &str) -> Option<Self> {
        let boolean = |value: &str| value.to_ascii_lowercase().parse().ok();
        if env.parsed("OTEL_SDK_DISABLED", "true or false", boolean) == Some(true) {
            return None;
        }
        let exports = env.parsed("OTEL_TRACES_EXPORTER", "otlp or none", |value| {
            Some(value == "otlp").filter(|otlp| *otlp || value == "none")
        });
        if exports == Some(false) {
            return None;
        }
        for (what, only) in [("PROTOCOL", "http/protobuf"), ("COMPRESSION", "none")] {
            let expected = format!("{only}, the only one that is built in");
            otlp(env, what, &expected, |value| (value == only).then_some(()));
        }
        let limit = |value: &str| value.parse().ok().filter(|ms| (1..=3_600_000).contains(ms));
        let milliseconds = "milliseconds, from 1 to an hour";
        let timeout = otlp(env, "TIMEOUT", milliseconds, limit).unwrap_or(10_000);
        let patience = env.parsed("OTEL_BSP_EXPORT_TIMEOUT", milliseconds, limit);
        let delay = env.parsed("OTEL_BSP_SCHEDULE_DELAY", milliseconds, limit);
        let queue = env.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1..=1_000_000);
        let batch = env.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512.min(queue), 1..=queue);

        let mut resource = env
            .parsed("OTEL_RESOURCE_ATTRIBUTES", PAIRS, pairs)
            .unwrap_or_default();
        if let Some(name) = env.look_up("OTEL_SERVICE_NAME") {
            resource.insert("service.name".to_owned(), name);
        }
        resource
            .entry("service.name".to_owned())
            .or_insert_with(|| name.to_owned());

        let (sampler, headers, url) = (Sampler::read(env), headers(env), collector(env));
        Some(Self {
            url: url?,
            headers,
            timeout: Duration::from_millis(timeout.min(patience.unwrap_or(30_000))),
            sampler,
            resource,
            delay: Duration::from_millis(delay.unwrap_or(5000)),
            queue: queue as usize,
            batch: batch as usize,
        })
    }
}

/// The variable that ends with `what`: that for traces, or else that for all
/// kinds of telemetry.
fn otlp<T>(
    env: &mut Env<'_>,
    what: &str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
        .iter()
        .find_map(|prefix| env.parsed(&format!("{prefix}{what}"), expected, &parse))
}

/// Where the collector takes spans. The variable for traces has the whole URL,
/// that for all kinds of telemetry what it begins with.
fn collector(env: &mut Env<'_>) -> Option<String> {
    let expected = "a URL such as http://127.0.0.1:4318; https is not built in";
    let traces = env.parsed("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", expected, plain_http);
    if let Some(whole) = traces {
        return Some(whole.to_string());
    }
    let base = env.parsed("OTEL_EXPORTER_OTLP_ENDPOINT", expected, plain_http)?;
    let path = base.path().trim_end_matches('/');
    Some(format!("http://{}{path}/v1/traces", base.authority()?))
}

/// Headers for the collector. They may hold a secret, which an error must not
/// repeat.
fn headers(env: &mut Env<'_>) -> HashMap<String, String> {
    let good = |(name, value): (&String, &String)| {
        HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
    };
    for name in [
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ] {
        let Some(value) = env.look_up(name) else {
            continue;
        };
        match pairs(&value).filter(|pairs| pairs.iter().all(good)) {
            Some(headers) => return headers,
            None => env.reject(name, format_args!("not shown here"), PAIRS),
        }
    }
    HashMap::new()
}

/// `key=value,key=value`, as the standard writes lists.
fn pairs(list: &str) -> Option<HashMap<String, String>> {
    let entries = list.split(',').map(str::trim).filter(|e| !e.is_empty());
    let pair = |entry: &str| {
        let (key, value) = entry.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let key = key.trim();
        (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
    };
    entries.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these variables make of it, or what is wrong with them.
    fn read(variables: &[(&str, &str)]) -> Result<Option<Export>, String> {
        let mut env = Env::new(|name| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        });
        let export = Export::read(&mut env, "user-service");
        env.finish(export).map_err(|error| error.to_string())
    }

    const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn spans_go_where_the_variables_say_and_nowhere_else() {
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        for (variables, expected, reason) in [
            (&[][..], None, "nothing is set"),
            (&[(ALL, "")], None, "empty is not set"),
            (
                &[("OTEL_TRACES_EXPORTER", "otlp")],
                None,
                "no collector is named",
            ),
            (
                &[COLLECTOR],
                Some("http://127.0.0.1:4318/v1/traces"),
                "the path is the standard's",
            ),
            (
                &[(ALL, "http://otel/in/")],
                Some("http://otel/in/v1/traces"),
                "below a path",
            ),
            (
                &[(TRACES, "http://otel/in")],
                Some("http://otel/in"),
                "for traces, as it is",
            ),
            (
                &[(TRACES, "http://otel/in"), COLLECTOR],
                Some("http://otel/in"),
                "and first",
            ),
            (
                &[COLLECTOR, ("OTEL_SDK_DISABLED", "TRUE")],
                None,
                "turned off",
            ),
            (
                &[COLLECTOR, ("OTEL_TRACES_EXPORTER", "none")],
                None,
                "turned off",
            ),
            (
                &[("OTEL_SDK_DISABLED", "true"), (ALL, "nonsense")],
                None,
                "turned off, so that nothing else matters",
            ),
        ] {
            let export = read(variables).expect(reason);
            let url = export.as_ref().map(|export| export.url.as_str());
            assert_eq!(url, expected, "{reason}");
        }
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named() {
        for (name, value, reason) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318", "no scheme"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "https://otel",
                "no TLS here",
            ),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://me@otel",
                "the log would have it",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "not built in"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                "http/json",
                "not built in",
            ),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "not built in"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "no number"),
            ("OTEL_SDK_DISABLED", "yes", "neither true nor false"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "not built in"),
            ("OTEL_TRACES_SAMPLER", "sometimes", "no sampler"),
            ("OTEL_RESOURCE_ATTRIBUTES", "stage", "no value"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "an empty queue"),
            (
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                "2049",
                "more than the queue holds",
            ),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1", "negative"),
        ] {
            let error = read(&[(name, value)]).expect_err(reason);
            let start = format!("{name} is {value:?}, expected ");
            assert!(error.starts_with(&start), "{reason}: {error}");
            assert_eq!(error.lines().count(), 1, "{reason}: {error}");
        }
        for share in ["1.1", "-0.1", "NaN", "half"] {
            let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
            let error = read(&[sampler, ("OTEL_TRACES_SAMPLER_ARG", share)]).expect_err(share);
            assert!(error.contains(share), "{error}");
        }
    }

    #[test]
    fn headers_are_decoded_and_never_repeated_in_an_error() {
        const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
        let export = read(&[
            COLLECTOR,
            (HEADERS, "authorization=Bearer%20s3cret, x-team = shop"),
        ])
        .expect("good")
        .expect("a collector");
        assert_eq!(export.headers["authorization"], "Bearer s3cret");
        assert_eq!(export.headers["x-team"], "shop");
        for bad in ["s3cret", "two words=s3cret", "x=s3cret%0A", "=s3cret"] {
            let error = read(&[(HEADERS, bad)]).expect_err(bad);
            assert!(
                error.starts_with(HEADERS) && !error.contains("s3cret"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_service_is_called_what_the_variables_call_it() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=b,stage=a%20test");
        for (variables, expected) in [
            (&[COLLECTOR][..], "user-service"),
            (&[COLLECTOR, attributes], "b"),
            (&[COLLECTOR, attributes, ("OTEL_SERVICE_NAME", "c")], "c"),
        ] {
            let export = read(variables).expect("good").expect("a collector");
            assert_eq!(export.resource["service.name"], expected);
            let stage = export.resource.get("stage").map(String::as_str);
            assert_eq!(stage, (variables.len() > 1).then_some("a test"));
        }
    }

    #[test]
    fn a_sampler_takes_its_share_and_minds_the_caller() {
        let sampler = |name: &'static str| {
            let variables = [
                COLLECTOR,
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ];
            read(&variables).expect(name).expect(name).sampler
        };
        // As ids are made here: not all of their bits are random.
        let ids: Vec<_> = (0..4000).map(|_| uuid::Uuid::new_v4().as_u128()).collect();
        for (name, roots, below_sampled, below_unsampled) in [
            ("always_on", 4000..=4000, 4000..=4000, 4000..=4000),
            ("always_off", 0..=0, 0..=0, 0..=0),
            ("traceidratio", 800..=1200, 800..=1200, 800..=1200),
            ("parentbased_always_on", 4000..=4000, 4000..=4000, 0..=0),
            ("parentbased_always_off", 0..=0, 4000..=4000, 0..=0),
            ("parentbased_traceidratio", 800..=1200, 4000..=4000, 0..=0),
        ] {
            let sampler = sampler(name);
            for (parent, expected) in [
                (None, roots),
                (Some(true), below_sampled),
                (Some(false), below_unsampled),
            ] {
                let taken = ids.iter().filter(|id| sampler.samples(**id, parent));
                let count = taken.count();
                assert!(expected.contains(&count), "{name}, {parent:?}: {count}");
            }
        }
        let default = read(&[COLLECTOR]).expect("good").expect("a collector");
        assert_eq!(default.sampler, sampler("parentbased_always_on"));
    }
}
