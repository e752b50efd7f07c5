//! The slices that say what an Endpoints object says.
//!
//! Enter by [`plan`]. Pure: one slice for each set of ports and address family.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::common::map;
use crate::common::owner::controller_ref;
use crate::common::subsets::repacked;

pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Elections of old were held on Endpoints.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const NOT_COPIED: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<EndpointSlice>,
    pub(super) skipped: Skipped,
}

/// Addresses that are not mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    /// They are none.
    pub(super) invalid: usize,
    /// All, with those beyond the most that a subset may have.
    pub(super) all: usize,
}

pub(super) fn is_mirrored(endpoints: &Endpoints) -> bool {
    let skipped = map(&endpoints.metadata.labels).get(SKIP).is_some_and(|v| v == "true");
    !skipped && !map(&endpoints.metadata.annotations).contains_key(LEADER)
}

/// Name, number, protocol and application protocol of each port.
type Ports = Vec<(String, i32, String, Option<String>)>;

/// `existing` are the slices that this controller has made for the object's name.
pub(super) fn plan(endpoints: &Endpoints, existing: &[Arc<EndpointSlice>], max_per_subset: usize) -> Plan {
    let (mut wanted, skipped) = wanted(endpoints, max_per_subset);
    let mut plan = Plan { skipped, ..Plan::default() };
    for slice in existing {
        let key = (slice.address_type.clone(), ports_key(slice.ports.as_deref().unwrap_or_default()));
        match wanted.remove(&key) {
            Some(new) if says_the_same(slice, &new) => {}
            Some(new) => plan.update.push(in_place_of(slice, new)),
            // Another one of these ports has it all, or they are not wanted any more.
            None => plan.delete.push((**slice).clone()),
        }
    }
    plan.create.extend(wanted.into_values());
    recycle(&mut plan);
    plan
}

fn in_place_of(old: &EndpointSlice, new: EndpointSlice) -> EndpointSlice {
    let mut changed = old.clone();
    changed.ports = new.ports;
    changed.endpoints = new.endpoints;
    changed.metadata.labels = new.metadata.labels;
    changed.metadata.annotations = new.metadata.annotations;
    changed.metadata.owner_references = new.metadata.owner_references;
    changed
}

/// A slice to be made takes the place of one of its family that goes: one write for two.
fn recycle(plan: &mut Plan) {
    for new in std::mem::take(&mut plan.create) {
        match plan.delete.iter().position(|old| old.address_type == new.address_type) {
            Some(place) => plan.update.push(in_place_of(&plan.delete.remove(place), new)),
            None => plan.create.push(new),
        }
    }
}

fn says_the_same(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    old.endpoints.as_deref().unwrap_or_default() == new.endpoints.as_deref().unwrap_or_default()
        && map(&old.metadata.labels) == map(&new.metadata.labels)
        && map(&old.metadata.annotations) == map(&new.metadata.annotations)
        && old.metadata.owner_references == new.metadata.owner_references
}

fn wanted(endpoints: &Endpoints, max_per_subset: usize) -> (BTreeMap<(String, Ports), EndpointSlice>, Skipped) {
    let mut slices: BTreeMap<(String, Ports), EndpointSlice> = BTreeMap::new();
    let mut skipped = Skipped::default();
    for subset in repacked(endpoints.subsets.as_deref().unwrap_or_default()) {
        let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let others = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
        let mut mirrored = 0;
        for (address, ready) in ready.chain(others) {
            let ip = match address.ip.parse::<IpAddr>() {
                _ if mirrored == max_per_subset => {
                    skipped.all += 1;
                    continue;
                }
                Err(_) => {
                    skipped.invalid += 1;
                    skipped.all += 1;
                    continue;
                }
                Ok(ip) => ip,
            };
            mirrored += 1;
            let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let key = (family.to_owned(), ports_key(&ports));
            let slice = slices.entry(key).or_insert_with(|| empty(endpoints, ports.clone(), family));
            slice.endpoints.get_or_insert_default().push(endpoint(address, ip, ready));
        }
    }
    (slices, skipped)
}

fn ports_key(ports: &[EndpointPort]) -> Ports {
    let mut key: Ports = ports
        .iter()
        .map(|p| {
            let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".into());
            (p.name.clone().unwrap_or_default(), p.port.unwrap_or(0), protocol, p.app_protocol.clone())
        })
        .collect();
    key.sort();
    key
}

fn port(port: &k8s_openapi::api::core::v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: address.hostname.clone().filter(|h| !h.is_empty()),
        ..Default::default()
    }
}

