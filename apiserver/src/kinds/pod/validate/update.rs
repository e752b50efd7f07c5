//! What of a pod may change once it is made.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::container::image_for_pod;
use super::{SECONDS_MAX, annotations, required_name, toleration};
use crate::kinds::go_form::{self, Form};
use crate::kinds::pod::form;

/// The fields of the spec that a client may change, in upstream's words.
const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("spec");
    // Upstream judges some of this twice.
    let mut errors = annotations::of_update(new, old);
    for list in ["containers", "initContainers"] {
        let (containers, at) = (meta::list(&new["spec"], list), path.child(list));
        if containers.len() != meta::list(&old["spec"], list).len() {
            // The rest would be told of the wrong containers.
            errors.push(Error::forbidden(&at, "pod updates may not add or remove containers"));
            return errors;
        }
        for (position, container) in containers.iter().enumerate() {
            let at = at.index(position);
            errors.extend(required_name(container, "image", &at));
            errors.extend(image_for_pod(container, &at));
        }
    }
    let wrong = deadline(new, old, &path);
    let ends_here = wrong.as_ref().is_some_and(|error| !error.value.as_ref().is_some_and(Value::is_null));
    errors.extend(wrong);
    if ends_here {
        return errors;
    }
    errors.extend(tolerations(new, old, &path));
    errors.extend(gates(new, old, &path));
    errors.extend(steering(new, old, &path));
    let frozen = frozen(new, old);
    if frozen != old["spec"] {
        let difference = form::spec_difference(&old["spec"], &frozen);
        errors.push(Error::forbidden(&path, format!("{CHANGEABLE}\n{difference}")));
    }
    errors
}

fn deadline(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let (now, before) = (&new["spec"]["activeDeadlineSeconds"], &old["spec"]["activeDeadlineSeconds"]);
    let at = path.child("activeDeadlineSeconds");
    match (now.as_i64(), before.as_i64()) {
        (Some(now), _) if !(0..=SECONDS_MAX).contains(&now) => {
            Some(Error::invalid(&at, now, names::range_error(0, SECONDS_MAX)))
        }
        (Some(now), Some(before)) if now > before => {
            Some(Error::invalid(&at, now, "must be less than or equal to previous value"))
        }
        (None, Some(_)) => {
            Some(Error::invalid(&at, now.clone(), "must not update from a positive integer to nil value"))
        }
        _ => None,
    }
}

fn tolerations(new: &Value, old: &Value, path: &Path) -> ErrorList {
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
    let at = path.child("tolerations");
    if lost {
        return vec![Error::forbidden(&at, why)];
    }
    now.iter().enumerate().flat_map(|(position, entry)| toleration(entry, &at.index(position))).collect()
}

/// Gates go one by one and never come.
fn gates(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let before = meta::list(old, "spec.schedulingGates");
    let gates = meta::list(new, "spec.schedulingGates").iter().enumerate();
    let added = gates.filter(|(_, gate)| !before.iter().any(|known| known["name"] == gate["name"]));
    let refuse = |(position, gate): (usize, &Value)| {
        let at = path.child("schedulingGates").index(position).child("name");
        let why = format!("only deletion is allowed, but found new scheduling gate '{}'", meta::text(gate, "name"));
        Error::forbidden(&at, why)
    };
    added.map(refuse).collect()
}

/// The new spec, with what may change as it was.
fn frozen(new: &Value, old: &Value) -> Value {
    let (mut spec, before) = (new["spec"].clone(), &old["spec"]);
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, before) in containers.zip(meta::list(before, list)) {
            restore(container, before, &["image"]);
        }
    }
    restore(&mut spec, before, &["activeDeadlineSeconds", "tolerations", "schedulingGates"]);
    let grace = |spec: &Value| spec["terminationGracePeriodSeconds"].as_i64();
    if grace(before).is_some_and(|seconds| seconds < 0) && grace(&spec) == Some(1) {
        restore(&mut spec, before, &["terminationGracePeriodSeconds"]);
    }
    if is_gated(old) {
        restore(&mut spec, before, &["nodeSelector"]);
        restore_node_affinity(&mut spec, before);
    }
    spec
}

fn restore(to: &mut Value, from: &Value, fields: &[&str]) {
    let Some(to) = to.as_object_mut() else { return };
    for field in fields {
        match from.get(*field) {
            Some(value) => to.insert((*field).to_owned(), value.clone()),
            None => to.remove(*field),
        };
    }
}

