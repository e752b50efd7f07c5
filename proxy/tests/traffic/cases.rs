//! One test a promise.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{World, ask, ask_udp, run, sh, until_http};

const VIP: &str = "10.96.0.5:80";

fn two_pods(world: &World) {
    world.pod("a", "10.1.1.2");
    world.pod("b", "10.1.1.3");
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
#[ignore = "needs root"]
fn cluster_ip_from_everywhere() {
    run(|mut world| async move {
        two_pods(&world);
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.until("host", VIP, "a").await;
        for from in ["host", "a", "b"] {
            assert_eq!(world.answers(from, VIP, 30).await, names(&["a", "b"]), "from {from}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_new_service_answers_soon() {
    run(|mut world| async move {
        two_pods(&world);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.service("10.96.0.4", json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.until("host", "10.96.0.4:80", "a").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.remove_service();
        world.service("10.96.0.5", json!({}));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let start = Instant::now();
        world.endpoints(&["10.1.1.2"]);
        world.until("host", VIP, "a").await;
        println!("endpoints to first answer: {:?}", start.elapsed());
        let start = Instant::now();
        world.endpoints(&["10.1.1.3"]);
        world.until("host", VIP, "b").await;
        println!("endpoint moved to first answer of the other: {:?}", start.elapsed());
    });
}

/// The walkthrough's CNI file has `ipMasq`. Whatever was started first, and whatever the kernel's switch was, a pod
/// reaches its own Service and others.
#[test]
#[ignore = "needs root"]
fn a_pod_reaches_its_own_service_in_any_order_of_starting() {
    for order in ["cni first", "proxy first", "proxy, cni, jump behind", "switch off"] {
        run(move |mut world| async move {
            if order == "switch off" {
                sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0");
            }
            two_pods(&world);
            let cni = |world: &World| ["10.1.1.2", "10.1.1.3"].iter().for_each(|ip| world.cni_masquerade(ip));
            world.service("10.96.0.5", json!({}));
            world.endpoints(&["10.1.1.2"]);
            if order == "cni first" {
                cni(&world);
            }
            world.start(&["--iptables-sync-period=1s"]);
            world.until("host", VIP, "a").await;
            if order != "cni first" {
                cni(&world);
            }
            if order == "proxy, cni, jump behind" {
                sh(
                    "iptables -t nat -D POSTROUTING 1; iptables -t nat -A POSTROUTING -m comment --comment 'kubernetes postrouting rules' -j KUBE-POSTROUTING",
                );
                assert_eq!(ask("a", VIP).await, "timeout");
                world.kill().await;
                world.start(&["--iptables-sync-period=1s"]);
            }
            world.until("a", VIP, "a").await;
            world.until("b", VIP, "a").await;
            assert_eq!(world.answers("a", VIP, 5).await, names(&["a"]), "{order}");
            assert_eq!(world.answers("b", VIP, 5).await, names(&["a"]), "{order}");
        });
    }
}

#[test]
#[ignore = "needs root"]
fn without_endpoints_clients_are_refused_at_once() {
    run(|mut world| async move {
        two_pods(&world);
        world.service("10.96.0.5", json!({}));
        world.start(&[]);
        world.until("host", VIP, "refused").await;
        world.until("a", VIP, "refused").await;
        world.endpoints(&["10.1.1.3"]);
        world.until("a", VIP, "b").await;
        world.endpoints(&[]);
        world.until("a", VIP, "refused").await;
        world.remove_service();
        world.until("a", VIP, "timeout").await;
    });
}

#[test]
#[ignore = "needs root"]
fn node_ports_on_every_address_of_the_node() {
    run(|mut world| async move {
        two_pods(&world);
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        world.service("10.96.0.5", json!({"type": "NodePort", "ports": ports}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.until("host", "10.1.1.1:30080", "a").await;
        for (from, to) in [("host", "127.0.0.1:30080"), ("a", "10.1.1.1:30080"), ("host", "10.1.1.1:30080")] {
            assert_eq!(world.answers(from, to, 30).await, names(&["a", "b"]), "{from} to {to}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn both_families_at_once() {
    run(|mut world| async move {
        two_pods(&world);
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        let spec = json!({"type": "NodePort", "clusterIPs": ["10.96.0.5", "fd00:96::5"], "ports": ports});
        world.service("10.96.0.5", spec);
        world.endpoints(&["10.1.1.2"]);
        world.endpoints(&["fd00:1::3"]);
        world.start(&["--cluster-cidr=10.1.1.0/24,fd00:1::/64"]);
        world.until("host", VIP, "a").await;
        for (from, to) in [
            ("host", "[fd00:96::5]:80"),
            ("a", "[fd00:96::5]:80"),
            ("b", "[fd00:96::5]:80"),
            ("a", "[fd00:1::1]:30080"),
            ("host", "[fd00:1::1]:30080"),
        ] {
            world.until(from, to, "b").await;
        }
        world.endpoints(&["fd00:1::2"]);
        world.until("b", "[fd00:96::5]:80", "a").await;
    });
}

#[test]
#[ignore = "needs root"]
fn load_balancers_see_whether_this_node_has_endpoints() {
    run(|mut world| async move {
        two_pods(&world);
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        let spec = json!({"type": "LoadBalancer", "ports": ports, "externalTrafficPolicy": "Local", "healthCheckNodePort": 30000});
        world.service("10.96.0.5", spec);
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.until("host", VIP, "a").await;
        until_http("127.0.0.1:30000", "HTTP/1.1 200 OK").await;
        until_http("127.0.0.1:10256", "HTTP/1.1 200 OK").await;
        world.endpoints(&[]);
        world.until("host", VIP, "refused").await;
        until_http("127.0.0.1:30000", "HTTP/1.1 503 Service Unavailable").await;
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.until("host", VIP, "a").await;
        until_http("127.0.0.1:30000", "no connection").await;
    });
}

#[test]
#[ignore = "needs root"]
fn affinity_keeps_a_client_where_it_is() {
    run(|mut world| async move {
        two_pods(&world);
        world.service(
            "10.96.0.5",
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}),
        );
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&[]);
        let first = world.until_answered("host", VIP).await;
        assert_eq!(world.answers("host", VIP, 20).await, names(&[&first]));
        assert_eq!(world.answers("b", VIP, 20).await.len(), 1);
        // Forgotten after the timeout, the client is sent anywhere; 12 times to the same is not likely.
        let mut seen = BTreeSet::new();
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(2100)).await;
            seen.insert(ask("host", VIP).await);
            if seen.len() == 2 {
                return;
            }
        }
        panic!("affinity does not end: {seen:?}");
    });
}

#[test]
#[ignore = "needs root"]
fn flushed_rules_come_back() {
    run(|mut world| async move {
        two_pods(&world);
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--iptables-sync-period=1s"]);
        world.until("host", VIP, "a").await;
        sh("iptables -t nat -F; iptables -t nat -X");
        world.until("host", VIP, "a").await;
        sh("iptables -t nat -F KUBE-SERVICES");
        world.until("host", VIP, "a").await;
        // A change that finds its old rules gone writes everything at once.
        sh("iptables -t nat -F KUBE-SERVICES");
        world.service("10.96.0.6", json!({}));
        world.until("host", "10.96.0.6:80", "a").await;
    });
}

#[test]
#[ignore = "needs root"]
fn a_kill_and_start_disturbs_nobody() {
    run(|mut world| async move {
        two_pods(&world);
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&[]);
        world.until("host", VIP, "a").await;
        world.kill().await;
        assert_eq!(ask("b", VIP).await, "a");
        world.service("10.96.0.6", json!({}));
        world.start(&[]);
        world.until("b", "10.96.0.6:80", "a").await;
        assert_eq!(ask("b", VIP).await, "timeout", "the old address is served no more");
        let chains = sh("iptables-save -t nat | grep -c '^:KUBE-SVC\\|^:KUBE-SEP'");
        assert_eq!(chains.trim(), "4", "an SVC and an SEP chain for each port");
    });
}

#[test]
#[ignore = "needs root"]
fn udp_clients_with_a_fixed_port_move_to_a_living_endpoint() {
    run(|mut world| async move {
        two_pods(&world);
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&[]);
        world.until("host", VIP, "a").await;
        assert_eq!(ask_udp("b", 5353, VIP).await, "a");
        world.endpoints(&["10.1.1.3"]);
        world.until("host", VIP, "b").await;
        let start = Instant::now();
        while ask_udp("a", 5354, VIP).await != "b" || ask_udp("b", 5353, VIP).await != "b" {
            assert!(start.elapsed() < Duration::from_secs(10), "{}", sh("conntrack -L -p udp 2>&1"));
        }
    });
}

#[test]
#[ignore = "needs root"]
fn no_request_is_lost_while_services_come_and_go() {
    run(|mut world| async move {
        two_pods(&world);
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&[]);
        world.until("host", VIP, "a").await;
        for at in 0..200 {
            let name = format!("other-{at}");
            world
                .api
                .put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ns", "name": name},
                "spec": {"clusterIP": format!("10.97.0.{}", at + 1), "ports": [{"port": 80}]}}));
            if at % 3 == 0 {
                world.api.remove::<k8s_openapi::api::core::v1::Service>("ns", &name);
            }
            for from in ["host", "a"] {
                let seen = ask(from, VIP).await;
                assert!(seen == "a" || seen == "b", "{from}: {seen} at {at}");
            }
        }
    });
}

#[test]
#[ignore = "needs root"]
fn cleanup_leaves_only_what_is_not_ours() {
    run(|mut world| async move {
        world.pod("a", "10.1.1.2");
        world.cni_masquerade("10.1.1.2");
        let before = sh("iptables-save | grep -v '^[#*:]\\|COMMIT'");
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--iptables-localhost-nodeports=false"]);
        world.until("host", VIP, "a").await;
        world.kill().await;
        world.start(&["--cleanup"]);
        world.until("host", VIP, "timeout").await;
        let after = sh("iptables-save | grep -v '^[#*:]\\|COMMIT\\|KUBE-FIREWALL'");
        assert_eq!(after, before);
    });
}
