//! The same configuration through Debian's plugins and ours: results, links, addresses, routes and rules must agree.

use std::thread;

use serde_json::{Value, json};

use crate::look::rules;
use crate::world::{Plugins, World, call, result, sh};

const WALKTHROUGH: &str = r#"{"cniVersion":"0.3.1","name":"kube","type":"bridge","bridge":"cni0","isDefaultGateway":true,
    "ipMasq":true,"hairpinMode":true,"ipam":{"type":"host-local","subnet":"10.1.1.0/24","dataDir":"DATA"}}"#;

const CONFIGURATIONS: [&str; 7] = [
    WALKTHROUGH,
    r#"{"cniVersion":"0.2.0","name":"old","type":"bridge","isGateway":true,
        "ipam":{"type":"host-local","subnet":"10.1.1.0/24","dataDir":"DATA","routes":[{"dst":"0.0.0.0/0"}]}}"#,
    r#"{"cniVersion":"1.0.0","name":"dual","type":"bridge","isDefaultGateway":true,"ipMasq":true,"mtu":1400,
        "ipam":{"type":"host-local","dataDir":"DATA","ranges":[[{"subnet":"10.1.1.0/24","rangeStart":"10.1.1.20"}],
        [{"subnet":"fd00:1::/64"}]],"routes":[{"dst":"192.0.2.0/24","gw":"10.1.1.9"}]}}"#,
    r#"{"cniVersion":"0.4.0","name":"promisc","type":"bridge","bridge":"br1","isGateway":true,"promiscMode":true,
        "dns":{"nameservers":["10.0.0.10"]},"ipam":{"type":"host-local","subnet":"10.1.1.0/24","dataDir":"DATA"}}"#,
    r#"{"cniVersion":"1.0.0","name":"vlan","type":"bridge","bridge":"br1","vlan":100,"preserveDefaultVlan":true,
        "ipam":{"type":"host-local","subnet":"10.1.1.0/24","dataDir":"DATA"}}"#,
    r#"{"cniVersion":"1.0.0","name":"vlangw","type":"bridge","bridge":"br1","vlan":100,"preserveDefaultVlan":true,"isGateway":true,
        "ipam":{"type":"host-local","subnet":"10.1.1.0/24","dataDir":"DATA"}}"#,
    r#"{"cniVersion":"1.0.0","name":"l2","type":"bridge","bridge":"br1","args":{"cni":{"mac":"c2:11:22:33:44:55"}}}"#,
];

/// What a run left in the kernel and on disk, without what is random.
fn observe(plugins: &Plugins, world: &World, conf: &str) -> Value {
    let conf = world.conf(conf);
    let name: Value = serde_json::from_str(&conf).unwrap();
    let network = name["name"].as_str().unwrap().to_string();
    world.container("c1");
    world.container("c2");
    let mut results: Vec<Value> =
        ["c1", "c2"].iter().map(|container| result(&call(plugins, "bridge", "ADD", container, &conf))).collect();
    results.iter_mut().for_each(normalize);
    let addresses = |netns: &str| -> Value {
        let text = sh(&format!(
            "ip -j -n {netns} addr show dev eth0 | jq '[.[].addr_info[]|select(.scope==\"global\")|{{local,prefixlen}}]'"
        ));
        serde_json::from_str(&text).unwrap()
    };
    let routes = |netns: &str| {
        let text = sh(&format!(
            "(ip -n {netns} route; ip -n {netns} -6 route) | sed 's/ proto static//; s/ metric 1024//; s/ pref medium//' | grep -v fe80 | sort"
        ));
        text.trim().to_string()
    };
    let before = json!({
        "results": results,
        "addresses": [addresses("c1"), addresses("c2")],
        "routes": [routes("c1"), routes("c2")],
        "mtu": sh("ip -j -n c1 link show eth0 | jq .[].mtu").trim(),
        "bridge": sh("ip -j -d link show type bridge | jq -c '[.[]|{ifname,mtu,promiscuity,vf:.linkinfo.info_data.vlan_filtering}]'").trim(),
        "ports": sh("bridge -j -d link | jq -c '[.[]|{hairpin,isolated,master,state}]'").trim(),
        "vlans": sh("bridge -j vlan | jq -c '[.[].vlans]|sort'").trim(),
        "gateway": sh("ip -j addr | jq -c '[.[]|select(.ifname|test(\"^(cni|br)\"))|.addr_info[]|select(.scope==\"global\")|{local,\"label\":.label}]'").trim(),
        "forwarding": sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"),
        "rules": rules(),
        "reserved": world.reserved(&network),
    });
    for container in ["c1", "c2", "c2"] {
        result(&call(plugins, "bridge", "DEL", container, &conf));
    }
    assert_eq!((rules(), world.reserved(&network)), (String::new(), Vec::new()), "left after DEL");
    assert_eq!(sh("ip -o link show type veth | grep -v '\\.100@\\|veth.*br1' | wc -l").trim(), "0");
    before
}