fn restore_node_affinity(spec: &mut Value, before: &Value) {
    let was = &before["affinity"]["nodeAffinity"];
    if spec["affinity"].is_null() && !was.is_null() {
        meta::object_mut(spec, "affinity");
    }
    let Some(affinity) = spec.get_mut("affinity").filter(|affinity| affinity.is_object()) else { return };
    restore(affinity, &before["affinity"], &["nodeAffinity"]);
    if before["affinity"].is_null() && affinity.as_object().is_some_and(serde_json::Map::is_empty) {
        restore(spec, before, &["affinity"]);
    }
}

fn is_gated(old: &Value) -> bool {
    !meta::list(old, "spec.schedulingGates").is_empty()
}

const TERM: Form = Form::Struct(form::NODE_TERM);

/// A pod that waits at a gate may be steered to fewer nodes, never to more.
fn steering(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !is_gated(old) {
        return errors;
    }
    let labels = meta::map(new, "spec.nodeSelector");
    if meta::map(old, "spec.nodeSelector").iter().any(|(name, value)| labels.get(name) != Some(value)) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(Error::invalid(&path.child("nodeSelector"), labels.clone(), why));
    }
    let required = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (terms, before) = (meta::list(new, required), meta::list(old, required));
    let at = required.split('.').skip(1).fold(path.clone(), |path, name| path.child(name));
    if !before.is_empty() && terms.len() != before.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown = go_form::write(meta::at(new, required), &Form::List(&TERM));
        errors.push(Error::invalid(&at, terms.to_vec(), why).showing(shown));
        return errors;
    }
    let widened = before.iter().zip(terms).enumerate().filter(|(_, (before, term))| !is_narrower(term, before));
    let why = "only additions are allowed (no mutations or deletions)";
    errors.extend(widened.map(|(position, (_, term))| {
        Error::invalid(&at.index(position), term.clone(), why).showing(go_form::write(term, &TERM))
    }));
    errors
}

/// A term that selects nothing stays as it is; of another the beginning stays.
fn is_narrower(term: &Value, before: &Value) -> bool {
    let lists = ["matchExpressions", "matchFields"].map(|list| (meta::list(term, list), meta::list(before, list)));
    if lists.iter().all(|(_, before)| before.is_empty()) {
        return lists.iter().all(|(now, _)| now.is_empty());
    }
    lists.iter().all(|(now, before)| now.starts_with(before))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(change: &Value) -> Value {
        let mut spec = json!({"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 30});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"spec": spec})
    }

    fn fields(new: &Value, old: &Value) -> Vec<String> {
        validate_update(&pod(new), &pod(old)).into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn little_of_a_pod_changes() {
        for (new, old, want) in [
            (json!({"containers": [{"name": "c", "image": "j"}]}), json!({}), vec![]),
            (json!({"containers": [{"name": "d", "image": "i"}]}), json!({}), vec!["spec"]),
            (json!({"containers": []}), json!({}), vec!["spec.containers"]),
            (json!({"ephemeralContainers": [{"name": "e"}]}), json!({}), vec!["spec"]),
            (json!({"terminationGracePeriodSeconds": 1}), json!({"terminationGracePeriodSeconds": -1}), vec![]),
            (json!({"terminationGracePeriodSeconds": 2}), json!({}), vec!["spec"]),
            (json!({"nodeSelector": {"a": "b"}}), json!({}), vec!["spec"]),
        ] {
            assert_eq!(fields(&new, &old), want, "{new}");
        }
    }

    #[test]
    fn a_gated_pod_is_steered_to_fewer_nodes() {
        let gated = |labels: Value, expressions: Value| {
            json!({"schedulingGates": [{"name": "g"}], "nodeSelector": labels, "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": expressions}]},
            }}})
        };
        let (a, b) = (json!({"key": "a"}), json!({"key": "b"}));
        let old = gated(json!({"x": "y"}), json!([a]));
        assert!(fields(&gated(json!({"x": "y", "z": "w"}), json!([a, b])), &old).is_empty());
        assert_eq!(fields(&gated(json!({}), json!([a])), &old), ["spec.nodeSelector"]);
        let terms = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]";
        assert_eq!(fields(&gated(json!({"x": "y"}), json!([b])), &old), [terms]);
    }
}
