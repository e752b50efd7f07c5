//! Metadata of a template of claims: labels and annotations, and nothing that is one object's own.

use machinery::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::rest::system::{validate_annotations, validate_labels};

/// What is each object's own, with the names by which upstream tells it.
const OWN: [(&str, &str); 13] = [
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

pub fn validate(metadata: &Value, path: &Path) -> ErrorList {
    let mut errors = validate_annotations(&metadata["annotations"], &path.child("annotations"));
    errors.extend(validate_labels(&metadata["labels"], &path.child("labels")));
    // A period of no seconds is one.
    let is_set = |field: &str| match &metadata[field] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        other => other != &Value::from(0) || field == "deletionGracePeriodSeconds",
    };
    let given = OWN.iter().filter(|(field, _)| is_set(field));
    errors.extend(given.map(|(_, told)| Error::forbidden(&path.child(told), "cannot be set")));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_says_nothing_of_one_object() {
        let metadata = json!({"labels": {"a": "b"}, "name": "x", "uid": "y", "generateName": "", "finalizers": []});
        let told: Vec<String> = validate(&metadata, &Path::new("metadata")).iter().map(Error::to_string).collect();
        assert_eq!(told, ["metadata.name: Forbidden: cannot be set", "metadata.uID: Forbidden: cannot be set"]);
        let numbers = json!({"generation": 0, "deletionGracePeriodSeconds": 0});
        let told: Vec<String> = validate(&numbers, &Path::new("m")).iter().map(Error::to_string).collect();
        assert_eq!(told, ["m.deletionGracePeriodSeconds: Forbidden: cannot be set"]);
    }
}
