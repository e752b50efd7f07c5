//! Owners of an object's replicas as owners of its Scale, and back, as upstream translates them around a write of `/scale`.

use std::sync::LazyLock;

use serde_json::Value;

use super::managers::{self, Identity, Managers, Owned};
use super::set::FieldSet;

static REPLICAS: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of(&["spec.replicas"]));
/// The version that a Scale's owners are known by: another one than that of the object's own.
const SCALE_VERSION: &str = "autoscaling/v1";

/// Versions in which replicas stand where they do today. Owners recorded at others are not known to a Scale, and are gone
/// once it was written.
fn is_known(api_version: &str) -> bool {
    matches!(api_version, "v1" | "apps/v1" | "apps/v1beta1" | "apps/v1beta2")
}

fn has_replicas(owned: &Owned) -> bool {
    !owned.set.intersection(&REPLICAS).is_empty()
}

/// Gives the Scale of an object the owners of the object's replicas.
pub fn owners_to_scale(object: &Value, scale: &mut Value) {
    let owners = managers::read(object).unwrap_or_default();
    let owners = owners.into_iter().filter(|(_, owned)| is_known(&owned.api_version) && has_replicas(owned));
    let of_scale = owners.map(|(identity, owned)| {
        let api_version = if identity.applied { String::new() } else { SCALE_VERSION.to_owned() };
        let set = REPLICAS.clone();
        (Identity { api_version, ..identity }, Owned { set, api_version: SCALE_VERSION.to_owned(), time: owned.time })
    });
    managers::write(scale, of_scale.collect());
}

/// Gives an object of `api_version` the owners that a write of its Scale left. Who owned the replicas and is none of them
/// has lost them, and who is new there has no time.
pub fn owners_from_scale(before: &Value, scale: &Value, api_version: &str, object: &mut Value) {
    let owners = managers::read(before).unwrap_or_default();
    let mut of_scale = managers::read(scale).unwrap_or_default();
    let times: Vec<_> = owners.iter().map(|(identity, owned)| (identity.clone(), owned.time.clone())).collect();
    let mut left = Managers::new();
    for (identity, mut owned) in owners.into_iter().filter(|(_, owned)| is_known(&owned.api_version)) {
        if has_replicas(&owned) && of_scale.remove(&identity).is_none() {
            owned.set.subtract(&REPLICAS);
        }
        if !owned.set.is_empty() {
            left.insert(identity, owned);
        }
    }
    of_scale.retain(|_, owned| has_replicas(owned));
    for identity in of_scale.into_keys() {
        let time = times.iter().find(|(known, _)| *known == identity).and_then(|(_, time)| time.clone());
        left.insert(identity, Owned { set: REPLICAS.clone(), api_version: api_version.to_owned(), time });
    }
    managers::write(object, left);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(operation: &str, version: &str, subresource: &str, time: Option<&str>, spec: Value) -> Value {
        let mut entry = json!({
            "manager": "m", "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": spec},
        });
        if !subresource.is_empty() {
            entry["subresource"] = subresource.into();
        }
        if let Some(time) = time {
            entry["time"] = time.into();
        }
        entry
    }

    fn object(entries: &[Value]) -> Value {
        json!({"metadata": {"managedFields": entries}})
    }

    fn to_scale(entries: &[Value]) -> Value {
        let mut scale = json!({"metadata": {}});
        owners_to_scale(&object(entries), &mut scale);
        scale["metadata"]["managedFields"].take()
    }

    fn from_scale(before: &[Value], scale: &[Value]) -> Value {
        let mut new = object(&[]);
        owners_from_scale(&object(before), &object(scale), "apps/v1", &mut new);
        new["metadata"]["managedFields"].take()
    }

    const EARLY: Option<&str> = Some("2026-01-01T00:00:00Z");
    const LATE: Option<&str> = Some("2026-01-02T00:00:00Z");

    #[test]
    fn a_scale_shows_who_owns_replicas() {
        let (replicas, all) = (json!({"f:replicas": {}}), json!({"f:paused": {}, "f:replicas": {}}));
        let shown = |operation: &str| json!([entry(operation, "autoscaling/v1", "", EARLY, replicas.clone())]);
        for operation in ["Apply", "Update"] {
            assert_eq!(to_scale(&[entry(operation, "apps/v1", "", EARLY, all.clone())]), shown(operation));
        }
        assert_eq!(to_scale(&[entry("Update", "apps/v1", "", EARLY, json!({"f:paused": {}}))]), Value::Null);
        assert_eq!(to_scale(&[entry("Update", "other/v1", "", EARLY, all)]), Value::Null);
    }

    #[test]
    fn who_owns_replicas_no_more_loses_them_in_the_object() {
        let (replicas, all) = (json!({"f:replicas": {}}), json!({"f:paused": {}, "f:replicas": {}}));
        let rest = |operation: &str| entry(operation, "apps/v1", "", EARLY, json!({"f:paused": {}}));
        // An updater is another one at the Scale's version.
        let updated = entry("Update", "apps/v1", "", EARLY, all.clone());
        let of_scale = entry("Update", "autoscaling/v1", "", EARLY, replicas.clone());
        let apart = entry("Update", "apps/v1", "", None, replicas.clone());
        assert_eq!(from_scale(std::slice::from_ref(&updated), &[of_scale]), json!([apart, rest("Update")]));
        assert_eq!(from_scale(&[updated], &[]), json!([rest("Update")]));
        let applied = entry("Apply", "apps/v1", "", EARLY, all);
        let kept = entry("Apply", "autoscaling/v1", "", LATE, replicas.clone());
        assert_eq!(from_scale(std::slice::from_ref(&applied), &[kept]), json!([applied]));
        assert_eq!(from_scale(&[applied], &[]), json!([rest("Apply")]));
        let new = entry("Apply", "autoscaling/v1", "scale", LATE, replicas.clone());
        assert_eq!(from_scale(&[], &[new]), json!([entry("Apply", "apps/v1", "scale", None, replicas)]));
    }
}
