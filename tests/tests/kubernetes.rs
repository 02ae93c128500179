//! The manifests in `deploy/k8s`, without a cluster: every field is one that
//! Kubernetes knows, the network lets through the arrows of the diagram and nothing
//! else, each service is told what it reads, and the rest fits together.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use chassis::contract::body::MAX_BODY;
use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;
use chassis::serve::shutdown::GRACE;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec, Probe, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shop_tests::faults::Faults;
use shop_tests::program::{CALLS, SERVICES};
use yaml_serde::Value;

/// What a service takes without a record or a request (bytes).
/// `deploy/k8s/README.md` has how this and the next two were measured.
const IDLE: i64 = 8 << 20;

/// What the largest record takes that a service accepts (bytes).
const LARGEST_RECORD: i64 = 5500;

/// How many times its own size a body takes while it is on its way.
const BODY_FACTOR: i64 = 3;

// ------------------------------------------------------------------ reading them

type Labels = BTreeMap<String, String>;
type Named<T> = BTreeMap<String, T>;

/// All that is applied, by name.
#[derive(Default)]
struct Manifests {
    namespaces: Named<Namespace>,
    accounts: Named<ServiceAccount>,
    deployments: Named<Deployment>,
    services: Named<Service>,
    budgets: Named<PodDisruptionBudget>,
    policies: Named<NetworkPolicy>,
}

/// The `kustomization.yaml`: no more of it than is used here, so that a new or
/// misspelt field fails.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    namespace: String,
    resources: Vec<String>,
    labels: Vec<AddedLabels>,
    images: Vec<Image>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AddedLabels {
    pairs: Labels,
    include_templates: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_tag: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/k8s")
}

fn text(file: &str) -> String {
    let path = folder().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn kustomization() -> Kustomization {
    yaml_serde::from_str(&text("kustomization.yaml")).expect("a kustomization")
}

impl Manifests {
    /// Those that the kustomization lists.
    fn load() -> Self {
        let mut manifests = Self::default();
        for file in kustomization().resources {
            let read = manifests.read(&text(&file));
            read.unwrap_or_else(|fault| panic!("deploy/k8s/{file}: {fault}"));
        }
        manifests
    }

    /// Adds what a file holds.
    fn read(&mut self, file: &str) -> Result<(), String> {
        for document in yaml_serde::Deserializer::from_str(file) {
            let document = Value::deserialize(document).map_err(|error| error.to_string())?;
            let kind = document.get("kind").and_then(Value::as_str);
            match kind.unwrap_or("no kind") {
                "Namespace" => add(&mut self.namespaces, &document),
                "ServiceAccount" => add(&mut self.accounts, &document),
                "Deployment" => add(&mut self.deployments, &document),
                "Service" => add(&mut self.services, &document),
                "PodDisruptionBudget" => add(&mut self.budgets, &document),
                "NetworkPolicy" => add(&mut self.policies, &document),
                other => Err(format!("{other} is not a kind that this test knows")),
            }?;
        }
        Ok(())
    }

    /// The pods of a service, and the container in them.
    fn pod(&self, service: &str) -> (&PodSpec, &Container) {
        let spec = self.deployments[service].spec.as_ref().expect("a spec");
        let pod = spec.template.spec.as_ref().expect("a pod");
        let [container] = &pod.containers[..] else {
            panic!("{service} has another number of containers than one");
        };
        (pod, container)
    }

    /// The labels of the pods of a service.
    fn pod_labels(&self, service: &str) -> Labels {
        let spec = self.deployments[service].spec.as_ref().expect("a spec");
        labels(spec.template.metadata.as_ref())
    }

    /// The named ports of the pods of a service.
    fn ports(&self, service: &str) -> Named<i32> {
        let ports = self.pod(service).1.ports.iter().flatten();
        ports
            .map(|port| (port.name.clone().expect("a name"), port.container_port))
            .collect()
    }

    /// The variables of a service.
    fn variables(&self, service: &str) -> Named<String> {
        let variables = self.pod(service).1.env.iter().flatten().cloned();
        variables
            .map(|variable| (variable.name, variable.value.expect("a plain value")))
            .collect()
    }
}

/// Adds `document` to its kind; there is one of a name.
fn add<T>(kind: &mut Named<T>, document: &Value) -> Result<(), String>
where
    T: DeserializeOwned + Serialize + k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    let parsed: T = strict(document)?;
    let name = parsed.metadata().name.clone().ok_or("it has no name")?;
    match kind.insert(name.clone(), parsed) {
        None => Ok(()),
        Some(_) => Err(format!("there are two {} called {name}", T::KIND)),
    }
}

