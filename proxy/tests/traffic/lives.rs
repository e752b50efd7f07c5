//! Killed, flushed, changed all the time, not alone: what was served is served on, and what is not ours stays.

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;

use crate::net::sh;
use crate::world::{IP, Mode, VIP, World, ask, in_each_mode, in_mode};

#[test]
#[ignore = "needs root"]
fn flushed_rules_come_back() {
    in_each_mode(|mut world| async move {
        let flushes: [&str; 4] = match world.mode {
            Mode::Iptables => [
                "iptables -t nat -F; iptables -t nat -X",
                "iptables -t nat -F KUBE-SERVICES",
                "for c in $(iptables-save -t nat | sed -n 's/^:\\(KUBE-SVC-[A-Z0-9]*\\).*/\\1/p'); do iptables -t nat -F $c; done",
                "iptables -t nat -D OUTPUT -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES",
            ],
            Mode::Nftables => [
                "nft list tables ip | grep kube-proxy | sed 's/^/delete /' | nft -f -",
                "for n in $(seq 0 15); do nft flush chain ip kube-proxy-$n services; done",
                "nft list chains ip | awk '/table/ { t=$3 } / service-/ { print \"flush chain ip\", t, $2 }' | nft -f -",
                "for n in $(seq 0 15); do nft flush map ip kube-proxy-$n service-ips; done",
            ],
        };
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--iptables-sync-period=1s", "--cluster-cidr=10.1.1.0/24"]);
        world.until("host", VIP, "a").await;
        for flush in flushes {
            // It may be mended before anybody asks.
            let mut tries = 0;
            while tries == 0 || ask("host", VIP).await == "a" {
                tries += 1;
                assert!(tries < 10, "it changes nothing: {flush}");
                sh(flush);
            }
            world.until("host", VIP, "a").await;
        }
        // A change that finds its old rules gone writes everything at once.
        sh(flushes[0]);
        world.service("10.96.0.6", json!({}));
        world.until("host", "10.96.0.6:80", "a").await;
    });
}

/// With more of them than are read.
#[test]
#[ignore = "needs root"]
fn flushed_rules_of_many_services_come_back() {
    in_mode(Mode::Iptables, |mut world| async move {
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2"]);
        (0..1000).for_each(|at| world.put_other(at));
        world.start(&["--iptables-sync-period=1s"]);
        world.until("host", VIP, "a").await;
        world.until_text("iptables-save -t nat", |text| text.contains("10.97.3.250")).await;
        for flush in ["iptables -t nat -F KUBE-SERVICES", "iptables -t mangle -F; iptables -t mangle -X"] {
            let before = sh("iptables-save -t nat; iptables-save -t mangle").lines().count();
            sh(flush);
            world
                .until_text("iptables-save -t nat; iptables-save -t mangle", |text| text.lines().count() == before)
                .await;
            world.until("host", VIP, "a").await;
        }
    });
}