fn empty(endpoints: &Endpoints, ports: Vec<EndpointPort>, family: &str) -> EndpointSlice {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = map(&endpoints.metadata.labels).clone();
    labels.insert(SERVICE_NAME.into(), name.clone());
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    let mut annotations = map(&endpoints.metadata.annotations).clone();
    annotations.retain(|key, _| !NOT_COPIED.contains(&key.as_str()));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![controller_ref(endpoints)]),
            ..Default::default()
        },
        address_type: family.to_owned(),
        ports: Some(ports),
        endpoints: Some(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoints(subsets: serde_json::Value) -> Endpoints {
        serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "n", "uid": "e", "labels": {"a": "b"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "c": "d"}}, "subsets": subsets}))
        .unwrap()
    }

    fn stored(plan: Plan) -> Vec<Arc<EndpointSlice>> {
        let named = plan.create.into_iter().enumerate().map(|(i, mut slice)| {
            slice.metadata.name = Some(format!("db-{i}"));
            Arc::new(slice)
        });
        named.collect()
    }

    #[test]
    fn one_slice_a_family_and_set_of_ports() {
        let both = endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"port": 80}]}]));
        let first = plan(&both, &[], 1000);
        let value = serde_json::to_value(&first.create[0]).unwrap();
        assert_eq!(first.create.len(), 2);
        assert_eq!(value["metadata"]["annotations"], json!({"c": "d"}));
        assert_eq!(value["metadata"]["ownerReferences"][0]["kind"], "Endpoints");
        assert_eq!(value["ports"], json!([{"name": "", "port": 80, "protocol": "TCP"}]));
        assert_eq!(
            value["endpoints"],
            json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}])
        );
        let slices = stored(first);
        assert_eq!(plan(&both, &slices, 1000), Plan::default());

        let fewer = endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]));
        let change = plan(&fewer, &slices, 1000);
        assert_eq!((change.create.len(), change.update.len(), change.delete.len()), (0, 1, 1));
        let moved = endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 81}]}]));
        let change = plan(&moved, &slices, 1000);
        // The old slice of the family takes the new ports.
        assert_eq!((change.create.len(), change.update.len(), change.delete.len()), (0, 1, 1));
        let renamed = &change.update[0];
        assert_eq!(
            (renamed.metadata.name.as_deref(), renamed.ports.as_ref().unwrap()[0].port),
            (Some("db-0"), Some(81))
        );
        assert_eq!(plan(&endpoints(json!([])), &slices, 1000).delete.len(), 2);
    }

    #[test]
    fn subsets_of_the_same_ports_are_one_slice() {
        let twice = endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]},
            {"addresses": [{"ip": "10.0.0.2"}], "notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]));
        let first = plan(&twice, &[], 1000);
        let endpoints = serde_json::to_value(&first.create[0].endpoints).unwrap();
        let one = |ip: &str, ready: bool| json!({"addresses": [ip], "conditions": {"ready": ready}});
        assert_eq!(endpoints, json!([one("10.0.0.2", true), one("10.0.0.1", false)]));
        let mut doubled = stored(plan(&twice, &[], 1000));
        let mut second = (*doubled[0]).clone();
        second.metadata.name = Some("db-second".into());
        doubled.push(Arc::new(second));
        let change = plan(&twice, &doubled, 1000);
        assert_eq!((change.create.len(), change.update.len(), change.delete.len()), (0, 0, 1));
        assert_eq!(change.delete[0].metadata.name.as_deref(), Some("db-second"));
    }

    #[test]
    fn what_is_skipped_is_counted() {
        let subset = |ips: &[&str], port: i32| {
            let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
            json!({"addresses": addresses, "ports": [{"port": port}]})
        };
        let rows = [
            (vec![subset(&["10.0.0.1"], 80)], (0, 0)),
            (vec![subset(&["10.0.0.1", "here"], 80)], (1, 1)),
            (vec![subset(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], 80)], (0, 1)),
            (vec![subset(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], 80), subset(&["there"], 81)], (1, 2)),
        ];
        for (subsets, (invalid, all)) in rows {
            assert_eq!(plan(&endpoints(json!(subsets)), &[], 2).skipped, Skipped { invalid, all }, "{subsets:?}");
        }
    }

    #[test]
    fn some_are_not_mirrored() {
        let mut own = endpoints(json!([]));
        assert!(is_mirrored(&own));
        own.metadata.labels.as_mut().unwrap().insert(SKIP.into(), "true".into());
        assert!(!is_mirrored(&own));
    }
}
