//! The manifests in `deploy/k8s`, without a cluster: Kubernetes knows every field, the network allows
//! exactly the arrows of the diagram, each service has the variables that it reads, and the rest is
//! consistent.

mod configuration;
mod network;
mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shop_tests::faults::Faults;
use shop_tests::program::{CALLS, SERVICES};
use yaml_serde::Value;

/// The programs that run: the five services and the gateway.
const PROGRAMS: [&str; 6] = [
    "user-service",
    "product-service",
    "order-service",
    "notification-service",
    "analytics-service",
    "gateway",
];

/// Those without records in memory, which can have more than one replica.
const STATELESS: [&str; 2] = ["analytics-service", "gateway"];

/// Caller and upstream: the arrows of the diagram, those of the gateway to the five, and the one
/// of analytics, which asks the gateway too.
fn arrows() -> BTreeSet<(&'static str, &'static str)> {
    let of_gateway = SERVICES.map(|service| ("gateway", service));
    let to_gateway = [("analytics-service", "gateway")];
    let calls = CALLS.into_iter().chain(of_gateway);
    calls.chain(to_gateway).collect()
}

/// The memory of an idle service (bytes).
/// `deploy/k8s/README.md` has how this and the next two were measured.
const IDLE: i64 = 8 << 20;

/// The memory of the largest record of a service (bytes). A notification has a thousand
/// characters.
fn largest_record(service: &str) -> i64 {
    if service == "notification-service" {
        5500
    } else {
        1400
    }
}

/// The memory of an idempotency key and its response (bytes). `keys_memory.rs` of the chassis
/// measures it.
const KEY: i64 = 640;

/// The memory of an idle connection (bytes).
const CONNECTION: i64 = 10 << 10;

/// The memory of a body that is still arriving, as a multiple of its size.
const BODY_FACTOR: i64 = 3;

type Labels = BTreeMap<String, String>;
type Named<T> = BTreeMap<String, T>;

/// All applied objects, by name.
#[derive(Default)]
struct Manifests {
    namespaces: Named<Namespace>,
    accounts: Named<ServiceAccount>,
    deployments: Named<Deployment>,
    services: Named<Service>,
    budgets: Named<PodDisruptionBudget>,
    policies: Named<NetworkPolicy>,
}

/// The `kustomization.yaml`, with only the fields that it uses, so that a new or misspelt field
/// fails.
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
    /// Loads the files of the kustomization.
    fn load() -> Self {
        let mut manifests = Self::default();
        for file in kustomization().resources {
            let read = manifests.read(&text(&file));
            read.unwrap_or_else(|fault| panic!("deploy/k8s/{file}: {fault}"));
        }
        manifests
    }

    /// Adds the objects of a file.
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

/// Adds `document` to its kind. Names are unique.
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

/// Parses `document` and serialises it again. Kubernetes' types ignore unknown fields, so those are
/// missing afterwards.
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
fn kubernetes_knows_every_field_and_every_service_is_complete() {
    let manifests = Manifests::load();
    let each = BTreeSet::from(PROGRAMS);
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
    let own = PROGRAMS.map(|name| {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        (format!("microservices-lab/{name}"), version)
    });
    faults.expect("the images", images, BTreeMap::from(own));
    faults.finish();
}