/// Hardware addresses and the host ends' names are random.
fn normalize(result: &mut Value) {
    for interface in result.get_mut("interfaces").and_then(Value::as_array_mut).into_iter().flatten() {
        if interface["mac"] != "c2:11:22:33:44:55" {
            interface["mac"] = "random".into();
        }
        if interface["name"].as_str().is_some_and(|name| name.starts_with("veth")) {
            interface["name"] = "veth".into();
        }
    }
}

fn in_world<T: Send + 'static>(work: impl FnOnce(World) -> T + Send + 'static) -> T {
    thread::spawn(|| work(World::enter())).join().unwrap()
}

#[test]
#[ignore = "needs root"]
fn the_same_as_debians_plugins() {
    let Some(debian) = Plugins::debian() else { return };
    let has_vlans = in_world(|_| {
        std::process::Command::new("ip")
            .args(["link", "add", "type", "bridge", "vlan_filtering", "1"])
            .status()
            .unwrap()
            .success()
    });
    for conf in CONFIGURATIONS {
        if conf.contains("\"vlan\"") && !has_vlans {
            println!("skipped: this kernel has no VLANs on bridges: {conf}");
            continue;
        }
        let debian = debian.clone();
        let theirs = in_world(move |world| observe(&debian, &world, conf));
        let ours = in_world(move |world| observe(&Plugins::ours(world.folder.path()), &world, conf));
        for (key, value) in theirs.as_object().unwrap() {
            assert_eq!(&ours[key], value, "{key} for {conf}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn portmap_as_debians() {
    let Some(debian) = Plugins::debian() else { return };
    let run = |plugins: &Plugins, world: &World| {
        world.container("c1");
        let conf = world.conf(WALKTHROUGH);
        let previous = result(&call(plugins, "bridge", "ADD", "c1", &conf));
        let chained = json!({
            "cniVersion": "0.3.1", "name": "kube", "type": "portmap", "prevResult": previous,
            "runtimeConfig": {"portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                {"hostPort": 8081, "containerPort": 81, "protocol": "tcp", "hostIP": "127.0.0.1"},
                {"hostPort": 53, "containerPort": 53, "protocol": "udp"}]},
        });
        let text = chained.to_string();
        result(&call(plugins, "portmap", "ADD", "c1", &text));
        let rules = rules();
        let localnet = sh("cat /proc/sys/net/ipv4/conf/cni0/route_localnet");
        result(&call(plugins, "portmap", "ADD", "c1", &text));
        assert_eq!(crate::look::rules(), rules, "ADD again changes nothing");
        result(&call(plugins, "portmap", "DEL", "c1", &text));
        result(&call(plugins, "portmap", "DEL", "c1", &text));
        result(&call(plugins, "bridge", "DEL", "c1", &conf));
        (rules, localnet, crate::look::rules())
    };
    let theirs = in_world(move |world| run(&debian, &world));
    let ours = in_world(move |world| run(&Plugins::ours(world.folder.path()), &world));
    // Debian's version lets 127.0.0.1 and ::1 be the container's own address where ours names a whole prefix.
    let unify = |text: &str| text.replace("-s 10.1.1.2/24", "-s 10.1.1.0/24");
    assert_eq!(unify(&ours.0), unify(&theirs.0));
    assert_eq!((ours.1, ours.2), (theirs.1, theirs.2));
}
