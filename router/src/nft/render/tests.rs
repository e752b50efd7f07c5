//! Objects in, the table's text out, compared with `golden/NAME.txt`. `SKIFF_GOLDEN=write` writes them anew:
//! then read the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::transaction;
use crate::policy::{Cluster, Namespace, Pod, Policy, plan};

fn pod(namespace: &str, labels: Value, node: &str, addresses: &[&str], more: Value) -> Arc<Pod> {
    let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let mut spec = json!({"nodeName": node, "containers": [{"name": "c", "ports": [
        {"name": "web", "containerPort": 8080}, {"name": "dns", "containerPort": 5353, "protocol": "UDP"}]}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let object = json!({"metadata": {"namespace": namespace, "name": "x", "labels": labels}, "spec": spec,
        "status": {"podIPs": addresses}});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn cluster() -> Cluster {
    let namespace = |name: &str, team: &str| {
        let object: k8s_openapi::api::core::v1::Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"team": team}}})).unwrap();
        (name.to_owned(), Namespace::from(&object))
    };
    let none = || json!({});
    Cluster {
        pods: vec![
            pod("ns", json!({"app": "web"}), "here", &["10.1.0.2", "fd00::2"], none()),
            pod("ns", json!({"app": "web"}), "here", &["10.1.0.3"], none()),
            pod("ns", json!({"app": "web"}), "there", &["10.1.1.2"], none()),
            pod("ns", json!({"app": "client"}), "there", &["10.1.1.3", "fd00:1::3"], none()),
            pod("ns", json!({"app": "web"}), "here", &["192.0.2.1"], json!({"hostNetwork": true})),
            pod("other", json!({"app": "client"}), "there", &["10.1.1.4"], none()),
        ],
        namespaces: BTreeMap::from([namespace("ns", "a"), namespace("other", "b"), namespace("kube-system", "s")]),
    }
}

fn policy(spec: Value) -> Policy {
    let object: k8s_openapi::api::networking::v1::NetworkPolicy =
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "p"}, "spec": spec})).unwrap();
    Policy::from(&object)
}

#[track_caller]
fn check(name: &str, specs: &[Value]) {
    check_in(&cluster(), name, specs);
}

#[track_caller]
fn check_in(cluster: &Cluster, name: &str, specs: &[Value]) {
    let policies: Vec<Policy> = specs.iter().cloned().map(policy).collect();
    let servers = BTreeSet::from(["10.96.0.10".parse().unwrap()]);
    let text = transaction(&plan(cluster, &policies, "here", &servers));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/nft/golden/{name}.txt"));
    if std::env::var_os("SKIFF_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{name}");
}

#[test]
fn no_policy_no_table() {
    check("none", &[]);
    check("elsewhere", &[json!({"podSelector": {"matchLabels": {"app": "client"}}})]);
}

#[test]
fn default_deny() {
    check("deny-ingress", &[json!({"podSelector": {}, "policyTypes": ["Ingress"]})]);
    check("deny-all", &[json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})]);
}

#[test]
fn peers() {
    let from = |peer: Value| json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [peer]}]});
    check("pods", &[from(json!({"podSelector": {"matchLabels": {"app": "client"}}}))]);
    check("namespaces", &[from(json!({"namespaceSelector": {"matchLabels": {"team": "b"}}}))]);
    check(
        "pods-of-namespaces",
        &[from(json!({"namespaceSelector": {}, "podSelector": {"matchExpressions": [
            {"key": "app", "operator": "In", "values": ["client"]}]}}))],
    );
    check("block", &[from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}}))]);
    check("everyone", &[json!({"podSelector": {}, "ingress": [{}]})]);
}

#[test]
fn ports() {
    let at = |ports: Value| json!({"podSelector": {}, "ingress": [{"ports": ports}]});
    check(
        "numbers",
        &[at(
            json!([{"port": 80}, {"port": 8000, "endPort": 8080}, {"port": 8081}, {"port": 53, "protocol": "UDP"}, {"protocol": "SCTP"}]),
        )],
    );
    check("names", &[at(json!([{"port": "web"}, {"port": "dns", "protocol": "UDP"}, {"port": "missing"}]))]);
    check(
        "names-of-peers",
        &[json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": "web"}]}]})],
    );
}

/// A list that is empty is as good as none; a name is another number on each pod.
#[test]
fn what_is_left_open() {
    let ingress = |rule: Value| json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [rule]});
    check("everyone-at-one-port", &[ingress(json!({"from": [], "ports": [{"port": 80}]}))]);
    check("everyone-at-one-port", &[ingress(json!({"ports": [{"port": 80}]}))]);
    let range = json!({"ports": [{"port": 9000, "endPort": 9010, "protocol": "SCTP"}],
        "from": [{"ipBlock": {"cidr": "fd00:1::/64", "except": ["fd00:1::100/120"]}},
            {"podSelector": {"matchLabels": {"app": "client"}}}]});
    check("block-and-pods", &[ingress(range)]);
    let mut cluster = cluster();
    let other = json!({"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 9090}]}]});
    cluster.pods.push(pod("ns", json!({"app": "client"}), "there", &["10.1.1.9"], other));
    let to = json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": [
        {"to": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": "web"}]}]});
    check_in(&cluster, "one-name-two-numbers", &[to]);
}

#[test]
fn names_may_be_asked_for_where_a_policy_lets_them() {
    let to = |peer: Value| {
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
            {"to": [peer], "ports": [{"port": 53, "protocol": "UDP"}]}]})
    };
    let kube_dns = json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}});
    check("names-allowed", &[to(kube_dns)]);
    check("names-denied", &[to(json!({"podSelector": {"matchLabels": {"app": "web"}}}))]);
}

#[test]
fn policies_add_up() {
    check(
        "two-policies",
        &[
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"ports": [{"port": 80}]}]}),
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
                {"from": [{"podSelector": {}}], "ports": [{"port": 443}]}]}),
        ],
    );
}
