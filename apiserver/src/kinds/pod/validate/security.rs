//! Security contexts of pods and containers (Kubernetes task: "Configure a Security Context for a Pod or Container").

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::windows;
use crate::kinds::pod::form;
use crate::kinds::{go_form, validate};

const ID_MAX: i64 = i32::MAX as i64;

pub(super) fn identity(value: &Value, path: &Path) -> Option<Error> {
    let id = value.as_i64().filter(|id| !(0..=ID_MAX).contains(id))?;
    Some(Error::invalid(path, id, names::range_error(0, ID_MAX)))
}

pub fn pod(spec: &Value, path: &Path) -> ErrorList {
    let context = &spec["securityContext"];
    let path = path.child("securityContext");
    let mut errors = ErrorList::new();
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        errors.extend(identity(&context[field], &path.child(field)));
    }
    for (position, group) in meta::list(context, "supplementalGroups").iter().enumerate() {
        errors.extend(identity(group, &path.child("supplementalGroups").index(position)));
    }
    if meta::is_true(spec, "shareProcessNamespace") && meta::is_true(spec, "hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, why));
    }
    errors.extend(sysctls(spec, &path.child("sysctls")));
    errors.extend(policy(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &path));
    errors.extend(seccomp(&context["seccompProfile"], &path.child("seccompProfile")));
    errors.extend(windows::options(&context["windowsOptions"], &path.child("windowsOptions")));
    errors.extend(app_armor(&context["appArmorProfile"], &path.child("appArmorProfile")));
    errors.extend(policy(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &path));
    // Mounting with a label of its own is behind a gate that is off.
    errors.extend(policy(context, "seLinuxChangePolicy", &["Recursive"], &path));
    errors
}

fn policy(context: &Value, field: &str, supported: &[&str], path: &Path) -> Option<Error> {
    let policy = context[field].as_str().filter(|policy| !supported.contains(policy))?;
    Some(Error::not_supported(&path.child(field), policy, supported))
}

const SYSCTL_LENGTH_MAX: usize = 253;

fn sysctls(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, sysctl) in meta::list(spec, "securityContext.sysctls").iter().enumerate() {
        let at = path.index(position).child("name");
        let name = meta::text(sysctl, "name");
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if name.len() > SYSCTL_LENGTH_MAX || !is_sysctl(name) {
            let why = format!(
                "must have at most {SYSCTL_LENGTH_MAX} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.push(Error::invalid(&at, name, why));
        } else if known.contains(name) {
            errors.push(Error::duplicate(&at, name));
        }
        if let Some(field) = namespace_of(name).filter(|field| meta::is_true(spec, field)) {
            errors.push(Error::invalid(&at, name, format!("may not be specified when '{field}' is true")));
        }
        known.insert(name);
    }
    errors
}

/// The field of a pod that shares with the node the namespace in which a sysctl is.
fn namespace_of(sysctl: &str) -> Option<&'static str> {
    const OF_IPC: [&str; 10] = [
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm",
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg",
    ];
    // The first separator tells which of the two ways of writing it is.
    let dotted = match sysctl.find(['.', '/']) {
        Some(at) if sysctl[at..].starts_with('/') => sysctl
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => sysctl.to_owned(),
    };
    let name = dotted.split('*').next().unwrap_or_default();
    if OF_IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        Some("hostIPC")
    } else {
        name.starts_with("net.").then_some("hostNetwork")
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.split(['.', '/']).all(|part| {
        let bytes = part.as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(&a), Some(&b)) if edge(a) && edge(b))
            && bytes.iter().all(|&byte| edge(byte) || byte == b'-' || byte == b'_')
    })
}

fn seccomp(profile: &Value, path: &Path) -> ErrorList {
    const KINDS: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
    let mut errors = ErrorList::new();
    if !profile.is_object() {
        return errors;
    }
    let (kind, at) = (meta::text(profile, "type"), path.child("localhostProfile"));
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "type is required when seccompProfile is set"));
    } else if !KINDS.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &KINDS));
    }
    match (kind, profile["localhostProfile"].as_str()) {
        ("Localhost", None) => errors.push(Error::required(&at, "must be set when seccomp type is Localhost")),
        ("Localhost", Some(file)) => errors.extend(validate::local_descending(file, &at)),
        (_, Some(_)) => {
            let why = "can only be set when seccomp type is Localhost";
            errors.push(Error::invalid(&at, profile.clone(), why).showing(go_form::write(profile, &form::PROFILE)));
        }
        (_, None) => {}
    }
    errors
}

/// Of a profile's name, in bytes.
const APP_ARMOR_LENGTH_MAX: usize = 4095;

