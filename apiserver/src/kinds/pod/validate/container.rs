//! Containers, init containers and ephemeral containers.

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::{environment, ephemeral, one_of, probe, resources, security};
use crate::kinds::validate;

pub fn all(spec: &Value, volumes: &HashSet<&str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let containers = meta::list(spec, "containers");
    if containers.is_empty() {
        errors.push(Error::required(&path.child("containers"), ""));
    }
    let mut known: HashSet<&str> = HashSet::new();
    for (list, is_init) in [("containers", false), ("initContainers", true)] {
        for (position, container) in meta::list(spec, list).iter().enumerate() {
            let at = path.child(list).index(position);
            errors.extend(common(container, volumes, &at));
            errors.extend(unique_name(container, &mut known, &at));
            errors.extend(restarts(container, &at));
            errors.extend(handlers(container, is_init, &at));
        }
    }
    let others = known.clone();
    for (position, container) in meta::list(spec, "ephemeralContainers").iter().enumerate() {
        let at = path.child("ephemeralContainers").index(position);
        errors.extend(common(container, volumes, &at));
        errors.extend(unique_name(container, &mut known, &at));
        errors.extend(ephemeral::one(container, &others, &at));
    }
    errors.extend(host_ports(spec, path));
    errors
}

fn unique_name<'a>(container: &'a Value, known: &mut HashSet<&'a str>, path: &Path) -> Option<Error> {
    let name = meta::text(container, "name");
    (!name.is_empty() && !known.insert(name)).then(|| Error::duplicate(&path.child("name"), name))
}

fn common(container: &Value, volumes: &HashSet<&str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let name = meta::text(container, "name");
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        errors.extend(validate::named(name, names::dns_label, &path.child("name")));
    }
    let image = meta::text(container, "image");
    if image.is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    } else if image.trim() != image {
        errors.push(Error::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
    }
    errors.extend(one_of(container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], path));
    errors.extend(ports(container, &path.child("ports")));
    errors.extend(environment::of_container(container, path));
    errors.extend(mounts(container, volumes, &path.child("volumeMounts")));
    errors.extend(one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path));
    errors.extend(resources::container(&container["resources"], &path.child("resources")));
    errors.extend(security::container(&container["securityContext"], &path.child("securityContext")));
    errors
}

/// Only an init container says that it restarts always: it is a sidecar then.
fn restarts(container: &Value, path: &Path) -> ErrorList {
    let policy = &container["restartPolicy"];
    let Some(text) = policy.as_str() else { return ErrorList::new() };
    let supported = ["Always", "Never", "OnFailure"];
    let mut errors = ErrorList::new();
    if !supported.contains(&text) {
        errors.push(Error::not_supported(&path.child("restartPolicy"), text, &supported));
    }
    errors
}

/// Hooks and probes belong to containers that go on running.
fn handlers(container: &Value, is_init: bool, path: &Path) -> ErrorList {
    if !is_init || container["restartPolicy"] == "Always" {
        return probe::of_container(container, path);
    }
    let fields = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
    let given = fields.into_iter().filter(|field| !container[field].is_null());
    given
        .map(|field| {
            let why = "may not be set for init containers without restartPolicy=Always";
            Error::forbidden(&path.child(field), why)
        })
        .collect()
}

fn ports(container: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, port) in meta::list(container, "ports").iter().enumerate() {
        let at = path.index(position);
        let name = meta::text(port, "name");
        if !name.is_empty() {
            let wrong = validate::named(name, names::port_name, &at.child("name"));
            if wrong.is_empty() && !known.insert(name) {
                errors.push(Error::duplicate(&at.child("name"), name));
            }
            errors.extend(wrong);
        }
        let number = |field: &str| port[field].as_i64().unwrap_or(0);
        if number("containerPort") == 0 {
            errors.push(Error::required(&at.child("containerPort"), ""));
        } else {
            errors.extend(validate::port(&port["containerPort"], &at.child("containerPort")));
        }
        if number("hostPort") != 0 {
            errors.extend(validate::port(&port["hostPort"], &at.child("hostPort")));
        }
        errors.extend(validate::protocol(port, &at));
    }
    errors
}

/// A port of the node can be taken once.
fn host_ports(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut taken: HashSet<(String, String, i64)> = HashSet::new();
    let on_host = meta::is_true(spec, "hostNetwork");
    for (index, container) in meta::list(spec, "containers").iter().enumerate() {
        for (position, port) in meta::list(container, "ports").iter().enumerate() {
            let at = path.child("containers").index(index).child("ports").index(position);
            let host_port = port["hostPort"].as_i64().unwrap_or(0);
            let container_port = port["containerPort"].as_i64().unwrap_or(0);
            if on_host && host_port != container_port {
                let why = "must match `hostPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&at.child("containerPort"), container_port, why));
            }
            let (protocol, address) = (meta::text(port, "protocol"), meta::text(port, "hostIP"));
            if host_port != 0 && !taken.insert((protocol.to_owned(), address.to_owned(), host_port)) {
                let shown = format!("{protocol}/{address}/{host_port}");
                errors.push(Error::duplicate(&at.child("hostPort"), shown));
            }
        }
    }
    errors
}

fn mounts(container: &Value, volumes: &HashSet<&str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut paths = HashSet::new();
    for (position, mount) in meta::list(container, "volumeMounts").iter().enumerate() {
        let at = path.index(position);
        let (name, target) = (meta::text(mount, "name"), meta::text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        }
        if target.is_empty() {
            errors.push(Error::required(&at.child("mountPath"), ""));
        }
        if !volumes.contains(name) || name.is_empty() {
            errors.push(Error::not_found(&at.child("name"), name));
        }
        if !paths.insert(target) {
            errors.push(Error::invalid(&at.child("mountPath"), target, "must be unique"));
        }
        errors.extend(sub_path(mount, &at));
    }
    errors
}

fn sub_path(mount: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (plain, expression) = (meta::text(mount, "subPath"), meta::text(mount, "subPathExpr"));
    if !plain.is_empty() {
        errors.extend(local_descending(plain, &path.child("subPath")));
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            errors.push(Error::invalid(
                &path.child("subPathExpr"),
                expression,
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
        errors.extend(local_descending(expression, &path.child("subPathExpr")));
    }
    let propagation = &mount["mountPropagation"];
    let modes = ["Bidirectional", "HostToContainer", "None"];
    if let Some(mode) = propagation.as_str().filter(|mode| !modes.contains(mode)) {
        errors.push(Error::not_supported(&path.child("mountPropagation"), mode, &modes));
    }
    errors
}

/// A path that stays below where it begins.
pub fn local_descending(target: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if target.starts_with('/') {
        errors.push(Error::invalid(path, target, "must be a relative path"));
    }
    if target.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, target, "must not contain '..'"));
    }
    errors
}
