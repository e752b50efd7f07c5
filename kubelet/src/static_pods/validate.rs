//! What is wrong with a manifest that would otherwise come to light in the runtime, or nowhere: names, ports, mounts,
//! handlers. Pure.
//!
//! The API server's rules for pods (`ValidatePodCreate`) are more; here stand those without which a pod cannot run as it is
//! written. A mirror pod meets the others, and its refusal is in the log.

use std::collections::HashSet;

use machinery::{
    field::{Error, ErrorList, Path},
    meta::{list, text},
    names,
    quantity::Quantity,
};
use serde_json::Value;

/// In upstream's words and order; `pod` has its defaults.
pub(super) fn all(pod: &Value) -> ErrorList {
    let (meta, spec) = (Path::new("metadata"), &pod["spec"]);
    let mut errors = named(text(pod, "metadata.name"), names::dns_subdomain, &meta.child("name"));
    errors.extend(named(text(pod, "metadata.namespace"), names::dns_label, &meta.child("namespace")));
    let path = Path::new("spec");
    let mut volumes = HashSet::new();
    for (position, volume) in list(spec, "volumes").iter().enumerate() {
        errors.extend(name(volume, &mut volumes, &path.child("volumes").index(position)));
    }
    let mut known = HashSet::new();
    if list(spec, "containers").is_empty() {
        errors.push(Error::required(&path.child("containers"), ""));
    }
    for field in ["containers", "initContainers"] {
        for (position, one) in list(spec, field).iter().enumerate() {
            let at = path.child(field).index(position);
            errors.extend(name(one, &mut known, &at));
            errors.extend(container(one, &volumes, &at));
            errors.extend(handlers(one, field == "containers" || one["restartPolicy"] == "Always", &at));
        }
    }
    errors.extend(host_ports(spec, &path));
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    errors.extend(one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], &path));
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.extend(one_of(spec, "dnsPolicy", &policies, &path));
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64().filter(|seconds| *seconds < 1) {
        let why = names::range_error(1, i64::from(i32::MAX));
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, why));
    }
    for field in ["hostname", "subdomain"] {
        errors.extend(named(text(spec, field), names::dns_label, &path.child(field)));
    }
    errors
}

fn container(container: &Value, volumes: &HashSet<&str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    } else if image.trim() != image {
        errors.push(Error::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
    }
    errors.extend(ports(container, &path.child("ports")));
    for (position, variable) in list(container, "env").iter().enumerate() {
        let at = path.child("env").index(position).child("name");
        errors.extend(
            required(variable, "name", &at)
                .or_else(|| named(text(variable, "name"), names::environment_name, &at).into_iter().next()),
        );
    }
    for (field, target) in [("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")] {
        let mut targets = HashSet::new();
        for (position, mount) in list(container, field).iter().enumerate() {
            let at = path.child(field).index(position);
            errors.extend(required(mount, "name", &at.child("name")));
            let volume = text(mount, "name");
            if !volumes.contains(volume) {
                errors.push(Error::not_found(&at.child("name"), volume));
            }
            errors.extend(required(mount, target, &at.child(target)));
            if !targets.insert(text(mount, target)) {
                errors.push(Error::invalid(&at.child(target), text(mount, target), "must be unique"));
            }
        }
    }
    errors.extend(one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path));
    errors.extend(one_of(container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], path));
    errors.extend(resources(&container["resources"], &path.child("resources")));
    errors
}

fn ports(container: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, port) in list(container, "ports").iter().enumerate() {
        let at = path.index(position);
        let name = text(port, "name");
        let wrong = named(name, names::port_name, &at.child("name"));
        if wrong.is_empty() && !name.is_empty() && !known.insert(name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        errors.extend(wrong);
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => errors.push(Error::required(&at.child("containerPort"), "")),
            number => errors.extend(port_number(number, &at.child("containerPort"))),
        }
        if let Some(number) = port["hostPort"].as_i64().filter(|number| *number != 0) {
            errors.extend(port_number(number, &at.child("hostPort")));
        }
        errors.extend(one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &at));
    }
    errors
}

