//! What must hold whatever happens: parallel calls, kills, verbs on what is gone.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::look::rules;
use crate::world::{Plugins, World, call, finish, result, sh, start};

const CONF: &str = r#"{"cniVersion":"1.1.0","name":"kube","type":"bridge","bridge":"cni0","isDefaultGateway":true,
    "ipMasq":true,"hairpinMode":true,"ipam":{"type":"host-local","subnet":"10.1.1.0/24","dataDir":"DATA"}}"#;

fn in_world(work: impl FnOnce(&World, &Plugins, &str) + Send + 'static) {
    let inside = move || {
        let world = World::enter();
        let plugins = Plugins::ours(world.folder.path());
        work(&world, &plugins, &world.conf(CONF));
    };
    thread::spawn(inside).join().unwrap();
}

fn assert_nothing_left(world: &World) {
    assert_eq!((rules(), world.reserved("kube")), (String::new(), Vec::new()));
    // The kernel takes a deleted namespace apart later.
    until("[ -z \"$(ip -o link show type veth)\" ]");
}

#[test]
#[ignore = "needs root"]
fn parallel_adds_get_addresses_of_their_own() {
    in_world(|world, plugins, conf| {
        let names: Vec<String> = (0..120).map(|at| format!("c{at}")).collect();
        names.iter().for_each(|name| world.container(name));
        let children: Vec<_> = names.iter().map(|name| start(plugins, "bridge", "ADD", name, conf)).collect();
        let results: Vec<Value> = children.into_iter().map(|child| result(&finish(child, conf))).collect();
        let addresses: BTreeSet<String> =
            results.iter().map(|result| result["ips"][0]["address"].to_string()).collect();
        assert_eq!(addresses.len(), names.len());
        let children: Vec<_> = names.iter().map(|name| start(plugins, "bridge", "DEL", name, conf)).collect();
        children.into_iter().for_each(|child| drop(result(&finish(child, conf))));
        assert_nothing_left(world);
    });
}

#[test]
#[ignore = "needs root"]
fn a_kill_anywhere_leaks_nothing() {
    in_world(|world, plugins, conf| {
        for at in 0..60u64 {
            let name = format!("c{at}");
            world.container(&name);
            let mut child = start(plugins, "bridge", "ADD", &name, conf);
            use std::io::Write;
            child.stdin.take().unwrap().write_all(conf.as_bytes()).unwrap();
            thread::sleep(Duration::from_micros(at * 400));
            child.kill().unwrap();
            child.wait().unwrap();
            // What the killed plugin had started goes on for a moment, as it does after a real kill.
            until(&format!("! ps -e -o stat=,pgid= | grep -v ^Z | grep -q ' {}$'", child.id()));
            if at % 2 == 0 {
                sh(&format!("ip netns del {name}"));
            }
            result(&call(plugins, "bridge", "DEL", &name, conf));
            assert_nothing_left(world);
        }
    });
}

/// Waits for a condition in the shell's words.
fn until(condition: &str) {
    sh(&format!(
        "end=$(($(date +%s) + 60)); until {condition}; do [ $(date +%s) -lt $end ] || exit 1; sleep 0.01; done"
    ));
}

#[test]
#[ignore = "needs root"]
fn del_succeeds_whatever_is_gone() {
    in_world(|world, plugins, conf| {
        world.container("c1");
        result(&call(plugins, "bridge", "DEL", "never-added", conf));
        result(&call(plugins, "bridge", "ADD", "c1", conf));
        sh("iptables -t nat -F POSTROUTING; ip -n c1 link del eth0");
        result(&call(plugins, "bridge", "DEL", "c1", conf));
        result(&call(plugins, "bridge", "ADD", "c1", conf));
        sh("ip link del cni0; ip netns del c1");
        result(&call(plugins, "bridge", "DEL", "c1", conf));
        assert_nothing_left(world);
    });
}

