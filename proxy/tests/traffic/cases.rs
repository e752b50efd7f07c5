//! The ways to a Service: one test a promise, from a pod and from the node.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::net::sh;
use crate::world::{IP, Mode, VIP, World, ask, ask_udp, in_each_mode, in_mode, names, until_http};

#[test]
#[ignore = "needs root"]
fn cluster_ip_from_everywhere() {
    in_each_mode(|mut world| async move {
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.until_answered("host", VIP).await;
        for from in ["host", "a", "b"] {
            assert_eq!(world.answers(from, VIP, 30).await, names(&["a", "b"]), "from {from}");
        }
        assert_eq!(ask_udp("a", 4000, VIP).await.len(), 1, "UDP, too");
    });
}

/// The walkthrough's CNI file has `ipMasq`. Whatever was started first, and whatever the kernel's switch was, a pod
/// reaches its own Service and others.
#[test]
#[ignore = "needs root"]
fn a_pod_reaches_its_own_service_in_any_order_of_starting() {
    for order in ["cni first", "proxy first", "switch off"] {
        in_each_mode(move |world| reaches_its_own_service(world, order));
    }
    in_mode(Mode::Iptables, |world| reaches_its_own_service(world, "proxy, cni, jump behind"));
}

async fn reaches_its_own_service(mut world: World, order: &'static str) {
    if order == "switch off" {
        sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0");
    }
    let cni = |world: &World| ["10.1.1.2", "10.1.1.3"].iter().for_each(|ip| world.cni_masquerade(ip));
    world.service(IP, json!({}));
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
}

