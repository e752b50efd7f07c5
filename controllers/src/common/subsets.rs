//! Subsets of an Endpoints object in the one form that says a thing: each port with its addresses, and ports with the same
//! addresses in the same state together. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};

/// A port as a map key: name, number, protocol, application protocol; None for addresses without any.
pub(crate) type Port = Option<(String, i32, String, Option<String>)>;
/// An address, or what is none, with the UID of what is behind it.
type Key = (Result<IpAddr, String>, String);

#[derive(Default)]
pub(crate) struct Subsets {
    addresses: BTreeMap<Key, EndpointAddress>,
    ready_by_port: BTreeMap<Port, BTreeMap<Key, bool>>,
}

impl Subsets {
    /// Of two words about an address the worse one counts.
    pub(crate) fn add(&mut self, port: Port, address: EndpointAddress, ready: bool) {
        let uid = address.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
        let key: Key = (address.ip.parse().map_err(|_| address.ip.clone()), uid);
        *self.ready_by_port.entry(port).or_default().entry(key.clone()).or_insert(true) &= ready;
        self.addresses.entry(key).or_insert(address);
    }

    pub(crate) fn pack(self) -> Vec<EndpointSubset> {
        let mut ports_by_addresses: BTreeMap<BTreeMap<Key, bool>, Vec<EndpointPort>> = BTreeMap::new();
        for (port, state) in self.ready_by_port {
            ports_by_addresses.entry(state).or_default().extend(port.map(endpoint_port));
        }
        let subset = |(state, ports): (BTreeMap<Key, bool>, Vec<EndpointPort>)| {
            let of =
                |ready| state.iter().filter(move |(_, r)| **r == ready).map(|(key, _)| self.addresses[key].clone());
            EndpointSubset {
                addresses: non_empty(of(true).collect()),
                not_ready_addresses: non_empty(of(false).collect()),
                ports: non_empty(ports),
            }
        };
        ports_by_addresses.into_iter().map(subset).collect()
    }
}

fn endpoint_port((name, port, protocol, app_protocol): (String, i32, String, Option<String>)) -> EndpointPort {
    EndpointPort { name: Some(name).filter(|n| !n.is_empty()), port, protocol: Some(protocol), app_protocol }
}

pub(crate) fn non_empty<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

/// The same subsets, each thing said once.
pub(crate) fn repacked(given: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut packed = Subsets::default();
    for subset in given {
        let key = |port: &EndpointPort| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            Some((port.name.clone().unwrap_or_default(), port.port, protocol, port.app_protocol.clone()))
        };
        let ports: Vec<Port> = match subset.ports.as_deref().unwrap_or_default() {
            [] => vec![None],
            ports => ports.iter().map(key).collect(),
        };
        for port in ports {
            let ready = subset.addresses.iter().flatten().map(|address| (address, true));
            let others = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
            for (address, ready) in ready.chain(others) {
                packed.add(port.clone(), address.clone(), ready);
            }
        }
    }
    packed.pack()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_thing_is_said_once() {
        let subset = |ready: &[&str], others: &[&str], ports: &[i32]| {
            let ips = |ips: &[&str]| ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>();
            let ports: Vec<Value> = ports.iter().map(|port| json!({"port": port})).collect();
            json!({"addresses": ips(ready), "notReadyAddresses": ips(others), "ports": ports})
        };
        let told = |subsets: &[EndpointSubset]| -> Vec<(Vec<String>, Vec<String>, Vec<i32>)> {
            let ips = |all: &Option<Vec<EndpointAddress>>| all.iter().flatten().map(|a| a.ip.clone()).collect();
            let one = |s: &EndpointSubset| {
                let ports = s.ports.iter().flatten().map(|p| p.port).collect();
                (ips(&s.addresses), ips(&s.not_ready_addresses), ports)
            };
            subsets.iter().map(one).collect()
        };
        let rows = [
            (
                vec![subset(&["10.0.0.2", "10.0.0.10"], &[], &[80])],
                vec![subset(&["10.0.0.2", "10.0.0.10"], &[], &[80])],
            ),
            (
                vec![subset(&["10.0.0.1"], &[], &[80]), subset(&["10.0.0.2"], &[], &[80])],
                vec![subset(&["10.0.0.1", "10.0.0.2"], &[], &[80])],
            ),
            (
                vec![subset(&["10.0.0.1"], &[], &[80]), subset(&["10.0.0.1"], &[], &[81])],
                vec![subset(&["10.0.0.1"], &[], &[80, 81])],
            ),
            (
                vec![subset(&["10.0.0.1"], &[], &[80]), subset(&[], &["10.0.0.1"], &[80])],
                vec![subset(&[], &["10.0.0.1"], &[80])],
            ),
            (vec![subset(&["10.0.0.1", "here"], &[], &[])], vec![subset(&["10.0.0.1", "here"], &[], &[])]),
        ];
        for (given, want) in rows {
            let parse = |all: &[Value]| -> Vec<EndpointSubset> {
                all.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect()
            };
            assert_eq!(told(&repacked(&parse(&given))), told(&parse(&want)), "{given:?}");
        }
    }
}
