//! Where a container has volumes: as directories, and as bare devices.

use std::collections::{HashMap, HashSet};

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::volume::Volumes;
use crate::kinds::validate;

/// Paths by the names of the volumes that are there.
type Places<'a> = HashMap<&'a str, &'a str>;

fn places<'a>(container: &'a Value, list: &str, field: &str) -> Places<'a> {
    meta::list(container, list).iter().map(|item| (meta::text(item, "name"), meta::text(item, field))).collect()
}

/// A name or a path that the other list has too.
fn overlap(name: &str, target: &str, others: &Places, list: &str, field: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if others.contains_key(name) {
        errors.push(Error::invalid(&path.child("name"), name, format!("must not already exist in {list}")));
    }
    if others.values().any(|other| *other == target) {
        let why = format!("must not already exist as a path in {list}");
        errors.push(Error::invalid(&path.child(field), target, why));
    }
    errors
}

pub fn mounts(container: &Value, volumes: &Volumes, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let devices = places(container, "volumeDevices", "devicePath");
    let mut paths = HashSet::new();
    for (position, mount) in meta::list(container, "volumeMounts").iter().enumerate() {
        let at = path.index(position);
        let (name, target) = (meta::text(mount, "name"), meta::text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        }
        if !volumes.contains_key(name) {
            errors.push(Error::not_found(&at.child("name"), name));
        }
        if target.is_empty() {
            errors.push(Error::required(&at.child("mountPath"), ""));
        }
        if !paths.insert(target) {
            errors.push(Error::invalid(&at.child("mountPath"), target, "must be unique"));
        }
        errors.extend(overlap(name, target, &devices, "volumeDevices", "mountPath", &at));
        errors.extend(part(mount, &at, path));
        errors.extend(propagation(mount, container, &path.child("mountPropagation")));
        errors.extend(recursive(mount, &path.child("recursiveReadOnly")));
    }
    errors
}

/// A part of the volume. Upstream tells most of it at the list, and not at the mount.
fn part(mount: &Value, path: &Path, list: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (plain, expression) = (meta::text(mount, "subPath"), meta::text(mount, "subPathExpr"));
    errors.extend(validate::local_descending(plain, &list.child("subPath")));
    if !expression.is_empty() && !plain.is_empty() {
        let why = "subPathExpr and subPath are mutually exclusive";
        errors.push(Error::invalid(&path.child("subPathExpr"), expression, why));
    }
    errors.extend(validate::local_descending(expression, &list.child("subPathExpr")));
    errors
}

fn propagation(mount: &Value, container: &Value, path: &Path) -> ErrorList {
    const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    let mut errors = ErrorList::new();
    let Some(mode) = mount["mountPropagation"].as_str() else { return errors };
    if !MODES.contains(&mode) {
        errors.push(Error::not_supported(path, mode, &MODES));
    }
    if mode == "Bidirectional" && !meta::is_true(container, "securityContext.privileged") {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(Error::forbidden(path, why));
    }
    errors
}

fn recursive(mount: &Value, path: &Path) -> ErrorList {
    const MODES: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];
    let mut errors = ErrorList::new();
    match mount["recursiveReadOnly"].as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !meta::is_true(mount, "readOnly") {
                errors.push(Error::forbidden(path, "may only be specified when readOnly is true"));
            }
            if mount["mountPropagation"].as_str().is_some_and(|mode| mode != "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(path, why));
            }
        }
        Some(other) => errors.push(Error::not_supported(path, other, &MODES)),
    }
    errors
}

