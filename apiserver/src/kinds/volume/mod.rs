//! PersistentVolumes (Kubernetes concept: "Persistent Volumes"); claims are in [`claim`].
//!
//! Enter at [`HOOKS`] and [`validate_inline`].

pub mod claim;
pub mod defaults;
pub mod form;
pub mod inline;
pub mod iscsi;
mod source;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::{Value, json};

use super::defaults::{round_amounts, set, spec};
use super::{Column, Hooks, MetadataRounds, go_form, node_labels, pod, text_column, validate};
use crate::rest::table::{AGE, NAME, age};

const VOLUME_MODE: Column = Column {
    name: "VolumeMode",
    kind: "string",
    priority: 1,
    description: "Whether the volume is a file system or a bare device.",
};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds { whole: 2, change: 0 },
    default: |volume| {
        set(meta::object_mut(volume, "status"), "phase", "Pending");
        let fields = spec(volume);
        set(fields, "persistentVolumeReclaimPolicy", "Retain");
        if fields.get("volumeMode").is_none_or(Value::is_null) {
            fields.insert("volumeMode".into(), "Filesystem".into());
        }
        defaults::source(fields);
        round_amounts(fields, "capacity");
    },
    prepare_create: |volume| {
        let now = volume["metadata"]["creationTimestamp"].clone();
        volume["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
    },
    stamp_status: stamp_phase,
    validate: |volume| validate_volume(volume).into_iter().chain(mount_options(volume)).collect(),
    validate_update,
    warnings,
    columns: &[
        NAME,
        text_column("Capacity", "How much it holds."),
        text_column("Access Modes", "How it can be mounted."),
        text_column("Reclaim Policy", "What becomes of it when its claim goes."),
        text_column("Status", "Whether it is free, bound, or released by its claim."),
        text_column("Claim", "The claim that has it."),
        text_column("StorageClass", "StorageClass of the pv"),
        text_column("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
        text_column("Reason", "Why it is in that state."),
        AGE,
        VOLUME_MODE,
    ],
    cells,
    ..Hooks::PLAIN
};

/// The phase's time follows the phase, unless the client tells one of its own.
fn stamp_phase(new: &mut Value, old: &Value, now: &str) {
    let (at, before) = (&new["status"]["lastPhaseTransitionTime"], &old["status"]["lastPhaseTransitionTime"]);
    let time = match meta::text(new, "status.phase") == meta::text(old, "status.phase") {
        true if at.is_null() => before.clone(),
        false if at.is_null() || at == before => now.into(),
        _ => return,
    };
    if !time.is_null() {
        meta::object_mut(new, "status").insert("lastPhaseTransitionTime".into(), time);
    }
}

const MODES: [(&str, &str); 4] =
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
const MODES_SUPPORTED: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// Short names, in an order of their own, each once.
fn shown_modes(modes: &[Value]) -> String {
    let shown: Vec<&str> =
        MODES.iter().filter(|(name, _)| modes.iter().any(|mode| mode == name)).map(|(_, short)| *short).collect();
    shown.join(",")
}

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const MOUNT_OPTIONS_ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";

/// The class, as an old annotation or the field tells it.
fn class(object: &Value) -> &str {
    meta::annotation(object, CLASS_ANNOTATION).unwrap_or_else(|| meta::text(object, "spec.storageClassName"))
}

fn shown_phase(object: &Value) -> &str {
    if meta::is_deleting(object) { "Terminating" } else { meta::text(object, "status.phase") }
}

fn or_unset<'a>(object: &'a Value, path: &str) -> &'a str {
    meta::at(object, path).as_str().unwrap_or("<unset>")
}

fn storage(amounts: &Value) -> &str {
    amounts["storage"].as_str().unwrap_or("0")
}

fn cells(volume: &Value, now: i64) -> Vec<Value> {
    let claim = &volume["spec"]["claimRef"];
    let claim = match claim.is_object() {
        true => format!("{}/{}", meta::text(claim, "namespace"), meta::text(claim, "name")),
        false => String::new(),
    };
    vec![
        meta::name(volume).into(),
        storage(&volume["spec"]["capacity"]).into(),
        shown_modes(meta::list(volume, "spec.accessModes")).into(),
        meta::text(volume, "spec.persistentVolumeReclaimPolicy").into(),
        shown_phase(volume).into(),
        claim.into(),
        class(volume).into(),
        or_unset(volume, "spec.volumeAttributesClassName").into(),
        meta::text(volume, "status.reason").into(),
        age(volume, now).into(),
        or_unset(volume, "spec.volumeMode").into(),
    ]
}

