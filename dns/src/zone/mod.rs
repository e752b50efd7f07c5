//! The cluster's names as data: Services by namespace, and the names that addresses have.
//!
//! Pure. `entry` makes a Service's part of it from API objects, `lookup` says what stands at a name. Rule: "Kubernetes
//! DNS-Based Service Discovery" 1.1.0 (kubernetes/dns, docs/specification.md).

mod entry;
mod lookup;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;

use hickory_proto::rr::Name;

pub(crate) use entry::{Endpoint, Entry, Port, entry};
pub(crate) use lookup::Place;

/// Everything that can be answered without asking others.
#[derive(Debug)]
pub(crate) struct Zone {
    /// The cluster domain, such as `cluster.local.`.
    pub(crate) origin: Name,
    /// Addresses of `ns.dns.<origin>`: those that clients ask at.
    pub(crate) servers: Vec<IpAddr>,
    /// Changes with the zone: seconds since 1970 of the last change.
    pub(crate) serial: u32,
    /// Whether the first lists are in. Before, a name that is not here may well exist.
    pub(crate) is_complete: bool,
    namespaces: HashMap<String, Namespace>,
    reverse: HashMap<IpAddr, Vec<Name>>,
}

#[derive(Debug, Default)]
struct Namespace {
    /// The Namespace object is there.
    exists: bool,
    services: HashMap<String, Entry>,
}

impl Zone {
    pub(crate) fn new(origin: Name, servers: Vec<IpAddr>) -> Zone {
        let origin = origin.to_lowercase();
        Zone { origin, servers, serial: 0, is_complete: false, namespaces: HashMap::new(), reverse: HashMap::new() }
    }

    pub(crate) fn set_namespace(&mut self, name: &str, exists: bool) {
        let namespace = self.namespaces.entry(name.to_owned()).or_default();
        namespace.exists = exists;
        if !exists && namespace.services.is_empty() {
            self.namespaces.remove(name);
        }
    }

    /// Puts a Service in, in another's place, or takes it out.
    pub(crate) fn set_service(&mut self, namespace: &str, name: &str, entry: Option<Entry>) {
        let old = match self.namespaces.get_mut(namespace) {
            Some(known) => known.services.remove(name),
            None => None,
        };
        for (address, full) in old.iter().flat_map(|old| self.reverse_names(namespace, name, old)).collect::<Vec<_>>() {
            if let Some(names) = self.reverse.get_mut(&address) {
                names.retain(|known| *known != full);
                if names.is_empty() {
                    self.reverse.remove(&address);
                }
            }
        }
        let Some(entry) = entry else { return self.forget_empty(namespace) };
        for (address, full) in self.reverse_names(namespace, name, &entry) {
            self.reverse.entry(address).or_default().push(full);
        }
        self.namespaces.entry(namespace.to_owned()).or_default().services.insert(name.to_owned(), entry);
    }

    /// The names of an address, for PTR.
    pub(crate) fn names_of(&self, address: IpAddr) -> &[Name] {
        self.reverse.get(&address).map(Vec::as_slice).unwrap_or_default()
    }

    /// A name below the origin. `None` for labels that are too long to be one.
    pub(crate) fn name(&self, labels: &[&str]) -> Option<Name> {
        let labels = labels.iter().map(|label| label.as_bytes()).chain(self.origin.iter());
        Name::from_labels(labels).ok()
    }

    fn forget_empty(&mut self, namespace: &str) {
        if self.namespaces.get(namespace).is_some_and(|known| !known.exists && known.services.is_empty()) {
            self.namespaces.remove(namespace);
        }
    }

    fn reverse_names(&self, namespace: &str, name: &str, entry: &Entry) -> Vec<(IpAddr, Name)> {
        match entry {
            Entry::Cluster { addresses, .. } => {
                let full = self.name(&[name, namespace, "svc"]);
                addresses.iter().filter_map(|address| Some((*address, full.clone()?))).collect()
            }
            Entry::Headless { endpoints } => {
                let full = |endpoint: &Endpoint| self.name(&[&endpoint.host, name, namespace, "svc"]);
                endpoints.iter().filter_map(|endpoint| Some((endpoint.address, full(endpoint)?))).collect()
            }
            Entry::External { .. } => Vec::new(),
        }
    }
}
