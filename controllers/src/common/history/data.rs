//! What a revision records of a template, byte for byte as upstream: the next reader may be upstream's controller.
//!
//! Pure. The data is a strategic merge patch that puts the template back.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use machinery::schema;
use machinery::wire::go_json;
use serde_json::{Value, json};

/// Letters and digits out of which no word can be formed by accident.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The longest part of a revision's name before its hash.
const PREFIX_BYTES_MAX: usize = 223;

/// The patch that restores this template.
pub(crate) fn data(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(schema) = schema::message("io.k8s.api.core.v1.PodTemplateSpec") {
        schema::normalize(schema, &mut value);
    }
    value["$patch"] = json!("replace");
    json!({"spec": {"template": value}})
}

/// The template that a revision records; None when it records something else.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// Whether the revision records this template. An older writer's other rendering of the same template is the same.
pub(crate) fn is_of(revision: &ControllerRevision, data: &Value) -> bool {
    let recorded = || template_of(revision).map(|template| self::data(&template));
    revision.data.as_ref().is_some_and(|d| d.0 == *data) || recorded().is_some_and(|d| d == *data)
}

pub(super) fn text_of(revision: &ControllerRevision) -> String {
    revision.data.as_ref().map(|d| go_json(&d.0)).unwrap_or_default()
}

/// The hash of some data, another one for each number of collisions.
pub(crate) fn hash(data: &Value, collision_count: Option<i32>) -> String {
    let probe = collision_count.map(|count| count.to_string()).unwrap_or_default();
    let bytes = go_json(data).into_bytes().into_iter().chain(probe.into_bytes());
    let fnv = bytes.fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte));
    fnv.to_string().bytes().map(|b| char::from(SAFE[usize::from(b) % SAFE.len()])).collect()
}

pub(crate) fn name(owner: &str, hash: &str) -> String {
    let end = owner.floor_char_boundary(PREFIX_BYTES_MAX.min(owner.len()));
    format!("{}-{hash}", &owner[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_patch_is_written_as_go_writes_it() {
        let value = data(&template(json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "a&b", "command": ["<x>"]}], "restartPolicy": "Always"},
        })));
        assert_eq!(
            go_json(&value),
            r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"command":["\u003cx\u003e"],"image":"a\u0026b","name":"c","resources":{}}],"restartPolicy":"Always"}}}}"#
        );
    }

    #[test]
    fn names_and_hashes() {
        let value = json!({});
        assert_eq!(go_json(&value), "{}");
        // FNV-1 (not 1a) of "{}" is 1450640401; each digit stands for a letter.
        assert_eq!(hash(&value, None), "5894b84845");
        assert_ne!(hash(&value, Some(0)), hash(&value, None), "a count of zero counts");
        assert_ne!(hash(&value, Some(1)), hash(&value, Some(0)));
        assert_eq!(name("web", "abc"), "web-abc");
        assert_eq!(name(&"w".repeat(253), "abc").len(), 227);
    }

    #[test]
    fn what_is_recorded_comes_back() {
        let original =
            template(json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}));
        let mut revision: ControllerRevision =
            serde_json::from_value(json!({"metadata": {}, "revision": 1, "data": data(&original)})).unwrap();
        assert!(is_of(&revision, &data(&original)));
        assert_eq!(data(&template_of(&revision).unwrap()), data(&original));
        // Older writers recorded a null time.
        revision.data.as_mut().unwrap().0["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
        assert!(is_of(&revision, &data(&original)));
        revision.data.as_mut().unwrap().0["spec"]["template"]["spec"]["containers"][0]["name"] = json!("d");
        assert!(!is_of(&revision, &data(&original)));
    }
}
