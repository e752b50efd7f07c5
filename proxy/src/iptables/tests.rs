//! Golden texts: API objects in, the restore text out, as files in `golden/`. `SKIFF_GOLDEN=write` writes them anew:
//! then read the difference.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::base::JUMPS;
use super::rules::Compiler;
use super::transaction::{Saved, difference, full};
use super::*;
use crate::model::{Family, LocalDetector};
use crate::objects::{EndpointSlice, Service};
use crate::testkit::{node, ports_of, service, settings};

fn compile(settings: &Settings, (service, slices): &(Service, Vec<Arc<EndpointSlice>>)) -> Arc<ServiceRules> {
    let compiler = Compiler { settings, node: &node(), brief: false };
    Arc::new(compiler.service(&ports_of(settings, service, slices)))
}

fn whole(settings: &Settings, services: &[(Service, Vec<Arc<EndpointSlice>>)], saved: &Saved) -> String {
    let name = |service: &Service| service.metadata.name.clone().unwrap();
    let rules = services.iter().map(|both| (name(&both.0), compile(settings, both))).collect();
    full(settings, &rules, saved, usize::MAX).concat()
}

/// A host on which everything that no Service owns is there already.
fn settled() -> Saved {
    let mut saved = Saved::default();
    for table in ["mangle", "nat", "filter"] {
        saved.chains.insert(table.into(), vec!["KUBE-PROXY-CANARY".into(), "KUBE-FIREWALL".into()]);
        let jumps = JUMPS.iter().filter(|jump| jump.table == table);
        saved.rules.insert(table.into(), jumps.map(|jump| format!("-A {} {}", jump.from, jump.rule())).collect());
    }
    let martian = "-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" -j DROP";
    saved.rules.get_mut("filter").unwrap().push(martian.into());
    saved
}

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/iptables/golden/{name}.txt"));
    if std::env::var_os("SKIFF_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "differs from {}", path.display());
}

fn check(name: &str, settings: &Settings, services: &[(Service, Vec<Arc<EndpointSlice>>)]) {
    golden(name, &whole(settings, services, &settled()));
}

#[test]
fn a_host_that_has_nothing_yet() {
    golden("empty-host", &whole(&settings(Family::V4), &[], &Saved::default()));
    golden("empty-host-ipv6", &whole(&settings(Family::V6), &[], &Saved::default()));
}

#[test]
fn cluster_ip() {
    let two_ports = json!([
        {"name": "p80", "port": 80, "protocol": "TCP"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "sctp", "port": 9, "protocol": "SCTP"},
    ]);
    let services = [
        service("one", json!({"clusterIP": "172.30.0.1"}), &["10.1.0.2"]),
        service(
            "ports",
            json!({"clusterIP": "172.30.0.2", "ports": two_ports}),
            &["10.1.0.2", "10.1.0.3*", "10.1.0.4"],
        ),
        service("none", json!({"clusterIP": "172.30.0.3"}), &[]),
        service(
            "affinity",
            json!({"clusterIP": "172.30.0.4", "sessionAffinity": "ClientIP"}),
            &["10.1.0.2", "10.1.0.3"],
        ),
        service("terminating", json!({"clusterIP": "172.30.0.5"}), &["10.1.0.2-"]),
        service("headless", json!({"clusterIP": "None"}), &["10.1.0.2"]),
        service("alias", json!({"type": "ExternalName", "externalName": "a.example"}), &[]),
    ];
    check("cluster-ip", &settings(Family::V4), &services);
}

