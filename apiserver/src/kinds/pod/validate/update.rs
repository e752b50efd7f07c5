//! What of a pod may change once it is made.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use crate::kinds::validate;

/// The fields of the spec that a client may change, in upstream's words.
const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = counts(new, old, &path);
    if !errors.is_empty() {
        return errors;
    }
    errors.extend(deadline(new, old, &path));
    errors.extend(tolerations(new, old, &path));
    errors.extend(gates(new, old, &path));
    if frozen(new) != frozen(old) {
        errors.push(Error::forbidden(&path, CHANGEABLE));
    }
    errors
}

fn counts(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let lists = ["containers", "initContainers"];
    let changed =
        lists.into_iter().filter(|list| meta::list(&new["spec"], list).len() != meta::list(&old["spec"], list).len());
    changed.map(|list| Error::forbidden(&path.child(list), "pod updates may not add or remove containers")).collect()
}

fn deadline(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let (now, before) = (&new["spec"]["activeDeadlineSeconds"], &old["spec"]["activeDeadlineSeconds"]);
    let at = path.child("activeDeadlineSeconds");
    match (now.as_i64(), before.as_i64()) {
        (Some(now), Some(before)) if now > before => {
            Some(Error::invalid(&at, now, "must be less than or equal to previous value"))
        }
        (None, Some(_)) => {
            Some(Error::invalid(&at, now.clone(), "must not update from a positive integer to nil value"))
        }
        _ => None,
    }
}

fn tolerations(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let now = meta::list(new, "spec.tolerations");
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(fields) = toleration.as_object_mut() {
            fields.remove("tolerationSeconds");
        }
        toleration
    };
    let lost = meta::list(old, "spec.tolerations")
        .iter()
        .any(|before| !now.iter().any(|now| without_seconds(now) == without_seconds(before)));
    let why = "existing toleration can not be modified except its tolerationSeconds";
    lost.then(|| Error::forbidden(&path.child("tolerations"), why))
}

/// Gates go one by one and never come.
fn gates(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let before = meta::list(old, "spec.schedulingGates");
    let added: Vec<&str> = meta::list(new, "spec.schedulingGates")
        .iter()
        .filter(|gate| !before.contains(gate))
        .map(|gate| meta::text(gate, "name"))
        .collect();
    let why = format!("only deletion is allowed, but found new scheduling gates '{}'", added.join(", "));
    (!added.is_empty()).then(|| Error::forbidden(&path.child("schedulingGates"), why))
}

/// The spec without what may change. A gated pod may also be steered by tighter selectors.
fn frozen(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(fields) = container.as_object_mut() {
                fields.remove("image");
            }
        }
    }
    if let Some(fields) = spec.as_object_mut() {
        for name in ["activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers"] {
            fields.remove(name);
        }
    }
    spec
}

pub fn validate_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let nominated = meta::text(new, "status.nominatedNodeName");
    if !nominated.is_empty() {
        let path = validate::path(&["status", "nominatedNodeName"]);
        errors.extend(validate::named(nominated, machinery::names::dns_subdomain, &path));
    }
    let before = meta::text(old, "status.qosClass");
    if !before.is_empty() && meta::text(new, "status.qosClass") != before {
        let path = validate::path(&["status", "qosClass"]);
        errors.push(Error::invalid(&path, meta::text(new, "status.qosClass"), "field is immutable"));
    }
    errors
}
