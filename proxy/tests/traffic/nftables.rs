//! Mode nftables: the promises that its own rules must keep; what both modes share is tested in `cases`.

use std::collections::BTreeSet;

use serde_json::json;

use crate::world::{World, ask, ask_udp, run, sh};

const VIP: &str = "10.96.0.5:80";
const FLAGS: [&str; 2] = ["--proxy-mode=nftables", "--cluster-cidr=10.1.1.0/24"];

fn two_pods(world: &World) {
    world.pod("a", "10.1.1.2");
    world.pod("b", "10.1.1.3");
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
#[ignore = "needs root"]
fn a_service_lives() {
    run(|mut world| async move {
        two_pods(&world);
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&FLAGS);
        world.until_answered("host", VIP).await;
        for from in ["host", "a", "b"] {
            assert_eq!(world.answers(from, VIP, 40).await, names(&["a", "b"]), "from {from}");
        }
        assert_eq!(ask_udp("a", 4000, "10.96.0.5:80").await.len(), 1, "UDP, too");
        world.endpoints(&["10.1.1.3"]);
        world.until("host", VIP, "b").await;
        assert_eq!(world.answers("a", VIP, 20).await, names(&["b"]), "one endpoint is gone");
        world.endpoints(&[]);
        world.until("host", VIP, "refused").await;
        world.until("a", VIP, "refused").await;
        world.endpoints(&["10.1.1.2"]);
        world.until("a", VIP, "a").await;
        world.remove_service();
        world.until("host", VIP, "timeout").await;
        assert!(!sh("iptables-save").contains("KUBE-"), "nothing in the other mode's place");
    });
}

#[test]
#[ignore = "needs root"]
fn node_ports_and_affinity() {
    run(|mut world| async move {
        two_pods(&world);
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        world.service("10.96.0.5", json!({"type": "NodePort", "ports": ports, "sessionAffinity": "ClientIP"}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&FLAGS);
        let first = world.until_answered("a", VIP).await;
        assert_eq!(world.answers("a", VIP, 20).await, names(&[&first]), "the same one again");
        assert_eq!(world.answers("host", "10.1.1.1:30080", 20).await.len(), 1, "by the node's address");
        assert_eq!(ask("host", "127.0.0.1:30080").await, "refused", "never on loopback");
    });
}

#[test]
#[ignore = "needs root"]
fn tables_come_back_and_modes_follow_each_other() {
    run(|mut world| async move {
        two_pods(&world);
        world.service("10.96.0.5", json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--proxy-mode=nftables", "--cluster-cidr=10.1.1.0/24", "--iptables-sync-period=1s"]);
        world.until("b", VIP, "a").await;
        sh("nft add table ip theirs; nft delete table ip kube-proxy");
        world.until("b", VIP, "a").await;
        world.kill().await;
        world.start(&["--cluster-cidr=10.1.1.0/24"]);
        // The one mode's rules serve until the other has taken them away.
        world.until_text("nft list tables", |tables| !tables.contains("kube-proxy")).await;
        world.until("b", VIP, "a").await;
        assert!(sh("nft list tables").contains("theirs"), "only ours went");
    });
}

#[test]
#[ignore = "needs root"]
fn the_kernel_takes_every_golden_text() {
    run(|_| async move {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/nftables/golden");
        // The difference goes onto the table of no Service.
        sh(&format!(
            "for file in {folder}/*.txt; do nft --file {folder}/no-service.txt && nft --file $file || {{ echo $file >&2; exit 1; }}; done"
        ));
    });
}
