//! What is refused, and in what words; and who goes for a critical pod: tables.

use serde_json::{Value, json};

use super::{preemption::Need, *};
use crate::pod::configs::tests::facts;

fn pod(uid: &str, spec: Value) -> Pod {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([]);
    }
    serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": spec})).expect("a pod")
}

/// One container with these requests.
fn asking(uid: &str, requests: Value) -> Pod {
    pod(uid, json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

fn node(object: Value) -> Node {
    serde_json::from_value(object).expect("a node")
}

fn answer(pod: &Pod, others: &[Arc<Pod>], node: &Node, facts: &NodeFacts) -> Verdict {
    judge(pod, others, &Ground { node, facts, pressures: BTreeSet::new(), is_shutting_down: false })
}

/// `Reason: message`, or nothing for a pod that may run.
fn refused(pod: &Pod, others: &[Arc<Pod>], node: &Node, facts: &NodeFacts) -> String {
    match answer(pod, others, node, facts) {
        Verdict::Refused(Refusal { reason, message }) => format!("{reason}: {message}"),
        _ => String::new(),
    }
}

fn check(what: &Value, found: &str, wanted: &str) {
    assert!(found.starts_with(wanted) && found.is_empty() == wanted.is_empty(), "{what}: {found}");
}

#[test]
fn what_is_not_to_be_had_is_refused_by_name() {
    let sysctl = |name: &str| json!({"sysctls": [{"name": name, "value": "1"}]});
    let profile = |type_: &str| json!({"appArmorProfile": {"type": type_}});
    for (spec, wanted) in [
        (json!({}), ""),
        (json!({"hostUsers": true}), ""),
        (
            json!({"hostUsers": false}),
            "UnsupportedPodSpec: user namespaces (hostUsers: false) are not supported by this kubelet",
        ),
        (
            json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}),
            "UnsupportedPodSpec: dynamic resources (resourceClaims) are not supported by this kubelet",
        ),
        (json!({"os": {"name": "windows"}}), "PodOSNotSupported: Failed to admit pod as the OS field"),
        (
            json!({"securityContext": {"supplementalGroupsPolicy": "Strict"}}),
            "SupplementalGroupsPolicyNotSupported: SupplementalGroupsPolicy=Strict",
        ),
        (json!({"securityContext": sysctl("kernel/shm_rmid_forced")}), ""),
        (
            json!({"securityContext": sysctl("kernel.msgmax")}),
            "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
        ),
        (
            json!({"hostIPC": true, "securityContext": sysctl("kernel.shm_rmid_forced")}),
            "SysctlForbidden: forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host ipc enabled",
        ),
        (json!({"containers": [{"name": "c"}], "securityContext": profile("Unconfined")}), ""),
        (
            json!({"containers": [{"name": "c"}], "securityContext": profile("RuntimeDefault")}),
            "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host",
        ),
        (
            json!({"containers": [{"name": "c", "securityContext": profile("Localhost")}]}),
            "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host",
        ),
    ] {
        check(&spec, &refused(&pod("u", spec.clone()), &[], &Node::default(), &facts()), wanted);
    }
    let with = NodeFacts { has_app_armor: true, ..facts() };
    let named = json!({"containers": [{"name": "c", "securityContext": profile("RuntimeDefault")}]});
    check(&named, &refused(&pod("u", named.clone()), &[], &Node::default(), &with), "");
}

#[test]
fn a_node_may_allow_unsafe_sysctls() {
    let own = pod("u", json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}));
    let with = |pattern: &str| {
        let facts = NodeFacts { allowed_unsafe_sysctls: vec![pattern.to_owned()], ..facts() };
        refused(&own, &[], &Node::default(), &facts)
    };
    assert_eq!(with("kernel.msg*"), "");
    assert_eq!(with("kernel.msgmax"), "");
    assert!(with("net.*").starts_with("SysctlForbidden"));
}