pub fn devices(container: &Value, volumes: &Volumes, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mounts = places(container, "volumeMounts", "mountPath");
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for (position, device) in meta::list(container, "volumeDevices").iter().enumerate() {
        let at = path.index(position);
        let (name, target) = (meta::text(device, "name"), meta::text(device, "devicePath"));
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        } else if !names.insert(name) {
            errors.push(Error::invalid(&at.child("name"), name, "must be unique"));
        }
        let is_claim = |volume: &Value| !volume["persistentVolumeClaim"].is_null() || !volume["ephemeral"].is_null();
        match volumes.get(name) {
            None => errors.push(Error::not_found(&at.child("name"), name)),
            Some(volume) if !is_claim(volume) => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(&at.child("name"), name, why));
            }
            Some(_) => {}
        }
        let device_at = at.child("devicePath");
        if target.is_empty() {
            errors.push(Error::required(&device_at, ""));
        }
        if paths.contains(target) {
            errors.push(Error::invalid(&device_at, target, "must be unique"));
        }
        if validate::without_backsteps(target, &device_at).is_some() {
            errors.push(Error::invalid(&device_at, target, "can not contain backsteps ('..')"));
        } else {
            paths.insert(target);
        }
        errors.extend(overlap(name, target, &mounts, "volumeMounts", "devicePath", &at));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::pod::validate::told;

    fn wrong(container: &Value) -> Vec<String> {
        let claim = json!({"name": "claim", "persistentVolumeClaim": {"claimName": "c"}});
        let empty = json!({"name": "empty", "emptyDir": {}});
        let volumes = Volumes::from([("claim", &claim), ("empty", &empty)]);
        let mut errors = mounts(container, &volumes, &Path::new("m"));
        errors.extend(devices(container, &volumes, &Path::new("d")));
        told(errors)
    }

    #[test]
    fn mounts_are_places_of_their_own() {
        let mount = |more: Value| {
            let mut mount = json!({"name": "empty", "mountPath": "/a"});
            mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"volumeMounts": [mount]})
        };
        let only_none =
            "m.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified";
        for (container, want) in [
            (mount(json!({"subPath": "b", "readOnly": true, "recursiveReadOnly": "IfPossible"})), vec![]),
            (mount(json!({"name": "other"})), vec!["m[0].name: Not found: \"other\""]),
            (mount(json!({"subPath": "/b"})), vec!["m.subPath: Invalid value: \"/b\": must be a relative path"]),
            (
                mount(json!({"subPath": "b", "subPathExpr": "../c"})),
                vec![
                    "m[0].subPathExpr: Invalid value: \"../c\": subPathExpr and subPath are mutually exclusive",
                    "m.subPathExpr: Invalid value: \"../c\": must not contain '..'",
                ],
            ),
            (
                mount(json!({"mountPropagation": "Bidirectional"})),
                vec![
                    "m.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
                ],
            ),
            (
                mount(json!({"recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer"})),
                vec!["m.recursiveReadOnly: Forbidden: may only be specified when readOnly is true", only_none],
            ),
            (
                mount(json!({"recursiveReadOnly": "no"})),
                vec![
                    "m.recursiveReadOnly: Unsupported value: \"no\": supported values: \"Disabled\", \"Enabled\", \"IfPossible\"",
                ],
            ),
        ] {
            assert_eq!(wrong(&container), want, "{container}");
        }
    }

    #[test]
    fn devices_are_claims_and_no_mounts() {
        let device = |name: &str, path: &str| json!({"name": name, "devicePath": path});
        for (container, want) in [
            (json!({"volumeDevices": [device("claim", "/dev/a")]}), vec![]),
            (
                json!({"volumeDevices": [device("empty", "/dev/a")]}),
                vec![
                    "d[0].name: Invalid value: \"empty\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ],
            ),
            (
                json!({"volumeDevices": [device("", "")]}),
                vec!["d[0].name: Required value", "d[0].name: Not found: \"\"", "d[0].devicePath: Required value"],
            ),
            (
                json!({"volumeDevices": [device("claim", "/../a"), device("claim", "/b")]}),
                vec![
                    "d[0].devicePath: Invalid value: \"/../a\": can not contain backsteps ('..')",
                    "d[1].name: Invalid value: \"claim\": must be unique",
                ],
            ),
            (
                json!({"volumeDevices": [device("claim", "/a")], "volumeMounts": [{"name": "claim", "mountPath": "/a"}]}),
                vec![
                    "m[0].name: Invalid value: \"claim\": must not already exist in volumeDevices",
                    "m[0].mountPath: Invalid value: \"/a\": must not already exist as a path in volumeDevices",
                    "d[0].name: Invalid value: \"claim\": must not already exist in volumeMounts",
                    "d[0].devicePath: Invalid value: \"/a\": must not already exist as a path in volumeMounts",
                ],
            ),
        ] {
            assert_eq!(wrong(&container), want, "{container}");
        }
    }
}
