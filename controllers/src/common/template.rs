//! Pod templates: their hash, whether two mean the same, and the pod made from one.
//!
//! Pure. Concepts: "Deployments", "Pod-template-hash label".

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

/// The label that keeps the pods of a Deployment's ReplicaSets apart.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// Letters and digits out of which no word can be formed by accident.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short name for a template. The numbers differ from upstream's, which hashes Go's own rendering of
/// the object's memory; that is safe: a ReplicaSet is found again by comparing templates, the hash
/// only has to be the same each time, and another when `collision_count` is.
pub(crate) fn hash(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    let mut fnv: u32 = 0x811c_9dc5;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            fnv = (fnv ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    feed(canonical(template).to_string().as_bytes());
    if let Some(count) = collision_count {
        feed(&count.to_le_bytes());
    }
    fnv.to_string().bytes().map(|b| char::from(SAFE[usize::from(b) % SAFE.len()])).collect()
}

/// Whether two templates ask for the same pods, the hash label aside; an empty list or map is none.
pub(crate) fn equal_ignoring_hash(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    canonical(a) == canonical(b)
}

pub(crate) fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// `serde_json`'s maps are sorted, so equal templates have equal text.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("creationTimestamp");
    }
    prune(&mut value);
    value
}

/// Fields that are maps from names to values: there, and only there, `{}` says the same as nothing
/// (`emptyDir: {}` and `securityContext: {}` say a lot).
const MAPS: [&str; 9] = [
    "labels",
    "annotations",
    "nodeSelector",
    "limits",
    "requests",
    "matchLabels",
    "overhead",
    "volumeAttributes",
    "metadata",
];

fn prune(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(prune),
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|name, value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(entries) => !entries.is_empty() || !MAPS.contains(&name.as_str()),
                _ => true,
            });
        }
        _ => {}
    }
}

/// The pod that a controller creates; the server completes the name after the owner's.
pub(crate) fn pod_from(template: &PodTemplateSpec, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(name_prefix(&owner.name)),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// An owner's name with a dash, unless that would be no name for a pod.
fn name_prefix(owner: &str) -> String {
    let dashed = format!("{owner}-");
    if dashed.len() <= 253 { dashed } else { owner.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn hash_ignores_itself_and_knows_collisions() {
        let plain = template(
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}),
        );
        let mut labelled = plain.clone();
        labelled.metadata.as_mut().unwrap().labels.as_mut().unwrap().insert(HASH_LABEL.into(), "x".into());
        assert_eq!(hash(&plain, None), hash(&labelled, None));
        assert_ne!(hash(&plain, None), hash(&plain, Some(1)));
        assert_ne!(hash(&plain, Some(1)), hash(&plain, Some(2)));
        assert!(hash(&plain, None).bytes().all(|b| SAFE.contains(&b)));
    }

    #[test]
    fn equality() {
        let base = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}});
        let rows = [
            (
                json!({"metadata": {"labels": {"a": "b"}, "annotations": {}}, "spec": {"containers": [{"name": "c", "env": []}]}}),
                true,
            ),
            (
                json!({"metadata": {"labels": {"a": "b", "pod-template-hash": "1"}}, "spec": {"containers": [{"name": "c"}]}}),
                true,
            ),
            (json!({"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "c"}]}}), false),
            (
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "securityContext": {}}]}}),
                false,
            ),
        ];
        for (other, want) in rows {
            assert_eq!(equal_ignoring_hash(&template(base.clone()), &template(other.clone())), want, "{other}");
        }
    }
}
