//! Requests and limits of a container (Kubernetes concept: "Resource Management for Pods and Containers").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use crate::kinds::validate;

pub fn container(resources: &Value, path: &Path) -> ErrorList {
    let (limits, requests) = (meta::map(resources, "limits"), meta::map(resources, "requests"));
    let mut errors = ErrorList::new();
    for (name, limit) in limits {
        errors.extend(amount(name, limit, &path.child("limits")));
    }
    for (name, request) in requests {
        let path = path.child("requests");
        errors.extend(amount(name, request, &path));
        let (Some(limit), Some(wanted)) = (limits.get(name).and_then(parse), parse(request)) else {
            if is_extended(name) && !limits.contains_key(name) {
                errors.push(Error::required(
                    &path_of(name, &path_parent(&path)),
                    "Limit must be set for non overcommitable resources",
                ));
            }
            continue;
        };
        if is_extended(name) && wanted != limit {
            let why = format!("must be equal to {name} limit of {limit}");
            errors.push(Error::invalid(&path, wanted.to_string(), why));
        } else if wanted > limit {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(Error::invalid(&path, wanted.to_string(), why));
        }
    }
    errors
}

fn path_parent(path: &Path) -> Path {
    let text = path.to_string();
    Path::new(text.strip_suffix(".requests").unwrap_or(&text))
}

fn path_of(name: &str, path: &Path) -> Path {
    path.child("limits").key(name)
}

fn parse(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        other => Quantity::parse(&other.to_string()).ok(),
    }
}

fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") || name.starts_with("hugepages-")
}

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

fn amount(name: &str, value: &Value, path: &Path) -> ErrorList {
    let at = path.key(name);
    let mut errors = validate::named(name, names::qualified_name, &at);
    if errors.is_empty() && !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        errors.push(Error::invalid(&at, name, "must be a standard resource type or fully qualified"));
        errors.push(Error::invalid(&at, name, "must be a standard resource for containers"));
    }
    let Some(amount) = parse(value) else { return errors };
    if amount.sign() < 0 {
        errors.push(Error::invalid(&at, amount.to_string(), "must be greater than or equal to 0"));
    }
    if is_extended(name) && amount.milli_value() % 1000 != 0 {
        errors.push(Error::invalid(&at, amount.to_string(), "must be an integer"));
    }
    errors
}
