//! Golden texts: API objects in, the steps of the transaction out, as files in `golden/`. `SKIFF_GOLDEN=write` writes
//! them anew: then read the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::base::Base;
use super::operation::Step;
use super::rules::Compiler;
use super::transaction::{difference, full};
use super::{Place, ServiceTable};
use crate::iptables::{NodePorts, Settings};
use crate::model::{Family, LocalDetector};
use crate::objects::{EndpointSlice, Service};
use crate::testkit::{node, ports_of, service, settings};

pub(super) type Objects = (Service, Vec<Arc<EndpointSlice>>);

pub(super) fn compile(settings: &Settings, (service, slices): &Objects) -> Arc<ServiceTable> {
    Arc::new(Compiler { settings, node: &node() }.service(&ports_of(settings, service, slices)))
}

pub(super) fn text(family: Family, steps: &[Step]) -> String {
    steps.iter().map(|step| step.text(family) + "\n").collect()
}

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/nftables/golden/{name}.txt"));
    if std::env::var_os("SKIFF_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "differs from {}", path.display());
}

fn check(name: &str, settings: &Settings, services: &[Objects]) {
    let name_of = |service: &Service| service.metadata.name.clone().unwrap();
    let tables: BTreeMap<_, _> = services.iter().map(|both| (name_of(&both.0), compile(settings, both))).collect();
    // Of the shards only those that have something, or one.
    let shards: BTreeSet<Place> = tables.values().map(|table| table.shard).collect();
    let is_shown =
        |place| place == Place::Main || shards.contains(&place) || (shards.is_empty() && place == Place::Shard(0));
    let base = Base::new(settings);
    let mut steps = full(&base, &tables);
    steps.retain(|step| is_shown(step.place));
    golden(name, &text(settings.family, &steps));
}

#[test]
fn no_service() {
    check("no-service", &settings(Family::V4), &[]);
    check("no-service-ipv6", &settings(Family::V6), &[]);
}

#[test]
fn cluster_ip() {
    check("cluster-ip", &settings(Family::V4), &of_clusters());
}

/// Services that only the cluster reaches, of each kind.
pub(super) fn of_clusters() -> Vec<Objects> {
    let ports = json!([
        {"name": "p80", "port": 80, "protocol": "TCP"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "sctp", "port": 9, "protocol": "SCTP"},
    ]);
    let many: Vec<String> = (1..=17).map(|last| format!("10.1.1.{last}")).collect();
    vec![
        service("ports", json!({"clusterIP": "172.30.0.2", "ports": ports}), &["10.1.0.2", "10.1.0.3*"]),
        service("none", json!({"clusterIP": "172.30.0.3"}), &[]),
        service(
            "affinity",
            json!({"clusterIP": "172.30.0.4", "sessionAffinity": "ClientIP"}),
            &["10.1.0.2", "10.1.0.3"],
        ),
        service("terminating", json!({"clusterIP": "172.30.0.5"}), &["10.1.0.2-"]),
        service("many", json!({"clusterIP": "172.30.0.6"}), &many.iter().map(String::as_str).collect::<Vec<_>>()),
        service("headless", json!({"clusterIP": "None"}), &["10.1.0.2"]),
    ]
}

fn at(node_port: u16) -> Value {
    json!([{"name": "p80", "port": 80, "protocol": "TCP", "nodePort": node_port}])
}

#[test]
fn from_outside() {
    check("from-outside", &settings(Family::V4), &of_outside());
}

