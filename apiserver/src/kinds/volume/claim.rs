//! PersistentVolumeClaims (Kubernetes concept: "Persistent Volumes").
//!
//! Enter at [`HOOKS`]; templates of claims share [`validate_spec`].

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::{Value, json};

use super::super::defaults::{round_amounts, round_resources, set, spec};
use super::super::{Hooks, MetadataRounds, go_form, text_column, validate};
use super::{
    CLASS_ANNOTATION, VOLUME_MODE, VOLUME_MODES, access_modes, class, form, optional_class, or_unset, positive,
    shown_modes, shown_phase, storage,
};
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    default: |claim| {
        default_status(meta::object_mut(claim, "status"));
        default_spec(spec(claim));
    },
    prepare_create: |claim| {
        claim["status"] = json!({"phase": "Pending"});
        join_sources(claim, None);
    },
    prepare_update: |new, old| join_sources(new, Some(old)),
    validate: |claim| validate_spec(&claim["spec"], &Path::new("spec")),
    validate_update,
    validate_status,
    warnings,
    columns: &[
        NAME,
        text_column("Status", "Whether it has a volume."),
        text_column("Volume", "The volume that it has."),
        text_column("Capacity", "How much the volume holds."),
        text_column("Access Modes", "How the volume can be mounted."),
        text_column("StorageClass", "StorageClass of the pvc"),
        text_column("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
        AGE,
        VOLUME_MODE,
    ],
    cells,
    ..Hooks::PLAIN
};

/// What a claim's spec says when it says nothing; for templates too.
pub fn default_spec(fields: &mut serde_json::Map<String, Value>) {
    if fields.get("volumeMode").is_none_or(Value::is_null) {
        fields.insert("volumeMode".into(), "Filesystem".into());
    }
    round_resources(fields);
}

/// As [`default_spec`], of a claim's status.
pub fn default_status(fields: &mut serde_json::Map<String, Value>) {
    set(fields, "phase", "Pending");
    ["capacity", "allocatedResources"].iter().for_each(|amounts| round_amounts(fields, amounts));
}

fn cells(claim: &Value, now: i64) -> Vec<Value> {
    let volume = meta::text(claim, "spec.volumeName");
    let (capacity, modes) = match volume {
        "" => ("", String::new()),
        _ => (storage(&claim["status"]["capacity"]), shown_modes(meta::list(claim, "status.accessModes"))),
    };
    vec![
        meta::name(claim).into(),
        shown_phase(claim).into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(claim).into(),
        or_unset(claim, "spec.volumeAttributesClassName").into(),
        age(claim, now).into(),
        or_unset(claim, "spec.volumeMode").into(),
    ]
}

/// `dataSource` and `dataSourceRef` tell the same; an old client's odd `dataSource` alone is dropped (KEP 1495).
fn join_sources(claim: &mut Value, old: Option<&Value>) {
    let had = |field: &str| old.is_some_and(|old| old["spec"][field].is_object());
    let fields = spec(claim);
    let present =
        |fields: &serde_json::Map<String, Value>, field: &str| fields.get(field).is_some_and(Value::is_object);
    let namespaced = |fields: &serde_json::Map<String, Value>| {
        fields.get("dataSourceRef").is_some_and(|reference| !meta::text(reference, "namespace").is_empty())
    };
    // Sources of other namespaces are behind a gate that is off.
    if namespaced(fields) && !had("dataSourceRef") {
        fields.remove("dataSourceRef");
    }
    let was_in_use = had("dataSource") || had("dataSourceRef");
    if !was_in_use && !present(fields, "dataSourceRef") && !fields.get("dataSource").is_some_and(is_classic) {
        fields.remove("dataSource");
    }
    let (from, to) = match (present(fields, "dataSource"), present(fields, "dataSourceRef")) {
        (true, false) => ("dataSource", "dataSourceRef"),
        (false, true) if !namespaced(fields) => ("dataSourceRef", "dataSource"),
        _ => return,
    };
    let mut source = fields[from].clone();
    source.as_object_mut().and_then(|source| source.remove("namespace"));
    fields.insert(to.to_owned(), source);
}

