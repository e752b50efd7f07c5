//! What is wrong between Services and IPAddresses. Pure; reasons and words are upstream's.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use machinery::meta;
use serde_json::Value;

use super::{Note, World};
use crate::services::{cluster_ips, family_of, holds};

const CONTROLLER: &str = "ipallocator-repair-controller";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";

/// Upstream's servers write the IPAddress first, and then the Service: so long that may take.
const ORPHAN_GRACE: Duration = Duration::from_secs(60);
/// The same where the Service is there before, and the write may be taken back.
const STRANGER_GRACE: Duration = Duration::from_secs(5);

pub(super) struct Finding {
    pub note: Option<Note>,
    pub act: Option<Act>,
}

impl Finding {
    /// The address that is to be written anew.
    pub(super) fn makes(&self) -> Option<&str> {
        match &self.act {
            Some(Act::Make { address, .. }) => Some(address),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// In the place of what is there.
    Make {
        address: String,
        /// Namespace and name.
        service: (String, String),
    },
    Remove {
        address: String,
    },
}

pub(super) enum Judged {
    Right,
    /// Not to be judged before so long.
    Later(Duration),
    Wrong(Finding),
}

/// What is wrong with the addresses of a Service.
pub(super) fn of_service(service: &Value, world: &World, in_range: &impl Fn(&IpAddr) -> bool) -> Vec<Finding> {
    let addresses = cluster_ips(service);
    addresses.iter().filter_map(|address| of_held(service, address, world, in_range)).collect()
}

fn of_held(service: &Value, text: &str, world: &World, in_range: &impl Fn(&IpAddr) -> bool) -> Option<Finding> {
    let told = |reason, action, text: String| {
        Some(Note { about: service.clone(), controller: CONTROLLER, reason, action, text })
    };
    let key = (meta::namespace(service).to_owned(), meta::name(service).to_owned());
    let Ok(address) = text.parse::<IpAddr>() else {
        let words = format!("Cluster IP {text} is not a valid IP; please recreate Service");
        return Some(Finding { note: told("ClusterIPNotValid", "ClusterIPValidation", words), act: None });
    };
    let make = || Some(Act::Make { address: address.to_string(), service: key.clone() });
    let allocation = |reason, text: String| told(reason, "ClusterIPAllocation", text);
    let (family, name, namespace) = (family_of(&address), &key.1, &key.0);
    if !in_range(&address) {
        let words = format!(
            "Cluster IP [{family}]: {address} is not within any configured Service CIDR; please recreate service"
        );
        return Some(Finding { note: allocation("ClusterIPOutOfRange", words), act: None });
    }
    let Some(object) = world.addresses.get(&address.to_string()).map(|found| &found.object) else {
        let words = format!("Cluster IP [{family}]: {address} is not allocated; repairing");
        return Some(Finding { note: allocation("ClusterIPNotAllocated", words), act: make() });
    };
    let wrong_reference = || {
        let words = format!(
            "the ClusterIP [{family}]: {address} for Service {namespace}/{name} has a wrong reference; repairing"
        );
        Some(Finding { note: allocation("ClusterIPNotAllocated", words), act: make() })
    };
    if !refers_to_service(object) {
        return wrong_reference();
    }
    let parent = parent_of(object);
    if parent != key {
        if !world.services.get(&parent).is_some_and(|other| holds(&other.object, &address)) {
            return wrong_reference();
        }
        let words =
            format!("Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service");
        return Some(Finding { note: allocation("ClusterIPAlreadyAllocated", words), act: None });
    }
    let has_labels = meta::label(object, FAMILY) == Some(family) && is_managed(object);
    (!has_labels).then(|| Finding { note: None, act: make() })
}

/// Whether an IPAddress of the allocator's belongs to a Service.
pub(super) fn of_address(object: &Value, world: &World, now: Timestamp) -> Judged {
    if !is_managed(object) {
        return Judged::Right;
    }
    let name = meta::name(object);
    let wrong = |reason, text: String| {
        let note = Note { about: object.clone(), controller: CONTROLLER, reason, action: "IPAddressAllocation", text };
        Judged::Wrong(Finding { note: Some(note), act: Some(Act::Remove { address: name.to_owned() }) })
    };
    if !refers_to_service(object) {
        let parent = meta::at(object, "spec.parentRef");
        let words =
            format!("IPAddress {name} appears to have been modified, not referencing a Service {parent}: cleaning up");
        return wrong("IPAddressNotAllocated", words);
    }
    let parent = parent_of(object);
    let (namespace, service_name) = (&parent.0, &parent.1);
    let age = age(object, now);
    let Some(service) = world.services.get(&parent).map(|service| &service.object) else {
        let words =
            format!("IPAddress: {name} for Service {namespace}/{service_name} appears to have leaked: cleaning up");
        return match ORPHAN_GRACE.checked_sub(age).filter(|left| !left.is_zero()) {
            Some(left) => Judged::Later(left),
            None => wrong("IPAddressNotAllocated", words),
        };
    };
    if name.parse().is_ok_and(|address| holds(service, &address)) {
        return Judged::Right;
    }
    let grace = match meta::text(service, "spec.type") {
        "ExternalName" => ORPHAN_GRACE,
        _ if created(object) > created(service) => STRANGER_GRACE,
        _ => Duration::ZERO,
    };
    let words = format!("IPAddress: {name} for Service {namespace}/{service_name} has a wrong reference; cleaning up");
    match grace.checked_sub(age).filter(|left| !left.is_zero()) {
        Some(left) => Judged::Later(left),
        None => wrong("IPAddressWrongReference", words),
    }
}

fn created(object: &Value) -> Timestamp {
    meta::text(object, "metadata.creationTimestamp").parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

fn age(object: &Value, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(created(object))).unwrap_or_default()
}

fn refers_to_service(address: &Value) -> bool {
    let parent = meta::at(address, "spec.parentRef");
    meta::text(parent, "group").is_empty() && parent["resource"] == "services"
}

fn parent_of(address: &Value) -> (String, String) {
    let part = |name: &str| meta::text(meta::at(address, "spec.parentRef"), name).to_owned();
    (part("namespace"), part("name"))
}

pub(super) fn is_managed(address: &Value) -> bool {
    meta::label(address, MANAGED_BY) == Some(ALLOCATOR)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::slice::from_ref;

    use serde_json::json;

    use super::*;
    use crate::rest::current::Current;
    use crate::store::Revision;

    fn service(name: &str, address: &str) -> Value {
        json!({
            "metadata": {"namespace": "n", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"type": "ClusterIP", "clusterIPs": [address]},
        })
    }

    fn address(name: &str, parent: &str, created: &str) -> Value {
        json!({
            "metadata": {"name": name, "creationTimestamp": created, "labels": {FAMILY: "IPv4", MANAGED_BY: ALLOCATOR}},
            "spec": {"parentRef": {"resource": "services", "namespace": "n", "name": parent}},
        })
    }

    fn world(services: &[Value], addresses: &[Value]) -> World {
        let current = |object: &Value| Current { object: object.clone(), revision: Revision(1) };
        let name = |object: &Value| meta::name(object).to_owned();
        World {
            services: services.iter().map(|object| (("n".to_owned(), name(object)), current(object))).collect(),
            addresses: addresses.iter().map(|object| (name(object), current(object))).collect(),
        }
    }

    fn told(world: &World, of: &str) -> Option<(Option<String>, Option<Act>)> {
        let service = &world.services[&("n".to_owned(), of.to_owned())].object;
        let in_range = |address: &IpAddr| address.to_string().starts_with("10.");
        let mut found = of_service(service, world, &in_range);
        assert!(found.len() <= 1);
        found.pop().map(|finding| (finding.note.map(|note| format!("{}: {}", note.reason, note.text)), finding.act))
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn a_services_addresses_are_its_own() {
        let make = Some(Act::Make { address: "10.0.0.1".into(), service: ("n".into(), "a".into()) });
        let a = service("a", "10.0.0.1");
        assert_eq!(told(&world(from_ref(&a), &[address("10.0.0.1", "a", EARLY)]), "a"), None);
        let missing = "ClusterIPNotAllocated: Cluster IP [IPv4]: 10.0.0.1 is not allocated; repairing";
        assert_eq!(told(&world(from_ref(&a), &[]), "a"), Some((Some(missing.into()), make.clone())));
        let outside = "ClusterIPOutOfRange: Cluster IP [IPv4]: 192.0.2.1 is not within any configured Service CIDR; please recreate service";
        assert_eq!(told(&world(&[service("a", "192.0.2.1")], &[]), "a"), Some((Some(outside.into()), None)));
        let strange =
            "ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.0.0.1 for Service n/a has a wrong reference; repairing";
        let found = told(&world(from_ref(&a), &[address("10.0.0.1", "gone", EARLY)]), "a").expect("a finding");
        assert!(found.0.as_deref() == Some(strange) && found.1.is_some());
        let elsewhere = world(&[a.clone(), service("b", "10.0.0.2")], &[address("10.0.0.1", "b", EARLY)]);
        assert_eq!(told(&elsewhere, "a"), Some((Some(strange.into()), make)), "its new owner is written at once");
        let shared = "ClusterIPAlreadyAllocated: Cluster IP [IPv4]:10.0.0.1 was assigned to multiple services; please recreate service";
        let both = world(&[a.clone(), service("b", "10.0.0.1")], &[address("10.0.0.1", "b", EARLY)]);
        assert_eq!(told(&both, "a"), Some((Some(shared.into()), None)));
        let mut bare = address("10.0.0.1", "a", EARLY);
        bare["metadata"]["labels"] = json!({});
        let found = told(&world(&[a], &[bare]), "a").expect("a finding");
        assert!(found.0.is_none() && found.1.is_some());
    }

    #[test]
    fn an_address_is_the_same_however_it_is_spelt() {
        let spelt = service("a", "fd00:0::1");
        let mut written = address("fd00::1", "a", EARLY);
        written["metadata"]["labels"][FAMILY] = "IPv6".into();
        let world = world(from_ref(&spelt), from_ref(&written));
        assert!(of_service(&spelt, &world, &|_| true).is_empty());
        assert!(matches!(of_address(&written, &world, Timestamp::MAX), Judged::Right));
        let made = of_service(&spelt, &World { addresses: BTreeMap::new(), ..world }, &|_| true).pop();
        let act = made.and_then(|finding| finding.act);
        assert_eq!(act, Some(Act::Make { address: "fd00::1".into(), service: ("n".into(), "a".into()) }));
    }

    #[test]
    fn an_address_without_its_service_goes_after_a_while() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let judge = |world: &World| match of_address(&world.addresses["10.0.0.1"].object, world, now) {
            Judged::Right => "right".to_owned(),
            Judged::Later(wait) => format!("in {}", wait.as_secs()),
            Judged::Wrong(finding) => finding.note.map(|note| note.reason.to_owned()).unwrap_or_default(),
        };
        let of = |parent: &str, created: &str| vec![address("10.0.0.1", parent, created)];
        assert_eq!(judge(&world(&[], &of("a", EARLY))), "IPAddressNotAllocated");
        assert_eq!(judge(&world(&[], &of("a", "2026-01-01T00:00:50Z"))), "in 50");
        assert_eq!(judge(&world(&[service("a", "10.0.0.1")], &of("a", EARLY))), "right");
        let other = [service("a", "10.0.0.2")];
        assert_eq!(judge(&world(&other, &of("a", "2026-01-01T00:00:58Z"))), "in 3");
        assert_eq!(judge(&world(&other, &of("a", EARLY))), "IPAddressWrongReference");
        let mut stolen = address("10.0.0.1", "a", EARLY);
        stolen["spec"]["parentRef"]["resource"] = "pods".into();
        assert_eq!(judge(&world(&[], &[stolen.clone()])), "IPAddressNotAllocated");
        stolen["metadata"]["labels"] = json!({});
        assert_eq!(judge(&world(&[], &[stolen])), "right", "others' addresses are theirs");
    }
}
