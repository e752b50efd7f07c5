//! Environment variables and where their values come from.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::each_container;
use crate::kinds::validate;

/// Fields of the pod that a variable may hold.
const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VARIABLE_RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const HUGE_PAGES: [&str; 2] = ["limits.hugepages-", "requests.hugepages-"];

pub fn of_container(container: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (position, variable) in meta::list(container, "env").iter().enumerate() {
        let at = path.child("env").index(position);
        let name = meta::text(variable, "name");
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        } else {
            errors.extend(validate::named(name, names::environment_name, &at.child("name")));
        }
        errors.extend(source(variable, &at.child("valueFrom")));
    }
    for (position, from) in meta::list(container, "envFrom").iter().enumerate() {
        errors.extend(whole(from, &path.child("envFrom").index(position), &path.child("envFrom").index(position)));
    }
    errors
}

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

fn source(variable: &Value, path: &Path) -> ErrorList {
    let from = &variable["valueFrom"];
    let mut errors = ErrorList::new();
    if !from.is_object() {
        return errors;
    }
    let given: Vec<&str> = SOURCES.iter().copied().filter(|source| !from[source].is_null()).collect();
    for kind in &given {
        let (reference, at) = (&from[kind], path.child(kind));
        errors.extend(match *kind {
            "fieldRef" => field_ref(reference, &VARIABLE_FIELDS, &at),
            "resourceFieldRef" => resource_ref(reference, false, &at),
            "fileKeyRef" => file_ref(reference, &at),
            _ => key_ref(reference, &at),
        });
    }
    if given.is_empty() {
        let why =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(Error::invalid(path, "", why));
    } else if !meta::text(variable, "value").is_empty() {
        errors.push(Error::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if given.len() > 1 {
        errors.push(Error::invalid(path, "", "may not have more than one field specified at a time"));
    }
    errors
}

/// `known`: the paths that may be referred to here, besides single labels and annotations.
pub fn field_ref(reference: &Value, known: &[&str], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if meta::text(reference, "apiVersion").is_empty() {
        errors.push(Error::required(&path.child("apiVersion"), ""));
        return errors;
    }
    let at = path.child("fieldPath");
    let field = meta::text(reference, "fieldPath");
    if field.is_empty() {
        errors.push(Error::required(&at, ""));
        return errors;
    }
    let refuse = |why: String| vec![Error::invalid(&at, field, format!("error converting fieldPath: {why}"))];
    let version = meta::text(reference, "apiVersion");
    if version != "v1" {
        return refuse(format!("unsupported pod version: {version}"));
    }
    let subscripted = field.strip_suffix("']").and_then(|field| field.split_once("['"));
    if let Some((name, key)) = subscripted.filter(|(name, _)| !name.is_empty()) {
        // Upstream tells this at the reference.
        return match name {
            "metadata.annotations" => validate::named(&key.to_lowercase(), names::qualified_name, path),
            "metadata.labels" => validate::named(key, names::qualified_name, path),
            _ => refuse(format!("field label does not support subscript: {field}")),
        };
    }
    // The name of older days.
    let field = if field == "spec.host" { "spec.nodeName" } else { field };
    if !is_convertible(field) {
        return refuse(format!("field label not supported: {field}"));
    }
    if !known.contains(&field) {
        let mut sorted = known.to_vec();
        sorted.sort_unstable();
        errors.push(Error::not_supported(&at, field, &sorted));
    }
    errors
}

/// Paths that upstream can name at all.
fn is_convertible(field: &str) -> bool {
    VARIABLE_FIELDS.contains(&field)
        || ["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"]
            .contains(&field)
}

/// `needs_container`: outside of a container, a reference must name one.
pub fn resource_ref(reference: &Value, needs_container: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let resource = meta::text(reference, "resource");
    let of_pages = HUGE_PAGES.iter().any(|prefix| resource.starts_with(prefix));
    if needs_container && meta::text(reference, "containerName").is_empty() {
        errors.push(Error::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(&path.child("resource"), ""));
    } else if !VARIABLE_RESOURCES.contains(&resource) && !of_pages {
        errors.push(Error::not_supported(&path.child("resource"), resource, &VARIABLE_RESOURCES));
    }
    errors.extend(divisor(reference, resource, &path.child("divisor")));
    errors
}

/// Files of variables are in volumes that live as long as the pod. `path` is that of the spec.
pub fn files(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let volumes = meta::list(spec, "volumes");
    for (container, at) in each_container(spec, path) {
        for (position, variable) in meta::list(container, "env").iter().enumerate() {
            let reference = &variable["valueFrom"]["fileKeyRef"];
            if reference.is_null() {
                continue;
            }
            let name = meta::text(reference, "volumeName");
            let at = at.child("env").index(position).child("valueFrom").child("fileKeyRef").child("volumeName");
            match volumes.iter().rfind(|volume| meta::text(volume, "name") == name) {
                None => errors.push(Error::not_found(&at, name)),
                Some(volume) if volume["emptyDir"].is_null() => {
                    errors.push(Error::invalid(&at, name, "referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    }
    errors
}

fn file_ref(reference: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut judge = |field: &str, check: &dyn Fn(&str, &Path) -> ErrorList| {
        let (text, at) = (meta::text(reference, field), path.child(field));
        errors.extend(if text.is_empty() { vec![Error::required(&at, "")] } else { check(text, &at) });
    };
    judge("key", &|key, at| validate::named(key, names::environment_name, at));
    judge("volumeName", &|name, at| validate::named(name, names::dns_label, at));
    judge("path", &|target, at| validate::without_backsteps(target, at).into_iter().collect());
    errors
}

fn divisor(reference: &Value, resource: &str, path: &Path) -> Option<Error> {
    const OF_BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let divisor = Quantity::from_value(&reference["divisor"]).ok().filter(|divisor| !divisor.is_zero())?;
    let (allowed, what): (&[&str], &str) = match resource.split_once('.')?.1 {
        _ if resource.contains("hugepages-") => (&OF_BYTES, "hugepages"),
        "cpu" => (&["1m", "1"], "cpu"),
        "memory" => (&OF_BYTES, "memory"),
        "ephemeral-storage" => (&OF_BYTES, "local ephemeral storage"),
        _ => return None,
    };
    let values = if what == "cpu" { "1m and 1".to_owned() } else { OF_BYTES.join(", ") };
    let words = format!("only divisor's values {values} are supported with the {what} resource");
    // Upstream shows the resource.
    (!allowed.contains(&divisor.to_string().as_str())).then(|| Error::invalid(path, resource, words))
}

fn key_ref(reference: &Value, path: &Path) -> ErrorList {
    let mut errors = validate::named(meta::text(reference, "name"), names::dns_subdomain, &path.child("name"));
    let key = meta::text(reference, "key");
    if key.is_empty() {
        errors.push(Error::required(&path.child("key"), ""));
    } else {
        errors.extend(validate::named(key, names::config_map_key, &path.child("key")));
    }
    errors
}

/// A whole ConfigMap or Secret as variables. Upstream tells some of it at the list and not at the entry.
fn whole(from: &Value, path: &Path, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let prefix = meta::text(from, "prefix");
    if !prefix.is_empty() {
        errors.extend(validate::named(prefix, names::environment_name, &at.child("prefix")));
    }
    let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|kind| !from[kind].is_null()).collect();
    for kind in &given {
        let at = path.child(kind).child("name");
        let name = meta::text(&from[kind], "name");
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else {
            errors.extend(validate::named(name, names::dns_subdomain, &at));
        }
    }
    let list = Path::new(path.to_string().rsplit_once('[').map_or("envFrom", |(list, _)| list));
    match given.len() {
        0 => errors.push(Error::invalid(&list, "", "must specify one of: `configMapRef` or `secretRef`")),
        1 => {}
        _ => errors.push(Error::invalid(&list, "", "may not have more than one field specified at a time")),
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::pod::validate::told;

    #[test]
    fn amounts_are_divided_by_units() {
        for (resource, divisor, want) in [
            ("limits.cpu", "1m", ""),
            ("requests.memory", "1Mi", ""),
            ("limits.hugepages-2Mi", "1Ki", ""),
            ("limits.cpu", "10", "only divisor's values 1m and 1 are supported with the cpu resource"),
            (
                "limits.ephemeral-storage",
                "2",
                "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource",
            ),
        ] {
            let reference = json!({"resource": resource, "divisor": divisor});
            let errors = resource_ref(&reference, false, &Path::new("r"));
            let found = errors.first().map(|error| error.detail.as_str()).unwrap_or_default();
            assert_eq!(found, want, "{reference}");
        }
    }

    #[test]
    fn files_of_variables_are_in_the_pods_own_volumes() {
        let spec = |volume: Value, reference: Value| json!({"volumes": [volume], "containers": [{"env": [{"name": "A", "valueFrom": {"fileKeyRef": reference}}]}]});
        let reference = json!({"volumeName": "v", "path": "a", "key": "B"});
        for (volume, want) in [
            (json!({"name": "v", "emptyDir": {}}), vec![]),
            (
                json!({"name": "v", "hostPath": {}}),
                vec![
                    "s.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: \"v\": referenced volume must be of type emptyDir",
                ],
            ),
            (json!({"name": "w"}), vec!["s.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: \"v\""]),
        ] {
            assert_eq!(told(files(&spec(volume.clone(), reference.clone()), &Path::new("s"))), want, "{volume}");
        }
        assert_eq!(
            told(file_ref(&json!({"path": "../a", "key": "B"}), &Path::new("f"))),
            ["f.volumeName: Required value", "f.path: Invalid value: \"../a\": must not contain '..'",]
        );
    }
}