#[test]
fn node_port_and_external_ips() {
    let ports = json!([{"name": "p80", "port": 80, "protocol": "TCP", "nodePort": 30080}]);
    let services = [
        service("cluster", json!({"type": "NodePort", "clusterIP": "172.30.0.1", "ports": ports}), &["10.1.0.2"]),
        service(
            "local",
            json!({"type": "NodePort", "clusterIP": "172.30.0.2", "ports": ports, "externalTrafficPolicy": "Local"}),
            &["10.1.0.2", "10.1.0.3*"],
        ),
        service(
            "elsewhere",
            json!({"type": "NodePort", "clusterIP": "172.30.0.3", "ports": ports, "externalTrafficPolicy": "Local"}),
            &["10.1.0.2"],
        ),
        service("none", json!({"type": "NodePort", "clusterIP": "172.30.0.4", "ports": ports}), &[]),
        service(
            "external",
            json!({"clusterIP": "172.30.0.5", "externalIPs": ["192.0.2.7", "2001:db8::7"]}),
            &["10.1.0.2"],
        ),
        service(
            "inside",
            json!({"clusterIP": "172.30.0.6", "internalTrafficPolicy": "Local"}),
            &["10.1.0.2", "10.1.0.3*"],
        ),
        service("not-inside", json!({"clusterIP": "172.30.0.7", "internalTrafficPolicy": "Local"}), &["10.1.0.2"]),
    ];
    check("node-port", &settings(Family::V4), &services);
}

#[test]
fn load_balancer() {
    let ports = json!([{"name": "p80", "port": 80, "protocol": "TCP", "nodePort": 30080}]);
    let balancer = |extra: Value| {
        let mut spec = json!({"type": "LoadBalancer", "clusterIP": "172.30.0.1", "ports": ports, "ingress": [{"ip": "192.0.2.8"}]});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        spec
    };
    let services = [
        service(
            "ranges",
            balancer(json!({"loadBalancerSourceRanges": [" 203.0.113.0/25", "192.168.0.0/24"]})),
            &["10.1.0.2"],
        ),
        service("everyone", balancer(json!({"loadBalancerSourceRanges": ["0.0.0.0/0"]})), &["10.1.0.2"]),
        service(
            "local",
            balancer(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30000})),
            &["10.1.0.2"],
        ),
        service("proxied", balancer(json!({"ingress": [{"ip": "192.0.2.9", "ipMode": "Proxy"}]})), &["10.1.0.2"]),
    ];
    check("load-balancer", &settings(Family::V4), &services);
}

#[test]
fn other_settings() {
    let ports = json!([{"name": "p80", "port": 80, "protocol": "TCP", "nodePort": 30080}]);
    let spec = json!({"type": "NodePort", "clusterIPs": ["172.30.0.1", "fd01::1"], "ports": ports, "externalTrafficPolicy": "Local"});
    let services = [service("dual", spec, &["10.1.0.2*", "fd00::2*"])];
    check("dual-stack-ipv6", &settings(Family::V6), &services);
    let bridge = LocalDetector::Interface("cni0".into());
    let ranges = NodePorts::Ranges(vec!["192.168.0.0/24".parse().unwrap(), "127.0.0.0/8".parse().unwrap()]);
    let changed = Settings {
        masquerade_all: true,
        masquerade_mark: 1 << 20,
        random_fully: true,
        local_detector: bridge,
        localhost_node_ports: false,
        node_ports: ranges,
        tcp_be_liberal: true,
        ..settings(Family::V4)
    };
    check("other-settings", &changed, &services);
}

#[test]
fn only_what_changed_is_written() {
    let settings = settings(Family::V4);
    let spec = |extra: Value| {
        let mut spec = json!({"clusterIP": "172.30.0.1"});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        spec
    };
    let none = compile(&settings, &service("web", spec(json!({})), &[]));
    let one = compile(&settings, &service("web", spec(json!({})), &["10.1.0.2"]));
    let two = compile(&settings, &service("web", spec(json!({})), &["10.1.0.2", "10.1.0.3"]));
    let steps = [
        ("created", None, Some(&none)),
        ("first endpoint", Some(&none), Some(&one)),
        ("second endpoint", Some(&one), Some(&two)),
        ("first endpoint gone", Some(&two), Some(&one)),
        ("deleted", Some(&one), None),
    ];
    let mut text = String::new();
    for (what, old, new) in steps {
        text.push_str(&format!("# {what}\n{}", difference(&[(old.cloned(), new.cloned())])));
    }
    golden("difference", &text);
    assert_eq!(difference(&[(Some(one.clone()), Some(one))]), "");
}