#[test]
fn resources_are_counted_against_what_the_node_has() {
    let other = asking("other", json!({"cpu": "1500m", "memory": "1Ki", "example.com/gpu": "1"}));
    let mut over = asking("over", json!({"cpu": "2"}));
    over.status = Some(k8s_openapi::api::core::v1::PodStatus { phase: Some("Failed".into()), ..Default::default() });
    let others = [Arc::new(other), Arc::new(over), Arc::new(asking("u", json!({"cpu": "2"})))];
    let gpus = node(json!({"metadata": {}, "status": {"allocatable":
        {"example.com/gpu": "2", "cpu": "64", "hugepages-2Mi": "0"}}}));
    let lacks = |name: &str, requested: i64, used: i64, capacity: i64| {
        format!(
            "OutOf{name}: Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        )
    };
    for (requests, wanted) in [
        (json!({}), String::new()),
        (json!({"cpu": "500m", "memory": "1Mi", "ephemeral-storage": "1000"}), String::new()),
        (json!({"cpu": "501m"}), lacks("cpu", 501, 1500, 2000)),
        (json!({"memory": "1Gi"}), lacks("memory", 1 << 30, 1 << 10, 1 << 30)),
        (json!({"ephemeral-storage": "1001"}), lacks("ephemeral-storage", 1001, 0, 1000)),
        (json!({"example.com/gpu": "1"}), String::new()),
        (json!({"example.com/gpu": "2"}), lacks("example.com/gpu", 2, 1, 2)),
        // Another's business: the node does not know it.
        (json!({"example.com/licence": "5"}), String::new()),
        (json!({"hugepages-2Mi": "2Mi"}), lacks("hugepages-2Mi", 2 << 20, 0, 0)),
        (json!({"hugepages-1Gi": "1Gi"}), lacks("hugepages-1Gi", 1 << 30, 0, 0)),
        (json!({"memory": "2Gi", "cpu": "9"}), lacks("cpu", 9000, 1500, 2000)),
    ] {
        check(&requests, &refused(&asking("u", requests.clone()), &others, &gpus, &facts()), &wanted);
    }
    let mut facts = facts();
    facts.allocatable.insert("pods".into(), machinery::quantity::Quantity::parse("1").expect("a number"));
    let crowded = refused(&asking("u", json!({})), &others, &gpus, &facts);
    assert_eq!(crowded, lacks("pods", 1, 1, 1), "who is over, and the pod itself, hold no place");
}

#[test]
fn overhead_init_containers_and_the_pods_own_amounts_count() {
    let with = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
    let side = json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "300m"}}});
    for (spec, wanted) in [
        (json!({"containers": [with("1900m")], "overhead": {"cpu": "200m"}}), 2100),
        (json!({"containers": [with("1")], "initContainers": [with("2500m")]}), 2500),
        (json!({"containers": [with("1")], "initContainers": [side, with("1800m")]}), 2100),
        (json!({"containers": [with("1")], "resources": {"requests": {"cpu": "2200m"}}}), 2200),
    ] {
        let wanted =
            format!("OutOfcpu: Node didn't have enough resource: cpu, requested: {wanted}, used: 0, capacity: 2000");
        check(&spec, &refused(&pod("u", spec.clone()), &[], &Node::default(), &facts()), &wanted);
    }
}

#[test]
fn who_names_a_node_must_still_fit_it() {
    const AFFINITY: &str =
        "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    const TAINTS: &str =
        "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
    const NAME: &str = "NodeName: Predicate NodeName failed: node(s) didn't match the requested node name";
    let taint = |effect: &str| json!({"key": "down", "value": "yes", "effect": effect});
    let here = node(json!({"metadata": {"name": "node-1", "labels": {"disk": "ssd"}}, "spec": {"taints":
        [taint("NoSchedule"), taint("NoExecute")]}}));
    let calm = node(json!({"metadata": {"name": "node-1", "labels": {"disk": "ssd"}}, "spec": {"taints":
        [taint("NoSchedule"), taint("PreferNoSchedule")]}}));
    let required = |operator: &str| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
            [{"matchExpressions": [{"key": "disk", "operator": operator, "values": ["ssd"]}]}]}}}})
    };
    let tolerating = json!({"tolerations": [{"key": "down", "operator": "Exists"}]});
    for (spec, node, wanted) in [
        (json!({"nodeName": "node-1"}), &calm, ""),
        (json!({"nodeName": "node-2"}), &calm, NAME),
        (json!({"nodeSelector": {"disk": "ssd"}}), &calm, ""),
        (json!({"nodeSelector": {"disk": "slow"}}), &calm, AFFINITY),
        (required("In"), &calm, ""),
        (required("NotIn"), &calm, AFFINITY),
        (json!({}), &here, TAINTS),
        (tolerating, &here, ""),
        // What is named first by upstream is the reason.
        (json!({"nodeSelector": {"disk": "slow"}, "nodeName": "node-2"}), &here, AFFINITY),
    ] {
        check(&spec, &refused(&pod("u", spec.clone()), &[], node, &facts()), wanted);
    }
    let mut fixed = pod("u", json!({}));
    fixed.metadata.annotations = Some([(spec::CONFIG_SOURCE.to_owned(), "file".to_owned())].into());
    assert_eq!(refused(&fixed, &[], &here, &facts()), "", "taints do not count for static pods");
}