fn app_armor(profile: &Value, path: &Path) -> ErrorList {
    const UNSET: &str = "must be set when AppArmor type is Localhost";
    let mut errors = ErrorList::new();
    if !profile.is_object() {
        return errors;
    }
    let (kind, at) = (path.child("type"), path.child("localhostProfile"));
    let local = profile["localhostProfile"].as_str();
    match (meta::text(profile, "type"), local) {
        ("Localhost", None) => errors.push(Error::required(&at, UNSET)),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.push(Error::invalid(&at, name, "must not be padded with whitespace"));
            } else if name.is_empty() {
                errors.push(Error::required(&at, UNSET));
            }
            if name.len() > APP_ARMOR_LENGTH_MAX {
                errors.push(Error::too_long(&at, APP_ARMOR_LENGTH_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.push(Error::invalid(&at, name, "can only be set when AppArmor type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.push(Error::required(&kind, "type is required when appArmorProfile is set")),
        (other, _) => {
            errors.push(Error::not_supported(&kind, other, &["Localhost", "RuntimeDefault", "Unconfined"]));
        }
    }
    errors
}

/// `host_users`: whether the pod's users are those of the node.
pub fn container(context: &Value, host_users: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !context.is_object() {
        return errors;
    }
    for field in ["runAsUser", "runAsGroup"] {
        errors.extend(identity(&context[field], &path.child(field)));
    }
    let at = path.child("procMount");
    match context["procMount"].as_str() {
        None | Some("Default") => {}
        Some("Unmasked") if host_users => {
            errors.push(Error::invalid(&at, "Unmasked", "`hostUsers` must be false to use `Unmasked`"));
        }
        Some("Unmasked") => {}
        Some(other) => errors.push(Error::not_supported(&at, other, &["Default", "Unmasked"])),
    }
    errors.extend(seccomp(&context["seccompProfile"], &path.child("seccompProfile")));
    if context["allowPrivilegeEscalation"] == false {
        let mut refuse = |what: &str| {
            let why = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            let shown = go_form::write(context, &form::SECURITY_CONTEXT_OF_CONTAINER);
            errors.push(Error::invalid(path, context.clone(), why).showing(shown));
        };
        if meta::is_true(context, "privileged") {
            refuse("`privileged` to true");
        }
        let added = meta::list(context, "capabilities.add").iter();
        added
            .filter(|capability| *capability == "CAP_SYS_ADMIN")
            .for_each(|_| refuse("`capabilities.Add` CAP_SYS_ADMIN"));
    }
    errors.extend(windows::options(&context["windowsOptions"], &path.child("windowsOptions")));
    errors.extend(app_armor(&context["appArmorProfile"], &path.child("appArmorProfile")));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::pod::validate::told;

    #[test]
    fn a_container_is_confined() {
        for (context, host_users, want) in [
            (json!({"procMount": "Unmasked", "appArmorProfile": {"type": "RuntimeDefault"}}), false, vec![]),
            (
                json!({"procMount": "Unmasked"}),
                true,
                vec!["c.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`"],
            ),
            (
                json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}}),
                true,
                vec!["c.appArmorProfile.localhostProfile: Invalid value: \" a\": must not be padded with whitespace"],
            ),
            (
                json!({"appArmorProfile": {"type": "Unconfined", "localhostProfile": "a"}}),
                true,
                vec![
                    "c.appArmorProfile.localhostProfile: Invalid value: \"a\": can only be set when AppArmor type is Localhost",
                ],
            ),
            (
                json!({"appArmorProfile": {}}),
                true,
                vec!["c.appArmorProfile.type: Required value: type is required when appArmorProfile is set"],
            ),
            (
                json!({"seccompProfile": {"type": "Unconfined", "localhostProfile": "a"}}),
                true,
                vec![
                    "c.seccompProfile.localhostProfile: Invalid value: {\"Type\":\"Unconfined\",\"LocalhostProfile\":\"a\"}: can only be set when seccomp type is Localhost",
                ],
            ),
        ] {
            assert_eq!(told(container(&context, host_users, &Path::new("c"))), want, "{context}");
        }
    }

    #[test]
    fn a_pod_is_confined() {
        let sysctl = |name: &str| json!({"sysctls": [{"name": name, "value": "1"}]});
        for (context, more, want) in [
            (sysctl("net.core.somaxconn"), json!({}), vec![]),
            (
                sysctl("net/core/somaxconn"),
                json!({"hostNetwork": true}),
                vec![
                    "s.securityContext.sysctls[0].name: Invalid value: \"net/core/somaxconn\": may not be specified when 'hostNetwork' is true",
                ],
            ),
            (
                sysctl("kernel.shmmax"),
                json!({"hostIPC": true}),
                vec![
                    "s.securityContext.sysctls[0].name: Invalid value: \"kernel.shmmax\": may not be specified when 'hostIPC' is true",
                ],
            ),
            (
                json!({"supplementalGroupsPolicy": "x", "seLinuxChangePolicy": "MountOption"}),
                json!({}),
                vec![
                    "s.securityContext.supplementalGroupsPolicy: Unsupported value: \"x\": supported values: \"Merge\", \"Strict\"",
                    "s.securityContext.seLinuxChangePolicy: Unsupported value: \"MountOption\": supported values: \"Recursive\"",
                ],
            ),
        ] {
            let mut spec = more;
            spec["securityContext"] = context;
            assert_eq!(told(pod(&spec, &Path::new("s"))), want, "{spec}");
        }
    }
}
