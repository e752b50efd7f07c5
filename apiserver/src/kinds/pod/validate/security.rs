//! Security contexts of pods and containers (Kubernetes task: "Configure a Security Context for a Pod or Container").

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::container::local_descending;

const ID_MAX: i64 = i32::MAX as i64;

fn identity(value: &Value, path: &Path) -> Option<Error> {
    let id = value.as_i64().filter(|id| !(0..=ID_MAX).contains(id))?;
    Some(Error::invalid(path, id, names::range_error(0, ID_MAX)))
}

pub fn pod(spec: &Value, path: &Path) -> ErrorList {
    let context = &spec["securityContext"];
    let path = path.child("securityContext");
    let mut errors = ErrorList::new();
    if !context.is_object() {
        return errors;
    }
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
    errors.extend(sysctls(context, &path.child("sysctls")));
    let policies = ["Always", "OnRootMismatch"];
    if let Some(policy) = context["fsGroupChangePolicy"].as_str().filter(|policy| !policies.contains(policy)) {
        errors.push(Error::not_supported(&path.child("fsGroupChangePolicy"), policy, &policies));
    }
    errors.extend(seccomp(&context["seccompProfile"], &path.child("seccompProfile")));
    errors
}

const SYSCTL_LENGTH_MAX: usize = 253;

fn sysctls(context: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, sysctl) in meta::list(context, "sysctls").iter().enumerate() {
        let at = path.index(position).child("name");
        let name = meta::text(sysctl, "name");
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if name.len() > SYSCTL_LENGTH_MAX || !is_sysctl(name) {
            let why = format!(
                "must have at most {SYSCTL_LENGTH_MAX} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.push(Error::invalid(&at, name, why));
        } else if !known.insert(name.replace('/', ".")) {
            errors.push(Error::duplicate(&at, name));
        }
    }
    errors
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
    let mut errors = ErrorList::new();
    if !profile.is_object() {
        return errors;
    }
    let kind = meta::text(profile, "type");
    let local = profile["localhostProfile"].as_str();
    let at = path.child("localhostProfile");
    match (kind, local) {
        ("Localhost", None) => errors.push(Error::required(&at, "must be set when seccomp type is Localhost")),
        ("Localhost", Some(file)) => errors.extend(local_descending(file, &at)),
        (_, Some(file)) => errors.push(Error::invalid(&at, file, "can only be set when seccomp type is Localhost")),
        (_, None) => {}
    }
    let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "type is required when seccompProfile is set"));
    } else if !kinds.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &kinds));
    }
    errors
}

pub fn container(context: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !context.is_object() {
        return errors;
    }
    for field in ["runAsUser", "runAsGroup"] {
        errors.extend(identity(&context[field], &path.child(field)));
    }
    if let Some(mount) = context["procMount"].as_str().filter(|mount| !["Default", "Unmasked"].contains(mount)) {
        errors.push(Error::not_supported(&path.child("procMount"), mount, &["Default", "Unmasked"]));
    }
    errors.extend(seccomp(&context["seccompProfile"], &path.child("seccompProfile")));
    if context["allowPrivilegeEscalation"] == false {
        if meta::is_true(context, "privileged") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path, context.clone(), why));
        }
        if meta::list(context, "capabilities.add").iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path, context.clone(), why));
        }
    }
    errors
}
