//! Kinds of resource.k8s.io (Kubernetes concept: "Dynamic Resource Allocation").
//!
//! One file a concern; rules that several of them share stand here. Which device a claim gets is the scheduler's.

pub mod claim;
pub mod class;
mod form;
mod prepare;
mod request;
mod selector;
pub mod slice;
mod status;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::storage::driver_name;
use super::validate;

const CONFIGURATIONS_MAX: usize = 32;
const REQUESTS_MAX: usize = 32;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;
const POOL_NAME_BYTES_MAX: usize = 253;

/// The items of a list that may not be longer than `items_max`.
fn each<'a>(
    items: &'a [Value],
    items_max: usize,
    path: &Path,
    check: impl Fn(&'a Value, &Path) -> ErrorList,
) -> ErrorList {
    if items.len() > items_max {
        return vec![Error::too_many(path, items.len(), items_max)];
    }
    items.iter().enumerate().flat_map(|(position, item)| check(item, &path.index(position))).collect()
}

/// As [`each`], for items of which no two have the same key.
fn each_once<'a>(
    items: &'a [Value],
    items_max: usize,
    path: &Path,
    key: impl Fn(&'a Value) -> Value,
    check: impl Fn(&'a Value, &Path) -> ErrorList,
) -> ErrorList {
    let mut errors = each(items, items_max, path, check);
    if items.len() > items_max {
        return errors;
    }
    let mut known = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let key = key(item);
        if known.contains(&key) {
            errors.push(Error::duplicate(&path.index(position), key));
        } else {
            known.push(key);
        }
    }
    errors
}

fn name_of(item: &Value) -> Value {
    item["name"].as_str().unwrap_or_default().into()
}

fn label(object: &Value, field: &str, path: &Path) -> ErrorList {
    validate::named(meta::text(object, field), names::dns_label, &path.child(field))
}

/// Several domains with slashes between.
fn pool_name(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = ErrorList::new();
    if name.len() > POOL_NAME_BYTES_MAX {
        errors.push(Error::too_long(path, POOL_NAME_BYTES_MAX));
    }
    errors.extend(name.split('/').flat_map(|part| validate::named(part, names::dns_subdomain, path)));
    errors
}

/// What a driver is to be told; `stored`: it has been taken before.
fn configuration(configuration: &Value, is_stored: bool, path: &Path) -> ErrorList {
    let (opaque, path) = (&configuration["opaque"], path.child("opaque"));
    if !opaque.is_object() {
        return vec![Error::required(&path, "")];
    }
    let mut errors = driver_name(meta::text(opaque, "driver"), &path.child("driver"));
    errors.extend(raw_object(&opaque["parameters"], is_stored, &path.child("parameters")));
    errors
}

/// Any JSON object of a bounded size.
fn raw_object(value: &Value, is_stored: bool, path: &Path) -> Option<Error> {
    match value {
        Value::Null => Some(Error::required(path, "")),
        value if !is_stored && value.to_string().len() > PARAMETERS_BYTES_MAX => {
            Some(Error::too_long(path, PARAMETERS_BYTES_MAX))
        }
        Value::Object(_) => None,
        _ => Some(Error::invalid(path, "<value omitted>", "must be a valid JSON object")),
    }
}

const BINDING_CONDITIONS_MAX: usize = 4;

/// Conditions that a pod's binding waits for, and those that end the wait: both or neither, none of them twice.
fn binding_conditions(device: &Value, path: &Path) -> ErrorList {
    const BINDING: &str = "bindingConditions";
    const FAILURE: &str = "bindingFailureConditions";
    let list = |field: &str| meta::list(device, field);
    let mut errors = ErrorList::new();
    for field in [BINDING, FAILURE] {
        errors.extend(each(list(field), BINDING_CONDITIONS_MAX, &path.child(field), |item, at| {
            validate::named(item.as_str().unwrap_or_default(), names::qualified_name, at)
        }));
    }
    for field in [BINDING, FAILURE] {
        for (position, item) in list(field).iter().enumerate() {
            let at = path.child(field).index(position);
            if list(field)[..position].contains(item) {
                errors.push(Error::duplicate(&at, item.clone()));
            }
            if field == FAILURE && list(BINDING).contains(item) {
                let why = "bindingFailureConditions must not overlap with bindingConditions";
                errors.push(Error::invalid(&at, item.clone(), why));
            }
        }
    }
    for (absent, present) in [(BINDING, FAILURE), (FAILURE, BINDING)] {
        if list(absent).is_empty() && !list(present).is_empty() {
            let why = format!("{absent} are required to use {present}");
            errors.push(Error::invalid(&path.child(absent), device[absent].clone(), why));
        }
    }
    errors
}

const DOMAIN_BYTES_MAX: usize = 63;
const IDENTIFIER_BYTES_MAX: usize = 32;

/// `identifier` or `domain/identifier`. More slashes are taken as they are, as upstream does.
fn qualified(name: &str, path: &Path) -> ErrorList {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [id] => identifier(id, path),
        [domain, id] => {
            let mut errors = match *domain {
                "" => vec![Error::invalid(path, "", "the domain must not be empty")],
                domain => driver_name(domain, path),
            };
            errors.extend(match *id {
                "" => vec![Error::invalid(path, "", "the name must not be empty")],
                id => identifier(id, path),
            });
            errors
        }
        _ => ErrorList::new(),
    }
}

fn fully_qualified(name: &str, path: &Path) -> ErrorList {
    let mut errors = qualified(name, path);
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(path, name, why));
    }
    errors
}

fn identifier(id: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if id.len() > IDENTIFIER_BYTES_MAX {
        errors.push(Error::too_long(path, IDENTIFIER_BYTES_MAX));
    }
    errors.extend(validate::named(id, names::c_identifier, path));
    errors
}

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

#[cfg(test)]
mod tests;
