//! Annotations of a pod that mean something to the API: profiles, a mirror of a static pod, the cost of a deletion.

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use serde_json::{Map, Value};

use super::ephemeral::MIRROR;
use super::scheduling::toleration;
use super::{each_container, text_of};
use crate::kinds::pod::profiles::APP_ARMOR_PREFIX;
use crate::kinds::validate;

const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_PREFIX: &str = "container.seccomp.security.alpha.kubernetes.io/";
const LOCAL: &str = "localhost/";

/// Of a pod or a template; `path` is that of the annotations.
pub fn all(annotations: &Map<String, Value>, spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let given = |name: &str| annotations.get(name).and_then(Value::as_str);
    if let Some(value) = given(MIRROR)
        && meta::text(spec, "nodeName").is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(Error::invalid(&path.key(MIRROR), value, why));
    }
    errors.extend(given(TOLERATIONS).into_iter().flat_map(|value| tolerations(value, path)));
    if let Some(value) = given(DELETION_COST)
        && !is_cost(value)
    {
        errors.push(Error::invalid(&path.key(DELETION_COST), value, "must be a 32bit integer"));
    }
    errors.extend(given(SECCOMP).into_iter().flat_map(|value| seccomp(value, &path.child(SECCOMP))));
    for (name, value) in annotations.iter().filter(|(name, _)| name.starts_with(SECCOMP_PREFIX)) {
        errors.extend(seccomp(text_of(value), &path.child(name)));
    }
    errors.extend(app_armor(annotations, spec, path));
    errors
}

fn tolerations(value: &str, path: &Path) -> ErrorList {
    if value.is_empty() {
        return ErrorList::new();
    }
    match serde_json::from_str::<Value>(value) {
        Err(why) => vec![Error::invalid(path, TOLERATIONS, why.to_string())],
        Ok(list) => {
            let at = path.child(TOLERATIONS);
            let each = list.as_array().into_iter().flatten().enumerate();
            each.flat_map(|(position, entry)| toleration(entry, &at.index(position))).collect()
        }
    }
}

/// Go reads signs and zeros in front that are not meant to be there.
fn is_cost(value: &str) -> bool {
    let begins_well = value == "0" || value.starts_with('-') || value.starts_with(|c: char| matches!(c, '1'..='9'));
    begins_well && value.parse::<i32>().is_ok()
}

fn seccomp(value: &str, path: &Path) -> ErrorList {
    match value {
        "runtime/default" | "docker/default" | "unconfined" => ErrorList::new(),
        value => match value.strip_prefix(LOCAL) {
            Some(file) => validate::local_descending(file, path),
            None => vec![Error::invalid(path, value, "must be a valid seccomp profile")],
        },
    }
}

fn app_armor(annotations: &Map<String, Value>, spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let containers = each_container(spec, path);
    for (name, value) in annotations {
        let Some(container) = name.strip_prefix(APP_ARMOR_PREFIX) else { continue };
        let (value, at) = (text_of(value), path.key(name));
        if !containers.iter().any(|(known, _)| meta::text(known, "name") == container) {
            errors.push(Error::invalid(&at, container, "container not found"));
        }
        if !matches!(value, "" | "runtime/default" | "unconfined") && !value.starts_with(LOCAL) {
            errors.push(Error::invalid(&at, value, format!("invalid AppArmor profile name: {}", quote(value))));
        }
    }
    errors
}

/// Annotations that stand for a profile say the same as the field. `path` is that of the spec.
pub fn agreement(annotations: &Map<String, Value>, spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if annotations.is_empty() {
        return errors;
    }
    let (profile, at) = (&spec["securityContext"]["seccompProfile"], path.child("securityContext"));
    errors.extend(disagreement(annotations.get(SECCOMP), profile, "seccomp", &at.child("seccompProfile")));
    let containers = each_container(spec, path);
    for (container, at) in &containers {
        let name = format!("{SECCOMP_PREFIX}{}", meta::text(container, "name"));
        let (profile, at) = (&container["securityContext"]["seccompProfile"], at.child("securityContext"));
        errors.extend(disagreement(annotations.get(&name), profile, "seccomp", &at.child("seccompProfile")));
    }
    if meta::text(spec, "os.name") == "windows" {
        return errors;
    }
    let whole = &spec["securityContext"]["appArmorProfile"];
    for (container, at) in &containers {
        let name = format!("{APP_ARMOR_PREFIX}{}", meta::text(container, "name"));
        let own = &container["securityContext"]["appArmorProfile"];
        let profile = if own.is_null() { whole } else { own };
        let at = at.child("securityContext").child("appArmorProfile");
        errors.extend(disagreement(annotations.get(&name), profile, "apparmor", &at));
    }
    errors
}

