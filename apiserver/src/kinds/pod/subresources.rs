//! What `/ephemeralcontainers` and `/resize` may change of a pod (Kubernetes concepts: "Ephemeral Containers", "Resize CPU
//! and Memory Resources assigned to Containers").

use machinery::meta;
use serde_json::Value;

use super::validate;
use crate::kinds::validate::keep_metadata;
use crate::kinds::{MetadataRounds, Portion};

pub const EPHEMERAL_CONTAINERS: Portion = Portion {
    subresource: "ephemeralcontainers",
    prepare: |new, old| {
        let asked = new["spec"].get("ephemeralContainers").cloned();
        keep(new, old);
        put(new, "ephemeralContainers", asked);
    },
    validate: validate::ephemeral::validate_update,
    metadata: MetadataRounds::BOTH,
};

pub const RESIZE: Portion = Portion {
    subresource: "resize",
    prepare: only_resources,
    validate: validate::resize::validate_update,
    metadata: MetadataRounds::BOTH,
};

/// All of the pod as it was, but of its metadata what an update of the status may say too: the rules judge that.
fn keep(new: &mut Value, old: &Value) {
    let mut asked = std::mem::replace(new, old.clone());
    new["metadata"] = asked["metadata"].take();
    keep_metadata(new, old);
}

fn put(pod: &mut Value, field: &str, value: Option<Value>) {
    let spec = meta::object_mut(pod, "spec");
    match value {
        Some(value) => spec.insert(field.to_owned(), value),
        None => spec.remove(field),
    };
}

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Other containers than before are left as they were asked for, so that the rules can refuse them.
fn only_resources(new: &mut Value, old: &Value) {
    let lists = LISTS.map(|list| (meta::list(&new["spec"], list).to_vec(), meta::list(&old["spec"], list)));
    if lists.iter().any(|(asked, own)| asked.len() != own.len()) {
        return;
    }
    let merged = lists.map(|(asked, own)| merged(asked, own));
    let resources = new["spec"].get("resources").cloned();
    keep(new, old);
    put(new, "resources", resources);
    for (list, containers) in LISTS.into_iter().zip(merged).filter(|(_, containers)| !containers.is_empty()) {
        put(new, list, Some(containers.into()));
    }
}

fn merged(asked: Vec<Value>, own: &[Value]) -> Vec<Value> {
    if asked.iter().zip(own).any(|(asked, own)| asked["name"] != own["name"]) {
        return asked;
    }
    let mut containers = own.to_vec();
    for (container, asked) in containers.iter_mut().zip(asked) {
        let Some(fields) = container.as_object_mut() else { continue };
        for field in ["resources", "resizePolicy"] {
            match asked.get(field) {
                Some(value) => fields.insert(field.to_owned(), value.clone()),
                None => fields.remove(field),
            };
        }
    }
    containers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_changes_its_own_part() {
        let old = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {
            "nodeName": "n", "containers": [{"name": "c", "image": "i", "resources": {}}],
        }});
        let mut asked = old.clone();
        asked["metadata"]["labels"]["a"] = json!("c");
        asked["spec"]["nodeName"] = json!("m");
        asked["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "e"}]);
        asked["spec"]["containers"][0]["image"] = json!("other");
        asked["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        let (mut debugged, mut resized) = (asked.clone(), asked.clone());
        (EPHEMERAL_CONTAINERS.prepare)(&mut debugged, &old);
        assert_eq!(debugged["metadata"]["labels"]["a"], "b");
        assert_eq!(debugged["spec"]["containers"], old["spec"]["containers"]);
        assert_eq!(debugged["spec"]["ephemeralContainers"], asked["spec"]["ephemeralContainers"]);
        (RESIZE.prepare)(&mut resized, &old);
        assert_eq!(resized["spec"]["nodeName"], "n");
        assert_eq!(
            resized["spec"]["containers"],
            json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}])
        );
        assert!(resized["spec"].get("ephemeralContainers").is_none());
    }
}
