//! What a resize may change: CPU and memory, of containers that stay what they are.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::{Map, Value, json};

use super::ephemeral::MIRROR;
use crate::kinds::pod::quality_of_service;

const LISTS: [&str; 2] = ["containers", "initContainers"];
const ONLY: &str = "only cpu and memory resources are mutable";

pub fn validate_update(new: &Value, old: &Value) -> ErrorList {
    if meta::annotation(old, MIRROR).is_some() {
        return vec![Error::forbidden(&Path::root(), "static pods cannot be resized")];
    }
    if meta::text(old, "spec.os.name") == "windows" {
        return vec![Error::forbidden(&Path::root(), "windows pods cannot be resized")];
    }
    let path = Path::new("spec");
    let mut errors = pod_rules(new, old, &path);
    errors.extend(pod_level(new, old, &path));
    let moved = order(new, old, &path);
    if !moved.is_empty() {
        errors.extend(moved);
        return errors;
    }
    for list in LISTS {
        let pairs = meta::list(&new["spec"], list).iter().zip(meta::list(&old["spec"], list));
        for (position, (container, before)) in pairs.enumerate() {
            let at = path.child(list).index(position);
            errors.extend(removed(&container["resources"], &before["resources"], "resource", &at.child("resources")));
            errors.extend(container_rules(container, before, list, &path, &at));
        }
    }
    if errors.is_empty() && settled(new, old) != old["spec"] {
        errors.push(Error::forbidden(&path, ONLY));
    }
    errors
}

fn pod_rules(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let before = match meta::text(old, "status.qosClass") {
        "" => quality_of_service(old),
        class => class,
    };
    if before != quality_of_service(new) {
        let class = meta::text(new, "status.qosClass");
        errors.push(Error::invalid(path, class, "Pod QOS Class may not change as a result of resizing"));
    }
    // A node that does not tell the resources of what runs cannot change them either.
    let mut statuses = meta::list(old, "status.containerStatuses").iter();
    if statuses
        .find(|status| status["state"]["running"].is_object())
        .is_some_and(|status| status["resources"].is_null())
    {
        errors.push(Error::forbidden(path, "Pod running on node without support for resize"));
    }
    if !meta::list(old, "status.nodeAllocatableResourceClaimStatuses").is_empty() {
        errors.push(Error::forbidden(path, "pods with node allocatable resource claims cannot be resized"));
    }
    errors
}

/// Resources of the pod as a whole.
fn pod_level(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let (now, before) = (&new["spec"]["resources"], &old["spec"]["resources"]);
    let at = path.child("resources");
    if before.is_object() && now.is_null() {
        return vec![Error::forbidden(&at, "pod-level resources cannot be removed")];
    }
    let mut errors = removed(now, before, "pod-level resource", &at);
    if with_cpu_and_memory_of(now, before) != *before {
        errors.push(Error::forbidden(path, "only cpu and memory resources are mutable at pod-level"));
    }
    errors
}

fn order(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in LISTS {
        let (now, before) = (meta::list(&new["spec"], list), meta::list(&old["spec"], list));
        if now.len() != before.len() {
            errors.push(Error::forbidden(&path.child(list), format!("{list} may not be added or removed on resize")));
            continue;
        }
        let renamed = (0..now.len()).filter(|position| now[*position]["name"] != before[*position]["name"]);
        let why = format!("{list} may not be renamed or reordered on resize");
        errors.extend(renamed.map(|at| Error::forbidden(&path.child(list).index(at).child("name"), why.as_str())));
    }
    errors
}

/// `what` is how the message names such resources.
fn removed(now: &Value, before: &Value, what: &str, path: &Path) -> ErrorList {
    let gone = ["requests", "limits"].into_iter().filter(|field| {
        let left = meta::map(now, field);
        meta::map(before, field).keys().any(|name| !left.contains_key(name))
    });
    gone.map(|field| Error::forbidden(&path.child(field), format!("{what} {field} cannot be removed"))).collect()
}