/// Parses `document` and writes it back. Kubernetes' types pass over fields that
/// they do not know: those are not there when it is written back.
fn strict<T: DeserializeOwned + Serialize>(document: &Value) -> Result<T, String> {
    let parsed = yaml_serde::from_value(document.clone()).map_err(|error| error.to_string())?;
    let back = yaml_serde::to_value(&parsed).map_err(|error| error.to_string())?;
    match lost(document, &back) {
        None if *document == back => Ok(parsed),
        None => Err("Kubernetes would add to it or put it in other words".to_owned()),
        Some(field) => Err(format!("Kubernetes has no such field: {field}")),
    }
}

/// The path of the first thing in `before` that is not the same in `after`.
fn lost(before: &Value, after: &Value) -> Option<String> {
    let children: Vec<(String, &Value, Option<&Value>)> = match before {
        Value::Mapping(fields) => fields
            .iter()
            .map(|(key, value)| {
                let name = key.as_str().unwrap_or("a key that is no text");
                (name.to_owned(), value, after.get(key))
            })
            .collect(),
        Value::Sequence(items) => items
            .iter()
            .enumerate()
            .map(|(place, value)| (place.to_string(), value, after.get(place)))
            .collect(),
        same => return (same != after).then(String::new),
    };
    children.into_iter().find_map(|(name, value, kept)| {
        let rest = kept.map_or(Some(String::new()), |kept| lost(value, kept))?;
        Some(if rest.is_empty() {
            name
        } else {
            format!("{name}.{rest}")
        })
    })
}

fn labels(metadata: Option<&ObjectMeta>) -> Labels {
    metadata
        .and_then(|metadata| metadata.labels.clone())
        .unwrap_or_default()
}

fn names<T>(named: &Named<T>) -> BTreeSet<&str> {
    named.keys().map(String::as_str).collect()
}

#[test]
fn every_field_is_one_that_kubernetes_knows_and_every_service_is_whole() {
    let manifests = Manifests::load();
    let each = BTreeSet::from(SERVICES);
    assert_eq!(names(&manifests.accounts), each);
    assert_eq!(names(&manifests.deployments), each);
    assert_eq!(names(&manifests.services), each);
    assert_eq!(names(&manifests.budgets), each);
    let of_all = BTreeSet::from(["clients", "default-deny", "dns", "prometheus"]);
    assert_eq!(names(&manifests.policies), &each | &of_all);
}

#[test]
fn a_misspelt_field_is_caught() {
    let good = text("user-service.yaml");
    assert_eq!(Manifests::default().read(&good), Ok(()));
    for (right, wrong, says) in [
        ("replicas:", "replica:", "spec.replica"),
        ("podSelector:", "podSelectors:", "spec.podSelectors"),
        (
            "readOnlyRootFilesystem:",
            "readonlyRootFilesystem:",
            "spec.template.spec.containers.0.securityContext.readonlyRootFilesystem",
        ),
        ("maxUnavailable:", "maxunavailable:", "spec.maxunavailable"),
        ("type: Recreate", "typ: Recreate", "spec.strategy.typ"),
        // What is not a misspelt field, but no better.
        ("replicas: 1", "replicas: one", "invalid type"),
        ("apps/v1", "apps/v2", "apps/v2"),
        ("kind: Service\n", "kind: Services\n", "Services"),
        ("replicas: 1", "replicas: 1\n  replicas: 2", "duplicate"),
    ] {
        assert!(good.contains(right), "{right} is not there to be misspelt");
        let fault = Manifests::default().read(&good.replacen(right, wrong, 1));
        let fault = fault.expect_err(wrong);
        assert!(fault.contains(says), "{wrong}: {fault}");
    }
    let good = text("kustomization.yaml");
    for (right, wrong) in [
        ("resources:", "resource:"),
        ("includeTemplates:", "includeTemplate:"),
        ("newTag:", "newtag:"),
    ] {
        assert!(good.contains(right), "{right} is not there to be misspelt");
        let parsed = yaml_serde::from_str::<Kustomization>(&good.replacen(right, wrong, 1));
        assert!(parsed.is_err(), "{wrong} is not caught");
    }
}

