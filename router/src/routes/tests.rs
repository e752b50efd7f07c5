//! Nodes in, command lines out.

use super::{Backend, Hop, NodeView, Plan, command, plan};

fn node(name: &str, addresses: &[&str], ranges: &[&str]) -> NodeView {
    NodeView {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        pod_ranges: ranges.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn nodes() -> Vec<NodeView> {
    vec![
        node("me", &["192.0.2.1"], &["10.244.0.0/24"]),
        node("dual", &["192.0.2.2", "2001:db8::2"], &["10.244.1.0/24", "fd00:1::/64"]),
        node("no-range", &["192.0.2.3"], &[]),
        node("no-address", &[], &["10.244.4.0/24"]),
    ]
}

fn lines(wanted: &Plan, present: &Plan) -> Vec<String> {
    [command::of_tunnel(wanted, present), command::of_routes(wanted, present)].concat()
}

#[test]
fn neighbours_are_reached_by_their_addresses() {
    let wanted = plan(&nodes(), "me", Backend::Direct);
    assert_eq!(
        lines(&wanted, &Plan::new()),
        ["route replace 10.244.1.0/24 via 192.0.2.2 proto 86", "route replace fd00:1::/64 via 2001:db8::2 proto 86",]
    );
    assert_eq!(plan(&nodes(), "me", Backend::None), Plan::new());
}

#[test]
fn others_are_reached_by_the_tunnel() {
    let wanted = plan(&nodes(), "me", Backend::Vxlan);
    assert_eq!(
        lines(&wanted, &Plan::new()),
        [
            "fdb replace 0a:58:c0:00:02:02 dev skiff-vxlan dst 192.0.2.2",
            "neigh replace 10.244.1.0 lladdr 0a:58:c0:00:02:02 dev skiff-vxlan nud permanent",
            "route replace 10.244.1.0/24 via 10.244.1.0 dev skiff-vxlan onlink proto 86",
            "neigh replace fd00:1:: lladdr 0a:58:c0:00:02:02 dev skiff-vxlan nud permanent",
            "route replace fd00:1::/64 via fd00:1:: dev skiff-vxlan onlink proto 86",
        ]
    );
}

#[test]
fn only_the_difference_is_written() {
    let wanted = plan(&nodes(), "me", Backend::Vxlan);
    assert_eq!(lines(&wanted, &wanted), [""; 0]);
    let gone = plan(&nodes()[..1], "me", Backend::Vxlan);
    assert_eq!(
        lines(&gone, &wanted),
        [
            "fdb del 0a:58:c0:00:02:02 dev skiff-vxlan dst 192.0.2.2",
            "route del 10.244.1.0/24 proto 86",
            "neigh del 10.244.1.0 dev skiff-vxlan",
            "route del fd00:1::/64 proto 86",
            "neigh del fd00:1:: dev skiff-vxlan",
        ]
    );
    let moved = Plan::from([(
        "10.244.1.0/24".parse().unwrap(),
        Hop { gateway: "192.0.2.9".parse().unwrap(), tunnel_to: None },
    )]);
    let direct = plan(&nodes()[..2], "me", Backend::Direct);
    assert_eq!(lines(&direct, &moved)[0], "route replace 10.244.1.0/24 via 192.0.2.2 proto 86");
}

#[test]
fn the_kernels_routes_are_read() {
    let json = r#"[{"dst":"10.244.1.0/24","gateway":"192.0.2.2","dev":"eth0","flags":[]},{"dst":"fd00::7","gateway":"fd00::1"},
        {"dst":"default","gateway":"192.0.2.254"}]"#;
    let shown: Vec<String> =
        command::present(json, "", "").iter().map(|(range, hop)| format!("{range} {}", hop.gateway)).collect();
    assert_eq!(shown, ["10.244.1.0/24 192.0.2.2", "fd00::7/128 fd00::1"]);
    assert_eq!(command::present("", "", ""), Plan::new());
    // As iproute2 tells of what the lines for `others_are_reached_by_the_tunnel` made.
    let routes = r#"[{"dst":"10.244.1.0/24","gateway":"10.244.1.0","dev":"skiff-vxlan","flags":["onlink"]},
        {"dst":"fd00:1::/64","gateway":"fd00:1::","dev":"skiff-vxlan","flags":["onlink"]}]"#;
    let neighbours = r#"[{"dst":"10.244.1.0","lladdr":"0a:58:c0:00:02:02","state":["PERMANENT"]},
        {"dst":"fd00:1::","lladdr":"0a:58:c0:00:02:02","state":["PERMANENT"]}]"#;
    let ends = r#"[{"mac":"0a:58:c0:00:02:02","ifname":"skiff-vxlan","dst":"192.0.2.2","flags":["self"],"state":"permanent"}]"#;
    let wanted = plan(&nodes(), "me", Backend::Vxlan);
    assert_eq!(command::present(routes, neighbours, ends), wanted);
    assert_ne!(command::present(routes, neighbours, ""), wanted, "an end that is gone is written again");
}