/// Sources whose mounts take options by the old annotation.
const WITH_MOUNT_OPTIONS: [&str; 13] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

fn validate_volume(volume: &Value) -> ErrorList {
    let (path, spec) = (Path::new("spec"), &volume["spec"]);
    let mut errors = access_modes(spec, "", &path);
    errors.extend(capacity(&spec["capacity"], &path.child("capacity")));
    let (policy, policies) = (meta::text(spec, "persistentVolumeReclaimPolicy"), ["Delete", "Recycle", "Retain"]);
    if !policy.is_empty() && !policies.contains(&policy) {
        errors.push(Error::not_supported(&path.child("persistentVolumeReclaimPolicy"), policy, &policies));
    }
    let affinity = &spec["nodeAffinity"];
    if affinity.is_object() {
        let at = path.child("nodeAffinity").child("required");
        match &affinity["required"] {
            Value::Null => errors.push(Error::required(&at, "must specify required node constraints")),
            selector => errors.extend(pod::validate::node_selector(selector, &at)),
        }
    }
    errors.extend(source::all(spec, meta::name(volume), &path));
    errors.extend(optional_class(spec, "storageClassName", &path));
    if let Some(mode) = spec["volumeMode"].as_str().filter(|mode| !VOLUME_MODES.contains(mode)) {
        errors.push(Error::not_supported(&path.child("volumeMode"), mode, &VOLUME_MODES));
    }
    errors.extend(attributes_class(spec, &path));
    errors
}

fn mount_options(volume: &Value) -> Option<Error> {
    let spec = &volume["spec"];
    if meta::annotation(volume, MOUNT_OPTIONS_ANNOTATION).is_some()
        && !WITH_MOUNT_OPTIONS.iter().any(|kind| spec[kind].is_object())
    {
        let at = validate::path(&["metadata", "annotations", MOUNT_OPTIONS_ANNOTATION]);
        return Some(Error::forbidden(&at, "may not specify mount options for this volume type"));
    }
    None
}

/// The spec of a volume that stands within another object, where only a CSI source may be.
pub fn validate_inline(spec: &Value, path: &Path) -> ErrorList {
    const WHERE: &str = "in the context of inline volumes";
    let forbidden = |field: &str, why: &str| Error::forbidden(&path.child(field), format!("{why} {WHERE}"));
    let mut errors = ErrorList::new();
    if !spec["claimRef"].is_null() {
        errors.push(forbidden("claimRef", "may not be specified"));
    }
    if !meta::map(spec, "capacity").is_empty() {
        errors.push(forbidden("capacity", "may not be specified"));
    }
    if spec["csi"].is_null() {
        errors.push(Error::required(&path.child("csi"), format!("has to be specified {WHERE}")));
    }
    errors.extend(access_modes(spec, "", path));
    if !matches!(meta::text(spec, "persistentVolumeReclaimPolicy"), "" | "Retain") {
        errors.push(forbidden("persistentVolumeReclaimPolicy", "may only be Retain"));
    }
    if !spec["nodeAffinity"].is_null() {
        errors.push(forbidden("nodeAffinity", "may not be specified"));
    }
    errors.extend(source::all(spec, "", path));
    if !meta::text(spec, "storageClassName").is_empty() {
        errors.push(forbidden("storageClassName", "may not be specified"));
    }
    if spec["volumeMode"].as_str().is_some_and(|mode| mode != "Filesystem") {
        errors.push(forbidden("volumeMode", "may not specify volumeMode other than Filesystem"));
    }
    errors
}

/// `none`: what is said where there are none.
fn access_modes(spec: &Value, none: &str, path: &Path) -> ErrorList {
    let at = path.child("accessModes");
    let modes: Vec<&str> = meta::list(spec, "accessModes").iter().filter_map(Value::as_str).collect();
    let mut errors = ErrorList::new();
    if modes.is_empty() {
        errors.push(Error::required(&at, none));
    }
    let (good, bad): (Vec<&str>, Vec<&str>) = modes.into_iter().partition(|mode| MODES_SUPPORTED.contains(mode));
    errors.extend(bad.into_iter().map(|mode| Error::not_supported(&at, mode, &MODES_SUPPORTED)));
    if good.contains(&"ReadWriteOncePod") && good.iter().any(|mode| *mode != "ReadWriteOncePod") {
        errors.push(Error::forbidden(&at, "may not use ReadWriteOncePod with other access modes"));
    }
    errors
}

