//! Rules about what a pod sets as a whole or its containers for themselves.

use std::collections::BTreeSet;

use machinery::field::quote;
use machinery::{meta, sysctls};
use serde_json::Value;

use super::{Violation, containers_named, each, has_user_namespace, is_windows, name, plural, quoted, setters};

/// A field of the security contexts: what the pod says, and what each container says.
fn said<'a>(pod: &'a Value, path: &str) -> (&'a Value, Vec<(&'a str, &'a Value)>) {
    let of_pod = meta::at(meta::at(pod, "spec.securityContext"), path);
    let of_container = |container: &'a Value| (name(container), meta::at(&container["securityContext"], path));
    (of_pod, each(pod).map(of_container).collect())
}

pub(super) fn host_namespaces(pod: &Value) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| meta::is_true(&pod["spec"], field));
    let told: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    (!told.is_empty()).then(|| Violation::new("host namespaces", told.join(", ")))
}

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn app_armor(pod: &Value) -> Option<Violation> {
    let (of_pod, of_containers) = said(pod, "appArmorProfile");
    let bad = |profile: &Value| profile.is_object() && !is_confined(&profile["type"]);
    let containers: Vec<&str> =
        of_containers.iter().filter(|(_, profile)| bad(profile)).map(|(name, _)| *name).collect();
    let mut setters = setters(bad(of_pod), &containers);
    let profiles = of_containers.iter().map(|(_, profile)| *profile).chain([of_pod]);
    let values: BTreeSet<&str> =
        profiles.filter(|profile| bad(profile)).map(|profile| meta::text(profile, "type")).collect();
    let mut values: Vec<String> = values.into_iter().map(str::to_owned).collect();
    let allowed = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotated =
        meta::map(pod, "metadata.annotations").iter().filter_map(|(key, value)| Some((key, value.as_str()?)));
    let mut annotated: Vec<String> = annotated
        .filter(|(key, value)| key.starts_with(APP_ARMOR_ANNOTATION) && !allowed(value))
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    if !annotated.is_empty() {
        annotated.sort();
        setters.push(plural("annotation", "annotations", annotated.len()).to_owned());
        values.extend(annotated);
    }
    (!setters.is_empty()).then(|| {
        let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
        let values = quoted(values.iter().map(String::as_str));
        Violation::new(reason, format!("{} must not set AppArmor profile type to {values}", setters.join(" and ")))
    })
}

fn is_confined(kind: &Value) -> bool {
    kind == "RuntimeDefault" || kind == "Localhost"
}

const SE_LINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

pub(super) fn se_linux_1_0(pod: &Value) -> Option<Violation> {
    se_linux(pod, &SE_LINUX_TYPES[..4])
}

pub(super) fn se_linux_1_31(pod: &Value) -> Option<Violation> {
    se_linux(pod, &SE_LINUX_TYPES)
}

fn se_linux(pod: &Value, allowed: &[&str]) -> Option<Violation> {
    let (of_pod, of_containers) = said(pod, "seLinuxOptions");
    let text = |options: &Value, field: &str| options[field].as_str().unwrap_or_default().to_owned();
    let bad_type = |options: &Value| !allowed.contains(&text(options, "type").as_str());
    let sets = |options: &Value, field: &str| !text(options, field).is_empty();
    let bad = |options: &Value| bad_type(options) || sets(options, "user") || sets(options, "role");
    let containers: Vec<&str> =
        of_containers.iter().filter(|(_, options)| bad(options)).map(|(name, _)| *name).collect();
    let setters = setters(bad(of_pod), &containers);
    if setters.is_empty() {
        return None;
    }
    let all: Vec<&Value> = of_containers.iter().map(|(_, options)| *options).chain([of_pod]).collect();
    let types: BTreeSet<String> =
        all.iter().filter(|options| bad_type(options)).map(|options| text(options, "type")).collect();
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural("type", "types", types.len()), quoted(types.iter().map(String::as_str))));
    }
    for field in ["user", "role"] {
        if all.iter().any(|options| sets(options, field)) {
            data.push(format!("{field} may not be set"));
        }
    }
    let detail = format!("{} set forbidden securityContext.seLinuxOptions: {}", setters.join(" and "), data.join("; "));
    Some(Violation::new("seLinuxOptions", detail))
}

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Before there was a field.
pub(super) fn seccomp_annotations(pod: &Value) -> Option<Violation> {
    let keys = std::iter::once(SECCOMP_POD.to_owned())
        .chain(each(pod).map(|container| format!("{SECCOMP_CONTAINER}{}", name(container))));
    let allowed =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let bad: BTreeSet<String> = keys
        .filter_map(|key| Some((meta::annotation(pod, &key)?.to_owned(), key)))
        .filter(|(value, _)| !allowed(value))
        .map(|(value, key)| format!("{key}={}", quote(&value)))
        .collect();
    (!bad.is_empty()).then(|| {
        let noun = plural("annotation", "annotations", bad.len());
        let bad: Vec<&str> = bad.iter().map(String::as_str).collect();
        Violation::new("seccompProfile", format!("forbidden {noun} {}", bad.join(", ")))
    })
}

