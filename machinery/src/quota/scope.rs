//! Scopes: which pods and claims a quota is about.

use serde_json::{Value, json};

use crate::meta;

/// The quota's scopes as selectors.
pub(super) fn selectors(quota: &Value) -> Vec<Value> {
    let scopes = meta::list(quota, "spec.scopes").iter();
    let scopes = scopes.map(|scope| json!({"scopeName": scope, "operator": "Exists"}));
    scopes.chain(meta::list(quota, "spec.scopeSelector.matchExpressions").iter().cloned()).collect()
}

pub(super) fn matches_pod(selector: &Value, pod: &Value) -> bool {
    match selector["scopeName"].as_str().unwrap_or_default() {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = meta::text(pod, "spec.priorityClassName");
            matches_names(selector, &if class.is_empty() { Vec::new() } else { vec![class] })
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

pub(super) fn matches_claim(selector: &Value, claim: &Value) -> bool {
    if selector["scopeName"] != "VolumeAttributesClass" {
        return false;
    }
    let paths = [
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    ];
    let names: Vec<&str> = paths.iter().map(|path| meta::text(claim, path)).filter(|name| !name.is_empty()).collect();
    matches_names(selector, &names)
}

/// As a label selector on a label with each of the names, or on none.
fn matches_names(selector: &Value, names: &[&str]) -> bool {
    let listed = |name: &&str| meta::list(selector, "values").iter().any(|value| value == *name);
    match selector["operator"].as_str().unwrap_or_default() {
        "Exists" => !names.is_empty(),
        "DoesNotExist" => names.is_empty(),
        "In" => names.iter().any(listed),
        "NotIn" => names.is_empty() || names.iter().any(|name| !listed(name)),
        _ => false,
    }
}

/// A pod with a deadline.
pub(super) fn is_terminating(pod: &Value) -> bool {
    meta::at(pod, "spec.activeDeadlineSeconds").as_i64().is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(pod: &Value) -> bool {
    match meta::text(pod, "status.qosClass") {
        "" => {
            let mut lists =
                ["spec.containers", "spec.initContainers"].into_iter().flat_map(|list| meta::list(pod, list));
            !asks(&pod["spec"]) && !lists.any(asks)
        }
        class => class == "BestEffort",
    }
}

fn asks(of: &Value) -> bool {
    ["requests", "limits"].iter().any(|which| {
        let list = crate::resources::ResourceList::from_value(&of["resources"][which]);
        ["cpu", "memory"].iter().any(|name| list.get(name).is_some_and(|quantity| quantity.sign() > 0))
    })
}

fn crosses_namespaces(pod: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = &pod["spec"]["affinity"][kind];
        let required = meta::list(affinity, "requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = meta::list(affinity, "preferredDuringSchedulingIgnoredDuringExecution").iter();
        required
            .chain(preferred.map(|weighted| &weighted["podAffinityTerm"]))
            .any(|term| !meta::list(term, "namespaces").is_empty() || !term["namespaceSelector"].is_null())
    })
}
