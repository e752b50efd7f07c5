//! Volumes and their sources (Kubernetes concept: "Volumes").

mod projected;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::{Context, environment, one_of, required_name};
use crate::kinds::validate;
use crate::kinds::volume::{inline, iscsi};

/// Fields of the pod that a file may hold.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The good volumes by name, which containers may mount.
pub type Volumes<'a> = HashMap<&'a str, &'a Value>;

/// The good volumes, and what is wrong with the others.
pub fn all<'a>(spec: &'a Value, context: &Context, path: &Path) -> (Volumes<'a>, ErrorList) {
    let mut errors = ErrorList::new();
    let mut known = Volumes::new();
    let volumes = meta::list(spec, "volumes");
    let made: HashSet<String> = match context.pod_name() {
        Some(pod) => {
            let ephemeral = volumes.iter().filter(|volume| !volume["ephemeral"].is_null());
            ephemeral.map(|volume| claim_name(pod, volume)).collect()
        }
        None => HashSet::new(),
    };
    for (position, volume) in volumes.iter().enumerate() {
        let at = path.child("volumes").index(position);
        let mut wrong = source(volume, context, &at);
        let (name, name_at) = (meta::text(volume, "name"), at.child("name"));
        if name.is_empty() {
            wrong.push(Error::required(&name_at, ""));
        } else {
            wrong.extend(validate::named(name, names::dns_label, &name_at));
        }
        if known.contains_key(name) {
            wrong.push(Error::duplicate(&name_at, name));
        }
        if wrong.is_empty() {
            known.insert(name, volume);
        }
        errors.extend(wrong);
        let claim = meta::text(volume, "persistentVolumeClaim.claimName");
        if made.contains(claim) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(Error::invalid(&at.child("persistentVolumeClaim").child("claimName"), claim, why));
        }
    }
    (known, errors)
}

/// Of the claim that is made for an ephemeral volume.
fn claim_name(pod: &str, volume: &Value) -> String {
    format!("{pod}-{}", meta::text(volume, "name"))
}

/// The kinds of sources, in the order in which upstream looks for them.
const KINDS: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn source(volume: &Value, context: &Context, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut found = 0;
    for kind in KINDS.into_iter().filter(|kind| !volume[kind].is_null()) {
        found += 1;
        if found > 1 {
            // Upstream's own spelling.
            let told = match kind {
                "cephfs" => "cephFS",
                "downwardAPI" => "downwarAPI",
                kind => kind,
            };
            errors.push(Error::forbidden(&path.child(told), "may not specify more than 1 volume type"));
        } else {
            let told = if kind == "gcePersistentDisk" { "persistentDisk" } else { kind };
            errors.extend(judge(kind, &volume[kind], context, &path.child(told)));
        }
        let name = meta::text(volume, "name");
        if kind == "iscsi" {
            errors.extend(iscsi::name_error(&volume[kind], name, &path.child("name")));
        }
        if kind == "ephemeral" && found == 1 && !name.is_empty() {
            errors.extend(context.pod_name().into_iter().flat_map(|pod| claimable(pod, volume, &path.child("name"))));
        }
    }
    if found == 0 {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    errors
}

fn claimable(pod: &str, volume: &Value, path: &Path) -> ErrorList {
    let claim = claim_name(pod, volume);
    let words = names::dns_subdomain(&claim).into_iter();
    let name = meta::text(volume, "name");
    words.map(|words| Error::invalid(path, name, format!("PVC name {}: {words}", quote(&claim)))).collect()
}

fn judge(kind: &str, source: &Value, context: &Context, path: &Path) -> ErrorList {
    match kind {
        "emptyDir" => empty_dir(source, path),
        "secret" => named("secretName", source, path),
        "configMap" => named("name", source, path),
        "downwardAPI" => downward(source, path),
        "projected" => projected::all(source, path),
        "persistentVolumeClaim" => required_name(source, "claimName", path).into_iter().collect(),
        "image" => image(source, context, path),
        _ => inline::source(kind, source, path),
    }
}

fn empty_dir(source: &Value, path: &Path) -> ErrorList {
    let size = Quantity::from_value(&source["sizeLimit"]).ok();
    let negative = size.is_some_and(|size| size.sign() < 0);
    negative
        .then(|| Error::forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity"))
        .into_iter()
        .collect()
}

/// A template may leave the image open.
fn image(source: &Value, context: &Context, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if context.pod.is_some() {
        errors.extend(required_name(source, "reference", path));
    }
    errors.extend(one_of(source, "pullPolicy", &super::PULL_POLICIES, path));
    errors
}

fn mode(value: &Value, path: &Path) -> Option<Error> {
    let mode = value.as_i64().filter(|mode| !(0..=0o777).contains(mode))?;
    Some(Error::invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive"))
}

fn item(item: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = required_name(item, "key", path).into_iter().collect();
    errors.extend(file_path(item, path));
    errors.extend(mode(&item["mode"], &path.child("mode")));
    errors
}

fn file_path(item: &Value, path: &Path) -> ErrorList {
    let (target, at) = (meta::text(item, "path"), path.child("path"));
    if target.is_empty() {
        return vec![Error::required(&at, "")];
    }
    validate::local_file(target, &at)
}

/// A Secret or ConfigMap; `field` names it.
fn named(field: &str, source: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = required_name(source, field, path).into_iter().collect();
    errors.extend(mode(&source["defaultMode"], &path.child("defaultMode")));
    for (position, entry) in meta::list(source, "items").iter().enumerate() {
        errors.extend(item(entry, &path.child("items").index(position)));
    }
    errors
}

fn downward(source: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = mode(&source["defaultMode"], &path.child("defaultMode")).into_iter().collect();
    for item in meta::list(source, "items") {
        errors.extend(downward_file(item, path));
    }
    errors
}

/// Upstream names the volume, not the item, in these errors.
fn downward_file(item: &Value, path: &Path) -> ErrorList {
    let mut errors = file_path(item, path);
    let (field, resource) = (&item["fieldRef"], &item["resourceFieldRef"]);
    if field.is_object() {
        errors.extend(environment::field_ref(field, &FILE_FIELDS, &path.child("fieldRef")));
        if !resource.is_null() {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(Error::invalid(path, "resource", why));
        }
    } else if resource.is_object() {
        errors.extend(environment::resource_ref(resource, true, &path.child("resourceFieldRef")));
    } else {
        errors.push(Error::required(path, "one of fieldRef and resourceFieldRef is required"));
    }
    errors.extend(mode(&item["mode"], &path.child("mode")));
    errors
}