pub(super) fn seccomp_baseline(pod: &Value) -> Option<Violation> {
    let (of_pod, of_containers) = said(pod, "seccompProfile");
    let bad = |profile: &Value| profile.is_object() && !is_confined(&profile["type"]);
    let containers: Vec<&str> =
        of_containers.iter().filter(|(_, profile)| bad(profile)).map(|(name, _)| *name).collect();
    let setters = setters(bad(of_pod), &containers);
    (!setters.is_empty()).then(|| {
        let profiles = of_containers.iter().map(|(_, profile)| *profile).chain([of_pod]);
        let values: BTreeSet<&str> =
            profiles.filter(|profile| bad(profile)).map(|profile| meta::text(profile, "type")).collect();
        let values = quoted(values);
        let setters = setters.join(" and ");
        Violation::new(
            "seccompProfile",
            format!("{setters} must not set securityContext.seccompProfile.type to {values}"),
        )
    })
}

pub(super) fn seccomp_restricted(pod: &Value) -> Option<Violation> {
    if let Some(violation) = seccomp_baseline(pod) {
        return Some(violation);
    }
    let (of_pod, of_containers) = said(pod, "seccompProfile");
    if of_pod.is_object() {
        return None;
    }
    let bare: Vec<&str> =
        of_containers.iter().filter(|(_, profile)| !profile.is_object()).map(|(name, _)| *name).collect();
    (!bare.is_empty()).then(|| {
        let detail = format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers_named(&bare)
        );
        Violation::new("seccompProfile", detail)
    })
}

pub(super) fn seccomp_restricted_on_linux(pod: &Value) -> Option<Violation> {
    if is_windows(pod) { None } else { seccomp_restricted(pod) }
}

pub(super) fn sysctls_1_0(pod: &Value) -> Option<Violation> {
    sysctls_beyond(pod, &sysctls::SAFE[..5])
}

pub(super) fn sysctls_1_27(pod: &Value) -> Option<Violation> {
    sysctls_beyond(pod, &sysctls::SAFE[..6])
}

pub(super) fn sysctls_1_29(pod: &Value) -> Option<Violation> {
    sysctls_beyond(pod, &sysctls::SAFE[..10])
}

pub(super) fn sysctls_1_32(pod: &Value) -> Option<Violation> {
    sysctls_beyond(pod, &sysctls::SAFE)
}

fn sysctls_beyond(pod: &Value, allowed: &[&str]) -> Option<Violation> {
    let set = meta::list(pod, "spec.securityContext.sysctls").iter().map(name);
    let bad: Vec<&str> = set.filter(|name| !allowed.contains(name)).collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}

pub(super) fn windows_host_process(pod: &Value) -> Option<Violation> {
    let (of_pod, of_containers) = said(pod, "windowsOptions.hostProcess");
    let containers: Vec<&str> = of_containers.iter().filter(|(_, set)| **set == true).map(|(name, _)| *name).collect();
    let setters = setters(of_pod == true, &containers).join(" and ");
    let detail = || format!("{setters} must not set securityContext.windowsOptions.hostProcess=true");
    (!setters.is_empty()).then(|| Violation::new("hostProcess", detail()))
}

pub(super) fn non_root(pod: &Value) -> Option<Violation> {
    let (of_pod, of_containers) = said(pod, "runAsNonRoot");
    let named = |wanted: fn(&Value) -> bool| -> Vec<&str> {
        of_containers.iter().filter(|(_, set)| wanted(set)).map(|(name, _)| *name).collect()
    };
    const REASON: &str = "runAsNonRoot != true";
    let setters = setters(of_pod == false, &named(|set| *set == false)).join(" and ");
    if !setters.is_empty() {
        return Some(Violation::new(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false")));
    }
    let silent = named(|set| !set.is_boolean());
    if of_pod == true || silent.is_empty() {
        return None;
    }
    let silent = containers_named(&silent);
    Some(Violation::new(REASON, format!("pod or {silent} must set securityContext.runAsNonRoot=true")))
}

pub(super) fn non_root_outside_user_namespaces(pod: &Value) -> Option<Violation> {
    if has_user_namespace(pod) { None } else { non_root(pod) }
}

pub(super) fn user(pod: &Value) -> Option<Violation> {
    let (of_pod, of_containers) = said(pod, "runAsUser");
    let containers: Vec<&str> = of_containers.iter().filter(|(_, set)| **set == 0).map(|(name, _)| *name).collect();
    let setters = setters(of_pod == 0, &containers).join(" and ");
    (!setters.is_empty()).then(|| Violation::new("runAsUser=0", format!("{setters} must not set runAsUser=0")))
}

pub(super) fn user_outside_user_namespaces(pod: &Value) -> Option<Violation> {
    if has_user_namespace(pod) { None } else { user(pod) }
}