fn capacity(capacity: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let amounts = capacity.as_object();
    if amounts.is_none_or(serde_json::Map::is_empty) {
        errors.push(Error::required(path, ""));
    }
    if capacity["storage"].is_null() || amounts.is_some_and(|amounts| amounts.len() > 1) {
        errors.push(Error::not_supported(path, capacity.clone(), &["storage"]));
    }
    for (name, amount) in amounts.into_iter().flatten() {
        let Ok(amount) = Quantity::from_value(amount) else { continue };
        let at = path.key(name);
        if amount.value() < 0 {
            errors.push(Error::invalid(&at, amount.value(), "must be a valid resource quantity"));
        }
        errors.extend(positive(&amount, &at));
    }
    errors
}

fn positive(amount: &Quantity, path: &Path) -> Option<Error> {
    (amount.sign() <= 0).then(|| Error::invalid(path, amount.to_string(), "must be greater than zero"))
}

fn optional_class(spec: &Value, field: &str, path: &Path) -> ErrorList {
    match meta::text(spec, field) {
        "" => ErrorList::new(),
        class => validate::named(class, names::dns_subdomain, &path.child(field)),
    }
}

fn attributes_class(spec: &Value, path: &Path) -> ErrorList {
    let at = path.child("volumeAttributesClassName");
    let Some(class) = spec["volumeAttributesClassName"].as_str() else { return ErrorList::new() };
    let mut errors = match class {
        "" => vec![Error::required(&at, "an empty string is disallowed")],
        class => validate::named(class, names::dns_subdomain, &at),
    };
    if spec["csi"].is_null() {
        let why = "has to be specified when using volumeAttributesClassName";
        errors.push(Error::required(&path.child("csi"), why));
    }
    errors
}

/// Where the bytes are does not change; a secret for growing may be named later.
fn validate_update(new: &Value, old: &Value) -> ErrorList {
    // Upstream judges the volume twice.
    let mut errors = validate_volume(new);
    let spec = source::without_new_secret(&new["spec"], &old["spec"]);
    if !source::is_same(&spec, &old["spec"]) {
        let path = validate::path(&["spec", "persistentvolumesource"]);
        let difference = go_form::difference(&old["spec"], &spec, &form::SOURCE);
        let why = format!("spec.persistentvolumesource is immutable after creation\n{difference}");
        errors.push(Error::forbidden(&path, why));
    }
    let mode = |volume: &Value| volume["spec"]["volumeMode"].clone();
    errors.extend(validate::immutable(&mode(new), &mode(old), &Path::new("volumeMode")));
    let (affinity, before) = (&new["spec"]["nodeAffinity"], &old["spec"]["nodeAffinity"]);
    if !before.is_null() && !node_labels::is_same_but_renamed(affinity, before) {
        let why = "field is immutable, except for updating from beta label to GA";
        let shown = go_form::write(affinity, &form::AFFINITY);
        errors.push(Error::invalid(&Path::new("nodeAffinity"), affinity.clone(), why).showing(shown));
    }
    let class = |volume: &Value| volume["spec"]["volumeAttributesClassName"].is_null();
    if !class(old) && class(new) {
        let path = validate::path(&["spec", "volumeAttributesClassName"]);
        errors.push(Error::forbidden(&path, "update from non-nil value to nil is forbidden"));
    }
    errors
}

/// Sources of which only the name is left.
const GONE: [(&str, &str, &str); 6] = [
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn warnings(volume: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, words) in [
        (CLASS_ANNOTATION, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        (MOUNT_OPTIONS_ANNOTATION, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ] {
        if meta::annotation(volume, key).is_some() {
            warnings.push(format!("{}: {words}", validate::path(&["metadata", "annotations"]).key(key)));
        }
    }
    let spec = &volume["spec"];
    if spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    let path = validate::path(&["spec", "nodeAffinity", "required", "nodeSelectorTerms"]);
    for (position, term) in meta::list(spec, "nodeAffinity.required.nodeSelectorTerms").iter().enumerate() {
        warnings.extend(node_labels::expression_warnings(term, &path.index(position)));
    }
    let gone = GONE.iter().filter(|(field, _, _)| spec[field].is_object());
    warnings.extend(gone.map(|(_, told, words)| format!("spec.{told}: {words}")));
    warnings
}

#[cfg(test)]
mod tests;