#[test]
fn the_kustomization_is_of_every_file_and_every_image() {
    let (kustomization, manifests) = (kustomization(), Manifests::load());
    let mut faults = Faults::default();
    let version = "kustomize.config.k8s.io/v1beta1";
    faults.expect("apiVersion", &*kustomization.api_version, version);
    faults.expect("kind", &*kustomization.kind, "Kustomization");

    let files = fs::read_dir(folder()).expect("the folder").flatten();
    let files = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let files: BTreeSet<_> = files
        .filter(|file| file.ends_with("yaml") && file != "kustomization.yaml")
        .collect();
    let listed: BTreeSet<_> = kustomization.resources.into_iter().collect();
    faults.expect("the files", listed, files);

    let namespace: Vec<_> = manifests.namespaces.into_keys().collect();
    faults.expect("the namespace", namespace, vec![kustomization.namespace]);
    for added in kustomization.labels {
        let part_of = ("app.kubernetes.io/part-of", "microservices-lab");
        let pairs: Vec<_> = added.pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
        faults.expect("the labels of all", pairs, vec![part_of]);
        faults.expect("pods have them too", added.include_templates, true);
    }
    let images = kustomization.images.into_iter();
    let images: BTreeMap<_, _> = images.map(|image| (image.name, image.new_tag)).collect();
    let own = SERVICES.map(|name| {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        (format!("microservices-lab/{name}"), version)
    });
    faults.expect("the images", images, BTreeMap::from(own));
    faults.finish();
}

// ------------------------------------------------------------------- the network

/// Something that can connect, or be connected to.
struct Party {
    name: &'static str,
    namespace: &'static str,
    labels: Labels,
    ports: Named<i32>,
}

