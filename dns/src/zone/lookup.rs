//! What stands at a name of the zone. Pure.

use std::net::IpAddr;

use super::{Endpoint, Entry, Port, Zone};

/// A name's place in the zone.
#[derive(Debug, PartialEq)]
pub(crate) enum Place<'a> {
    /// There is no such name, nor any below it.
    Nothing,
    /// The name exists, or names below it do; it has no records.
    Empty,
    Apex,
    /// `dns-version`: which version of the specification this is.
    Version,
    /// `ns.dns`: the server itself.
    Server,
    Service(&'a Entry),
    /// A named port of a Service with virtual addresses.
    Port(&'a Port),
    /// The endpoints of a headless Service that have a port of that name, and its numbers.
    EndpointPorts(Vec<(&'a Endpoint, &'a Port)>),
    /// The endpoints of one name below a headless Service.
    Endpoints(Vec<&'a Endpoint>),
    Pod(IpAddr),
}

impl Zone {
    /// What stands at `labels` below the origin, all in lower case.
    pub(crate) fn at(&self, labels: &[&str]) -> Place<'_> {
        match labels {
            [] => Place::Apex,
            ["dns-version"] => Place::Version,
            ["dns"] | ["svc"] | ["pod"] => Place::Empty,
            ["ns", "dns"] => Place::Server,
            [namespace, "svc" | "pod"] if self.namespaces.contains_key(*namespace) => Place::Empty,
            [name, namespace, "svc"] => match self.service(namespace, name) {
                // The specification's word for it (2.4.1): with no endpoint there is no such name.
                Some(Entry::Headless { endpoints }) if endpoints.is_empty() => Place::Nothing,
                entry => entry.map_or(Place::Nothing, Place::Service),
            },
            [label, name, namespace, "svc"] => match (self.service(namespace, name), label.strip_prefix('_')) {
                (Some(entry), Some(protocol)) => entry.protocol(protocol),
                (Some(Entry::Headless { endpoints }), None) => {
                    found(endpoints.iter().filter(|endpoint| endpoint.host == *label).collect(), Place::Endpoints)
                }
                _ => Place::Nothing,
            },
            [port, protocol, name, namespace, "svc"] => {
                let entry = self.service(namespace, name);
                let names = port.strip_prefix('_').zip(protocol.strip_prefix('_'));
                entry.zip(names).map_or(Place::Nothing, |(entry, (port, protocol))| entry.port(port, protocol))
            }
            [address, namespace, "pod"] if self.namespaces.contains_key(*namespace) => {
                pod_address(address).map_or(Place::Nothing, Place::Pod)
            }
            _ => Place::Nothing,
        }
    }

    /// The names that a pod's resolver would try after `labels` was no name, if its first search domain was the end of
    /// `labels`: as labels below the origin, and the name that the program meant.
    ///
    /// Only for what has two labels or more before the namespace: a single label is a Service of that namespace, and
    /// one before a Service that exists is one of its endpoints. For these "there is no such name" is the answer.
    pub(crate) fn search<'l>(&self, labels: &'l [&'l str]) -> Option<(Vec<Vec<&'l str>>, &'l [&'l str])> {
        let [meant @ .., namespace, "svc"] = labels else { return None };
        let service = meant.last()?;
        let is_searched =
            meant.len() > 1 && self.namespaces.contains_key(*namespace) && self.service(namespace, service).is_none();
        is_searched.then(|| (vec![[meant, &["svc"]].concat(), meant.to_vec()], meant))
    }

    fn service(&self, namespace: &str, name: &str) -> Option<&Entry> {
        self.namespaces.get(namespace)?.services.get(name)
    }
}

impl Entry {
    /// `_tcp`: no records, but SRV names below when a named port has that protocol.
    fn protocol(&self, protocol: &str) -> Place<'_> {
        let is_named = |port: &Port| !port.name.is_empty() && port.protocol == protocol;
        let exists = match self {
            Entry::Cluster { ports, .. } => ports.iter().any(is_named),
            Entry::Headless { endpoints } => endpoints.iter().any(|endpoint| endpoint.ports.iter().any(is_named)),
            Entry::External { .. } => false,
        };
        if exists { Place::Empty } else { Place::Nothing }
    }

    fn port(&self, name: &str, protocol: &str) -> Place<'_> {
        let is_wanted = |port: &&Port| !name.is_empty() && port.name == name && port.protocol == protocol;
        match self {
            Entry::Cluster { ports, .. } => ports.iter().find(is_wanted).map_or(Place::Nothing, Place::Port),
            Entry::Headless { endpoints } => {
                let pairs = endpoints
                    .iter()
                    .flat_map(|endpoint| endpoint.ports.iter().filter(is_wanted).map(move |port| (endpoint, port)));
                found(pairs.collect(), Place::EndpointPorts)
            }
            Entry::External { .. } => Place::Nothing,
        }
    }
}

fn found<'a, T>(list: Vec<T>, place: fn(Vec<T>) -> Place<'a>) -> Place<'a> {
    if list.is_empty() { Place::Nothing } else { place(list) }
}

/// `10-1-0-7` or `fd00--7`, back to the address.
fn pod_address(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse().or_else(|_| label.replace('-', ":").parse()).ok()
}
