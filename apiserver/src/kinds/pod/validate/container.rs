//! Containers, init containers and ephemeral containers.

use std::collections::{BTreeSet, HashSet};

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::volume::Volumes;
use super::{PULL_POLICIES, environment, ephemeral, mount, one_of, probe, resources, restart, security};
use crate::kinds::validate;

/// What the pod has around its containers.
pub struct Around<'a> {
    pub volumes: Volumes<'a>,
    /// The names of `resourceClaims`.
    pub claims: BTreeSet<&'a str>,
    pub restart_policy: &'a str,
    pub grace_seconds: Option<i64>,
    /// Whether users are those of the node.
    pub host_users: bool,
}

pub fn all(spec: &Value, around: &Around, path: &Path) -> ErrorList {
    let mut known = HashSet::new();
    let mut errors = regular(spec, around, &mut known, &path.child("containers"));
    errors.extend(init(spec, around, &mut known, &path.child("initContainers")));
    let others = known.clone();
    for (position, container) in meta::list(spec, "ephemeralContainers").iter().enumerate() {
        let at = path.child("ephemeralContainers").index(position);
        errors.extend(common(container, around, &at));
        errors.extend(image_for_pod(container, &at));
        errors.extend(unique_name(container, &mut known, &at));
        errors.extend(ephemeral::one(container, &others, &at));
    }
    errors
}

fn regular<'a>(spec: &'a Value, around: &Around, known: &mut HashSet<&'a str>, path: &Path) -> ErrorList {
    let containers = meta::list(spec, "containers");
    if containers.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = ErrorList::new();
    for (position, container) in containers.iter().enumerate() {
        let at = path.index(position);
        errors.extend(common(container, around, &at));
        errors.extend(unique_name(container, known, &at));
        errors.extend(probe::of_container(container, around.grace_seconds, &at));
        errors.extend(restart::policy(container, &at));
    }
    errors.extend(host_ports(containers, path));
    errors
}

fn init<'a>(spec: &'a Value, around: &Around, known: &mut HashSet<&'a str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (position, container) in meta::list(spec, "initContainers").iter().enumerate() {
        let at = path.index(position);
        errors.extend(common(container, around, &at));
        errors.extend(restart::of_init(container, &at));
        errors.extend(unique_name(container, known, &at));
        // They run one after the other: each has the node's ports for itself.
        errors.extend(host_ports(std::slice::from_ref(container), path));
        errors.extend(init_handlers(container, around, &at));
        errors.extend(restart::resize_of_init(container, &at));
    }
    errors
}

fn unique_name<'a>(container: &'a Value, known: &mut HashSet<&'a str>, path: &Path) -> Option<Error> {
    let name = meta::text(container, "name");
    (!known.insert(name)).then(|| Error::duplicate(&path.child("name"), name))
}

fn common(container: &Value, around: &Around, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let name = meta::text(container, "name");
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        errors.extend(validate::named(name, names::dns_label, &path.child("name")));
    }
    if meta::text(container, "image").is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    }
    errors.extend(one_of(container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], path));
    errors.extend(ports(container, &path.child("ports")));
    errors.extend(environment::of_container(container, path));
    errors.extend(mount::mounts(container, &around.volumes, &path.child("volumeMounts")));
    errors.extend(mount::devices(container, &around.volumes, &path.child("volumeDevices")));
    errors.extend(one_of(container, "imagePullPolicy", &PULL_POLICIES, path));
    errors.extend(resources::container(&container["resources"], &around.claims, &path.child("resources")));
    errors.extend(restart::resize(container, around.restart_policy, &path.child("resizePolicy")));
    let context = &container["securityContext"];
    errors.extend(security::container(context, around.host_users, &path.child("securityContext")));
    errors
}

/// What a template may leave to those who make pods of it.
pub fn image_for_pod(container: &Value, path: &Path) -> Option<Error> {
    let image = meta::text(container, "image");
    let padded = image.trim() != image;
    padded.then(|| Error::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"))
}

/// Hooks and probes belong to containers that go on running.
fn init_handlers(container: &Value, around: &Around, path: &Path) -> ErrorList {
    if container["restartPolicy"] == "Always" {
        return probe::of_container(container, around.grace_seconds, path);
    }
    let fields = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
    let given = fields.into_iter().filter(|field| !container[field].is_null());
    let why = "may not be set for init containers without restartPolicy=Always";
    given.map(|field| Error::forbidden(&path.child(field), why)).collect()
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
fn host_ports(containers: &[Value], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut taken: HashSet<String> = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (position, port) in meta::list(container, "ports").iter().enumerate() {
            let number = port["hostPort"].as_i64().unwrap_or(0);
            let shown = format!("{}/{}/{number}", meta::text(port, "protocol"), meta::text(port, "hostIP"));
            if number != 0 && !taken.insert(shown.clone()) {
                let at = path.index(index).child("ports").index(position);
                errors.push(Error::duplicate(&at.child("hostPort"), shown));
            }
        }
    }
    errors
}
