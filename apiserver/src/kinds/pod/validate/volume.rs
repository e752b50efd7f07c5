//! Volumes and their sources (Kubernetes concept: "Volumes").

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::container::local_descending;
use super::{environment, required_name};
use crate::kinds::validate;

/// Fields of the pod that a file may hold.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The names of the good volumes, which containers may mount, and what is wrong with the others.
pub fn all<'a>(spec: &'a Value, path: &Path) -> (HashSet<&'a str>, ErrorList) {
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, volume) in meta::list(spec, "volumes").iter().enumerate() {
        let at = path.child("volumes").index(position);
        let mut wrong = source(volume, &at);
        let (name, at) = (meta::text(volume, "name"), at.child("name"));
        if name.is_empty() {
            wrong.push(Error::required(&at, ""));
        } else {
            wrong.extend(validate::named(name, names::dns_label, &at));
        }
        if known.contains(name) {
            wrong.push(Error::duplicate(&at, name));
        }
        if wrong.is_empty() {
            known.insert(name);
        }
        errors.extend(wrong);
    }
    (known, errors)
}

fn source(volume: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let fields = volume.as_object().into_iter().flatten();
    let sources: Vec<(&str, &Value)> = fields
        .filter(|(name, value)| *name != "name" && !value.is_null())
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    for (position, (kind, source)) in sources.iter().enumerate() {
        let at = path.child(kind);
        if position > 0 {
            errors.push(Error::forbidden(&at, "may not specify more than 1 volume type"));
            continue;
        }
        errors.extend(match *kind {
            "emptyDir" => empty_dir(source, &at),
            "hostPath" => host_path(source, &at),
            "secret" => secret(source, &at),
            "configMap" => config_map(source, &at),
            "downwardAPI" => downward(source, &at),
            "projected" => projected(source, &at),
            "persistentVolumeClaim" => required_name(source, "claimName", &at).into_iter().collect(),
            "nfs" => ["server", "path"].into_iter().filter_map(|field| required_name(source, field, &at)).collect(),
            _ => ErrorList::new(),
        });
    }
    if sources.is_empty() {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    errors
}

fn empty_dir(source: &Value, path: &Path) -> ErrorList {
    let size = Quantity::parse(meta::text(source, "sizeLimit")).ok();
    let negative = size.is_some_and(|size| size.sign() < 0);
    negative
        .then(|| Error::forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity"))
        .into_iter()
        .collect()
}

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

fn host_path(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let target = meta::text(source, "path");
    if target.is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
        return errors;
    }
    if target.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(&path.child("path"), target, "must not contain '..'"));
    }
    let kind = meta::text(source, "type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &HOST_PATH_TYPES));
    }
    errors
}

fn mode(value: &Value, path: &Path) -> Option<Error> {
    let mode = value.as_i64().filter(|mode| !(0..=0o777).contains(mode))?;
    Some(Error::invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive"))
}

fn items(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (position, item) in meta::list(source, "items").iter().enumerate() {
        let at = path.child("items").index(position);
        errors.extend(required_name(item, "key", &at));
        errors.extend(file_path(item, &at));
        errors.extend(mode(&item["mode"], &at.child("mode")));
    }
    errors
}

fn file_path(item: &Value, path: &Path) -> ErrorList {
    let (target, at) = (meta::text(item, "path"), path.child("path"));
    if target.is_empty() {
        return vec![Error::required(&at, "")];
    }
    local_file(target, &at)
}

/// A file below the volume that cannot hide the volume's own bookkeeping (`..data`).
fn local_file(target: &str, path: &Path) -> ErrorList {
    let mut errors = local_descending(target, path);
    if target.starts_with("..") && errors.is_empty() {
        errors.push(Error::invalid(path, target, "must not start with '..'"));
    }
    errors
}

fn secret(source: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = required_name(source, "secretName", path).into_iter().collect();
    errors.extend(mode(&source["defaultMode"], &path.child("defaultMode")));
    errors.extend(items(source, path));
    errors
}

fn config_map(source: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = required_name(source, "name", path).into_iter().collect();
    errors.extend(mode(&source["defaultMode"], &path.child("defaultMode")));
    errors.extend(items(source, path));
    errors
}

fn downward(source: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = mode(&source["defaultMode"], &path.child("defaultMode")).into_iter().collect();
    for item in meta::list(source, "items") {
        errors.extend(downward_file(item, path));
    }
    errors
}

/// Upstream names the volume, not the item, in these errors.
fn downward_file(item: &Value, path: &Path) -> ErrorList {
    let mut errors = file_path(item, path);
    let (field, resource) = (&item["fieldRef"], &item["resourceFieldRef"]);
    if field.is_object() {
        errors.extend(environment::field_ref(field, &FILE_FIELDS, &path.child("fieldRef")));
        if !resource.is_null() {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(Error::invalid(path, "resource", why));
        }
    } else if resource.is_object() {
        errors.extend(environment::resource_ref(resource, true, &path.child("resourceFieldRef")));
    } else {
        errors.push(Error::required(path, "one of fieldRef and resourceFieldRef is required"));
    }
    errors.extend(mode(&item["mode"], &path.child("mode")));
    errors
}

const TOKEN_SECONDS_MIN: i64 = 600;

fn projected(source: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = mode(&source["defaultMode"], &path.child("defaultMode")).into_iter().collect();
    for (position, part) in meta::list(source, "sources").iter().enumerate() {
        let at = path.child("sources").index(position);
        let kinds = part.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        for (count, (kind, part)) in kinds.enumerate() {
            let at = at.child(kind);
            if count > 0 {
                errors.push(Error::forbidden(&at, "may not specify more than 1 volume type"));
                continue;
            }
            errors.extend(match kind.as_str() {
                "secret" | "configMap" => {
                    let name: ErrorList = required_name(part, "name", &at).into_iter().collect();
                    name.into_iter().chain(items(part, &at)).collect()
                }
                "downwardAPI" => meta::list(part, "items").iter().flat_map(|item| downward_file(item, path)).collect(),
                "serviceAccountToken" => token(part, path, &at),
                _ => ErrorList::new(),
            });
        }
    }
    errors
}

fn token(part: &Value, path: &Path, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(seconds) = part["expirationSeconds"].as_i64() {
        if seconds < TOKEN_SECONDS_MIN {
            let why = "may not specify a duration less than 10 minutes";
            errors.push(Error::invalid(&at.child("expirationSeconds"), seconds, why));
        } else if seconds > 1 << 32 {
            let why = "may not specify a duration larger than 2^32 seconds";
            errors.push(Error::invalid(&at.child("expirationSeconds"), seconds, why));
        }
    }
    errors.extend(file_path(part, path));
    errors
}
