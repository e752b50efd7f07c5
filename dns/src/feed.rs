//! Keeps the zone as the API says: informers in, entries out.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use component::clock::Clock;
use component::context::Context;
use component::informer::{Event, Informer};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;

use crate::clients::Clients;
use crate::zone::{Zone, entry};

/// The index of slices by their Service.
const BY_SERVICE: &str = "service";

/// Read by every answer, written by the watches. Cheap to clone.
pub(crate) struct Shared<T>(Arc<RwLock<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Shared<T> {
        Shared(Arc::new(RwLock::new(value)))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a Service's entry is made from.
#[derive(Clone)]
struct Sources {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    zone: Shared<Zone>,
    clock: Clock,
}

/// Starts the watches of the cluster's names. The zone is complete once [`component::informer::Informers::synced`] says so.
pub(crate) fn start(context: &Context, zone: &Shared<Zone>) {
    let sources = Sources {
        services: context.informers.of(),
        slices: context.informers.of(),
        zone: zone.clone(),
        clock: context.clock,
    };
    let namespaces: Informer<Namespace> = context.informers.of();
    sources.slices.index(BY_SERVICE, |slice| {
        service_of(slice).map(|name| index_key(&slice.namespace().unwrap_or_default(), &name)).into_iter().collect()
    });
    let of_services = sources.clone();
    sources.services.on_event(move |event| {
        let service = event.object();
        of_services.update(&service.namespace().unwrap_or_default(), &service.name_any());
    });
    let of_slices = sources.clone();
    sources.slices.on_event(move |event| {
        let namespace = event.object().namespace().unwrap_or_default();
        let names: HashSet<String> =
            event.old().into_iter().chain([event.object()]).filter_map(|slice| service_of(slice)).collect();
        names.iter().for_each(|name| of_slices.update(&namespace, name));
    });
    let (zone, clock) = (zone.clone(), context.clock);
    namespaces.on_event(move |event| {
        let mut zone = zone.write();
        zone.set_namespace(&event.object().name_any(), !matches!(event, Event::Deleted(_)));
        zone.serial = serial(clock);
    });
}

/// Starts the watch of the nodes' addresses, who may ask beside the given ranges.
pub(crate) fn start_nodes(context: &Context, clients: &Shared<Clients>) {
    let nodes: Informer<Node> = context.informers.of();
    let (all, clients) = (nodes.clone(), clients.clone());
    nodes.on_event(move |_| {
        let addresses = all.list().iter().flat_map(|node| addresses(node)).collect();
        clients.write().set_nodes(addresses);
    });
}

fn addresses(node: &Node) -> Vec<IpAddr> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    all.filter_map(|address| address.address.parse().ok()).collect()
}

impl Sources {
    fn update(&self, namespace: &str, name: &str) {
        let slices = self.slices.by_index(BY_SERVICE, &index_key(namespace, name));
        let entry = self.services.get(namespace, name).and_then(|service| entry(&service, &slices));
        let mut zone = self.zone.write();
        zone.set_service(namespace, name, entry);
        zone.serial = serial(self.clock);
    }
}

fn service_of(slice: &EndpointSlice) -> Option<String> {
    slice.labels().get("kubernetes.io/service-name").filter(|name| !name.is_empty()).cloned()
}

fn index_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn serial(clock: Clock) -> u32 {
    u32::try_from(clock.now().as_second()).unwrap_or_default()
}
