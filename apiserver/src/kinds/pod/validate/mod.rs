//! Rules of a pod's spec, the same for pods and for templates (upstream's `ValidatePodSpec`).
//!
//! Enter at [`spec`]. One file for each concern; each function takes a part of the spec and the path at which it stands.

mod container;
mod environment;
pub mod ephemeral;
mod network;
mod probe;
pub mod resize;
mod resources;
mod scheduling;
mod security;
mod status;
mod update;
mod volume;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use crate::kinds::validate;

pub use resources::container as container_resources;
pub use scheduling::{node_selector, toleration};
pub use status::validate_status;
pub use update::validate_update;

/// Rules of a pod on a create; an update keeps them too.
pub fn pod(pod: &Value) -> ErrorList {
    let mut errors = spec(&pod["spec"], &Path::new("spec"));
    if !meta::list(pod, "spec.ephemeralContainers").is_empty() && meta::uid(pod).is_empty() {
        let path = validate::path(&["spec", "ephemeralContainers"]);
        errors.push(Error::forbidden(&path, "cannot be set on create"));
    }
    errors
}

const SECONDS_MAX: i64 = i32::MAX as i64;

pub fn spec(spec: &Value, path: &Path) -> ErrorList {
    let (volumes, mut errors) = volume::all(spec, path);
    errors.extend(container::all(spec, &volumes, path));
    errors.extend(one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], path));
    errors.extend(network::all(spec, path));
    errors.extend(security::pod(spec, path));
    errors.extend(scheduling::all(spec, path));
    errors.extend(references(spec, path));
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64().filter(|seconds| !(1..=SECONDS_MAX).contains(seconds))
    {
        let why = names::range_error(1, SECONDS_MAX);
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, why));
    }
    errors.extend(validate::not_negative(
        &spec["terminationGracePeriodSeconds"],
        &path.child("terminationGracePeriodSeconds"),
    ));
    errors
}

/// Names of other objects.
fn references(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["serviceAccountName", "priorityClassName", "runtimeClassName", "nodeName"] {
        let name = meta::text(spec, field);
        if !name.is_empty() {
            errors.extend(validate::named(name, names::dns_subdomain, &path.child(field)));
        }
    }
    errors
}

/// A field whose value must be one of a few; upstream says `Required` where it is empty.
fn one_of(object: &Value, field: &str, supported: &[&str], path: &Path) -> Option<Error> {
    let (value, at) = (meta::text(object, field), path.child(field));
    if value.is_empty() {
        return Some(Error::required(&at, ""));
    }
    (!supported.contains(&value)).then(|| Error::not_supported(&at, value, supported))
}

/// Names a required reference to another object.
fn required_name(object: &Value, field: &str, path: &Path) -> Option<Error> {
    meta::text(object, field).is_empty().then(|| Error::required(&path.child(field), ""))
}
