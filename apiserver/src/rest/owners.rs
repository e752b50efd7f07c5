//! Owners of an object, each named once.

use machinery::meta;
use serde_json::Value;

use super::warnings::Warnings;
use crate::kinds::go_form::{self, Form, POINTER};

/// When owners are found to be named twice. A patch is looked at once, after what admission made of it.
pub const DUPLICATES: &str = "contains duplicate entries";
pub const DUPLICATES_PATCHED: &str = "contains duplicate entries after mutating admission happens";

const OWNER: Form = Form::Tagged(&[
    ("apiVersion", POINTER),
    ("kind", POINTER),
    ("name", POINTER),
    ("uid", POINTER),
    ("controller", POINTER),
    ("blockOwnerDeletion", POINTER),
]);

/// One owner as messages show it.
pub fn shown(owner: &Value) -> String {
    go_form::write(owner, &OWNER)
}

/// Owners that are named twice count once, and the client is told.
pub fn dedup(object: &mut Value, warnings: &Warnings, when: &str) {
    let owners = meta::list(object, "metadata.ownerReferences");
    let mut unique: Vec<Value> = Vec::with_capacity(owners.len());
    let mut twice = Vec::new();
    for owner in owners {
        match unique.contains(owner) {
            true => twice.push(owner["uid"].as_str().unwrap_or_default().to_owned()),
            false => unique.push(owner.clone()),
        }
    }
    if !twice.is_empty() {
        warnings.add(format!(
            ".metadata.ownerReferences {when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        ));
        meta::metadata_mut(object).insert("ownerReferences".into(), Value::Array(unique));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_named_twice_counts_once() {
        let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid});
        let mut object = json!({"metadata": {"ownerReferences": [owner("a"), owner("b"), owner("a")]}});
        let warnings = Warnings::default();
        dedup(&mut object, &warnings, DUPLICATES_PATCHED);
        assert_eq!(meta::list(&object, "metadata.ownerReferences"), [owner("a"), owner("b")]);
    }
}
