//! The security, probes, shutdown and selectors of the pods.

use chassis::serve::shutdown::GRACE;
use k8s_openapi::api::core::v1::Probe;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shop_tests::faults::Faults;

use super::network::{LAB, selects};
use super::{Manifests, PROGRAMS, STATELESS, labels};

#[test]
fn every_pod_is_locked_down() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in PROGRAMS {
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
fn liveness_and_readiness_have_separate_probes() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in PROGRAMS {
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
        // Its readiness depends on upstreams and it has no other replica, so clients should get
        // its own 503.
        let spec = manifests.services[service].spec.as_ref();
        let published = spec.and_then(|spec| spec.publish_not_ready_addresses);
        let wanted = (service == "order-service").then_some(true);
        faults.expect(format_args!("{service}, published"), published, wanted);
    }
    faults.finish();
}

#[test]
fn a_pod_has_time_to_shut_down() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in PROGRAMS {
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
        // If there is another replica, the nodes must first stop sending requests here.
        let replicas = manifests.deployments[service].spec.as_ref();
        let replicas = replicas.and_then(|spec| spec.replicas);
        faults.expect(service, sleep > 0, replicas > Some(1));
    }
    faults.finish();
}

#[test]
fn a_service_with_records_in_memory_has_one_replica() {
    let manifests = Manifests::load();
    let mut faults = Faults::default();
    for service in PROGRAMS {
        let spec = manifests.deployments[service].spec.clone().expect("a spec");
        let strategy = spec.strategy.and_then(|strategy| strategy.type_);
        let owns_nothing = STATELESS.contains(&service);
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
    for service in PROGRAMS {
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
            let selected: Vec<_> = PROGRAMS
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
