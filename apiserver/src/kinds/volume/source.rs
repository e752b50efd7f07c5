//! Where a PersistentVolume's bytes are: one source of many kinds, each with its rules.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::iscsi;
use crate::kinds::storage::driver_name;
use crate::kinds::validate;

/// The kinds of sources, in the order in which upstream looks for them.
const KINDS: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// Exactly one source, and a good one. `name` is the volume's.
pub fn all(spec: &Value, name: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let sources = KINDS.iter().copied().filter(|kind| spec[kind].is_object());
    let mut found = 0;
    for kind in sources {
        // Upstream's own second look at a flexVolume is missing.
        if found > 0 && kind != "flexVolume" {
            let told = if kind == "cephfs" { "cephFS" } else { kind };
            errors.push(Error::forbidden(&path.child(told), "may not specify more than 1 volume type"));
            continue;
        }
        found += 1;
        let told = if kind == "gcePersistentDisk" { "persistentDisk" } else { kind };
        errors.extend(source(kind, &spec[kind], name, &path.child(told)));
        if kind == "local" && spec["nodeAffinity"].is_null() {
            let why = "Local volume requires node affinity";
            errors.push(Error::required(&path.child("nodeAffinity"), why));
        }
    }
    if found == 0 {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    let target = meta::text(spec, "hostPath.path");
    if is_root(target) && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(Error::forbidden(&path.child("persistentVolumeReclaimPolicy"), why));
    }
    errors
}

fn is_root(target: &str) -> bool {
    let mut depth = 0_usize;
    for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
        depth = if part == ".." { depth.saturating_sub(1) } else { depth + 1 };
    }
    target.starts_with('/') && depth == 0
}

/// Whether two specs name the same source; a secret for growing may be added.
pub fn is_same(new: &Value, old: &Value) -> bool {
    KINDS.iter().all(|kind| new[kind] == old[kind])
}

/// A new spec without the secret for growing, where the old one has none: it may be named later.
pub fn without_new_secret(new: &Value, old: &Value) -> Value {
    const EXPAND: &str = "controllerExpandSecretRef";
    let mut new = new.clone();
    if old["csi"].is_object() && old["csi"][EXPAND].is_null() && new["csi"].is_object() {
        new["csi"].as_object_mut().and_then(|fields| fields.remove(EXPAND));
    }
    new
}

/// What must not be empty.
pub fn required(source: &Value, fields: &[&str], path: &Path) -> ErrorList {
    let absent = fields.iter().filter(|field| match &source[**field] {
        Value::Array(items) => items.is_empty(),
        other => other.as_str().unwrap_or_default().is_empty(),
    });
    absent.map(|field| Error::required(&path.child(field), "")).collect()
}

/// The rules of one kind of source. `name` is the volume's.
pub fn source(kind: &str, source: &Value, name: &str, path: &Path) -> ErrorList {
    let required = |fields: &[&str]| required(source, fields, path);
    match kind {
        "hostPath" => host_path(source, path),
        "local" => local_path(source, path),
        "gcePersistentDisk" => [required(&["pdName"]), partition(source, path)].concat(),
        "awsElasticBlockStore" => [required(&["volumeID"]), partition(source, path)].concat(),
        "glusterfs" => [required(&["endpoints", "path"]), endpoints_namespace(source, path)].concat(),
        "flocker" => flocker(source, path),
        "nfs" => [required(&["server", "path"]), absolute(source, path)].concat(),
        "rbd" => required(&["monitors", "image"]),
        "quobyte" => [quobyte(source, path), required(&["volume"])].concat(),
        "cephfs" => required(&["monitors"]),
        "iscsi" => iscsi::persistent(source, name, path),
        "cinder" => [required(&["volumeID"]), named_secret(source, path)].concat(),
        "fc" => fibre_channel(source, path),
        "flexVolume" => [required(&["driver"]), flex_options(source, path)].concat(),
        "azureFile" => [required(&["secretName", "shareName"]), secret_namespace(source, path)].concat(),
        "vsphereVolume" => required(&["volumePath"]),
        "photonPersistentDisk" => required(&["pdID"]),
        "portworxVolume" => required(&["volumeID"]),
        "azureDisk" => [required(&["diskName", "diskURI"]), azure_disk(source, path)].concat(),
        "scaleIO" => required(&["gateway", "system", "volumeName"]),
        "storageos" => [storage_os(source, path), named_secret(source, path)].concat(),
        "csi" => csi(source, path),
        _ => ErrorList::new(),
    }
}

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

fn host_path(source: &Value, path: &Path) -> ErrorList {
    let mut errors = local_path(source, path);
    let kind = meta::text(source, "type");
    if !meta::text(source, "path").is_empty() && !HOST_PATH_TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &HOST_PATH_TYPES));
    }
    errors
}

fn local_path(source: &Value, path: &Path) -> ErrorList {
    let (target, at) = (meta::text(source, "path"), path.child("path"));
    if target.is_empty() {
        return vec![Error::required(&at, "")];
    }
    let climbs = target.split('/').any(|part| part == "..");
    climbs.then(|| Error::invalid(&at, target, "must not contain '..'")).into_iter().collect()
}

fn partition(source: &Value, path: &Path) -> ErrorList {
    let number = source["partition"].as_i64().filter(|number| !(0..=255).contains(number));
    number
        .map(|number| Error::invalid(&path.child("partition"), number, names::range_error(1, 255)))
        .into_iter()
        .collect()
}

