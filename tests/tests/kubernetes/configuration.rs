//! The configuration of the services in the manifests.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use chassis::contract::body::MAX_BODY;
use chassis::env::{ConfigError, Env};
use chassis::serve::config::{ServiceConfig, UNREAD_KIB};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shop_tests::faults::Faults;

use super::network::selects;
use super::{
    BODY_FACTOR, CONNECTION, IDLE, KEY, Manifests, Named, PROGRAMS, STATELESS, arrows,
    largest_record,
};

/// Reads the configuration of a service with its own code.
fn configure(service: &str, env: Env<'_>) -> Result<ServiceConfig, ConfigError> {
    match service {
        "user-service" => user_service::Config::read(env).map(|config| config.service),
        "product-service" => product_service::Config::read(env).map(|config| config.service),
        "order-service" => order_service::Config::read(env).map(|config| config.service),
        "notification-service" => {
            notification_service::Config::read(env).map(|config| config.service)
        }
        "analytics-service" => analytics_service::Config::read(env).map(|config| config.service),
        "gateway" => gateway::Config::read(env).map(|config| config.service),
        other => panic!("{other} is unknown"),
    }
}

/// The service whose pods answer at `url`, through a Service.
fn behind(manifests: &Manifests, url: &str) -> Result<&'static str, String> {
    let address = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once(':'));
    let (name, port) = address.ok_or_else(|| format!("{url} is not http://name:port"))?;
    let service = manifests.services.get(name);
    let service = service.ok_or_else(|| format!("{url}: there is no Service called {name}"))?;
    let spec = service.spec.as_ref().ok_or("it has no spec")?;
    let mut ports = spec.ports.iter().flatten();
    let port = ports.find(|open| open.port.to_string() == port);
    let port = port.ok_or_else(|| format!("{url}: the Service has no such port"))?;
    let selector = LabelSelector {
        match_labels: spec.selector.clone(),
        ..LabelSelector::default()
    };
    let selected: Vec<_> = PROGRAMS
        .into_iter()
        .filter(|service| selects(&selector, &manifests.pod_labels(service)))
        .collect();
    let [pods] = selected[..] else {
        return Err(format!("{url}: the Service selects {selected:?}"));
    };
    let Some(IntOrString::String(target)) = &port.target_port else {
        return Err(format!("{url}: the Service's targetPort is not a name"));
    };
    if manifests.ports(pods).contains_key(target) {
        Ok(pods)
    } else {
        Err(format!("{url}: {pods} has no port called {target}"))
    }
}

#[test]
fn each_service_has_variables_that_it_reads_and_the_urls_of_its_upstreams() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    let mut told = BTreeSet::new();
    for service in PROGRAMS {
        let variables = manifests.variables(service);
        let asked = RefCell::new(BTreeSet::new());
        let config = configure(
            service,
            Env::new(|name| {
                asked.borrow_mut().insert(name.to_owned());
                variables.get(name).cloned()
            }),
        );
        let asked = asked.into_inner();
        for name in variables.keys().filter(|name| !asked.contains(*name)) {
            faults.check(
                service,
                Err(format!("{name} is not a variable that it reads")),
            );
        }
        // The default would be an upstream on 127.0.0.1, or none.
        let is_url = |name: &&String| name.ends_with("_SERVICE_URL") || *name == "GATEWAY_URL";
        for name in asked.iter().filter(is_url) {
            let url = variables.get(name).map_or("nothing", String::as_str);
            match behind(&manifests, url) {
                Ok(called) => drop(told.insert((service, called))),
                Err(fault) => faults.check(format_args!("{service}, {name}"), Err(fault)),
            }
        }
        match config {
            Ok(config) => {
                let port = i32::from(config.listen.port());
                let http = Named::from([("http".to_owned(), port)]);
                faults.expect(service, manifests.ports(service), http);
                faults.expect(service, config.listen.ip().is_unspecified(), true);
            }
            Err(error) => faults.check(service, Err(error.to_string())),
        }
    }
    faults.expect("the arrows", told, arrows());
    faults.finish();
}

#[test]
fn a_full_store_and_a_busy_service_fit_into_their_memory_limit() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in PROGRAMS {
        let resources = manifests.pod(service).1.resources.clone();
        let resources = resources.expect("resources");
        let figure = |figures: Option<BTreeMap<String, _>>, name: &str| {
            let figure: Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
                figures.and_then(|figures| figures.get(name).cloned());
            figure.map_or(0, |quantity| amount(&quantity.0))
        };
        for name in ["cpu", "memory"] {
            let requested = figure(resources.requests.clone(), name);
            let limit = figure(resources.limits.clone(), name);
            let sane = 0 < requested && requested <= limit;
            faults.expect(format_args!("{service}, {name}"), sane, true);
        }
        let variables = manifests.variables(service);
        let config = configure(service, Env::new(|name| variables.get(name).cloned()));
        let limits = config.expect("a good environment").limits;
        let owns_nothing = STATELESS.contains(&service);
        let records = if owns_nothing {
            0
        } else {
            i64::from(limits.records)
        };
        let bodies = i64::from(limits.bodies) * i64::try_from(MAX_BODY).expect("small");
        let responses = i64::from(UNREAD_KIB) << 10;
        let connections = i64::from(limits.connections) * CONNECTION;
        let keys = if owns_nothing {
            0
        } else {
            i64::from(limits.keys)
        };
        let stored = records * largest_record(service) + keys * KEY;
        let needed = IDLE + stored + bodies * BODY_FACTOR + responses + connections;
        let limit = figure(resources.limits, "memory") / 1000;
        faults.ensure(service, needed <= limit, || {
            format!("it may need {needed} bytes and is killed at {limit}")
        });
    }
    faults.finish();
}

/// A quantity of Kubernetes' in thousandths.
fn amount(quantity: &str) -> i64 {
    let digits = quantity.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: i64 = digits.parse().expect("a whole number");
    number
        * match &quantity[digits.len()..] {
            "m" => 1,
            "" => 1000,
            "Mi" => 1000 << 20,
            other => panic!("{other:?} is not a unit that this test knows"),
        }
}
