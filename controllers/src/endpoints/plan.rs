//! The Endpoints controller's core: the one Endpoints object of a Service.
//!
//! Enter by [`subsets`] and [`updated`]. Pure. Addresses that share the same ports share a subset. Concepts: "Service",
//! "Endpoints" (the older form of EndpointSlices, still read by many).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::common::pod::Pod;
use crate::common::service::{
    HEADLESS, belongs_in_endpoints, find_port, has_cluster_ip, hostname, pod_ips, protocol, publishes_not_ready,
    target_ref,
};
use crate::common::subsets::{Port, Subsets, non_empty};
use crate::common::trigger_times::TRIGGER_TIME;
use crate::common::{map, pods};

pub(super) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub(super) const CONTROLLER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// One Endpoints object holds at most so many addresses.
const MAX_CAPACITY: usize = 1000;

pub(super) fn subsets(service: &Service, spec: &ServiceSpec, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let mut subsets = Subsets::default();
    for pod in pods.iter().filter(|p| belongs_in_endpoints(p, publishes_not_ready(spec))) {
        let Some(ip) = pod_ip(spec, pod) else { continue };
        let ready = publishes_not_ready(spec) || pods::is_ready(pod);
        for port in ports(spec, pod) {
            subsets.add(port, address(service, pod, ip), ready);
        }
    }
    subsets.pack()
}

/// The pod's address of the Service's first family; without one, of the family of the Service's or the pod's address.
fn pod_ip(spec: &ServiceSpec, pod: &Pod) -> Option<IpAddr> {
    let family = spec.ip_families.as_ref().and_then(|f| f.first());
    let own = spec.cluster_ip.as_deref().filter(|_| has_cluster_ip(spec));
    let want_v6 = match (family, own) {
        (Some(family), _) => family == "IPv6",
        (None, Some(ip)) => ip.contains(':'),
        (None, None) => pod.status.as_ref().and_then(|s| s.pod_ip.as_deref()).is_some_and(|ip| ip.contains(':')),
    };
    pod_ips(pod).find(|ip| ip.is_ipv6() == want_v6)
}

fn address(service: &Service, pod: &Pod, ip: IpAddr) -> EndpointAddress {
    let node = pods::node_name(pod);
    EndpointAddress {
        ip: ip.to_string(),
        hostname: hostname(pod, service).cloned(),
        node_name: (!node.is_empty()).then(|| node.to_owned()),
        target_ref: Some(target_ref(pod)),
    }
}

fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<Port> {
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() {
        return if spec.cluster_ip.as_deref() == Some("None") { vec![None] } else { Vec::new() };
    }
    let key = |p: &k8s_openapi::api::core::v1::ServicePort| {
        let name = p.name.clone().unwrap_or_default();
        Some(Some((name, find_port(pod, p)?, protocol(p).to_owned(), p.app_protocol.clone())))
    };
    ports.iter().filter_map(key).collect()
}

/// The object to write, or None when `current` says all that already.
pub(super) fn updated(
    service: &Service,
    spec: &ServiceSpec,
    mut subsets: Vec<EndpointSubset>,
    current: Option<&Endpoints>,
) -> Option<Endpoints> {
    let mut labels = map(&service.metadata.labels).clone();
    labels.remove(HEADLESS);
    if !has_cluster_ip(spec) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    let over_capacity = truncate(&mut subsets);
    let mut new = current.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..Default::default()
        },
        ..Default::default()
    });
    new.subsets = non_empty(subsets);
    new.metadata.labels = Some(labels);
    let mut annotations = without_trigger(&new);
    match over_capacity {
        true => annotations.insert(OVER_CAPACITY.into(), "truncated".into()),
        false => annotations.remove(OVER_CAPACITY),
    };
    let same = current.is_some_and(|c| {
        canonical(&c.subsets) == canonical(&new.subsets)
            && map(&c.metadata.labels) == map(&new.metadata.labels)
            && without_trigger(c) == annotations
    });
    new.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    (!same).then_some(new)
}

/// The time of the change that caused a write tells of an older one as soon as there is a newer.
fn without_trigger(endpoints: &Endpoints) -> BTreeMap<String, String> {
    let mut annotations = map(&endpoints.metadata.annotations).clone();
    annotations.remove(TRIGGER_TIME);
    annotations
}

/// Subsets in an order that does not depend on who wrote them.
fn canonical(subsets: &Option<Vec<EndpointSubset>>) -> Vec<String> {
    let mut texts: Vec<String> = subsets
        .iter()
        .flatten()
        .map(|s| {
            let mut s = s.clone();
            for addresses in [&mut s.addresses, &mut s.not_ready_addresses].into_iter().flatten() {
                addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
            }
            if let Some(ports) = &mut s.ports {
                ports.sort_by(|a, b| (&a.name, a.port).cmp(&(&b.name, b.port)));
            }
            serde_json::to_string(&s).unwrap_or_default()
        })
        .collect();
    texts.sort();
    texts
}

/// Ready addresses are kept before others, and each subset gives up its share.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let count = |list: fn(&EndpointSubset) -> &Option<Vec<EndpointAddress>>, subsets: &[EndpointSubset]| {
        subsets.iter().map(|s| list(s).as_ref().map_or(0, Vec::len)).sum::<usize>()
    };
    let ready = count(|s| &s.addresses, subsets);
    let not_ready = count(|s| &s.not_ready_addresses, subsets);
    if ready + not_ready <= MAX_CAPACITY {
        return false;
    }
    let cut_ready = ready > MAX_CAPACITY;
    let (room, total) = if cut_ready { (MAX_CAPACITY, ready) } else { (MAX_CAPACITY - ready, not_ready) };
    let mut left = room;
    for subset in subsets {
        if cut_ready {
            subset.not_ready_addresses = None;
        }
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let Some(addresses) = list else { continue };
        let share = (addresses.len() * room).div_ceil(total).min(left);
        addresses.truncate(share);
        left -= addresses.len();
    }
    true
}