fn endpoints_namespace(source: &Value, path: &Path) -> ErrorList {
    let at = path.child("endpointsNamespace");
    match source["endpointsNamespace"].as_str() {
        None => ErrorList::new(),
        Some("") => {
            vec![Error::invalid(&at, "", "if the endpointnamespace is set, it must be a valid namespace name")]
        }
        Some(namespace) => validate::named(namespace, names::dns_label, &at),
    }
}

fn flocker(source: &Value, path: &Path) -> ErrorList {
    let (name, uuid) = (meta::text(source, "datasetName"), meta::text(source, "datasetUUID"));
    let mut errors = ErrorList::new();
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => errors.push(Error::required(path, "one of datasetName and datasetUUID is required")),
        (false, false) => {
            let why = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(Error::invalid(path, "resource", why));
        }
        _ => {}
    }
    if name.contains('/') {
        errors.push(Error::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
    errors
}

fn absolute(source: &Value, path: &Path) -> ErrorList {
    let target = meta::text(source, "path");
    let relative = !target.starts_with('/');
    relative.then(|| Error::invalid(&path.child("path"), target, "must be an absolute path")).into_iter().collect()
}

const TENANT_LENGTH_MAX: usize = 64;

fn quobyte(source: &Value, path: &Path) -> ErrorList {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, at) = (meta::text(source, "registry"), path.child("registry"));
    if registry.is_empty() {
        return vec![Error::required(&at, PAIRS)];
    }
    if meta::text(source, "tenant").len() > TENANT_LENGTH_MAX {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        return vec![Error::required(&path.child("tenant"), why)];
    }
    let is_pair = |pair: &&str| match pair.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").is_some(),
        None => pair.matches(':').count() == 1,
    };
    let bad = registry.split(',').filter(|pair| !is_pair(pair)).count();
    (0..bad).map(|_| Error::invalid(&at, registry, PAIRS)).collect()
}

/// A secret that is named by name and namespace, where there is one.
fn named_secret(source: &Value, path: &Path) -> ErrorList {
    let secret = &source["secretRef"];
    if !secret.is_object() {
        return ErrorList::new();
    }
    let absent = ["name", "namespace"].into_iter().filter(|field| meta::text(secret, field).is_empty());
    absent.map(|field| Error::required(&path.child("secretRef").child(field), "")).collect()
}

fn fibre_channel(source: &Value, path: &Path) -> ErrorList {
    let (names, ids) = (meta::list(source, "targetWWNs"), meta::list(source, "wwids"));
    let at = path.child("targetWWNs");
    let mut errors = ErrorList::new();
    if names.is_empty() && ids.is_empty() {
        errors.push(Error::required(&at, "must specify either targetWWNs or wwids, but not both"));
    }
    if !names.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(Error::invalid(&at, source["targetWWNs"].clone(), why));
    }
    if !names.is_empty() {
        let at = path.child("lun");
        match source["lun"].as_i64() {
            None => errors.push(Error::required(&at, "lun is required if targetWWNs is specified")),
            Some(lun) if !(0..=255).contains(&lun) => {
                errors.push(Error::invalid(&at, lun, machinery::names::range_error(0, 255)));
            }
            Some(_) => {}
        }
    }
    errors
}

fn flex_options(source: &Value, path: &Path) -> ErrorList {
    let is_reserved = |key: &&String| {
        let namespace = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
        namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io")
    };
    let reserved = meta::map(source, "options").keys().filter(is_reserved);
    let why = "kubernetes.io and k8s.io namespaces are reserved";
    reserved.map(|key| Error::invalid(&path.child("options").key(key), key.as_str(), why)).collect()
}

fn secret_namespace(source: &Value, path: &Path) -> ErrorList {
    let is_empty = source["secretNamespace"].as_str() == Some("");
    is_empty.then(|| Error::required(&path.child("secretNamespace"), "")).into_iter().collect()
}

fn azure_disk(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (field, supported) in
        [("cachingMode", ["None", "ReadOnly", "ReadWrite"]), ("kind", ["Dedicated", "Managed", "Shared"])]
    {
        if let Some(value) = source[field].as_str().filter(|value| !supported.contains(value)) {
            errors.push(Error::not_supported(&path.child(field), value, &supported));
        }
    }
    let address = meta::text(source, "diskURI");
    let (prefix, form) = match source["kind"].as_str() {
        None => return errors,
        Some("Managed") => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        Some(_) => ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
    };
    if !address.starts_with(prefix) {
        errors.push(Error::not_supported(&path.child("diskURI"), address, &[form]));
    }
    errors
}

pub fn storage_os(source: &Value, path: &Path) -> ErrorList {
    let (name, namespace) = (meta::text(source, "volumeName"), meta::text(source, "volumeNamespace"));
    let mut errors = match name {
        "" => vec![Error::required(&path.child("volumeName"), "")],
        name => validate::named(name, names::dns_label, &path.child("volumeName")),
    };
    if !namespace.is_empty() {
        errors.extend(validate::named(namespace, names::dns_label, &path.child("volumeNamespace")));
    }
    errors
}

fn csi(source: &Value, path: &Path) -> ErrorList {
    let mut errors = driver_name(meta::text(source, "driver"), &path.child("driver"));
    if meta::text(source, "volumeHandle").is_empty() {
        errors.push(Error::required(&path.child("volumeHandle"), ""));
    }
    for field in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let (secret, at) = (&source[field], path.child(field));
        if !secret.is_object() {
            continue;
        }
        for (field, check) in [("name", names::dns_subdomain as names::NameCheck), ("namespace", names::dns_label)] {
            match meta::text(secret, field) {
                "" => errors.push(Error::required(&at.child(field), "")),
                name => errors.extend(validate::named(name, check, &at.child(field))),
            }
        }
    }
    errors
}
