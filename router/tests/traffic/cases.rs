//! One test a promise.

use serde_json::json;

use crate::world::{World, opens, run, sh};

const SERVER: &str = "10.1.1.3:8080";
const SERVER_OTHER_PORT: &str = "10.1.1.3:9090";

fn pods(world: &World) {
    world.pod("ns", "client", "10.1.1.2");
    world.pod("ns", "server", "10.1.1.3");
    world.pod("other", "stranger", "10.1.1.4");
}

#[test]
#[ignore = "needs root"]
fn a_default_deny_really_denies_but_not_the_node() {
    run(|world| async move {
        pods(&world);
        world.until("client", SERVER, true).await;
        world.policy("deny", json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
        world.until("client", SERVER, false).await;
        assert!(!opens("stranger", SERVER).await);
        assert!(opens("host", SERVER).await, "the kubelet's probes");
        assert!(opens("client", "10.1.1.4:8080").await, "a namespace without policies, and no egress policy");
        world.remove_policy("deny");
        world.until("client", SERVER, true).await;
    });
}

#[test]
#[ignore = "needs root"]
fn peers_and_ports_get_through() {
    run(|world| async move {
        pods(&world);
        let server = json!({"matchLabels": {"app": "server"}});
        world.policy(
            "some",
            json!({"podSelector": server, "policyTypes": ["Ingress"], "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": "web"}]}]}),
        );
        world.until("stranger", SERVER, false).await;
        assert!(opens("client", SERVER).await && !opens("client", SERVER_OTHER_PORT).await);
        world.policy(
            "more",
            json!({"podSelector": server, "policyTypes": ["Ingress"], "ingress": [
                {"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}], "ports": [{"port": 9000, "endPort": 9100}]}]}),
        );
        world.until("stranger", SERVER_OTHER_PORT, true).await;
        assert!(!opens("stranger", SERVER).await && opens("client", SERVER).await);
        world.policy(
            "more",
            json!({"podSelector": server, "policyTypes": ["Ingress"], "ingress": [
                {"from": [{"ipBlock": {"cidr": "10.1.1.0/24", "except": ["10.1.1.4/32"]}}]}]}),
        );
        world.until("stranger", SERVER_OTHER_PORT, false).await;
        assert!(opens("client", SERVER_OTHER_PORT).await);
    });
}

#[test]
#[ignore = "needs root"]
fn egress_is_stopped_on_the_way_to_pods_and_to_the_node() {
    run(|world| async move {
        pods(&world);
        let listener = std::net::TcpListener::bind("10.1.1.1:7070").unwrap();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        world.until("client", "10.1.1.1:7070", true).await;
        let client = json!({"matchLabels": {"app": "client"}});
        world.policy(
            "out",
            json!({"podSelector": client, "policyTypes": ["Egress"], "egress": [
            {"to": [{"podSelector": {"matchLabels": {"app": "server"}}}]}]}),
        );
        world.until("client", "10.1.1.4:8080", false).await;
        assert!(opens("client", SERVER).await, "an allowed peer");
        assert!(!opens("client", "10.1.1.1:7070").await, "the node's own programs are not allowed");
        assert!(opens("stranger", "10.1.1.2:8080").await, "ingress is free");
        // A pod's traffic to itself by its Service: as kube-proxy translates it.
        sh("iptables -t nat -A PREROUTING -d 10.96.0.5 -p tcp --dport 80 -j DNAT --to-destination 10.1.1.2:8080; \
            iptables -t nat -A POSTROUTING -s 10.1.1.2 -d 10.1.1.2 -j MASQUERADE");
        world.until("client", "10.96.0.5:80", true).await;
    });
}

#[test]
#[ignore = "needs root"]
fn rules_that_somebody_flushed_come_back() {
    run(|world| async move {
        pods(&world);
        world.policy("deny", json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
        world.until("client", SERVER, false).await;
        sh("nft add table inet theirs");
        for damage in ["delete table inet skiff-router", "flush chain inet skiff-router forward"] {
            sh(&format!("nft {damage}"));
            world.until("client", SERVER, false).await;
            // Not only not yet removed: all of it is there again.
            let start = std::time::Instant::now();
            while !sh("nft list ruleset").contains("vmap") {
                assert!(start.elapsed() < std::time::Duration::from_secs(30), "{damage}: {}", sh("nft list ruleset"));
            }
        }
        world.remove_policy("deny");
        world.until("client", SERVER, true).await;
        assert_eq!(sh("nft list tables").trim(), "table inet theirs", "only ours went");
    });
}

#[test]
#[ignore = "needs root"]
fn the_kernel_takes_every_golden_text() {
    run(|_| async move {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/nft/golden");
        sh(&format!("for file in {folder}/*.txt; do nft --file $file || {{ echo $file >&2; exit 1; }}; done"));
    });
}
