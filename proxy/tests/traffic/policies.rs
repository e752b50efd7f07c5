//! Who may ask, and which endpoints may answer.

use serde_json::{Value, json};

use crate::net::sh;
use crate::world::{IP, VIP, World, ask, in_each_mode, names};

/// A load balancer's address, which it passes on to the nodes unchanged.
const BALANCER: &str = "192.0.2.10:80";

fn endpoint(ip: &str, extra: Value) -> Value {
    let mut endpoint = json!({"addresses": [ip], "nodeName": "here", "conditions": {"ready": true}});
    endpoint.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    endpoint
}

#[test]
#[ignore = "needs root"]
fn source_ranges_let_only_their_own_in() {
    in_each_mode(|mut world| async move {
        let ingress = json!([{"ip": "192.0.2.10"}]);
        let ranges = json!(["10.1.1.3/32", "203.0.113.0/24"]);
        world.service(IP, json!({"type": "LoadBalancer", "ingress": ingress, "loadBalancerSourceRanges": ranges}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.until("b", BALANCER, "a").await;
        assert_eq!(ask("a", BALANCER).await, "timeout", "not in the ranges");
        assert_eq!(ask("host", BALANCER).await, "timeout", "nor is the node");
        assert_eq!(ask("a", VIP).await, "a", "the cluster's own address is open to all");
        world.service(IP, json!({"type": "LoadBalancer", "ingress": ingress}));
        world.until("a", BALANCER, "a").await;
        world.service(IP, json!({"type": "LoadBalancer", "ingress": [{"ip": "192.0.2.10", "ipMode": "Proxy"}]}));
        world.until("a", BALANCER, "timeout").await;
    });
}

#[test]
#[ignore = "needs root"]
fn external_addresses_lead_to_the_service() {
    in_each_mode(|mut world| async move {
        world.service(IP, json!({"externalIPs": ["192.0.2.20"]}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        for from in ["host", "a", "b"] {
            world.until(from, "192.0.2.20:80", "a").await;
        }
        world.endpoints(&[]);
        world.until("b", "192.0.2.20:80", "refused").await;
    });
}

#[test]
#[ignore = "needs root"]
fn policy_local_asks_only_this_nodes_endpoints() {
    in_each_mode(|mut world| async move {
        let elsewhere = |ip: &str| endpoint(ip, json!({"nodeName": "elsewhere"}));
        world.service(IP, json!({"internalTrafficPolicy": "Local"}));
        world.slice(&[endpoint("10.1.1.2", json!({})), elsewhere("10.1.1.3")]);
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        world.until("host", VIP, "a").await;
        for from in ["host", "b"] {
            assert_eq!(world.answers(from, VIP, 20).await, names(&["a"]), "from {from}");
        }
        world.slice(&[elsewhere("10.1.1.3")]);
        world.until("b", VIP, "timeout").await;
        // From outside likewise; what pods of the cluster ask goes as if it had left and come back.
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        world.service(IP, json!({"type": "NodePort", "ports": ports, "externalTrafficPolicy": "Local"}));
        world.until("a", "10.1.1.1:30080", "b").await;
        sh(
            "ip -n a addr add 192.168.7.7/32 dev lo; ip route add 192.168.7.7/32 via 10.1.1.2; ip -n a route add 10.1.1.1/32 dev eth0 src 192.168.7.7",
        );
        world.until("a", "10.1.1.1:30080", "timeout").await;
        world.slice(&[endpoint("10.1.1.3", json!({}))]);
        world.until("a", "10.1.1.1:30080", "b").await;
    });
}

#[test]
#[ignore = "needs root"]
fn hints_keep_traffic_near() {
    in_each_mode(|mut world| async move {
        let zone = |ip: &str, zone: &str| endpoint(ip, json!({"hints": {"forZones": [{"name": zone}]}}));
        world.service(IP, json!({}));
        world.slice(&[zone("10.1.1.2", "zone-here"), zone("10.1.1.3", "zone-there")]);
        world.start(&[]);
        world.until("host", VIP, "a").await;
        assert_eq!(world.answers("b", VIP, 20).await, names(&["a"]), "the zone's own");
        // One endpoint without a hint, and no hint counts.
        world.slice(&[zone("10.1.1.2", "zone-here"), endpoint("10.1.1.3", json!({}))]);
        world.until("host", VIP, "b").await;
        let node = |ip: &str, node: &str| {
            endpoint(ip, json!({"hints": {"forZones": [{"name": "zone-here"}], "forNodes": [{"name": node}]}}))
        };
        // Only the one that the hints are against, then both.
        world.endpoints(&["10.1.1.2"]);
        while world.answers("host", VIP, 20).await != names(&["a"]) {}
        world.slice(&[node("10.1.1.2", "elsewhere"), node("10.1.1.3", "here")]);
        world.until("host", VIP, "b").await;
        assert_eq!(world.answers("a", VIP, 20).await, names(&["b"]), "the node's own");
    });
}

#[test]
#[ignore = "needs root"]
fn terminating_endpoints_serve_when_nobody_else_does() {
    in_each_mode(|mut world| async move {
        let leaving = json!({"conditions": {"ready": false, "serving": true, "terminating": true}});
        let gone = json!({"conditions": {"ready": false, "serving": false, "terminating": true}});
        world.service(IP, json!({}));
        world.slice(&[endpoint("10.1.1.2", leaving.clone())]);
        world.start(&[]);
        world.until("host", VIP, "a").await;
        world.slice(&[endpoint("10.1.1.2", leaving), endpoint("10.1.1.3", json!({}))]);
        world.until("host", VIP, "b").await;
        assert_eq!(world.answers("b", VIP, 20).await, names(&["b"]));
        world.slice(&[endpoint("10.1.1.2", gone)]);
        world.until("host", VIP, "refused").await;
    });
}

/// A Service of another proxy, and a slice of a headless Service.
#[test]
#[ignore = "needs root"]
fn what_labels_take_away_is_left_alone() {
    in_each_mode(|mut world| async move {
        let put_service = |world: &World, labels: Value| {
            world.api.put(&json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"namespace": "ns", "name": "web", "labels": labels},
                "spec": {"clusterIP": IP, "ports": [{"port": 80, "protocol": "TCP"}]}}));
        };
        put_service(&world, json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&[]);
        world.until("host", VIP, "a").await;
        put_service(&world, json!({"service.kubernetes.io/service-proxy-name": "other"}));
        world.until("host", VIP, "timeout").await;
        put_service(&world, json!({}));
        world.until("host", VIP, "a").await;
        world.api.put(&json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "ns", "name": "web-ipv4",
                "labels": {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}},
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.1.1.2"], "conditions": {"ready": true}}]}));
        world.until("host", VIP, "refused").await;
    });
}
