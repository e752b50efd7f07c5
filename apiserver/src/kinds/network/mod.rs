//! Kinds of networking.k8s.io (Kubernetes concepts: "Ingress", "Network Policies", "Service ClusterIP allocation").
//!
//! One file a concern.

pub mod address;
pub mod class;
pub mod ingress;
pub mod policy;
pub mod service_cidr;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::{ip, validate};

/// Kind and name of an object of any group, required, as parts of its path.
fn typed_reference(reference: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(group) = reference["apiGroup"].as_str() {
        errors.extend(validate::named(group, names::dns_subdomain, &path.child("apiGroup")));
    }
    errors.extend(required_segments(reference, &["kind", "name"], path));
    errors
}

fn required_segments(object: &Value, fields: &[&str], path: &Path) -> ErrorList {
    let one = |field: &&str| match meta::text(object, field) {
        "" => vec![Error::required(&path.child(field), "")],
        text => validate::named(text, names::path_segment, &path.child(field)),
    };
    fields.iter().flat_map(one).collect()
}

/// The addresses and names that a load balancer tells of itself (Ingresses and Services); bad addresses that were held
/// before may stay.
pub fn balancer_entries(new: &Value, old: &Value) -> ErrorList {
    const ENTRIES: &str = "status.loadBalancer.ingress";
    let held: Vec<&str> = meta::list(old, ENTRIES).iter().filter_map(|entry| entry["ip"].as_str()).collect();
    let mut errors = ErrorList::new();
    for (position, entry) in meta::list(new, ENTRIES).iter().enumerate() {
        let at = validate::path(&["status", "loadBalancer", "ingress"]).index(position);
        let (address, name) = (meta::text(entry, "ip"), meta::text(entry, "hostname"));
        if !address.is_empty() {
            errors.extend(ip::legacy_address(address, &held, &at.child("ip")));
        }
        if name.is_empty() {
            continue;
        }
        errors.extend(validate::named(name, names::dns_subdomain, &at.child("hostname")));
        if ip::parse_sloppy(name).is_some() {
            errors.push(Error::invalid(&at.child("hostname"), name, "must be a DNS name, not an IP address"));
        }
    }
    errors
}