/// One connection: from whom, to whom, to which port.
type Connection = (&'static str, &'static str, (&'static str, i32));

const LAB: &str = "microservices-lab";

fn label(key: &str, value: &str) -> Labels {
    Labels::from([(key.to_owned(), value.to_owned())])
}

/// The five services, and whoever else there may be in a cluster.
fn world(manifests: &Manifests) -> Vec<Party> {
    let name = "app.kubernetes.io/name";
    let party = |name, namespace, labels| Party {
        name,
        namespace,
        labels,
        ports: Named::new(),
    };
    let services = SERVICES.map(|service| Party {
        labels: manifests.pod_labels(service),
        ports: manifests.ports(service),
        ..party(service, LAB, Labels::new())
    });
    let others = [
        party("dns", "kube-system", label("k8s-app", "kube-dns")),
        party("another of the system", "kube-system", Labels::new()),
        party("prometheus", "monitoring", label(name, "prometheus")),
        party("a neighbour of prometheus", "monitoring", Labels::new()),
        party(
            "a prometheus elsewhere",
            "default",
            label(name, "prometheus"),
        ),
        party("a client", "clients", Labels::new()),
        party("a stranger in the lab", LAB, Labels::new()),
        party("a stranger elsewhere", "default", Labels::new()),
        party("an impostor", "default", label(name, "order-service")),
    ];
    services.into_iter().chain(others).collect()
}

/// The labels of a namespace. Kubernetes itself gives each its name as one.
fn namespace_labels(manifests: &Manifests, namespace: &str) -> Labels {
    let mut all = label("kubernetes.io/metadata.name", namespace);
    if let Some(own) = manifests.namespaces.get(namespace) {
        all.extend(labels(Some(&own.metadata)));
    }
    if namespace == "clients" {
        all.extend(label("microservices-lab/clients", "allowed"));
    }
    all
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let mut equal = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    equal.all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| match &*expression.operator {
            "In" => labels.get(&expression.key).is_some_and(|value| {
                let values = expression.values.as_deref();
                values.unwrap_or_default().contains(value)
            }),
            other => panic!("the operator {other} is not one that this test knows"),
        })
}

/// Whether `party` is one of the `peers` of a rule of a policy in the lab; a rule
/// that names none means everybody.
fn is_peer(manifests: &Manifests, party: &Party, peers: Option<&[NetworkPolicyPeer]>) -> bool {
    let is = |peer: &NetworkPolicyPeer| {
        assert!(peer.ip_block.is_none(), "this test knows no ipBlock");
        let place = namespace_labels(manifests, party.namespace);
        let namespace = peer.namespace_selector.as_ref();
        namespace.map_or(party.namespace == LAB, |selector| selects(selector, &place))
            && peer
                .pod_selector
                .as_ref()
                .is_none_or(|selector| selects(selector, &party.labels))
    };
    peers.is_none_or(|peers| peers.is_empty() || peers.iter().any(is))
}

/// Whether a rule is about this port of `to`; one that names none is about all.
fn is_port(
    to: &Party,
    (protocol, number): (&str, i32),
    ports: Option<&[NetworkPolicyPort]>,
) -> bool {
    let is = |port: &NetworkPolicyPort| {
        assert!(port.end_port.is_none(), "this test knows no endPort");
        port.protocol.as_deref().unwrap_or("TCP") == protocol
            && match &port.port {
                None => true,
                Some(IntOrString::Int(port)) => *port == number,
                Some(IntOrString::String(name)) => to.ports.get(name) == Some(&number),
            }
    };
    ports.is_none_or(|ports| ports.is_empty() || ports.iter().any(is))
}

/// Which way a policy looks at a connection.
#[derive(Clone, Copy)]
enum Way {
    Out,
    In,
}

/// Whether the policies of the lab let a connection out of `from`, or in at `to`, by
/// the rules of Kubernetes: a pod that any policy selects gets only what one allows.
fn passes(manifests: &Manifests, way: Way, from: &Party, to: &Party, port: (&str, i32)) -> bool {
    let (party, name) = match way {
        Way::Out => (from, "Egress"),
        Way::In => (to, "Ingress"),
    };
    let policies = manifests.policies.values();
    let specs = policies.map(|policy| policy.spec.as_ref().expect("a spec"));
    let about: Vec<_> = specs
        .filter(|spec| {
            let types = spec.policy_types.as_ref().expect("policyTypes");
            let selector = spec.pod_selector.as_ref().expect("a podSelector");
            types.iter().any(|kind| kind == name) && selects(selector, &party.labels)
        })
        .collect();
    let allowed = about.iter().any(|spec| match way {
        Way::Out => spec.egress.iter().flatten().any(|rule| {
            is_peer(manifests, to, rule.to.as_deref()) && is_port(to, port, rule.ports.as_deref())
        }),
        Way::In => spec.ingress.iter().flatten().any(|rule| {
            is_peer(manifests, from, rule.from.as_deref())
                && is_port(to, port, rule.ports.as_deref())
        }),
    });
    about.is_empty() || allowed
}

#[test]
fn the_network_lets_through_the_arrows_of_the_diagram_and_nothing_else() {
    let manifests = Manifests::load();
    let world = world(&manifests);
    let port = |service: &str| ("TCP", manifests.ports(service)["http"]);

    let (mut out, mut into) = (BTreeSet::<Connection>::new(), BTreeSet::<Connection>::new());
    for (caller, called) in CALLS {
        // Each end has to agree.
        out.insert((caller, called, port(called)));
        into.insert((caller, called, port(called)));
        // Whoever calls looks up names; who does not, has nothing to look up.
        out.insert((caller, "dns", ("UDP", 53)));
        out.insert((caller, "dns", ("TCP", 53)));
    }
    for service in SERVICES {
        into.insert(("a client", service, port(service)));
        into.insert(("prometheus", service, port(service)));
    }

    let ports = [53, 80, 443, 8001, 8002, 8003, 8004, 8005, 9090];
    let ports = ports.map(|number| [("TCP", number), ("UDP", number)]);
    let ports = ports.as_flattened();
    let mut faults = Faults::default();
    for (what, way, expected) in [("out", Way::Out, out), ("in", Way::In, into)] {
        for from in &world {
            // Itself as well: another replica of a service is another pod.
            for to in &world {
                let ours = match way {
                    Way::Out => from,
                    Way::In => to,
                };
                for port in ports.iter().filter(|_| ours.namespace == LAB) {
                    let got = passes(&manifests, way, from, to, *port);
                    let right = expected.contains(&(from.name, to.name, *port));
                    let what = format_args!("{} to {} {port:?}, {what}", from.name, to.name);
                    faults.expect(what, got, right);
                }
            }
        }
    }
    faults.finish();
}

// ------------------------------------------------------- what the services are told

/// What a service makes of its environment, by its own code.
fn configure(service: &str, env: Env<'_>) -> Result<ServiceConfig, ConfigError> {
    match service {
        "user-service" => user_service::Config::read(env).map(|config| config.service),
        "product-service" => product_service::Config::read(env).map(|config| config.service),
        "order-service" => order_service::Config::read(env).map(|config| config.service),
        "notification-service" => {
            notification_service::Config::read(env).map(|config| config.service)
        }
        "analytics-service" => analytics_service::Config::read(env).map(|config| config.service),
        other => panic!("{other} is not one of the five"),
    }
}

/// Whose pods answer at `url`, by way of a Service.
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
    let selected: Vec<_> = SERVICES
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
fn each_service_is_told_what_it_reads_and_where_its_arrows_lead() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    let mut told = BTreeSet::new();
    for service in SERVICES {
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
        // Left out, a neighbour would be looked for on 127.0.0.1.
        for name in asked.iter().filter(|name| name.ends_with("_SERVICE_URL")) {
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
    faults.expect("the arrows", told, BTreeSet::from(CALLS));
    faults.finish();
}

#[test]
fn a_store_that_is_full_and_a_service_that_is_busy_fit_into_the_memory_they_may_have() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in SERVICES {
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
        let owns_nothing = service == "analytics-service";
        let records = if owns_nothing {
            0
        } else {
            i64::from(limits.records)
        };
        let bodies = i64::from(limits.in_flight) * i64::try_from(MAX_BODY).expect("small");
        let needed = IDLE + records * LARGEST_RECORD + bodies * BODY_FACTOR;
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

// ------------------------------------------------------------------------ the pods

#[test]
fn every_pod_is_locked_down_as_far_as_it_goes() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in SERVICES {
        let (pod, container) = manifests.pod(service);
        let all = pod.security_context.clone().unwrap_or_default();
        let own = container.security_context.clone().unwrap_or_default();
        let capabilities = own.capabilities.unwrap_or_default();
        let seccomp = all.seccomp_profile.map(|profile| profile.type_);
        let account = manifests.accounts[service].automount_service_account_token;
        for (what, got, expected) in [
            ("runAsNonRoot", all.run_as_non_root, Some(true)),
            (
                "readOnlyRootFilesystem",
                own.read_only_root_filesystem,
                Some(true),
            ),
            (
                "allowPrivilegeEscalation",
                own.allow_privilege_escalation,
                Some(false),
            ),
            ("privileged", own.privileged, None),
            ("hostNetwork", pod.host_network, None),
            ("a token for the API server", account, Some(false)),
            (
                "the same, by the pod",
                pod.automount_service_account_token,
                None,
            ),
            ("enableServiceLinks", pod.enable_service_links, Some(false)),
        ] {
            faults.expect(format_args!("{service}, {what}"), got, expected);
        }
        // Of the image, which has no users by name.
        let user = (all.run_as_user, all.run_as_group);
        faults.expect(service, user, (Some(65532), Some(65532)));
        faults.expect(service, (own.run_as_user, own.run_as_group), (None, None));
        faults.expect(service, seccomp, Some("RuntimeDefault".to_owned()));
        faults.expect(service, capabilities.drop, Some(vec!["ALL".to_owned()]));
        faults.expect(service, capabilities.add, None);
        faults.expect(service, pod.service_account_name.as_deref(), Some(service));
        faults.expect(service, pod.volumes.is_none(), true);
    }
    let enforced = labels(Some(&manifests.namespaces[LAB].metadata));
    let enforced = enforced.get("pod-security.kubernetes.io/enforce");
    faults.expect(
        "the namespace",
        enforced.map(String::as_str),
        Some("restricted"),
    );
    faults.finish();
}

#[test]
fn a_pod_is_asked_whether_it_lives_and_whether_it_is_ready_apart() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in SERVICES {
        let (_, container) = manifests.pod(service);
        let asked = |probe: &Option<Probe>| {
            let get = probe.as_ref()?.http_get.as_ref()?;
            Some((get.path.clone()?, get.port.clone()))
        };
        let at = |path: &str| Some((path.to_owned(), IntOrString::String("http".to_owned())));
        faults.expect(service, asked(&container.liveness_probe), at("/health"));
        faults.expect(
            service,
            asked(&container.readiness_probe),
            at("/health/ready"),
        );
        // The only one that is not ready because of others, and has no other replica:
        // its clients are to get its own 503.
        let spec = manifests.services[service].spec.as_ref();
        let published = spec.and_then(|spec| spec.publish_not_ready_addresses);
        let wanted = (service == "order-service").then_some(true);
        faults.expect(format_args!("{service}, published"), published, wanted);
    }
    faults.finish();
}

#[test]
fn a_pod_that_is_told_to_stop_has_time_to() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in SERVICES {
        let (pod, container) = manifests.pod(service);
        let hook = container.lifecycle.clone().and_then(|life| life.pre_stop);
        let sleep = hook
            .and_then(|hook| hook.sleep)
            .map_or(0, |sleep| sleep.seconds);
        let own = i64::try_from(GRACE.as_secs()).expect("small");
        // A second for the last spans.
        let needed = sleep + own + 1;
        let given = pod.termination_grace_period_seconds.unwrap_or_default();
        faults.ensure(service, given > needed, || {
            format!("it gets {given} s and may need {needed} s")
        });
        // Where there is another replica to go to, the nodes must hear of it first.
        let replicas = manifests.deployments[service].spec.as_ref();
        let replicas = replicas.and_then(|spec| spec.replicas);
        faults.expect(service, sleep > 0, replicas > Some(1));
    }
    faults.finish();
}