/// As many rules as there were, and one of them says something else: in each of our chains in turn.
#[test]
#[ignore = "needs root"]
fn replaced_rules_come_back() {
    const OURS: &str = "iptables-save | grep '^\\*\\|^-A KUBE-'";
    const CHAINS: &str = "for t in filter nat; do \
        iptables-save -t $t | sed -n \"s/^-A \\(KUBE-[A-Z0-9-]*\\) .*/$t \\1/p\"; done | sort -u";
    in_mode(Mode::Iptables, |mut world| async move {
        let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
        world.service(IP, json!({"type": "NodePort", "ports": ports, "sessionAffinity": "ClientIP"}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&["--iptables-sync-period=1s", "--cluster-cidr=10.1.1.0/24"]);
        world.until_answered("host", VIP).await;
        let (before, chains) = (sh(OURS), sh(CHAINS));
        // That one is the kubelet's, too, and nothing of others is taken out there.
        let (kept, own): (Vec<&str>, Vec<&str>) = chains.lines().partition(|chain| chain.contains("KUBE-FIREWALL"));
        assert!(own.len() > 8 && kept.len() == 1, "{chains}");
        for chain in own {
            let (table, chain) = chain.split_once(' ').unwrap();
            sh(&format!("iptables -t {table} -R {chain} 1 -m comment --comment theirs -j RETURN"));
            world.until_text(OURS, |text| text == before).await;
        }
        sh("iptables -R KUBE-FIREWALL 1 -m comment --comment theirs -j RETURN");
        let martians = "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP";
        world.until_text(OURS, |text| text.contains("theirs") && text.contains(martians)).await;
    });
}

#[test]
#[ignore = "needs root"]
fn a_configuration_file_that_changes_ends_it() {
    in_mode(Mode::Nftables, |mut world| async move {
        let file = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
            healthzBindAddress: 127.0.0.1:10256\nconntrack: {maxPerCore: 0}\n";
        std::fs::write("/run/proxy.yaml", file).unwrap();
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&["--config=/run/proxy.yaml"]);
        world.until("host", VIP, "a").await;
        std::fs::write("/run/proxy.yaml", file.replace("nftables", "iptables")).unwrap();
        let error = world.ended().await.unwrap_err().to_string();
        assert_eq!(error, "content of the proxy server's configuration file was updated");
        assert_eq!(ask("host", VIP).await, "a", "what it wrote serves on");
    });
}

#[test]
#[ignore = "needs root"]
fn a_kill_and_start_disturbs_nobody() {
    in_each_mode(|mut world| async move {
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&[]);
        world.until("host", VIP, "a").await;
        world.kill().await;
        assert_eq!(ask("b", VIP).await, "a");
        world.service("10.96.0.6", json!({}));
        world.start(&[]);
        world.until("b", "10.96.0.6:80", "a").await;
        assert_eq!(ask("b", VIP).await, "timeout", "the old address is served no more");
        let chains = match world.mode {
            Mode::Iptables => sh("iptables-save -t nat | grep -c '^:KUBE-SVC\\|^:KUBE-SEP'"),
            Mode::Nftables => sh("nft list chains ip | grep -c 'chain service-.*/\\|chain endpoint-'"),
        };
        assert_eq!(chains.trim(), "4", "a Service's and an endpoint's chain for each port");
    });
}

