//! Which addresses a Service of type LoadBalancer has.
//!
//! Pure. Concepts: "Service", "type: LoadBalancer".

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service};

use super::pool::Pool;

#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    Nothing,
    Give(LoadBalancerStatus),
    TakeBack,
    /// It gets none, and why.
    Refuse(String),
}

/// Whether the Service is this controller's to serve: of the type, and of no other implementation's class.
pub(super) fn is_ours(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none())
}

/// The addresses that a Service says it has.
pub(super) fn held(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = status.into_iter().flat_map(|s| s.ingress.iter().flatten());
    ingress.filter_map(|i| i.ip.as_ref()?.parse().ok())
}

/// `taken` are the addresses of all other Services.
pub(super) fn decide(service: &Service, pool: &Pool, taken: &HashSet<IpAddr>) -> Decision {
    let going = service.metadata.deletion_timestamp.is_some();
    if going || !is_ours(service) {
        let ours = held(service).any(|address| pool.contains(address));
        let foreign = service.spec.as_ref().is_some_and(|s| s.load_balancer_class.is_some());
        return if ours && !going && !foreign { Decision::TakeBack } else { Decision::Nothing };
    }
    let Some(spec) = &service.spec else { return Decision::Nothing };
    let families = spec.ip_families.clone().unwrap_or_else(|| vec!["IPv4".into()]);
    let wished = spec.load_balancer_ip.as_deref().filter(|ip| !ip.is_empty());
    let mut addresses = Vec::new();
    for v6 in families.iter().map(|family| family == "IPv6") {
        match address(service, pool, taken, v6, wished) {
            Ok(address) => addresses.push(address),
            Err(why) => return Decision::Refuse(why),
        }
    }
    let ingress = |address: &IpAddr| LoadBalancerIngress {
        ip: Some(address.to_string()),
        ip_mode: Some("VIP".into()),
        ..Default::default()
    };
    match held(service).eq(addresses.iter().copied()) {
        true => Decision::Nothing,
        false => Decision::Give(LoadBalancerStatus { ingress: Some(addresses.iter().map(ingress).collect()) }),
    }
}

/// What it asks for, else what it has, else the first that is free.
fn address(
    service: &Service,
    pool: &Pool,
    taken: &HashSet<IpAddr>,
    v6: bool,
    wished: Option<&str>,
) -> Result<IpAddr, String> {
    let wished = wished.map(|ip| ip.parse::<IpAddr>().map_err(|_| format!("loadBalancerIP {ip:?} is no address")));
    if let Some(wished) = wished.transpose()?.filter(|ip| ip.is_ipv6() == v6) {
        return match (pool.contains(wished), taken.contains(&wished)) {
            (false, _) => Err(format!("address {wished} is not in the pool")),
            (true, true) => Err(format!("address {wished} is another Service's")),
            (true, false) => Ok(wished),
        };
    }
    let kept = held(service).find(|a| a.is_ipv6() == v6 && pool.contains(*a) && !taken.contains(a));
    let family = if v6 { "IPv6" } else { "IPv4" };
    kept.or_else(|| pool.free(v6, taken)).ok_or_else(|| format!("no {family} address of the pool is free"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value, has: &[&str]) -> Service {
        let ingress: Vec<Value> = has.iter().map(|ip| json!({"ip": ip})).collect();
        serde_json::from_value(
            json!({"metadata": {"name": "s"}, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}}),
        )
        .unwrap()
    }

    fn word(decision: Decision) -> String {
        match decision {
            Decision::Nothing => "nothing".into(),
            Decision::TakeBack => "back".into(),
            Decision::Refuse(why) => why,
            Decision::Give(status) => {
                status.ingress.unwrap().into_iter().filter_map(|i| i.ip).collect::<Vec<_>>().join(",")
            }
        }
    }

    #[test]
    fn addresses() {
        let pool = Pool::parse(&["192.0.2.1-192.0.2.2".into(), "2001:db8::1".into()]).unwrap();
        let none = HashSet::new();
        let full: HashSet<IpAddr> = ["192.0.2.1", "192.0.2.2"].map(|a| a.parse().unwrap()).into();
        let first: HashSet<IpAddr> = ["192.0.2.1".parse().unwrap()].into();
        let plain = || json!({"type": "LoadBalancer"});
        let dual = || json!({"type": "LoadBalancer", "ipFamilies": ["IPv6", "IPv4"]});
        let asks = |ip: &str| json!({"type": "LoadBalancer", "loadBalancerIP": ip});
        let rows: [(Value, &[&str], &HashSet<IpAddr>, &str); 14] = [
            (plain(), &[], &none, "192.0.2.1"),
            (plain(), &[], &first, "192.0.2.2"),
            (plain(), &["192.0.2.2"], &none, "nothing"),
            (plain(), &["192.0.2.1"], &first, "192.0.2.2"),
            (plain(), &["203.0.113.1"], &none, "192.0.2.1"),
            (plain(), &[], &full, "no IPv4 address of the pool is free"),
            (dual(), &[], &none, "2001:db8::1,192.0.2.1"),
            (asks("192.0.2.2"), &[], &none, "192.0.2.2"),
            (asks("192.0.2.1"), &[], &first, "address 192.0.2.1 is another Service's"),
            (asks("203.0.113.1"), &[], &none, "address 203.0.113.1 is not in the pool"),
            (json!({"type": "ClusterIP"}), &["192.0.2.1"], &none, "back"),
            (json!({"type": "ClusterIP"}), &["203.0.113.1"], &none, "nothing"),
            (json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/x"}), &["192.0.2.1"], &none, "nothing"),
            (json!({"type": "NodePort"}), &[], &none, "nothing"),
        ];
        for (spec, has, taken, want) in rows {
            assert_eq!(word(decide(&service(spec.clone(), has), &pool, taken)), want, "{spec} {has:?}");
        }
    }
}
