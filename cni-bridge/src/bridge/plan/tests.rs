//! Golden steps: a configuration in, the steps as text out.

use super::*;
use crate::cni::Command;
use crate::cni::result::IpConfig;

fn request(conf: &str) -> Request {
    Request {
        command: Command::Add,
        container_id: "abc".into(),
        netns: "/run/netns/x".into(),
        ifname: "eth0".into(),
        args: String::new(),
        path: "/opt/cni/bin".into(),
        netns_override: false,
        stdin: conf.into(),
    }
}

fn steps(conf: &str, addresses: &[&str]) -> Vec<String> {
    let request = request(conf);
    let conf = BridgeConf::load(&request).unwrap();
    let ips = addresses.iter().map(|text| IpConfig { interface: None, address: text.parse().unwrap(), gateway: None });
    let mut result = CniResult { ips: ips.collect(), ..CniResult::default() };
    complete(&conf, &mut result);
    let steps = link_steps(&conf, &request).into_iter().chain(network_steps(&conf, &request, &result));
    steps.map(|step| format!("{step:?}")).collect()
}

#[test]
fn the_walkthroughs_file() {
    let conf = r#"{"cniVersion":"0.3.1","name":"kube","type":"bridge","bridge":"cni0","isDefaultGateway":true,
        "ipMasq":true,"hairpinMode":true,"ipam":{"type":"host-local","subnet":"10.1.1.0/24"}}"#;
    assert_eq!(
        steps(conf, &["10.1.1.2/24"]),
        [
            r#"EnsureBridge { name: "cni0", mtu: 0, promiscuous: false, vlan_filtering: false }"#,
            r#"AddVeth { bridge: "cni0", container: "eth0", mtu: 0, mac: None, hairpin: true, isolated: false }"#,
            r#"ContainerSysctl { key: "net/ipv4/conf/eth0/arp_notify", value: "1", required: false }"#,
            r#"ContainerAddress { link: "eth0", address: 10.1.1.2/24 }"#,
            r#"ContainerUp { link: "eth0" }"#,
            r#"ContainerRoute { link: "eth0", route: Route { dst: 0.0.0.0/0, gw: Some(10.1.1.1), mtu: None, advmss: None, priority: None, table: None, scope: None } }"#,
            r#"HostAddress { link: "cni0", address: 10.1.1.1/24, force: false }"#,
            r#"HostSysctl { key: "net/ipv4/ip_forward", value: "1" }"#,
            "Masquerade { addresses: [10.1.1.2/24], backend: None }",
            "WaitOperational",
        ]
    );
}

#[test]
fn layer_2_only_brings_the_link_up() {
    let conf = r#"{"name":"l2","bridge":"br1","vlan":100,"vlanTrunk":[{"minID":3,"maxID":4}],"portIsolation":true}"#;
    assert_eq!(
        steps(conf, &[])[1..],
        [
            r#"AddVeth { bridge: "br1", container: "eth0", mtu: 0, mac: None, hairpin: false, isolated: true }"#,
            "SetPortVlans { access: Some(100), trunk: [3, 4], keep_default: false }",
            r#"ContainerUp { link: "eth0" }"#,
            "WaitOperational",
        ]
    );
}

#[test]
fn dual_stack_sets_both_families() {
    let conf = r#"{"name":"ds","isGateway":true,"vlan":7,"ipam":{"type":"static"}}"#;
    let steps = steps(conf, &["10.1.1.2/24", "fd00::2/64"]);
    let text = steps.join("\n");
    for wanted in [
        r#"ContainerSysctl { key: "net/ipv6/conf/eth0/accept_dad", value: "0", required: false }"#,
        r#"EnsureVlanGateway { bridge: "cni0", name: "cni0.7", vlan: 7 }"#,
        r#"HostAddress { link: "cni0.7", address: fd00::1/64, force: false }"#,
        r#"HostSysctl { key: "net/ipv6/conf/all/forwarding", value: "1" }"#,
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(!text.contains("ContainerRoute"));
}

#[test]
fn combinations_that_make_no_sense_are_refused() {
    for conf in [
        r#"{"name":"n","hairpinMode":true,"promiscMode":true}"#,
        r#"{"name":"n","disableContainerInterface":true,"ipam":{"type":"host-local"}}"#,
    ] {
        assert!(BridgeConf::load(&request(conf)).unwrap().check_combinations().is_err());
    }
    assert!(BridgeConf::load(&request(r#"{"name":"n","vlan":4095}"#)).is_err());
    assert!(BridgeConf::load(&request(r#"{"name":"n","ipMasqBackend":"pf"}"#)).is_err());
}

#[test]
fn gateway_addresses_do_not_clash() {
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    let present = [net("10.1.1.1/24"), net("fd00::1/64"), net("fe80::1/64")];
    let change = |text: &str, force| address_change(&present, net(text), force);
    assert_eq!(change("10.1.1.1/24", false), AddressChange::Keep);
    assert_eq!(change("10.1.2.1/24", false), AddressChange::Refuse(net("10.1.1.1/24")));
    assert_eq!(change("10.1.2.1/24", true), AddressChange::Add { remove: vec![net("10.1.1.1/24")] });
    assert_eq!(change("fd01::1/64", false), AddressChange::Add { remove: vec![] });
    assert_eq!(change("fd00::2/64", false), AddressChange::Refuse(net("fd00::1/64")));
}