/// Asks without a pause, from the node and from a pod, until `work` is done; every request must be answered.
async fn while_asking(asked: &Cell<usize>, work: impl Future<Output = ()>) {
    let asking = async {
        loop {
            for from in ["host", "a"] {
                let seen = ask(from, VIP).await;
                assert!(seen == "a" || seen == "b", "{from}: {seen} after {} requests", asked.get());
                asked.set(asked.get() + 1);
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = work => {}
    }
}

/// Prints the addresses that are served.
fn addresses(world: &World) -> &'static str {
    match world.mode {
        Mode::Iptables => "iptables-save -t nat",
        Mode::Nftables => "nft list ruleset ip",
    }
}

#[test]
#[ignore = "needs root"]
fn no_request_is_lost_while_services_come_and_go() {
    in_each_mode(|mut world| async move {
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        world.start(&[]);
        world.until_answered("host", VIP).await;
        let asked = Cell::new(0);
        while_asking(&asked, async {
            for at in 0..200 {
                world.put_other(at);
                if at % 3 == 0 {
                    world.remove_other(at);
                }
                // A few at a time, as they would come.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            world
                .until_text(addresses(&world), |text| text.contains("10.97.0.200") && !text.contains("10.97.0.199"))
                .await;
        })
        .await;
        println!("{} requests", asked.get());
    });
}

/// With as many Services that writing them all takes several restores, ended at any time between and within them.
#[test]
#[ignore = "needs root"]
fn no_request_is_lost_when_a_write_is_cut() {
    in_each_mode(|mut world| async move {
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2", "10.1.1.3"]);
        (0..400).for_each(|at| world.put_other(at));
        world.start(&[]);
        world.until_answered("host", VIP).await;
        let asked = Cell::new(0);
        while_asking(&asked, async {
            for cut_ms in [1, 10, 30, 60, 100, 150, 250] {
                world.kill().await;
                world.remove_other(cut_ms);
                world.start(&[]);
                tokio::time::sleep(Duration::from_millis(cut_ms as u64)).await;
            }
            world.kill().await;
            world.service(IP, json!({"externalIPs": ["192.0.2.20"]}));
            world.start(&[]);
            world.until_answered("b", "192.0.2.20:80").await;
        })
        .await;
        world.until_text(addresses(&world), |text| !text.contains("10.97.0.151") && text.contains("10.97.0.152")).await;
        println!("{} requests", asked.get());
    });
}

/// What others have on a host, in the shapes of Docker and firewalld.
const OTHERS: &str = "
    iptables -t nat -N DOCKER; iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
    iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
    iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
    iptables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8443 -j DNAT --to-destination 172.17.0.2:443
    iptables -N DOCKER-USER; iptables -N DOCKER-FORWARD; iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-FORWARD
    iptables -A DOCKER-USER -j RETURN; iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT
    nft -f - <<'END'
    table inet firewalld {
      chain filter_INPUT { type filter hook input priority filter + 10; policy accept;
        ct state { established, related } accept
        iifname \"lo\" accept
        tcp dport 22 accept
      }
      chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept;
        oifname \"wan0\" masquerade
      }
    }
END
";

/// Everything on the host but ours.
fn of_others() -> String {
    let iptables = sh("iptables-save | grep -v '^[#:*]\\|COMMIT\\|KUBE-' || true");
    iptables + &sh("nft list table inet firewalld")
}

#[test]
#[ignore = "needs root"]
fn what_is_not_ours_stays() {
    in_each_mode(|mut world| async move {
        sh(OTHERS);
        world.cni_masquerade("10.1.1.2");
        let before = of_others();
        let flags = ["--iptables-localhost-nodeports=false", "--iptables-sync-period=1s", "--cluster-cidr=10.1.1.0/24"];
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&flags);
        world.until("host", VIP, "a").await;
        world.until("a", VIP, "a").await;
        assert_eq!(of_others(), before, "rules are written");
        world.kill().await;
        world.start(&flags);
        world.endpoints(&["10.1.1.3"]);
        world.until("host", VIP, "b").await;
        assert_eq!(of_others(), before, "all of them again, and a change");
        world.kill().await;
        world.start(&["--cleanup"]);
        world.until("host", VIP, "timeout").await;
        assert_eq!(of_others(), before, "all of ours are gone");
        assert!(!sh("nft list tables").contains("kube-proxy"));
        let left = sh("iptables-save | grep -v '^[#]' | grep KUBE- || true");
        // The kubelet has a chain of this name, too.
        assert!(left.lines().all(|line| line.contains("KUBE-FIREWALL")), "{left}");
    });
}

#[test]
#[ignore = "needs root"]
fn modes_follow_each_other() {
    in_mode(Mode::Nftables, |mut world: World| async move {
        world.service(IP, json!({}));
        world.endpoints(&["10.1.1.2"]);
        world.start(&[]);
        world.until("b", VIP, "a").await;
        assert!(!sh("iptables-save").contains("KUBE-"), "nothing in the other mode's place");
        world.kill().await;
        world.mode = Mode::Iptables;
        world.start(&[]);
        // The one mode's rules serve until the other has taken them away.
        world.until_text("nft list tables", |tables| !tables.contains("kube-proxy")).await;
        world.until("b", VIP, "a").await;
        world.kill().await;
        world.mode = Mode::Nftables;
        world.start(&[]);
        world.until_text("iptables-save -t nat", |text| !text.contains("KUBE-SERVICES")).await;
        world.until("b", VIP, "a").await;
    });
}