#[test]
fn ports_of_the_node_are_had_once() {
    let with = |uid: &str, ports: Value, phase: &str| -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": uid}, "status": {"phase": phase},
            "spec": {"containers": [{"name": "c", "ports": ports}]}}))
        .expect("a pod")
    };
    let port = |ip: &str, protocol: &str, number: i32| json!([{"containerPort": 1, "hostIP": ip, "protocol": protocol, "hostPort": number}]);
    let held = port("10.0.0.1", "TCP", 80);
    let taken = "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    for (asked, phase, wanted) in [
        (port("", "TCP", 80), "Running", taken),
        (port("0.0.0.0", "TCP", 80), "Running", taken),
        (port("10.0.0.1", "TCP", 80), "Pending", taken),
        (port("10.0.0.2", "TCP", 80), "Running", ""),
        (port("10.0.0.1", "UDP", 80), "Running", ""),
        (port("10.0.0.1", "TCP", 81), "Running", ""),
        (port("10.0.0.1", "TCP", 80), "Succeeded", ""),
        (json!([{"containerPort": 80}]), "Running", ""),
    ] {
        let others = [Arc::new(with("other", held.clone(), phase))];
        check(&asked, &refused(&with("new", asked.clone(), "Pending"), &others, &Node::default(), &facts()), wanted);
    }
    let own = [Arc::new(with("new", held.clone(), "Running"))];
    assert_eq!(refused(&with("new", held, "Running"), &own, &Node::default(), &facts()), "");
}

#[test]
fn critical_pods_get_room_and_nothing_else() {
    let critical = |uid: &str, cpu: &str, more: Value| {
        let mut spec = json!({"priority": 2_000_000_000, "containers":
            [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
        more.as_object().into_iter().flatten().for_each(|(key, value)| spec[key] = value.clone());
        pod(uid, spec)
    };
    let others = [Arc::new(asking("a", json!({"cpu": "1500m"}))), Arc::new(asking("b", json!({"cpu": "100m"})))];
    let ask = |pod: &Pod| match answer(pod, &others, &Node::default(), &facts()) {
        Verdict::Admitted => "admitted".to_owned(),
        Verdict::AdmittedAfter(pods) => pods.iter().map(|pod| spec::uid(pod)).collect::<Vec<_>>().join(","),
        Verdict::Refused(refusal) => format!("{}: {}", refusal.reason, refusal.message),
    };
    assert_eq!(ask(&critical("u", "400m", json!({}))), "admitted");
    assert_eq!(ask(&critical("u", "500m", json!({}))), "b", "the one that is just enough");
    assert_eq!(ask(&critical("u", "600m", json!({}))), "a");
    let hopeless = ask(&critical("u", "600m", json!({"nodeSelector": {"disk": "slow"}})));
    assert!(hopeless.starts_with("NodeAffinity: "), "nobody ends for a pod that cannot run: {hopeless}");
    assert_eq!(
        ask(&critical("u", "3", json!({}))),
        "UnexpectedAdmissionError: Unexpected error while attempting to recover from admission failure: preemption: \
         error finding a set of pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: \
         1000), ]"
    );
    assert!(ask(&asking("u", json!({"cpu": "500m"}))).starts_with("OutOfcpu: "), "others get no room");
}

#[test]
fn the_fewest_of_the_lowest_class_go() {
    let of = |uid: &str, class: &str, memory: &str, priority: i32| {
        let mut pod = asking(uid, json!({"memory": memory}));
        pod.spec.get_or_insert_default().priority = Some(priority);
        pod.status.get_or_insert_default().qos_class = Some(class.to_owned());
        Arc::new(pod)
    };
    let all = || {
        vec![
            of("best", "BestEffort", "0", 0),
            of("small", "Burstable", "100", 0),
            of("middle", "Burstable", "200", 0),
            of("large", "Burstable", "300", 0),
            of("sure", "Guaranteed", "500", 0),
            of("high", "Guaranteed", "900", 2_000_000_000),
        ]
    };
    let critical = pod("u", json!({"priority": 2_000_000_000}));
    let first = pod("u", json!({"priority": 2_000_001_000}));
    for (preemptor, resource, amount, wanted) in [
        (&critical, "memory", 50, "small"),
        (&critical, "memory", 200, "middle"),
        (&critical, "memory", 250, "large"),
        (&critical, "memory", 350, "large,small"),
        (&critical, "memory", 600, "large,middle,small"),
        (&critical, "memory", 601, "middle,sure"),
        (&critical, "memory", 1100, "large,middle,small,sure"),
        (&critical, "pods", 1, "best"),
        (&critical, "memory", 1101, "no set of running pods found to reclaim resources: [(res: memory, q: 1), ]"),
        (&first, "memory", 1500, "large,middle,small,high"),
    ] {
        let needs = vec![Need { resource: resource.into(), amount }];
        let found = preemption::victims(preemptor, all(), needs)
            .map(|pods| pods.iter().map(|pod| spec::uid(pod)).collect::<Vec<_>>().join(","));
        assert_eq!(found.unwrap_or_else(|problem| problem), wanted, "{resource} {amount}");
    }
}

#[test]
fn pods_that_come_while_the_node_goes_down_are_refused() {
    let (node, facts) = (Node::default(), facts());
    let ground = Ground { node: &node, facts: &facts, pressures: BTreeSet::new(), is_shutting_down: true };
    let verdict = judge(&pod("u", json!({})), &[], &ground);
    assert!(matches!(verdict, Verdict::Refused(refusal) if refusal.reason == "NodeShutdown"));
}