fn container_rules(container: &Value, before: &Value, list: &str, spec_path: &Path, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let is_init = list == "initContainers";
    if resized(container, before) != *before {
        errors.push(match is_init {
            true => {
                let why = "only cpu and memory resources for init or sidecar containers are mutable";
                Error::forbidden(path, why)
            }
            false => Error::forbidden(spec_path, ONLY),
        });
    }
    let ends = is_init && before["restartPolicy"] != "Always";
    let restarts =
        meta::list(container, "resizePolicy").iter().filter(|policy| policy["restartPolicy"] == "RestartContainer");
    if ends && container != before {
        let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        errors.extend(restarts.map(|_| Error::forbidden(path, why)));
    }
    errors
}

/// The container with the CPU and memory that it had: equal to what it was, if nothing else changed. Its claims are not
/// looked at, as upstream has it: one that has any cannot be resized.
fn resized(container: &Value, before: &Value) -> Value {
    let mut container = container.clone();
    let mut resources = with_cpu_and_memory_of(&container["resources"], &before["resources"]);
    if let Some(fields) = resources.as_object_mut() {
        fields.remove("claims");
    }
    container["resources"] = resources;
    container
}

fn with_cpu_and_memory_of(now: &Value, before: &Value) -> Value {
    if now.is_null() {
        return before.clone();
    }
    let mut settled = now.clone();
    for field in ["requests", "limits"] {
        let mut amounts: Map<String, Value> = meta::map(now, field).clone();
        amounts.retain(|name, _| !is_mutable(name));
        let kept = meta::map(before, field).iter().filter(|(name, _)| is_mutable(name));
        amounts.extend(kept.map(|(name, amount)| (name.clone(), amount.clone())));
        if let Some(fields) = settled.as_object_mut() {
            if amounts.is_empty() {
                fields.remove(field);
            } else {
                fields.insert(field.to_owned(), amounts.into());
            }
        }
    }
    if settled == json!({}) && before.is_null() { Value::Null } else { settled }
}

fn is_mutable(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory")
}

fn settled(new: &Value, old: &Value) -> Value {
    let mut spec = new["spec"].clone();
    for list in LISTS {
        let before = meta::list(&old["spec"], list);
        for (container, before) in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().zip(before) {
            *container = resized(container, before);
        }
    }
    let resources = with_cpu_and_memory_of(&spec["resources"], &old["spec"]["resources"]);
    if let Some(fields) = spec.as_object_mut() {
        if resources.is_null() {
            fields.remove("resources");
        } else {
            fields.insert("resources".into(), resources);
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: Value) -> Value {
        json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
    }

    fn wrong(new: &Value, old: &Value) -> Vec<String> {
        validate_update(new, old).into_iter().map(|error| error.detail).collect()
    }

    #[test]
    fn cpu_and_memory_move_within_a_class() {
        let old = pod(json!({"requests": {"cpu": "1", "memory": "1Gi"}}));
        for (resources, want) in [
            (json!({"requests": {"cpu": "2", "memory": "2Gi"}}), vec![]),
            (json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "4"}}), vec![]),
            (json!({"requests": {"cpu": "2"}}), vec!["resource requests cannot be removed"]),
            (json!({"requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}}), vec![ONLY]),
            (json!({"requests": {"cpu": "2", "memory": "1Gi"}, "claims": [{"name": "c"}]}), vec![]),
            (
                json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
                vec!["Pod QOS Class may not change as a result of resizing"],
            ),
        ] {
            assert_eq!(wrong(&pod(resources.clone()), &old), want, "{resources}");
        }
    }

    #[test]
    fn containers_stay_who_they_are() {
        let old = pod(json!({"requests": {"cpu": "1"}}));
        let mut renamed = old.clone();
        renamed["spec"]["containers"][0]["name"] = json!("d");
        assert_eq!(wrong(&renamed, &old), ["containers may not be renamed or reordered on resize"]);
        let mut more = old.clone();
        more["spec"]["containers"] = json!([old["spec"]["containers"][0], {"name": "d"}]);
        assert_eq!(wrong(&more, &old), ["containers may not be added or removed on resize"]);
    }

    #[test]
    fn nodes_and_static_pods_may_not_know_it() {
        let mut old = pod(json!({"requests": {"cpu": "1"}}));
        old["status"] = json!({"containerStatuses": [{"state": {"running": {}}}]});
        assert_eq!(wrong(&old, &old), ["Pod running on node without support for resize"]);
        old["metadata"]["annotations"] = json!({MIRROR: "x"});
        assert_eq!(wrong(&old, &old), ["static pods cannot be resized"]);
    }
}