fn disagreement(annotation: Option<&Value>, profile: &Value, what: &str, path: &Path) -> Option<Error> {
    let value = text_of(annotation?);
    if profile.is_null() {
        return None;
    }
    let agrees = match meta::text(profile, "type") {
        "Unconfined" => value == "unconfined",
        "RuntimeDefault" => value == "runtime/default" || what == "seccomp" && value == "docker/default",
        "Localhost" => match value.strip_prefix(LOCAL) {
            Some(name) if profile["localhostProfile"] != name => {
                let why = format!("{what} profile in annotation and field must match");
                return Some(Error::forbidden(&path.child("localhostProfile"), why));
            }
            found => found.is_some(),
        },
        _ => true,
    };
    let why = format!("{what} type in annotation and field must match");
    (!agrees).then(|| Error::forbidden(&path.child("type"), why))
}

/// What holds when a pod's annotations change, with whichever part of it.
pub fn of_update(new: &Value, old: &Value) -> ErrorList {
    let path = validate::path(&["metadata", "annotations"]);
    let annotations = meta::map(new, "metadata.annotations");
    let mut errors = changed(annotations, meta::map(old, "metadata.annotations"), &path);
    errors.extend(all(annotations, &new["spec"], &path));
    errors
}

/// Profiles and mirrors are what they were when the pod was made. `path` is that of the annotations.
fn changed(new: &Map<String, Value>, old: &Map<String, Value>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut refuse = |name: &str, what: &str| {
        if name.starts_with(APP_ARMOR_PREFIX) {
            errors.push(Error::forbidden(&path.key(name), format!("may not {what} AppArmor annotations")));
        }
        if name == MIRROR {
            errors.push(Error::forbidden(&path.key(name), format!("may not {what} mirror pod annotation")));
        }
    };
    let gone = old.iter().filter(|(name, value)| new.get(*name) != Some(value));
    gone.for_each(|(name, _)| refuse(name, "remove or update"));
    let added = new.keys().filter(|name| !old.contains_key(*name));
    added.for_each(|name| refuse(name, "add"));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::pod::validate::told;

    fn map(value: &Value) -> &Map<String, Value> {
        value.as_object().unwrap()
    }

    #[test]
    fn annotations_are_what_they_stand_for() {
        let spec = json!({"containers": [{"name": "c"}]});
        let of = |name: &str, value: &str| json!({name: value});
        let profile = |container: &str| format!("{APP_ARMOR_PREFIX}{container}");
        for (annotations, want) in [
            (of(DELETION_COST, "-7"), vec![]),
            (of(&profile("c"), "localhost/x"), vec![]),
            (of(SECCOMP, "docker/default"), vec![]),
            (
                of(DELETION_COST, "+7"),
                vec!["a[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+7\": must be a 32bit integer"],
            ),
            (
                of(MIRROR, "x"),
                vec![
                    "a[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
                ],
            ),
            (
                of(SECCOMP, "x"),
                vec![
                    "a.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"x\": must be a valid seccomp profile",
                ],
            ),
            (
                of(&profile("d"), "x"),
                vec![
                    "a[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: \"d\": container not found",
                    "a[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: \"x\": invalid AppArmor profile name: \"x\"",
                ],
            ),
        ] {
            assert_eq!(told(all(map(&annotations), &spec, &Path::new("a"))), want, "{annotations}");
        }
    }

    #[test]
    fn annotations_and_fields_agree() {
        let spec = |kind: &str| {
            json!({"securityContext": {"seccompProfile": {"type": kind}}, "containers": [{
            "name": "c", "securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}}}]})
        };
        let annotations = |seccomp: &str, armor: &str| json!({SECCOMP: seccomp, format!("{APP_ARMOR_PREFIX}c"): armor});
        for (annotations, want) in [
            (annotations("unconfined", "localhost/x"), vec![]),
            (
                annotations("runtime/default", "localhost/y"),
                vec![
                    "s.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
                    "s.containers[0].securityContext.appArmorProfile.localhostProfile: Forbidden: apparmor profile in annotation and field must match",
                ],
            ),
        ] {
            assert_eq!(told(agreement(map(&annotations), &spec("Unconfined"), &Path::new("s"))), want);
        }
    }

    #[test]
    fn what_a_pod_was_made_with_stays() {
        let (mirror, other) = (json!({MIRROR: "x"}), json!({"a": "b"}));
        assert_eq!(
            told(changed(map(&other), map(&mirror), &Path::new("a"))),
            ["a[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation"]
        );
        assert_eq!(
            told(changed(map(&mirror), map(&other), &Path::new("a"))),
            ["a[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"]
        );
    }
}
