//! Annotations that once stood for profiles of a security context, and the fields that stand for them now.

use machinery::field::Path;
use machinery::meta;
use serde_json::{Value, json};

const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const APP_ARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
pub const APP_ARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";

fn told(pod: &Value, name: &str, why: &str, path: &Path) -> Option<String> {
    meta::annotation(pod, name).map(|_| format!("{}: {why}", path.child("metadata").child("annotations").key(name)))
}

fn has(of: &Value, profile: &str) -> bool {
    of["securityContext"][profile].is_object()
}

/// Words of warning about a pod's own annotations.
pub fn of_pod(pod: &Value, path: &Path) -> Option<String> {
    let without_field = !has(&pod["spec"], "seccompProfile");
    without_field.then(|| told(pod, "seccomp.security.alpha.kubernetes.io/pod", SECCOMP, path)).flatten()
}

/// Words of warning about a container's.
pub fn of_container(pod: &Value, container: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    if meta::map(pod, "metadata.annotations").is_empty() {
        return warnings;
    }
    if !has(container, "seccompProfile") {
        let name = meta::text(container, "name");
        let annotation = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
        warnings.extend(told(pod, &annotation, SECCOMP, path));
    }
    // A pod's own are judged before they are turned into fields.
    if !path.is_root() {
        warnings.extend(app_armor_of(pod, container, path));
    }
    warnings
}

fn app_armor_of(pod: &Value, container: &Value, path: &Path) -> Option<String> {
    let annotation = format!("{APP_ARMOR_PREFIX}{}", meta::text(container, "name"));
    let stands_alone = !has(container, "appArmorProfile") && !says_as_much(pod, &annotation);
    stands_alone.then(|| told(pod, &annotation, APP_ARMOR, path)).flatten()
}

/// Of a profile's name, in bytes.
const PROFILE_LENGTH_MAX: usize = 4095;

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn is_windows(pod: &Value) -> bool {
    meta::text(pod, "spec.os.name") == "windows"
}

/// Words of warning about a new pod's AppArmor annotations, as they came.
pub fn of_new_pod(pod: &Value) -> Vec<String> {
    if is_windows(pod) || meta::map(pod, "metadata.annotations").is_empty() {
        return Vec::new();
    }
    let containers = CONTAINERS.iter().flat_map(|list| meta::list(&pod["spec"], list));
    containers.filter_map(|container| app_armor_of(pod, container, &Path::root())).collect()
}

/// Gives a new pod's containers the AppArmor profiles that its annotations ask for, where no field does: only fields
/// reach the runtime.
pub fn fill_in(pod: &mut Value) {
    let annotations = meta::map(pod, "metadata.annotations").clone();
    if is_windows(pod) || annotations.is_empty() {
        return;
    }
    let whole = pod["spec"]["securityContext"]["appArmorProfile"].clone();
    for list in CONTAINERS {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let annotation = format!("{APP_ARMOR_PREFIX}{}", meta::text(container, "name"));
            let asked = annotations.get(&annotation).and_then(Value::as_str).and_then(app_armor);
            if let Some(asked) = asked.filter(|asked| *asked != whole && !has(container, "appArmorProfile")) {
                meta::object_mut(container, "securityContext").insert("appArmorProfile".into(), asked);
            }
        }
    }
}

/// Whether the annotation tells no more than the pod's own profile does.
fn says_as_much(pod: &Value, annotation: &str) -> bool {
    let profile = &pod["spec"]["securityContext"]["appArmorProfile"];
    let given = meta::annotation(pod, annotation).and_then(app_armor);
    profile.is_object() && given.as_ref() == Some(profile)
}

/// The field that an annotation's value means; `None` for a value that has no meaning.
fn app_armor(value: &str) -> Option<Value> {
    match value {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        value => {
            let profile = value.strip_prefix("localhost/")?;
            let is_good = !profile.is_empty() && profile.trim() == profile && profile.len() <= PROFILE_LENGTH_MAX;
            is_good.then(|| json!({"type": "Localhost", "localhostProfile": profile}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_without_their_field_are_told() {
        let told = |value: &str, profile: Value, path: &Path| {
            let annotations = json!({"container.apparmor.security.beta.kubernetes.io/a": value});
            let pod = json!({"metadata": {"annotations": annotations}, "spec": {"securityContext": {"appArmorProfile": profile}}});
            of_container(&pod, &json!({"name": "a"}), path).len()
        };
        let template = Path::new("spec").child("template");
        let profile = json!({"type": "Localhost", "localhostProfile": "x"});
        assert_eq!(told("localhost/x", profile.clone(), &template), 0);
        assert_eq!(told("localhost/y", profile.clone(), &template), 1);
        assert_eq!(told("nonsense", profile, &template), 1);
        assert_eq!(told("unconfined", Value::Null, &template), 1);
        assert_eq!(told("unconfined", Value::Null, &Path::root()), 0);
    }

    #[test]
    fn what_an_annotation_asks_for_becomes_a_field() {
        let filled = |value: &str, container: Value| {
            let annotations = json!({"container.apparmor.security.beta.kubernetes.io/a": value});
            let mut pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [container]}});
            let words = of_new_pod(&pod).len();
            fill_in(&mut pod);
            (words, pod["spec"]["containers"][0]["securityContext"]["appArmorProfile"].take())
        };
        let container = json!({"name": "a"});
        let local = json!({"type": "Localhost", "localhostProfile": "x"});
        assert_eq!(filled("localhost/x", container.clone()), (1, local.clone()));
        assert_eq!(filled("nonsense", container), (1, Value::Null));
        let with_field = json!({"name": "a", "securityContext": {"appArmorProfile": local}});
        assert_eq!(filled("unconfined", with_field), (0, local));
    }
}
