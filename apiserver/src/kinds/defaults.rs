//! Small tools for defaults: set what is absent, and nothing else.

use machinery::meta;
use machinery::quantity::Quantity;
use serde_json::{Map, Value, json};

/// Sets a field that is absent, null or (a string) empty.
pub fn set(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    let absent = match fields.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if absent {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Sets a field that is absent or null: of a text that Go points to, an empty one is said too.
pub fn set_absent(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Sets a number that is absent or zero, where zero means "not said".
pub fn set_number(fields: &mut Map<String, Value>, name: &str, value: i64) {
    if fields.get(name).and_then(Value::as_i64).unwrap_or(0) == 0 {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Rounds a map of amounts up to thousandths, the finest that the API keeps.
pub fn round_amounts(fields: &mut Map<String, Value>, name: &str) {
    for amount in within(fields, name).into_iter().flatten().map(|(_, amount)| amount) {
        if let Ok(mut parsed) = Quantity::from_value(amount)
            && !parsed.round_up(-3)
        {
            *amount = parsed.to_string().into();
        }
    }
}

/// Rounds what `resources` limits and requests.
pub fn round_resources(fields: &mut Map<String, Value>) {
    if let Some(resources) = within(fields, "resources") {
        ["limits", "requests"].iter().for_each(|list| round_amounts(resources, list));
    }
}

/// Rounds what a status tells of resources.
pub fn round_told(status: &mut Map<String, Value>) {
    round_amounts(status, "allocatedResources");
    round_resources(status);
}

/// The objects of a list, to fill each in.
pub fn each<'a>(
    object: &'a mut Map<String, Value>,
    list: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> + use<'a> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// An object field that is there.
pub fn within<'a>(object: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(name).and_then(Value::as_object_mut)
}

/// An object field, made when it is absent.
pub fn within_made<'a>(object: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let value = object.entry(name).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

/// `spec`, made when it is absent.
pub fn spec(object: &mut Value) -> &mut Map<String, Value> {
    meta::object_mut(object, "spec")
}