#[test]
#[ignore = "needs root"]
fn a_failed_add_takes_back_only_its_own() {
    in_world(|world, plugins, conf| {
        world.container("c1");
        result(&call(plugins, "bridge", "ADD", "c1", conf));
        let before = (rules(), world.reserved("kube"));
        let again = call(plugins, "bridge", "ADD", "c1", conf);
        let failure: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert!(!again.status.success() && failure["code"].as_u64() >= Some(100), "{failure}");
        assert_eq!((rules(), world.reserved("kube")), before);
        let other = conf.replace("10.1.1.0/24", "10.1.2.0/24");
        world.container("c2");
        let clash = call(plugins, "bridge", "ADD", "c2", &other);
        assert!(!clash.status.success());
        assert_eq!((rules(), world.reserved("kube")), before);
    });
}

#[test]
#[ignore = "needs root"]
fn check_sees_what_is_missing() {
    in_world(|world, plugins, conf| {
        world.container("c1");
        let previous = result(&call(plugins, "bridge", "ADD", "c1", conf));
        let mut with_previous: Value = serde_json::from_str(conf).unwrap();
        with_previous["prevResult"] = previous;
        let check = || call(plugins, "bridge", "CHECK", "c1", &with_previous.to_string());
        result(&check());
        sh("ip -n c1 route del default");
        assert!(!check().status.success());
        sh("ip -n c1 route add default via 10.1.1.1");
        result(&check());
        sh("ip -n c1 addr del 10.1.1.2/24 dev eth0");
        assert!(!check().status.success());
        sh("ip link del cni0");
        assert!(!check().status.success());
    });
}

#[test]
#[ignore = "needs root"]
fn gc_keeps_the_valid_ones_and_status_is_silent() {
    in_world(|world, plugins, conf| {
        for name in ["c1", "c2"] {
            world.container(name);
            result(&call(plugins, "bridge", "ADD", name, conf));
        }
        result(&call(plugins, "bridge", "STATUS", "c1", conf));
        let mut gc: Value = serde_json::from_str(conf).unwrap();
        gc["cni.dev/valid-attachments"] = json!([{"containerID": "c2", "ifname": "eth0"}]);
        result(&call(plugins, "bridge", "GC", "c1", &gc.to_string()));
        assert_eq!(world.reserved("kube"), ["10.1.1.3"]);
        assert!(rules().contains("c2") && !rules().contains("c1"));
    });
}

#[test]
#[ignore = "needs root"]
fn the_other_back_ends() {
    in_world(|world, plugins, conf| {
        let conf = conf.replace("\"ipMasq\"", "\"ipMasqBackend\":\"nftables\",\"macspoofchk\":true,\"ipMasq\"");
        world.container("c1");
        let previous = result(&call(plugins, "bridge", "ADD", "c1", &conf));
        let listed = sh("nft list ruleset");
        for wanted in ["ip saddr 10.1.1.2 ip daddr != 10.1.1.0/24 masquerade", "cni-br-iface-c1-eth0-mac", "drop"] {
            assert!(listed.contains(wanted), "{wanted} in {listed}");
        }
        let portmap = json!({"cniVersion": "1.0.0", "name": "kube", "type": "portmap", "backend": "nftables", "prevResult": previous,
            "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}});
        result(&call(plugins, "portmap", "ADD", "c1", &portmap.to_string()));
        result(&call(plugins, "portmap", "CHECK", "c1", &portmap.to_string()));
        assert!(sh("nft list ruleset").contains("dnat to 10.1.1.2:80"));
        result(&call(plugins, "portmap", "DEL", "c1", &portmap.to_string()));
        result(&call(plugins, "bridge", "DEL", "c1", &conf));
        let left = sh("nft list ruleset");
        assert!(!left.contains("10.1.1.2") && !left.contains("cni-br-iface"), "{left}");
    });
}

#[test]
#[ignore = "needs root"]
fn loopback_comes_up() {
    in_world(|_, plugins, _| {
        sh("ip netns add c1");
        let conf = r#"{"cniVersion":"1.0.0","name":"lo","type":"loopback"}"#;
        let added = result(&call(plugins, "loopback", "ADD", "c1", conf));
        assert_eq!(added["interfaces"][0]["name"], "lo");
        assert_eq!(added["ips"][0]["address"], "127.0.0.1/8");
        result(&call(plugins, "loopback", "CHECK", "c1", conf));
        result(&call(plugins, "loopback", "DEL", "c1", conf));
        assert!(!call(plugins, "loopback", "CHECK", "c1", conf).status.success());
        sh("ip netns del c1");
        result(&call(plugins, "loopback", "DEL", "c1", conf));
    });
}
