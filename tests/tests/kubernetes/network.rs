//! The network policies allow exactly the arrows of the diagram.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shop_tests::faults::Faults;

use super::{Labels, Manifests, Named, PROGRAMS, arrows, labels};

/// A source or destination of connections.
struct Party {
    name: &'static str,
    namespace: &'static str,
    labels: Labels,
    ports: Named<i32>,
}

/// A connection: source, destination, port.
type Connection = (&'static str, &'static str, (&'static str, i32));

pub(super) const LAB: &str = "microservices-lab";

fn label(key: &str, value: &str) -> Labels {
    Labels::from([(key.to_owned(), value.to_owned())])
}

/// The five services, the gateway, and other pods of a cluster.
fn world(manifests: &Manifests) -> Vec<Party> {
    let name = "app.kubernetes.io/name";
    let party = |name, namespace, labels| Party {
        name,
        namespace,
        labels,
        ports: Named::new(),
    };
    let services = PROGRAMS.map(|service| Party {
        labels: manifests.pod_labels(service),
        ports: manifests.ports(service),
        ..party(service, LAB, Labels::new())
    });
    let others = [
        party("dns", "kube-system", label("k8s-app", "kube-dns")),
        party("another pod of the system", "kube-system", Labels::new()),
        party("prometheus", "monitoring", label(name, "prometheus")),
        party("another pod beside prometheus", "monitoring", Labels::new()),
        party(
            "a prometheus elsewhere",
            "default",
            label(name, "prometheus"),
        ),
        party("a client", "clients", Labels::new()),
        party("an unknown pod in the lab", LAB, Labels::new()),
        party("an unknown pod elsewhere", "default", Labels::new()),
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

pub(super) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
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

/// The direction of a policy.
#[derive(Clone, Copy)]
enum Way {
    Out,
    In,
}

/// Whether the policies of the lab allow a connection out of `from`, or into `to`, by the rules of
/// Kubernetes: if any policy selects a pod, only the allowed connections pass.
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
fn the_network_allows_exactly_the_arrows_of_the_diagram() {
    let manifests = Manifests::load();
    let world = world(&manifests);
    let port = |service: &str| ("TCP", manifests.ports(service)["http"]);

    let (mut out, mut into) = (BTreeSet::<Connection>::new(), BTreeSet::<Connection>::new());
    for (caller, called) in arrows() {
        // Both ends must allow it.
        out.insert((caller, called, port(called)));
        into.insert((caller, called, port(called)));
        // Only callers look up names.
        out.insert((caller, "dns", ("UDP", 53)));
        out.insert((caller, "dns", ("TCP", 53)));
    }
    for service in PROGRAMS {
        into.insert(("a client", service, port(service)));
        into.insert(("prometheus", service, port(service)));
    }

    let ports = [53, 80, 443, 8000, 8001, 8002, 8003, 8004, 8005, 9090];
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