#[test]
fn many_rules_go_in_pieces_that_lead_nowhere_until_the_last() {
    let settings = settings(Family::V4);
    let one = |at: usize| {
        let spec = json!({"clusterIP": format!("172.30.{}.{}", at / 250, at % 250 + 1)});
        let both = service(&format!("s{at}"), spec, &["10.1.0.2", "10.1.0.3"]);
        (format!("ns/s{at}"), compile(&settings, &both))
    };
    let services: BTreeMap<_, _> = (0..3000).map(one).collect();
    let texts = full(&settings, &services, &Saved::default(), 8000);
    assert_eq!(texts.len(), 5);
    let leads = |text: &String| text.lines().any(|line| line.starts_with("-A KUBE-SERVICES"));
    assert_eq!(texts.iter().map(leads).collect::<Vec<_>>(), [false, false, false, false, true]);
    assert!(texts[0].contains(":KUBE-SERVICES - [0:0]") && texts[0].contains("-A KUBE-MARK-MASQ"));
    let settled = full(
        &settings,
        &services,
        &{
            let mut saved = settled();
            saved.chains.get_mut("nat").unwrap().extend(["KUBE-SERVICES".to_string(), "KUBE-NODEPORTS".to_string()]);
            saved
        },
        8000,
    );
    assert!(
        !settled[0].contains(":KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING"),
        "what serves stays"
    );
}

#[test]
fn stale_chains_go_and_others_stay() {
    let mut saved = settled();
    let chains = ["KUBE-SVC-OLDOLDOLDOLDOLD1", "DOCKER", "KUBE-ROUTER-X", "CNI-1"].map(String::from);
    saved.chains.get_mut("nat").unwrap().extend(chains);
    let text = whole(&settings(Family::V4), &[], &saved);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("-X") || line.contains("DOCKER")).collect();
    assert_eq!(lines, ["-X KUBE-SVC-OLDOLDOLDOLDOLD1"]);
    assert!(text.contains(":KUBE-SVC-OLDOLDOLDOLDOLD1 - [0:0]"));
}

#[test]
fn postrouting_comes_before_whatever_accepts() {
    let jump = "-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING";
    let masq = "-A POSTROUTING -s 10.1.1.2/32 -m comment --comment \"name: \\\"kube\\\" id: \\\"a\\\"\" -j CNI-4c45f9d5f56bd42b32c29e20";
    let host_port = "-A POSTROUTING -m comment --comment \"CNI portfwd requiring masquerade\" -j CNI-HOSTPORT-MASQ";
    let with = |rules: &[&str]| {
        let mut saved = settled();
        let nat = saved.rules.get_mut("nat").unwrap();
        nat.retain(|rule| !rule.contains("POSTROUTING"));
        nat.extend(rules.iter().map(|rule| rule.to_string()));
        let text = whole(&settings(Family::V4), &[], &saved);
        text.lines().filter(|line| line.contains(" POSTROUTING ")).map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(with(&[jump, masq]), Vec::<String>::new());
    assert_eq!(with(&[host_port, jump, masq]), Vec::<String>::new());
    let insertion = jump.replace("-A POSTROUTING", "-I POSTROUTING 1");
    assert_eq!(with(&[masq]), std::slice::from_ref(&insertion));
    assert_eq!(with(&[masq, jump]), [jump.replace("-A", "-D"), insertion]);
}

#[test]
fn saved_tables_are_read() {
    let saved = Saved::parse(
        "# Generated by iptables-save v1.8.9 (nf_tables)\n*nat\n:POSTROUTING ACCEPT [0:0]\n:KUBE-SVC-A - [0:0]\n\
         -A POSTROUTING -j KUBE-POSTROUTING\n-A KUBE-SVC-A -j KUBE-SEP-B\nCOMMIT\n# Completed\n",
    );
    assert_eq!(saved.chains, BTreeMap::from([("nat".into(), vec!["POSTROUTING".into(), "KUBE-SVC-A".into()])]));
    assert_eq!(saved.rules["nat"], ["-A POSTROUTING -j KUBE-POSTROUTING"]);
}
