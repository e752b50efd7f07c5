//! The standards' rules: which there are, from which version on, and what several of them say together.
//!
//! Enter at [`run`]. The rules themselves are in [`containers`], [`fields`] and [`volumes`]; a rule that a stricter one
//! includes is left out where that one applies.

mod containers;
mod fields;
mod volumes;

use serde_json::Value;

use super::policy::{Level, LevelVersion, Version};

/// What a rule has against a pod: why in short, and in detail (may be empty).
pub(super) struct Violation {
    reason: String,
    detail: String,
}

impl Violation {
    fn new(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: detail.into() }
    }
}

/// A pod or a pod template: metadata and spec.
type Rule = fn(&Value) -> Option<Violation>;

struct Check {
    id: &'static str,
    level: Level,
    /// From which minor version on which rule holds, oldest first.
    versions: &'static [(u32, Rule)],
    /// A baseline check that this one includes.
    includes: &'static str,
}

const fn baseline(id: &'static str, versions: &'static [(u32, Rule)]) -> Check {
    Check { id, level: Level::Baseline, versions, includes: "" }
}

const fn restricted(id: &'static str, versions: &'static [(u32, Rule)], includes: &'static str) -> Check {
    Check { id, level: Level::Restricted, versions, includes }
}

/// In the order in which messages name them: baseline first, then by id.
static CHECKS: [Check; 19] = [
    baseline("appArmorProfile", &[(0, fields::app_armor)]),
    baseline("capabilities_baseline", &[(0, containers::capabilities_baseline)]),
    baseline("hostNamespaces", &[(0, fields::host_namespaces)]),
    baseline("hostPathVolumes", &[(0, volumes::host_path)]),
    baseline("hostPorts", &[(0, containers::host_ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, containers::probe_hosts)]),
    baseline("privileged", &[(0, containers::privileged)]),
    baseline("procMount", &[(0, containers::proc_mount), (35, containers::proc_mount_outside_user_namespaces)]),
    baseline("seLinuxOptions", &[(0, fields::se_linux_1_0), (31, fields::se_linux_1_31)]),
    baseline("seccompProfile_baseline", &[(0, fields::seccomp_annotations), (19, fields::seccomp_baseline)]),
    baseline(
        "sysctls",
        &[(0, fields::sysctls_1_0), (27, fields::sysctls_1_27), (29, fields::sysctls_1_29), (32, fields::sysctls_1_32)],
    ),
    baseline("windowsHostProcess", &[(0, fields::windows_host_process)]),
    restricted(
        "allowPrivilegeEscalation",
        &[(8, containers::privilege_escalation), (25, containers::privilege_escalation_on_linux)],
        "",
    ),
    restricted(
        "capabilities_restricted",
        &[(22, containers::capabilities_restricted), (25, containers::capabilities_restricted_on_linux)],
        "capabilities_baseline",
    ),
    restricted("procMount_restricted", &[(35, containers::proc_mount)], "procMount"),
    restricted("restrictedVolumes", &[(0, volumes::restricted)], "hostPathVolumes"),
    restricted("runAsNonRoot", &[(0, fields::non_root), (35, fields::non_root_outside_user_namespaces)], ""),
    restricted("runAsUser", &[(23, fields::user), (35, fields::user_outside_user_namespaces)], ""),
    restricted(
        "seccompProfile_restricted",
        &[(19, fields::seccomp_restricted), (25, fields::seccomp_restricted_on_linux)],
        "seccompProfile_baseline",
    ),
];

/// Everything that a level has against a pod.
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn reasons(&self) -> String {
        self.0.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn details(&self) -> String {
        let told = self.0.iter().map(|Violation { reason, detail }| match detail.is_empty() {
            true => reason.clone(),
            false => format!("{reason} ({detail})"),
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

/// Judges a pod, or a template, by a level.
pub(super) fn run(level: LevelVersion, pod: &Value) -> Violations {
    if level.level == Level::Privileged {
        return Violations(Vec::new());
    }
    let minor = match level.version {
        Version::Latest => u32::MAX,
        Version::Minor(minor) => minor,
    };
    let applying: Vec<(&Check, Rule)> = CHECKS
        .iter()
        .filter(|check| check.level <= level.level)
        .filter_map(|check| Some((check, check.versions.iter().rfind(|(from, _)| *from <= minor)?.1)))
        .collect();
    let is_included = |id: &str| applying.iter().any(|(check, _)| check.includes == id);
    let needed = applying.iter().filter(|(check, _)| !is_included(check.id));
    Violations(needed.filter_map(|(_, rule)| rule(pod)).collect())
}

/// The containers of all lists, in upstream's order.
fn each(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"];
    lists.into_iter().flat_map(|list| machinery::meta::list(pod, list))
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

/// `"a", "b"`.
fn quoted<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    items.into_iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `containers "a", "b"`.
fn containers_named(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names.iter().copied()))
}

/// `pod and container "a"`: who sets something by itself.
fn setters(pod: bool, containers: &[&str]) -> Vec<String> {
    let pod = pod.then(|| "pod".to_owned());
    let containers = (!containers.is_empty()).then(|| containers_named(containers));
    pod.into_iter().chain(containers).collect()
}

fn is_windows(pod: &Value) -> bool {
    pod["spec"]["os"]["name"] == "windows"
}

/// Root in a user namespace of its own is nobody outside.
fn has_user_namespace(pod: &Value) -> bool {
    pod["spec"]["hostUsers"] == false
}
