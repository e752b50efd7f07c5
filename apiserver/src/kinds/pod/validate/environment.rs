//! Environment variables and where their values come from.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use crate::kinds::validate;

/// Fields of the pod that a variable may hold.
const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VARIABLE_RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub fn of_container(container: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (position, variable) in meta::list(container, "env").iter().enumerate() {
        let at = path.child("env").index(position);
        let name = meta::text(variable, "name");
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        } else {
            errors.extend(validate::named(name, names::environment_name, &at.child("name")));
        }
        errors.extend(source(variable, &at.child("valueFrom")));
    }
    for (position, from) in meta::list(container, "envFrom").iter().enumerate() {
        errors.extend(whole(from, &path.child("envFrom").index(position), &path.child("envFrom").index(position)));
    }
    errors
}

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

fn source(variable: &Value, path: &Path) -> ErrorList {
    let from = &variable["valueFrom"];
    let mut errors = ErrorList::new();
    if !from.is_object() {
        return errors;
    }
    let given: Vec<&str> = SOURCES.iter().copied().filter(|source| !from[source].is_null()).collect();
    for kind in &given {
        let (reference, at) = (&from[kind], path.child(kind));
        errors.extend(match *kind {
            "fieldRef" => field_ref(reference, &VARIABLE_FIELDS, &at),
            "resourceFieldRef" => resource_ref(reference, false, &at),
            "configMapKeyRef" | "secretKeyRef" => key_ref(reference, &at),
            _ => ErrorList::new(),
        });
    }
    if given.is_empty() {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        errors.push(Error::invalid(path, "", why));
    } else if !meta::text(variable, "value").is_empty() {
        errors.push(Error::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if given.len() > 1 {
        errors.push(Error::invalid(path, "", "may not have more than one field specified at a time"));
    }
    errors
}

/// `known`: the paths that may be referred to here, besides single labels and annotations.
pub fn field_ref(reference: &Value, known: &[&str], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if meta::text(reference, "apiVersion").is_empty() {
        errors.push(Error::required(&path.child("apiVersion"), ""));
        return errors;
    }
    let at = path.child("fieldPath");
    let field = meta::text(reference, "fieldPath");
    if field.is_empty() {
        errors.push(Error::required(&at, ""));
        return errors;
    }
    if let Some((name, key)) = field.strip_suffix(']').and_then(|field| field.split_once("['")) {
        let key = key.trim_end_matches('\'');
        let key = if name == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
        if !["metadata.annotations", "metadata.labels"].contains(&name) {
            errors.push(Error::invalid(&at, name, "does not support subscript"));
        }
        errors.extend(validate::named(&key, names::qualified_name, &at));
        return errors;
    }
    if !is_convertible(field) {
        let why = format!("error converting fieldPath: field label not supported: {field}");
        errors.push(Error::invalid(&at, field, why));
    } else if !known.contains(&field) {
        let mut sorted = known.to_vec();
        sorted.sort_unstable();
        errors.push(Error::not_supported(&at, field, &sorted));
    }
    errors
}

/// Paths that upstream can name at all.
fn is_convertible(field: &str) -> bool {
    VARIABLE_FIELDS.contains(&field)
        || [
            "metadata.annotations",
            "metadata.labels",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.hostNetwork",
            "status.phase",
            "status.nominatedNodeName",
        ]
        .contains(&field)
}

/// `needs_container`: outside of a container, a reference must name one.
pub fn resource_ref(reference: &Value, needs_container: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if needs_container && meta::text(reference, "containerName").is_empty() {
        errors.push(Error::required(&path.child("containerName"), ""));
    }
    let resource = meta::text(reference, "resource");
    if resource.is_empty() {
        errors.push(Error::required(&path.child("resource"), ""));
    } else if !VARIABLE_RESOURCES.contains(&resource) && !resource.contains("hugepages-") {
        errors.push(Error::not_supported(&path.child("resource"), resource, &VARIABLE_RESOURCES));
    }
    errors.extend(divisor(reference, resource, &path.child("divisor")));
    errors
}

fn divisor(reference: &Value, resource: &str, path: &Path) -> Option<Error> {
    let divisor = meta::text(reference, "divisor");
    if matches!(divisor, "" | "0") {
        return None;
    }
    let (allowed, words): (&[&str], &str) = match resource.split_once('.')?.1 {
        "cpu" => (&["1m", "1"], "only divisor's values 1m and 1 are supported with the cpu resource"),
        "memory" => (
            &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"],
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
        ),
        _ => return None,
    };
    (!allowed.contains(&divisor)).then(|| Error::invalid(path, divisor, words))
}

fn key_ref(reference: &Value, path: &Path) -> ErrorList {
    let mut errors = validate::named(meta::text(reference, "name"), names::dns_subdomain, &path.child("name"));
    let key = meta::text(reference, "key");
    if key.is_empty() {
        errors.push(Error::required(&path.child("key"), ""));
    } else {
        errors.extend(validate::named(key, names::config_map_key, &path.child("key")));
    }
    errors
}

/// A whole ConfigMap or Secret as variables. Upstream tells some of it at the list and not at the entry.
fn whole(from: &Value, path: &Path, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let prefix = meta::text(from, "prefix");
    if !prefix.is_empty() {
        errors.extend(validate::named(prefix, names::environment_name, &at.child("prefix")));
    }
    let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|kind| !from[kind].is_null()).collect();
    for kind in &given {
        let at = path.child(kind).child("name");
        let name = meta::text(&from[kind], "name");
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else {
            errors.extend(validate::named(name, names::dns_subdomain, &at));
        }
    }
    let list = Path::new(path.to_string().rsplit_once('[').map_or("envFrom", |(list, _)| list));
    match given.len() {
        0 => errors.push(Error::invalid(&list, "", "must specify one of: `configMapRef` or `secretRef`")),
        1 => {}
        _ => errors.push(Error::invalid(&list, "", "may not have more than one field specified at a time")),
    }
    errors
}
