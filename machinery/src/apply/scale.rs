//! Ownership after a write of `/scale`, as upstream's translation between a Scale's owners and those of the object leaves it.

use std::sync::LazyLock;

use serde_json::Value;

use super::managers::{self, Identity};
use super::set::FieldSet;

static REPLICAS: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of(&["spec.replicas"]));
/// The version that a Scale's owners are known by: another one than that of the object's own.
const SCALE_VERSION: &str = "autoscaling/v1";

/// Tells owners of the replicas apart from owners of all else: an updater's replicas become an entry of their own, and
/// what is new has no time. `live` is the object before the write.
pub fn split_scale(live: &Value, new: &mut Value) {
    let (Some(before), Some(owners)) = (managers::read(live), managers::read(new)) else { return };
    let mut split = managers::Managers::new();
    for (identity, mut owned) in owners {
        if owned.set.intersection(&REPLICAS).is_empty() {
            split.insert(identity, owned);
        } else if identity.applied {
            owned.time = before.get(&identity).and_then(|before| before.time.clone());
            split.insert(identity, owned);
        } else {
            let mut replicas = owned.clone();
            (replicas.set, replicas.time) = (REPLICAS.clone(), None);
            owned.set.subtract(&REPLICAS);
            split.insert(Identity { api_version: SCALE_VERSION.to_owned(), ..identity.clone() }, replicas);
            if !owned.set.is_empty() {
                split.insert(identity, owned);
            }
        }
    }
    managers::write(new, split);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(operation: &str, subresource: &str, time: Option<&str>, spec: Value) -> Value {
        let mut entry = json!({
            "manager": "m", "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": spec},
        });
        if !subresource.is_empty() {
            entry["subresource"] = subresource.into();
        }
        if let Some(time) = time {
            entry["time"] = time.into();
        }
        entry
    }

    fn split(live: Vec<Value>, new: Vec<Value>) -> Value {
        let object = |entries: Vec<Value>| json!({"metadata": {"managedFields": entries}});
        let mut new = object(new);
        split_scale(&object(live), &mut new);
        new["metadata"]["managedFields"].take()
    }

    #[test]
    fn an_updaters_replicas_stand_apart_and_without_a_time() {
        let (early, late) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-02T00:00:00Z"));
        let (replicas, all) = (json!({"f:replicas": {}}), json!({"f:paused": {}, "f:replicas": {}}));
        let kept = entry("Update", "", early, all);
        assert_eq!(
            split(vec![kept.clone()], vec![kept]),
            json!([entry("Update", "", None, replicas.clone()), entry("Update", "", early, json!({"f:paused": {}}))])
        );
        assert_eq!(
            split(Vec::new(), vec![entry("Update", "scale", late, replicas.clone())]),
            json!([entry("Update", "scale", None, replicas.clone())])
        );
        let applied = entry("Apply", "", early, replicas.clone());
        assert_eq!(split(vec![applied.clone()], vec![applied.clone()]), json!([applied]));
        let applied = entry("Apply", "scale", late, replicas.clone());
        assert_eq!(split(Vec::new(), vec![applied]), json!([entry("Apply", "scale", None, replicas)]));
    }
}