/// A port of the node can be taken once; init containers run one after the other, each with ports of its own.
fn host_ports(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut taken = HashSet::new();
    for field in ["containers", "initContainers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            if field == "initContainers" {
                taken.clear();
            }
            for (position, port) in list(container, "ports").iter().enumerate() {
                let Some(number) = port["hostPort"].as_i64().filter(|number| *number != 0) else { continue };
                let shown = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
                if !taken.insert(shown.clone()) {
                    let at = path.child(field).index(index).child("ports").index(position);
                    errors.push(Error::duplicate(&at.child("hostPort"), shown));
                }
            }
        }
    }
    errors
}

/// Each hook and probe has one way to act; containers that end have none of them.
fn handlers(container: &Value, goes_on: bool, path: &Path) -> ErrorList {
    let hooks =
        ["postStart", "preStop"].map(|name| (&container["lifecycle"][name], path.child("lifecycle").child(name)));
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|name| (&container[name], path.child(name)));
    let mut errors = ErrorList::new();
    for (handler, at) in hooks.into_iter().chain(probes).filter(|(handler, _)| handler.is_object()) {
        if !goes_on {
            errors.push(Error::forbidden(&at, "may not be set for init containers without restartPolicy=Always"));
            continue;
        }
        let kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
        let given: Vec<&str> = kinds.into_iter().filter(|kind| !handler[kind].is_null()).collect();
        if given.is_empty() {
            errors.push(Error::required(&at, "must specify a handler type"));
        }
        for kind in given.iter().skip(1) {
            errors.push(Error::forbidden(&at.child(kind), "may not specify more than 1 handler type"));
        }
        if handler["exec"].is_object() && list(&handler["exec"], "command").is_empty() {
            errors.push(Error::required(&at.child("exec").child("command"), ""));
        }
        let ports = ["httpGet", "tcpSocket", "grpc"].into_iter().map(|kind| (kind, &handler[kind]["port"]));
        for (kind, number) in ports.filter_map(|(kind, port)| Some((kind, port.as_i64()?))) {
            errors.extend(port_number(number, &at.child(kind).child("port")));
        }
    }
    errors
}

fn resources(resources: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let limit = |name: &str| Quantity::from_value(resources["limits"].get(name)?).ok();
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let at = path.child("requests");
        match (Quantity::from_value(request), limit(name)) {
            (Ok(wanted), Some(limit)) if wanted > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(&at, wanted.to_string(), why));
            }
            (Ok(wanted), _) if wanted.sign() < 0 => {
                let why = "must be greater than or equal to 0";
                errors.push(Error::invalid(&at.key(name), wanted.to_string(), why));
            }
            _ => {}
        }
    }
    errors
}

/// A list's members are told apart by names that are labels of DNS.
fn name<'a>(object: &'a Value, known: &mut HashSet<&'a str>, path: &Path) -> ErrorList {
    let (name, at) = (text(object, "name"), path.child("name"));
    let mut errors: ErrorList = required(object, "name", &at).into_iter().collect();
    errors.extend(named(name, names::dns_label, &at));
    if !known.insert(name) {
        errors.push(Error::duplicate(&at, name));
    }
    errors
}

/// Nothing is wrong with a name that is not there.
fn named(name: &str, check: names::NameCheck, path: &Path) -> ErrorList {
    let wrong = if name.is_empty() { Vec::new() } else { check(name) };
    wrong.into_iter().map(|why| Error::invalid(path, name, why)).collect()
}

fn required(object: &Value, field: &str, path: &Path) -> Option<Error> {
    text(object, field).is_empty().then(|| Error::required(path, ""))
}

fn one_of(object: &Value, field: &str, supported: &[&str], path: &Path) -> Option<Error> {
    let (value, at) = (text(object, field), path.child(field));
    (!value.is_empty() && !supported.contains(&value)).then(|| Error::not_supported(&at, value, supported))
}

fn port_number(number: i64, path: &Path) -> ErrorList {
    names::port_number(number).into_iter().map(|why| Error::invalid(path, number, why)).collect()
}