/// Another claim or a snapshot: what `dataSource` could name from the first.
fn is_classic(source: &Value) -> bool {
    matches!(
        (meta::text(source, "apiGroup"), meta::text(source, "kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

/// Rules of a claim's spec, in a claim or a template of one.
pub fn validate_spec(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = access_modes(spec, "at least 1 access mode is required", path);
    errors.extend(validate::label_selector(&spec["selector"], &path.child("selector")));
    let at = path.child("resources").key("storage");
    match &spec["resources"]["requests"]["storage"] {
        Value::Null => errors.push(Error::required(&at, "")),
        amount => errors.extend(Quantity::from_value(amount).ok().and_then(|amount| positive(&amount, &at))),
    }
    errors.extend(optional_class(spec, "storageClassName", path));
    if let Some(mode) = spec["volumeMode"].as_str().filter(|mode| !VOLUME_MODES.contains(mode)) {
        errors.push(Error::not_supported(&path.child("volumeMode"), mode, &VOLUME_MODES));
    }
    errors.extend(sources(spec, path));
    errors.extend(optional_class(spec, "volumeAttributesClassName", path));
    errors
}

fn sources(spec: &Value, path: &Path) -> ErrorList {
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    let mut errors = data_source(source, &path.child("dataSource"));
    errors.extend(data_source(reference, &path.child("dataSourceRef")));
    let namespace = meta::text(reference, "namespace");
    if !namespace.is_empty() {
        let at = path.child("dataSourceRef").child("namespace");
        errors.extend(validate::named(namespace, names::dns_label, &at));
    }
    if !source.is_object() || !reference.is_object() {
        return errors;
    }
    let same = ["apiGroup", "kind", "name"].iter().all(|field| source[field] == reference[field]);
    let why = match (namespace.is_empty(), same) {
        (false, _) => "may not be specified when dataSourceRef.namespace is specified",
        (true, false) => "must match dataSourceRef",
        (true, true) => return errors,
    };
    // Upstream shows the path itself for a value, which as JSON is empty.
    errors.push(Error::invalid(path, json!({}), why));
    errors
}

fn data_source(source: &Value, path: &Path) -> ErrorList {
    if !source.is_object() {
        return ErrorList::new();
    }
    let absent = ["name", "kind"].into_iter().filter(|field| meta::text(source, field).is_empty());
    let mut errors: ErrorList = absent.map(|field| Error::required(&path.child(field), "")).collect();
    let (group, kind) = (meta::text(source, "apiGroup"), meta::text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(Error::invalid(path, kind, why));
    }
    if !group.is_empty() {
        errors.extend(validate::named(group, names::dns_subdomain, &path.child("apiGroup")));
    }
    errors
}

/// What is asked for stays, but for what the claim's owner may still say: the volume, once; the class, where there was
/// none; and, when the volume is bound, its size and attributes.
fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (mut now, mut before) = (new["spec"].clone(), old["spec"].clone());
    if meta::text(&before, "volumeName").is_empty() {
        before["volumeName"] = now["volumeName"].clone();
    }
    let (class_now, class_before) = (now["storageClassName"].clone(), before["storageClassName"].clone());
    let (annotation, annotated) = (meta::annotation(new, CLASS_ANNOTATION), meta::annotation(old, CLASS_ANNOTATION));
    let moves_to_field = class_before.is_null() && annotated.is_some() && class_now.as_str() == annotated;
    if moves_to_field && (annotation.is_none() || annotation == annotated) {
        now["storageClassName"] = Value::Null;
    } else {
        if annotation.unwrap_or_default() != annotated.unwrap_or_default() {
            let at = validate::path(&["metadata", "annotations"]).key(CLASS_ANNOTATION);
            errors.push(Error::invalid(&at, annotation.unwrap_or_default(), "field is immutable"));
        }
        let is_given = class_before.is_null() && class_now.is_string();
        if is_given && annotated.is_none_or(|annotated| class_now == annotated) {
            now["storageClassName"] = Value::Null;
        }
    }
    if new["status"]["phase"] == "Bound" {
        if now["resources"]["requests"].is_object() {
            now["resources"]["requests"]["storage"] = before["resources"]["requests"]["storage"].clone();
        }
        now["volumeAttributesClassName"] = before["volumeAttributesClassName"].clone();
    }
    let path = Path::new("spec");
    // A selector of nothing is none no more.
    let selects_anew = now["selector"].is_null() != before["selector"].is_null();
    if selects_anew || !validate::is_alike(&now, &before) {
        let difference = go_form::difference(&before, &now, &form::CLAIM);
        let why = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"
        );
        errors.push(Error::forbidden(&path, why));
    }
    errors.extend(shrinking(new, old));
    let mode = |claim: &Value| claim["spec"]["volumeMode"].clone();
    errors.extend(validate::immutable(&mode(new), &mode(old), &Path::new("volumeMode")));
    errors.extend(attributes_class(new, old, &path.child("volumeAttributesClassName")));
    errors
}

/// A claim that has grown may be taken back, but not below what the volume holds already.
fn shrinking(new: &Value, old: &Value) -> Option<Error> {
    let asked = |claim: &Value| Quantity::from_value(&claim["spec"]["resources"]["requests"]["storage"]).ok();
    let (now, before) = (asked(new)?, asked(old)?);
    let held = Quantity::from_value(&old["status"]["capacity"]["storage"]).ok();
    let is_below = match held {
        Some(held) => now <= held,
        None => now.sign() <= 0,
    };
    (now < before && is_below).then(|| {
        let path = validate::path(&["spec", "resources", "requests", "storage"]);
        Error::forbidden(&path, "field can not be less than status.capacity")
    })
}

fn attributes_class(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let (now, before) = (&new["spec"]["volumeAttributesClassName"], &old["spec"]["volumeAttributesClassName"]);
    if now == before || old["status"]["currentVolumeAttributesClassName"].is_null() {
        return None;
    }
    let to = match now.as_str() {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return None,
    };
    let why = format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
    Some(Error::forbidden(path, why))
}

const RESIZE_STATES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

fn validate_status(new: &Value, _: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if meta::list(new, "spec.accessModes").is_empty() {
        errors.push(Error::required(&validate::path(&["Spec", "accessModes"]), ""));
    }
    let path = Path::new("status");
    for (name, amount) in meta::map(new, "status.capacity") {
        errors.extend(amount_of(amount, &path.child("capacity").key(name)));
    }
    let at = path.child("allocatedResourceStatuses");
    for (name, state) in meta::map(new, "status.allocatedResourceStatuses") {
        errors.extend(resource_name(name, &at));
        if !RESIZE_STATES.iter().any(|known| state == known) {
            // Upstream shows the name for the state.
            errors.push(Error::not_supported(&at, name.as_str(), &RESIZE_STATES));
        }
    }
    let at = path.child("allocatedResources");
    for (name, amount) in meta::map(new, "status.allocatedResources") {
        let wrong = resource_name(name, &at);
        errors.extend(if wrong.is_empty() { amount_of(amount, &at.key(name)) } else { wrong });
    }
    errors
}

fn amount_of(amount: &Value, path: &Path) -> ErrorList {
    let amount = Quantity::from_value(amount).ok().map(|amount| amount.value()).filter(|amount| *amount < 0);
    amount.map(|amount| Error::invalid(path, amount, "must be a valid resource quantity")).into_iter().collect()
}

fn resource_name(name: &str, path: &Path) -> ErrorList {
    let errors = validate::named(name, names::qualified_name, path);
    let is_native = !name.contains('/') || name.contains("kubernetes.io/");
    if errors.is_empty() && is_native && name != "storage" {
        return vec![Error::not_supported(path, name, &["storage"])];
    }
    errors
}

fn warnings(claim: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if meta::annotation(claim, CLASS_ANNOTATION).is_some() {
        let path = validate::path(&["metadata", "annotations"]).key(CLASS_ANNOTATION);
        warnings.push(format!("{path}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
    warnings.extend(spec_warnings(&claim["spec"], &Path::new("spec")));
    warnings
}

/// Of a claim's spec, and of those that claims are made of.
pub fn spec_warnings(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["requests", "limits"] {
        if let Ok(amount) = Quantity::from_value(&spec["resources"][list]["storage"])
            && amount.is_fractional()
        {
            let path = path.child("resources").child(list).key("storage");
            let amount = machinery::field::quote(&amount.to_string());
            warnings.push(format!("{path}: fractional byte value {amount} is invalid, must be an integer"));
        }
    }
    warnings
}