/// Services that others reach, of each kind.
pub(super) fn of_outside() -> Vec<Objects> {
    let node_port = |address: &str, number: u16, policy: &str| json!({"type": "NodePort", "clusterIP": address, "ports": at(number), "externalTrafficPolicy": policy});
    vec![
        service("cluster", node_port("172.30.0.1", 30001, "Cluster"), &["10.1.0.2"]),
        service("local", node_port("172.30.0.2", 30002, "Local"), &["10.1.0.2", "10.1.0.3*"]),
        service("elsewhere", node_port("172.30.0.3", 30003, "Local"), &["10.1.0.2"]),
        service("none", node_port("172.30.0.4", 30004, "Cluster"), &[]),
        service("external", json!({"clusterIP": "172.30.0.5", "externalIPs": ["192.0.2.7"]}), &["10.1.0.2"]),
        service(
            "inside",
            json!({"clusterIP": "172.30.0.6", "internalTrafficPolicy": "Local"}),
            &["10.1.0.2", "10.1.0.3*"],
        ),
        service("not-inside", json!({"clusterIP": "172.30.0.7", "internalTrafficPolicy": "Local"}), &["10.1.0.2"]),
        service(
            "balanced",
            json!({"type": "LoadBalancer", "clusterIP": "172.30.0.8", "ports": at(30008),
                "ingress": [{"ip": "192.0.2.8"}], "loadBalancerSourceRanges": ["203.0.113.0/25", "192.168.0.0/24"]}),
            &["10.1.0.2"],
        ),
    ]
}

#[test]
fn other_settings() {
    check("dual-stack-ipv6", &settings(Family::V6), &[dual()]);
    check("other-settings", &changed_settings(), &[dual()]);
}

pub(super) fn dual() -> Objects {
    let spec = json!({"type": "NodePort", "clusterIPs": ["172.30.0.1", "fd01::1"], "ports": at(30001), "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP"});
    service("dual", spec, &["10.1.0.2*", "fd00::2*"])
}

pub(super) fn changed_settings() -> Settings {
    Settings {
        masquerade_all: true,
        masquerade_mark: 1 << 20,
        random_fully: true,
        local_detector: LocalDetector::InterfacePrefix("veth".into()),
        node_ports: NodePorts::Ranges(vec!["192.168.0.0/24".parse().unwrap()]),
        ..settings(Family::V4)
    }
}

#[test]
fn a_key_may_go_from_one_service_to_another() {
    let settings = settings(Family::V4);
    let at = |name: &str| compile(&settings, &service(name, json!({"clusterIP": "172.30.0.1"}), &["10.1.0.2"]));
    let changes = [(None, Some(at("new"))), (Some(at("old")), None)];
    let text = text(Family::V4, &difference(&changes));
    let of_elements: Vec<&str> =
        text.lines().filter(|line| line.contains("element")).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(of_elements, ["delete", "add"], "{text}");
}

/// A Service with an endpoint, to which its clients come back within the time.
pub(super) fn remembered_for(seconds: u32) -> Objects {
    let config = json!({"clientIP": {"timeoutSeconds": seconds}});
    let spec = json!({"clusterIP": "172.30.0.1", "sessionAffinity": "ClientIP", "sessionAffinityConfig": config});
    service("web", spec, &["10.1.0.2"])
}

#[test]
fn only_what_changed_is_written() {
    let settings = settings(Family::V4);
    let spec = json!({"clusterIP": "172.30.0.1", "sessionAffinity": "ClientIP"});
    let with = |addresses: &[&str]| compile(&settings, &service("web", spec.clone(), addresses));
    let (none, one, two) = (with(&[]), with(&["10.1.0.2"]), with(&["10.1.0.2", "10.1.0.3"]));
    let shorter = compile(&settings, &remembered_for(60));
    let steps = [
        ("created", None, Some(&none)),
        ("first endpoint", Some(&none), Some(&one)),
        ("second endpoint", Some(&one), Some(&two)),
        ("first endpoint gone", Some(&two), Some(&one)),
        ("clients are remembered for another time", Some(&one), Some(&shorter)),
        ("deleted", Some(&shorter), None),
    ];
    let mut all = String::new();
    for (what, old, new) in steps {
        let changes = [(old.cloned(), new.cloned())];
        all.push_str(&format!("# {what}\n{}", text(Family::V4, &difference(&changes))));
    }
    golden("difference", &all);
    assert!(difference(&[(Some(one.clone()), Some(one))]).is_empty());
}
