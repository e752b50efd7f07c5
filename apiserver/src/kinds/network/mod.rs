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

use super::validate;

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
