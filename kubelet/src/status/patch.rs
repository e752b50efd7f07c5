//! The difference between two statuses as a strategic merge patch. Pure.
//!
//! Fields that are equal are left out, conditions merge by type (so that conditions that others write at the same time
//! are kept), lists of addresses are replaced whole. The pod's UID goes along as precondition.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// None where there is nothing to tell.
pub fn between(uid: &str, known: &PodStatus, wanted: &PodStatus) -> Option<Value> {
    // Mostly so: a worker asks at every turn.
    if known == wanted {
        return None;
    }
    let (known, wanted) = (object(known), object(wanted));
    let mut status = Map::new();
    for (key, value) in &wanted {
        if known.get(key) == Some(value) {
            continue;
        }
        match key.as_str() {
            "conditions" => changed_conditions(known.get(key), value, &mut status),
            "podIPs" | "hostIPs" => {
                let mut list = value.as_array().cloned().unwrap_or_default();
                if known.contains_key(key) {
                    list.insert(0, json!({"$patch": "replace"}));
                }
                status.insert(key.clone(), Value::Array(list));
            }
            // Amounts merge by their names.
            "resources" | "allocatedResources" => {
                status.insert(key.clone(), without_the_gone(known.get(key), value));
            }
            _ => {
                status.insert(key.clone(), value.clone());
            }
        }
    }
    for key in known.keys().filter(|key| !wanted.contains_key(*key) && is_owned(key)) {
        status.insert(key.clone(), Value::Null);
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": status}))
}

/// What makes `wanted` of `known` where maps are merged: keys that are gone are named as null.
pub(crate) fn without_the_gone(known: Option<&Value>, wanted: &Value) -> Value {
    let (Some(Value::Object(known)), Value::Object(wanted)) = (known, wanted) else { return wanted.clone() };
    let gone = known.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let kept = wanted.iter().map(|(key, value)| (key.clone(), without_the_gone(known.get(key), value)));
    Value::Object(gone.chain(kept).collect())
}

fn changed_conditions(known: Option<&Value>, wanted: &Value, status: &mut Map<String, Value>) {
    let known = known.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut changed = Vec::new();
    for condition in wanted.as_array().into_iter().flatten() {
        let is_own = super::conditions::OWNED.iter().any(|type_| condition["type"] == *type_)
            || condition["type"] == super::conditions::DISRUPTION_TARGET;
        let before = known.iter().find(|it| it["type"] == condition["type"]);
        if !is_own || before == Some(condition) {
            continue;
        }
        let mut condition = condition.as_object().cloned().unwrap_or_default();
        for gone in before.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            condition.entry(gone.clone()).or_insert(Value::Null);
        }
        changed.push(Value::Object(condition));
    }
    let wants = |type_: &Value| wanted.as_array().into_iter().flatten().any(|it| it["type"] == *type_);
    let is_gone =
        |it: &&Value| super::conditions::OWNED.iter().any(|type_| it["type"] == *type_) && !wants(&it["type"]);
    changed.extend(known.iter().filter(is_gone).map(|it| json!({"$patch": "delete", "type": it["type"]})));
    if !changed.is_empty() {
        status.insert("conditions".into(), Value::Array(changed));
    }
}

/// Fields that only the kubelet writes: absent from its status means to be removed.
fn is_owned(key: &str) -> bool {
    matches!(
        key,
        "reason"
            | "message"
            | "podIP"
            | "podIPs"
            | "containerStatuses"
            | "initContainerStatuses"
            | "ephemeralContainerStatuses"
            | "resources"
            | "allocatedResources"
    )
}

fn object(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_that_are_gone_are_named() {
        let status = |it: Value| serde_json::from_value::<PodStatus>(it).unwrap();
        let known = status(json!({
            "allocatedResources": {"cpu": "1"},
            "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        }));
        let wanted = status(json!({"resources": {"limits": {"cpu": "2"}}}));
        let told = between("u", &known, &wanted).unwrap();
        let resources = json!({"requests": null, "limits": {"cpu": "2", "memory": null}});
        assert_eq!(told["status"], json!({"allocatedResources": null, "resources": resources}));
    }
}
