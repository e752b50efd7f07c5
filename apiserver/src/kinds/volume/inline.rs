//! Sources that a pod names without a PersistentVolume. Most are judged alike; what names a Secret here names it in the
//! pod's namespace.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::source::{required, source as persistent, storage_os};
use super::{claim, iscsi};
use crate::kinds::storage::driver_name;
use crate::kinds::{template_metadata, validate};

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

fn claim_template(template: &Value, path: &Path) -> ErrorList {
    if template.is_null() {
        return vec![Error::required(path, "")];
    }
    let mut errors = template_metadata::validate(&template["metadata"], &path.child("metadata"));
    errors.extend(claim::validate_spec(&template["spec"], &path.child("spec")));
    errors
}