#[test]
#[ignore = "needs root"]
fn without_endpoints_clients_are_refused_at_once() {
    in_each_mode(|mut world| async move {
        world.service(IP, json!({}));
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
    in_each_mode(|mut world| async move {
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        world.service(IP, json!({"type": "NodePort", "ports": ports}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.until_answered("host", "10.1.1.1:30080").await;
        for from in ["host", "a"] {
            assert_eq!(world.answers(from, "10.1.1.1:30080", 30).await, names(&["a", "b"]), "from {from}");
        }
        let on_loopback = world.answers("host", "127.0.0.1:30080", 30).await;
        // As upstream's: only mode iptables turns the kernel's switch for it.
        let expected = if world.mode == Mode::Iptables { names(&["a", "b"]) } else { names(&["refused"]) };
        assert_eq!(on_loopback, expected);
    });
}

#[test]
#[ignore = "needs root"]
fn node_ports_only_on_the_addresses_that_flags_name() {
    in_each_mode(|mut world| async move {
        sh("ip addr add 192.0.2.1/32 dev lo");
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        world.service(IP, json!({"type": "NodePort", "ports": ports}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--nodeport-addresses=192.0.2.0/24"]);
        world.until("b", "192.0.2.1:30080", "a").await;
        assert_eq!(ask("b", "10.1.1.1:30080").await, "refused");
    });
}

#[test]
#[ignore = "needs root"]
fn both_families_at_once() {
    in_each_mode(|mut world| async move {
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        let spec = json!({"type": "NodePort", "clusterIPs": [IP, "fd00:96::5"], "ports": ports});
        world.service(IP, spec);
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
    in_each_mode(|mut world| async move {
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        let spec = json!({"type": "LoadBalancer", "clusterIPs": [IP, "fd00:96::5"], "ports": ports,
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 30000});
        world.service(IP, spec);
        world.endpoints(&["10.1.1.2"]);
        world.endpoints(&["fd00:1::3"]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.until("host", VIP, "a").await;
        for own in ["10.1.1.1:30000", "[fd00:1::1]:30000", "127.0.0.1:10256"] {
            until_http(own, "HTTP/1.1 200 OK").await;
        }
        // It is open where NodePorts are served.
        let on_loopback = if world.mode == Mode::Iptables { "HTTP/1.1 200 OK" } else { "no connection" };
        until_http("127.0.0.1:30000", on_loopback).await;
        world.endpoints(&[]);
        world.until("host", VIP, "refused").await;
        until_http("10.1.1.1:30000", "HTTP/1.1 503 Service Unavailable").await;
        until_http("[fd00:1::1]:30000", "HTTP/1.1 200 OK").await;
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.until("host", VIP, "a").await;
        until_http("10.1.1.1:30000", "no connection").await;
        until_http("[fd00:1::1]:30000", "no connection").await;
    });
}

#[test]
#[ignore = "needs root"]
fn health_is_asked_on_addresses_that_come_and_go() {
    in_mode(Mode::Nftables, |mut world| async move {
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        let spec = json!({"type": "LoadBalancer", "ports": ports, "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30000});
        world.service(IP, spec);
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--nodeport-addresses=10.1.1.0/24,192.0.2.0/24"]);
        world.until("host", VIP, "a").await;
        until_http("10.1.1.1:30000", "HTTP/1.1 200 OK").await;
        sh("ip addr add 192.0.2.7/32 dev lo");
        until_http("192.0.2.7:30000", "HTTP/1.1 200 OK").await;
        sh("ip addr del 192.0.2.7/32 dev lo; ip addr add 192.0.2.8/32 dev lo");
        until_http("192.0.2.8:30000", "HTTP/1.1 200 OK").await;
        until_http("10.1.1.1:30000", "HTTP/1.1 200 OK").await;
    });
}

#[test]
#[ignore = "needs root"]
fn affinity_keeps_a_client_where_it_is() {
    in_each_mode(|mut world| async move {
        let within = |seconds: u32| {
            let config = json!({"clientIP": {"timeoutSeconds": seconds}});
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config})
        };
        world.service(IP, within(3600));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&[]);
        let first = world.until_answered("host", VIP).await;
        assert_eq!(world.answers("host", VIP, 20).await, names(&[&first]));
        assert_eq!(world.answers("b", VIP, 20).await.len(), 1);
        world.service(IP, within(1));
        // The new time holds for a known client from when it comes again. Forgotten after it, the client is sent
        // anywhere; 40 times to the same does not happen by chance.
        let mut seen = BTreeSet::new();
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(2100)).await;
            seen.insert(ask("host", VIP).await);
            if seen.len() == 2 {
                return;
            }
        }
        panic!("affinity does not end: {seen:?}");
    });
}

/// By each way to a Service: its own address, a balancer's, an external one, and the node's port.
#[test]
#[ignore = "needs root"]
fn udp_clients_with_a_fixed_port_move_to_a_living_endpoint() {
    in_each_mode(|mut world| async move {
        let ports = json!([{"port": 80, "protocol": "TCP"},
            {"name": "u", "port": 80, "protocol": "UDP", "nodePort": 30080}]);
        world.service(
            IP,
            json!({"type": "LoadBalancer", "ports": ports, "externalIPs": ["192.0.2.20"],
                "ingress": [{"ip": "192.0.2.10"}]}),
        );
        world.endpoints(&[]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.until("host", VIP, "refused").await;
        // From before there is an endpoint a flow is known, too: to the Service's own address, where nobody is.
        sh("ip route add 10.96.0.0/16 dev cni0");
        ask_udp("b", 5350, VIP).await;
        world.endpoints(&["10.1.1.2"]);
        world.until("host", VIP, "a").await;
        let ways = [(5350, VIP), (5351, "192.0.2.10:80"), (5352, "192.0.2.20:80"), (5353, "10.1.1.1:30080")];
        let all_reach = async |name: &str| {
            let start = Instant::now();
            for (port, to) in ways {
                while ask_udp("b", port, to).await != name {
                    assert!(start.elapsed() < Duration::from_secs(20), "{to}: {}", sh("conntrack -L -p udp 2>&1"));
                }
            }
        };
        all_reach("a").await;
        // A flow of somebody else stays as it is.
        sh("ip addr add 192.0.2.99/32 dev lo; sysctl -qw net.netfilter.nf_conntrack_udp_timeout=600");
        ask_udp("b", 5360, "192.0.2.99:999").await;
        let others = || sh("conntrack -L -p udp --dport 999 2>&1 | grep -c '^udp' || true");
        let before = others();
        assert_eq!(before.trim(), "1");
        world.endpoints(&["10.1.1.3"]);
        world.until("host", VIP, "b").await;
        all_reach("b").await;
        assert_eq!(others(), before, "only flows to the Service are forgotten");
    });
}
