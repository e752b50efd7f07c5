//! What is made of a ResourceSlice that is sent, before it is judged.

use machinery::meta;
use serde_json::Value;

const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];
const MAPPINGS: &str = "nodeAllocatableResourceMappings";

/// `old` is null for a new slice.
pub fn prepare(slice: &mut Value, old: &Value) {
    remove_disabled(slice, old);
    stamp_taints(slice);
}

/// A taint without a time gets the object's own, the only one known here.
fn stamp_taints(slice: &mut Value) {
    let now = slice["metadata"]["creationTimestamp"].clone();
    let devices = slice.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        let taints = device.get_mut("taints").and_then(Value::as_array_mut);
        for taint in taints.into_iter().flatten().filter(|taint| taint["timeAdded"].is_null()) {
            taint["timeAdded"] = now.clone();
        }
    }
}

/// Fields that upstream has behind gates that are off by default go, unless they were there.
fn remove_disabled(slice: &mut Value, old: &Value) {
    let had = |is: fn(&Value) -> bool| meta::list(old, "spec.devices").iter().any(is);
    let keeps_mappings = had(|device| !device[MAPPINGS].is_null());
    let keeps_lists = had(|device| {
        let attributes = meta::map(device, "attributes").values();
        attributes.into_iter().any(|attribute| LISTS.iter().any(|list| !attribute[*list].is_null()))
    });
    let devices = slice.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten().filter_map(Value::as_object_mut) {
        if !keeps_mappings {
            device.remove(MAPPINGS);
        }
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut).filter(|_| !keeps_lists);
        for attribute in attributes.into_iter().flat_map(|map| map.values_mut()).filter_map(Value::as_object_mut) {
            attribute.retain(|field, _| !LISTS.contains(&field.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_behind_a_gate_goes_unless_it_was_there() {
        let slice = |attribute: Value| json!({"spec": {"devices": [{"name": "d", "attributes": {"a": attribute}}]}});
        let given = json!({"string": "x", "ints": [1], "strings": ["y"]});
        for (old, want) in [
            (Value::Null, json!({"string": "x"})),
            (slice(json!({"int": 1})), json!({"string": "x"})),
            (slice(json!({"bools": [true]})), given.clone()),
        ] {
            let mut new = slice(given.clone());
            remove_disabled(&mut new, &old);
            assert_eq!(new, slice(want), "{old}");
        }
        let mut mapped = json!({"spec": {"devices": [{"name": "d", "nodeAllocatableResourceMappings": {"cpu": {}}}]}});
        let before = mapped.clone();
        remove_disabled(&mut mapped, &before);
        assert_eq!(mapped, before);
        remove_disabled(&mut mapped, &Value::Null);
        assert_eq!(mapped, json!({"spec": {"devices": [{"name": "d"}]}}));
    }
}
