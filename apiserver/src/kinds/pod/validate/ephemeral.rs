//! Ephemeral containers: what they may be, and that they only ever come.

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use serde_json::Value;

use crate::kinds::pod::form;
use crate::kinds::validate;

/// For what a pod lives by; a container to look at it has no use for these.
const FORBIDDEN: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// What holds beyond the rules of all containers. `others`: the names of the pod's containers and init containers.
pub fn one(container: &Value, others: &HashSet<&str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let target = meta::text(container, "targetContainerName");
    if !target.is_empty() && !others.contains(target) {
        errors.push(Error::not_found(&path.child("targetContainerName"), target));
    }
    let why = "cannot be set for an Ephemeral Container";
    // Of those that are objects only the resources are none when they are empty.
    let is_set = |field: &&str| match &container[*field] {
        Value::Null => false,
        Value::Object(fields) => *field != "resources" || !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let given = FORBIDDEN.into_iter().filter(is_set);
    errors.extend(given.map(|field| Error::forbidden(&path.child(field), why)));
    for (position, mount) in meta::list(container, "volumeMounts").iter().enumerate() {
        let at = path.child("volumeMounts").index(position);
        let given = ["subPath", "subPathExpr"].into_iter().filter(|field| !meta::text(mount, field).is_empty());
        errors.extend(given.map(|field| Error::forbidden(&at.child(field), why)));
    }
    errors
}

/// The annotation of a pod that stands for a static one: the kubelet alone changes those.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

pub fn validate_update(new: &Value, old: &Value) -> ErrorList {
    if meta::annotation(old, MIRROR).is_some() {
        return vec![Error::forbidden(&Path::root(), "static pods do not support ephemeral containers")];
    }
    let path = validate::path(&["spec", "ephemeralContainers"]);
    let now = meta::list(new, "spec.ephemeralContainers");
    let mut errors = ErrorList::new();
    for before in meta::list(old, "spec.ephemeralContainers") {
        let name = quote(meta::text(before, "name"));
        let why = match now.iter().find(|container| container["name"] == before["name"]) {
            None => format!("existing ephemeral containers {name} may not be removed\n"),
            Some(container) if container != before => {
                let difference = form::container_difference(before, container);
                format!("existing ephemeral containers {name} may not be changed\n{difference}")
            }
            Some(_) => continue,
        };
        errors.push(Error::forbidden(&path, why));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn they_come_and_stay() {
        let pod = |containers: Value| json!({"metadata": {}, "spec": {"ephemeralContainers": containers}});
        let one = json!({"name": "a", "image": "i"});
        for (now, before, refused) in [
            (json!([one]), json!([]), 0),
            (json!([one, {"name": "b", "image": "i"}]), json!([one]), 0),
            (json!([]), json!([one]), 1),
            (json!([{"name": "a", "image": "j"}]), json!([one]), 1),
        ] {
            assert_eq!(validate_update(&pod(now.clone()), &pod(before)).len(), refused, "{now}");
        }
        let mirror = json!({"metadata": {"annotations": {MIRROR: "x"}}, "spec": {}});
        assert_eq!(validate_update(&mirror, &mirror).len(), 1);
    }

    #[test]
    fn they_are_for_looking_only() {
        let path = Path::new("e");
        let others = HashSet::from(["c"]);
        for (container, want) in [
            (json!({"targetContainerName": "c", "resources": {}}), vec![]),
            (json!({"targetContainerName": "x"}), vec!["e.targetContainerName"]),
            (json!({"ports": [{"containerPort": 1}], "lifecycle": {"preStop": {}}}), vec!["e.ports", "e.lifecycle"]),
            (json!({"lifecycle": {}, "startupProbe": {}}), vec!["e.startupProbe", "e.lifecycle"]),
            (json!({"volumeMounts": [{"subPath": "s"}]}), vec!["e.volumeMounts[0].subPath"]),
        ] {
            let fields: Vec<String> = one(&container, &others, &path).into_iter().map(|error| error.field).collect();
            assert_eq!(fields, want, "{container}");
        }
    }
}
