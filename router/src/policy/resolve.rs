//! Who and what one rule of a policy means, as addresses and numbers. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::view::{self, Labels, Rule};
use super::{Allow, Cluster, Direction, Peers, Pod, Policy, Ports, Protocol};

/// The label of cluster DNS's pods in every cluster, which policies that let names be resolved select.
const NAME_SERVER_LABEL: (&str, &str) = ("k8s-app", "kube-dns");
const NAME_SERVER_NAMESPACE: &str = "kube-system";
const NAME_PORT: u16 = 53;

/// What a rule lets through. A named port is the port of that name of the pod that is asked: for ingress `pod` itself,
/// for egress each peer.
pub(super) fn allows(cluster: &Cluster, policy: &Policy, rule: &Rule, direction: Direction, pod: &Pod) -> Vec<Allow> {
    let peers = peers(cluster, policy, rule);
    let mut allows = Vec::new();
    for ports in ports(&rule.ports, |name, protocol| named(pod, name, protocol), direction == Direction::Ingress) {
        allows.extend(peers.iter().map(|peers| Allow { peers: peers.clone(), ports: ports.clone() }));
    }
    if direction == Direction::Egress {
        allows.extend(named_at_peers(cluster, policy, rule));
    }
    allows
}

/// Whether a rule for egress lets names be resolved: at port 53, to everyone or to cluster DNS's pods. The server may
/// be no pod, and is found by the pods' usual label nevertheless.
pub(super) fn allows_names(cluster: &Cluster, policy: &Policy, rule: &Rule) -> bool {
    let labels = Labels::from([(NAME_SERVER_LABEL.0.to_owned(), NAME_SERVER_LABEL.1.to_owned())]);
    let server = |peer: &NetworkPolicyPeer| {
        peer.ip_block.is_none() && selects(cluster, policy, peer, NAME_SERVER_NAMESPACE, &labels)
    };
    let has_port = rule.ports.is_empty()
        || ports(&rule.ports, |_, _| None, true).iter().any(|ports| match ports {
            Ports::All => true,
            Ports::AllOf(protocol) => *protocol != Protocol::Sctp,
            Ports::Some { ranges, .. } => ranges.iter().any(|(first, last)| (*first..=*last).contains(&NAME_PORT)),
        });
    has_port && (rule.peers.is_empty() || rule.peers.iter().any(server))
}

/// The rule's peers; all pods together, each block by itself.
fn peers(cluster: &Cluster, policy: &Policy, rule: &Rule) -> Vec<Peers> {
    if rule.peers.is_empty() {
        return vec![Peers::Everyone];
    }
    let mut found: Vec<Peers> = rule.peers.iter().filter_map(block).collect();
    let pods = cluster.pods.iter().filter(|pod| is_peer(cluster, policy, rule, pod));
    let addresses: BTreeSet<IpAddr> = pods.flat_map(|pod| pod.addresses.iter().copied()).collect();
    if !addresses.is_empty() {
        found.push(Peers::Addresses(addresses));
    }
    found
}

fn block(peer: &NetworkPolicyPeer) -> Option<Peers> {
    let block = peer.ip_block.as_ref()?;
    let except = block.except.iter().flatten().filter_map(|text| text.parse::<IpNet>().ok()).map(|net| net.trunc());
    Some(Peers::Block { block: block.cidr.parse::<IpNet>().ok()?.trunc(), except: except.collect() })
}

/// A pod of the node's own network has the node's address, and is not told from the node's other programs.
fn is_peer(cluster: &Cluster, policy: &Policy, rule: &Rule, pod: &Pod) -> bool {
    !pod.is_host_network
        && !pod.is_finished
        && rule.peers.iter().any(|peer| selects(cluster, policy, peer, pod.namespace(), &pod.labels))
}

/// Without a namespace selector pods of the policy's namespace are meant, without a pod selector all of a namespace.
fn selects(cluster: &Cluster, policy: &Policy, peer: &NetworkPolicyPeer, namespace: &str, labels: &Labels) -> bool {
    if peer.pod_selector.is_none() && peer.namespace_selector.is_none() {
        return false;
    }
    let in_namespace = match &peer.namespace_selector {
        None => namespace == policy.namespace,
        Some(selector) => cluster
            .namespace_labels(namespace)
            .is_some_and(|labels| view::matches(view::selector(selector).as_ref(), labels)),
    };
    in_namespace
        && peer.pod_selector.as_ref().is_none_or(|selector| view::matches(view::selector(selector).as_ref(), labels))
}

/// The rule's ports, gathered by protocol. `is_named` is false where names are resolved elsewhere.
fn ports(ports: &[NetworkPolicyPort], number_of: impl Fn(&str, Protocol) -> Option<u16>, is_named: bool) -> Vec<Ports> {
    if ports.is_empty() {
        return vec![Ports::All];
    }
    let mut found = Vec::new();
    let mut ranges: BTreeMap<Protocol, BTreeSet<(u16, u16)>> = BTreeMap::new();
    for port in ports {
        let Some(protocol) = Protocol::of(port.protocol.as_deref()) else { continue };
        let number = |value: i32| u16::try_from(value).ok();
        let range = match &port.port {
            None => {
                found.push(Ports::AllOf(protocol));
                None
            }
            Some(IntOrString::Int(first)) => number(*first).zip(number(port.end_port.unwrap_or(*first))),
            Some(IntOrString::String(name)) if is_named => number_of(name, protocol).map(|number| (number, number)),
            Some(IntOrString::String(_)) => None,
        };
        if let Some((first, last)) = range.filter(|(first, last)| first <= last) {
            ranges.entry(protocol).or_default().insert((first, last));
        }
    }
    found.extend(ranges.into_iter().map(|(protocol, ranges)| Ports::Some { protocol, ranges }));
    found
}

fn named(pod: &Pod, name: &str, protocol: Protocol) -> Option<u16> {
    pod.ports.iter().find(|(known, of, _)| **known == *name && *of == protocol).map(|(_, _, number)| *number)
}

/// For egress: each peer by the numbers that it gives the rule's names.
fn named_at_peers(cluster: &Cluster, policy: &Policy, rule: &Rule) -> Vec<Allow> {
    let names = rule.ports.iter().filter_map(|port| match &port.port {
        Some(IntOrString::String(name)) => Some((name, Protocol::of(port.protocol.as_deref())?)),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    let is_peer = |pod: &&Arc<Pod>| match rule.peers.is_empty() {
        true => !pod.is_host_network && !pod.is_finished,
        false => is_peer(cluster, policy, rule, pod),
    };
    let mut found: BTreeMap<(Protocol, u16), BTreeSet<IpAddr>> = BTreeMap::new();
    for pod in cluster.pods.iter().filter(|_| !names.is_empty()).filter(is_peer) {
        for (name, protocol) in &names {
            if let Some(number) = named(pod, name, *protocol) {
                found.entry((*protocol, number)).or_default().extend(pod.addresses.iter());
            }
        }
    }
    let allow = |((protocol, number), addresses)| Allow {
        peers: Peers::Addresses(addresses),
        ports: Ports::Some { protocol, ranges: BTreeSet::from([(number, number)]) },
    };
    found.into_iter().map(allow).collect()
}
