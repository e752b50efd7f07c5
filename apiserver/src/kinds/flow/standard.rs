//! The levels and schemas that every cluster has from its start: those it cannot do without, and a suggested set.
//!
//! Their numbers are upstream's, which people's dashboards and tools know by name.

use serde_json::{Value, json};

/// Name and spec of an object.
pub type Named = (&'static str, Value);

pub fn mandatory_level(name: &str) -> Option<Value> {
    find(mandatory_levels(), name)
}

pub fn mandatory_schema(name: &str) -> Option<Value> {
    find(mandatory_schemas(), name)
}

fn find(objects: Vec<Named>, name: &str) -> Option<Value> {
    objects.into_iter().find(|(known, _)| *known == name).map(|(_, spec)| spec)
}

pub fn mandatory_levels() -> Vec<Named> {
    vec![
        ("exempt", json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})),
        (
            "catch-all",
            json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
            }}),
        ),
    ]
}

/// Shares, percent that may be lent, queues and hand size.
const LEVELS: [(&str, i64, i64, i64, i64); 6] = [
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

pub fn suggested_levels() -> Vec<Named> {
    let level = |(name, shares, lendable, queues, hand)| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
        let spec = json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing},
        }});
        (name, spec)
    };
    LEVELS.into_iter().map(level).collect()
}

const EVERYBODY: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
const ANY: [&str; 1] = ["*"];

pub fn mandatory_schemas() -> Vec<Named> {
    vec![
        schema("exempt", "exempt", 1, None, everything(groups(&["system:masters"]))),
        schema("catch-all", "catch-all", 10_000, Some("ByUser"), everything(groups(&EVERYBODY))),
    ]
}

pub fn suggested_schemas() -> Vec<Named> {
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let nodes = || groups(&["system:nodes"]);
    let controllers = ["system:kube-controller-manager", "system:kube-scheduler"];
    let leases = |verbs: &[&str]| resources(verbs, "coordination.k8s.io", &["leases"], false);
    let elections = [users(&controllers), kube_system()].concat();
    let node_objects = resources(&ANY, "", &["nodes", "nodes/status"], true);
    let probes = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]});
    vec![
        schema("system-nodes", "system", 500, by_user, everything(nodes())),
        schema(
            "system-node-high",
            "node-high",
            400,
            by_user,
            json!({"subjects": nodes(), "resourceRules": [node_objects, leases(&ANY)]}),
        ),
        schema("probes", "exempt", 2, None, json!({"subjects": groups(&EVERYBODY), "nonResourceRules": [probes]})),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            by_user,
            json!({"subjects": elections, "resourceRules": [leases(&["get", "create", "update"])]}),
        ),
        schema("kube-controller-manager", "workload-high", 800, by_namespace, everything(users(&controllers[..1]))),
        schema("kube-scheduler", "workload-high", 800, by_namespace, everything(users(&controllers[1..]))),
        schema("kube-system-service-accounts", "workload-high", 900, by_namespace, everything(kube_system())),
        schema("service-accounts", "workload-low", 9000, by_user, everything(groups(&["system:serviceaccounts"]))),
        schema("global-default", "global-default", 9900, by_user, everything(groups(&EVERYBODY))),
    ]
}

fn schema(name: &'static str, level: &str, precedence: i64, distinguisher: Option<&str>, rule: Value) -> Named {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule],
    });
    if let Some(method) = distinguisher {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    (name, spec)
}

fn everything(subjects: Vec<Value>) -> Value {
    json!({
        "subjects": subjects,
        "resourceRules": [resources(&ANY, "*", &ANY, true)],
        "nonResourceRules": [{"verbs": ANY, "nonResourceURLs": ANY}],
    })
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], with_cluster_scope: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ANY});
    if with_cluster_scope {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn kube_system() -> Vec<Value> {
    vec![json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})]
}
