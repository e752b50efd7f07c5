//! Sources that a pod names without a PersistentVolume. Most are judged alike; what names a Secret here names it in the
//! pod's namespace.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::source::{required, source as persistent, storage_os};
use super::{claim, iscsi};
use crate::kinds::storage::driver_name;
use crate::kinds::validate;
use crate::rest::system::{validate_annotations, validate_labels};

pub fn source(kind: &str, source: &Value, path: &Path) -> ErrorList {
    let required = |fields: &[&str]| required(source, fields, path);
    match kind {
        "gitRepo" => git(source, path),
        "glusterfs" => required(&["endpoints", "path"]),
        "iscsi" => iscsi::inline(source, path),
        "cinder" => [required(&["volumeID"]), secret(source, path)].concat(),
        "azureFile" => required(&["secretName", "shareName"]),
        "storageos" => [storage_os(source, path), secret(source, path)].concat(),
        "csi" => driver(source, path),
        "ephemeral" => claim_template(&source["volumeClaimTemplate"], &path.child("volumeClaimTemplate")),
        _ => persistent(kind, source, "", path),
    }
}

fn secret(source: &Value, path: &Path) -> ErrorList {
    let secret = &source["secretRef"];
    if secret.is_object() { required(secret, &["name"], &path.child("secretRef")) } else { ErrorList::new() }
}

fn git(source: &Value, path: &Path) -> ErrorList {
    let mut errors = required(source, &["repository"], path);
    errors.extend(validate::local_descending(meta::text(source, "directory"), &path.child("directory")));
    errors
}

fn driver(source: &Value, path: &Path) -> ErrorList {
    let mut errors = driver_name(meta::text(source, "driver"), &path.child("driver"));
    let secret = &source["nodePublishSecretRef"];
    if secret.is_object() {
        match meta::text(secret, "name") {
            "" => errors.push(Error::required(&path.child("nodePublishSecretRef").child("name"), "")),
            // Upstream leaves the reference out of this path.
            name => errors.extend(
                names::dns_subdomain(name).into_iter().map(|words| Error::invalid(&path.child("name"), name, words)),
            ),
        }
    }
    errors
}

/// What a claim's template may not say of its claims, with the names by which upstream tells it.
const OF_THE_CLAIM: [(&str, &str); 13] = [
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

fn claim_template(template: &Value, path: &Path) -> ErrorList {
    if template.is_null() {
        return vec![Error::required(path, "")];
    }
    let (metadata, at) = (&template["metadata"], path.child("metadata"));
    let mut errors = validate_annotations(&metadata["annotations"], &at.child("annotations"));
    errors.extend(validate_labels(&metadata["labels"], &at.child("labels")));
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        other => other != &Value::from(0),
    };
    let given = OF_THE_CLAIM.iter().filter(|(field, _)| is_set(&metadata[*field]));
    errors.extend(given.map(|(_, told)| Error::forbidden(&at.child(told), "cannot be set")));
    errors.extend(claim::validate_spec(&template["spec"], &path.child("spec")));
    errors
}
