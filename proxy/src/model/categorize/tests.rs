//! A table: policies and endpoints in, the last parts of the addresses out.

use super::*;

/// `N` an endpoint `10.0.0.N`: flags r(eady) s(erving) t(erminating) l(ocal), `z=a` zone hint, `n=b` node hint.
fn endpoint(text: &str) -> Endpoint {
    let mut words = text.split(' ');
    let last = words.next().unwrap();
    let flags = words.next().unwrap();
    let mut endpoint = Endpoint {
        address: format!("10.0.0.{last}:80").parse().unwrap(),
        is_local: flags.contains('l'),
        is_elsewhere: !flags.contains('l'),
        is_ready: flags.contains('r'),
        is_serving: flags.contains('s'),
        is_terminating: flags.contains('t'),
        zone_hints: Default::default(),
        node_hints: Default::default(),
    };
    for hint in words {
        let (kind, value) = hint.split_once('=').unwrap();
        let hints = if kind == "z" { &mut endpoint.zone_hints } else { &mut endpoint.node_hints };
        hints.insert(value.to_string());
    }
    endpoint
}

fn port(internal_local: bool, external: Option<bool>) -> ServicePort {
    ServicePort {
        name: "ns/svc".into(),
        port_name: String::new(),
        protocol: "tcp".into(),
        cluster_ip: "10.96.0.1".parse().unwrap(),
        port: 80,
        node_port: if external.is_some() { 30000 } else { 0 },
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        load_balancer_source_ranges: Vec::new(),
        affinity_seconds: None,
        health_check_node_port: 0,
        external_policy_local: external == Some(true),
        internal_policy_local: internal_local,
    }
}

fn check(port: &ServicePort, endpoints: &[&str], cluster: &str, local: &str, has_any: bool) {
    let endpoints: Vec<Endpoint> = endpoints.iter().map(|text| endpoint(text)).collect();
    let node = NodeView { name: "b".into(), zone: "a".into() };
    let categories = categorize(port, &endpoints, &node);
    let lasts = |list: &[&Endpoint]| {
        let texts: Vec<String> = list.iter().map(|endpoint| endpoint.address.ip().to_string()).collect();
        texts.iter().filter_map(|text| text.rsplit('.').next()).collect::<Vec<_>>().join(",")
    };
    assert_eq!((lasts(&categories.cluster).as_str(), lasts(&categories.local).as_str()), (cluster, local));
    assert_eq!(categories.has_any, has_any);
}

#[test]
fn policies() {
    let endpoints = ["1 rs", "2 rsl", "3 -"];
    check(&port(false, None), &endpoints, "1,2", "", true);
    check(&port(true, None), &endpoints, "", "2", true);
    check(&port(false, Some(true)), &endpoints, "1,2", "2", true);
    check(&port(true, Some(false)), &endpoints, "1,2", "2", true);
    check(&port(true, None), &["1 rs"], "", "", true);
    check(&port(false, None), &["3 -"], "", "", false);
    check(&port(false, None), &[], "", "", false);
}

#[test]
fn terminating_endpoints_are_the_last_resort() {
    check(&port(false, None), &["1 st", "2 t"], "1", "", true);
    check(&port(false, None), &["1 st", "2 rs"], "2", "", true);
    check(&port(false, Some(true)), &["1 stl", "2 rs"], "2", "1", true);
    check(&port(true, None), &["1 st", "2 stl"], "", "2", true);
}

#[test]
fn hints_hold_when_all_have_them_and_one_is_ours() {
    check(&port(false, None), &["1 rs z=a", "2 rs z=b"], "1", "", true);
    check(&port(false, None), &["1 rs z=a", "2 rs"], "1,2", "", true);
    check(&port(false, None), &["1 rs z=c", "2 rs z=b"], "1,2", "", true);
    check(&port(false, None), &["1 rs z=a n=b", "2 rs z=a n=c"], "1", "", true);
    check(&port(false, None), &["1 rs z=a n=d", "2 rs z=b n=c"], "1", "", true);
    check(&port(false, Some(true)), &["1 rs z=a", "2 rsl z=b"], "1", "2", true);
}
