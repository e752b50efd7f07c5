//! `spec.healthCheckNodePort`: load balancers ask a node on this port whether it has endpoints of the Service.
//!
//! [`ServiceHealth`] knows which ports are to be open on which addresses, and keeps one task an address (`listener`).
//! `answer` says what is answered there, `addresses` which of this host's are served. Knows no rules.

mod addresses;
mod answer;
mod listener;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use component::recorder::{Recorder, Type};
use component::shutdown::Shutdown;
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::Notify;

pub(crate) use self::addresses::Watch;
use crate::health::Health;
use crate::iptables::NodePorts;
use crate::mode::Ports;
use crate::model::{Endpoint, Family, ServicePort};

/// An event's reason.
const NOT_STARTED: &str = "FailedToStartServiceHealthcheck";

/// The ports of one family.
pub(crate) struct ServiceHealth {
    family: Family,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    node_ports: NodePorts,
    /// What ends each task.
    listeners: BTreeMap<SocketAddr, Shutdown>,
}

/// Of the tasks, too.
struct Shared {
    node_name: String,
    recorder: Recorder,
    health: Health,
    /// By `namespace/name`.
    services: Mutex<BTreeMap<String, Open>>,
    /// Services were set, or this host's addresses changed: what could not be opened is tried again.
    changed: Notify,
}

/// One Service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    port: u16,
    local_endpoints: usize,
}

impl ServiceHealth {
    pub(crate) fn new(family: Family, node_name: &str, health: Health, recorder: Recorder, shutdown: Shutdown) -> Self {
        let (services, changed) = (Mutex::default(), Notify::new());
        let shared = Shared { node_name: node_name.to_owned(), recorder, health, services, changed };
        let (node_ports, listeners) = (NodePorts::Everywhere, BTreeMap::new());
        ServiceHealth { family, shared: Arc::new(shared), shutdown, node_ports, listeners }
    }

    /// Takes what changed Services ask for, and where NodePorts are served: there their health is, too.
    pub(crate) fn set(&mut self, services: &BTreeMap<String, Ports>, node_ports: &NodePorts) {
        self.shared.take(services);
        self.node_ports.clone_from(node_ports);
        self.look_at_addresses();
    }

    /// Follows this host's addresses: those that stay are not disturbed.
    pub(crate) fn look_at_addresses(&mut self) {
        let is_any = self.shared.with(|open| !open.is_empty());
        self.listen(if is_any { addresses::served(self.family, &self.node_ports) } else { Ok(Vec::new()) });
    }

    /// On addresses that cannot be listed now nothing changes but the ports.
    fn listen(&mut self, served: io::Result<Vec<IpAddr>>) {
        // Also when all are the same: the kernel tells of an IPv6 address before and after it may be used.
        self.shared.changed.notify_waiters();
        let served = served.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot list this node's addresses");
            self.listeners.keys().map(SocketAddr::ip).collect()
        });
        let ports: BTreeSet<u16> = self.shared.with(|open| open.values().map(|open| open.port).collect());
        let on = |port: &u16| served.iter().map(|ip| SocketAddr::new(*ip, *port)).collect::<Vec<_>>();
        let wanted: BTreeSet<SocketAddr> = ports.iter().flat_map(on).collect();
        if self.listeners.keys().eq(&wanted) {
            return;
        }
        self.listeners.retain(|address, shutdown| {
            let stays = wanted.contains(address);
            if !stays {
                shutdown.trigger();
            }
            stays
        });
        for address in wanted {
            self.listeners.entry(address).or_insert_with(|| {
                let shutdown = self.shutdown.child();
                tokio::spawn(listener::keep(address, self.shared.clone(), shutdown.clone()));
                shutdown
            });
        }
    }
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Open>) -> T) -> T {
        work(&mut self.services.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, services: &BTreeMap<String, Ports>) {
        self.with(|open| {
            for (service, ports) in services {
                match wanted(ports) {
                    Some(wanted) => open.insert(service.clone(), wanted),
                    None => open.remove(service),
                };
            }
        });
    }

    /// The Service that has this port (the API gives it to no other), and its endpoints here.
    fn service(&self, port: u16) -> Option<(String, usize)> {
        self.with(|open| {
            let (service, open) = open.iter().find(|(_, open)| open.port == port)?;
            Some((service.clone(), open.local_endpoints))
        })
    }

    /// Tells, as upstream's does, that a Service's port is not served, unless that one was `told`. Who knows now.
    fn tell(&self, port: u16, told: Option<String>, error: &io::Error) -> Option<String> {
        let (service, _) = self.service(port)?;
        if told.as_ref() == Some(&service) {
            return told;
        }
        let message =
            format!("node {} failed to start healthcheck {service:?} on port {port}: {error}", self.node_name);
        tracing::error!("{message}");
        let (namespace, name) = names(&service);
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Service".into()),
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            ..ObjectReference::default()
        };
        self.recorder.event_about(&regarding, Type::Warning, NOT_STARTED, message);
        Some(service)
    }
}

fn names(service: &str) -> (&str, &str) {
    service.split_once('/').unwrap_or(("", service))
}

fn wanted(ports: &Ports) -> Option<Open> {
    let port = ports.iter().map(|(port, _)| port.health_check_node_port).find(|port| *port != 0)?;
    Some(Open { port, local_endpoints: local_endpoints(ports) })
}

/// The pods of this node that are ready for any of the ports.
fn local_endpoints(ports: &[(ServicePort, Vec<Endpoint>)]) -> usize {
    let endpoints = ports.iter().flat_map(|(_, endpoints)| endpoints);
    let ours = endpoints.filter(|endpoint| endpoint.is_local && endpoint.is_ready);
    ours.map(|endpoint| endpoint.address.ip()).collect::<BTreeSet<IpAddr>>().len()
}