#[test]
fn what_is_kept_in_memory_is_kept_once() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in SERVICES {
        let spec = manifests.deployments[service].spec.clone().expect("a spec");
        let strategy = spec.strategy.and_then(|strategy| strategy.type_);
        let owns_nothing = service == "analytics-service";
        let (replicas, kind) = if owns_nothing {
            (2, "RollingUpdate")
        } else {
            (1, "Recreate")
        };
        faults.expect(service, spec.replicas, Some(replicas));
        faults.expect(service, strategy.as_deref(), Some(kind));
        // A drain goes through, and takes one at a time; two that are ill do not stop it.
        let budget = manifests.budgets[service].spec.clone().expect("a spec");
        let one = Some(IntOrString::Int(1));
        let got = (budget.max_unavailable, budget.min_available);
        faults.expect(service, got, (one, None));
        let ill = budget.unhealthy_pod_eviction_policy.as_deref();
        let always = owns_nothing.then_some("AlwaysAllow");
        faults.expect(service, ill, always);
    }
    faults.finish();
}

#[test]
fn every_selector_selects_the_pods_of_its_service_and_no_others() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in SERVICES {
        let deployment = manifests.deployments[service].spec.clone().expect("a spec");
        let budget = manifests.budgets[service].spec.clone().expect("a spec");
        let policy = manifests.policies[service].spec.clone().expect("a spec");
        let of_service = manifests.services[service].spec.clone().expect("a spec");
        let of_service = LabelSelector {
            match_labels: of_service.selector,
            ..LabelSelector::default()
        };
        let spread = manifests.pod(service).0.topology_spread_constraints.iter();
        let spread = spread.flatten().map(|spread| &spread.label_selector);
        for (what, selector) in [
            ("Deployment", &Some(deployment.selector)),
            ("PodDisruptionBudget", &budget.selector),
            ("NetworkPolicy", &policy.pod_selector),
            ("Service", &Some(of_service)),
        ]
        .into_iter()
        .chain(spread.map(|selector| ("topology", selector)))
        {
            let selector = selector.as_ref().expect("a selector");
            let selected: Vec<_> = SERVICES
                .into_iter()
                .filter(|other| selects(selector, &manifests.pod_labels(other)))
                .collect();
            faults.expect(format_args!("{service}, {what}"), selected, vec![service]);
        }
        let image = manifests.pod(service).1.image.clone();
        let image = image.unwrap_or_default();
        faults.expect(service, image, format!("microservices-lab/{service}"));
    }
    faults.finish();
}
