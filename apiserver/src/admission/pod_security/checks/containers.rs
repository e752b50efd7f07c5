//! Rules about what single containers set.

use std::collections::BTreeSet;

use machinery::meta;
use serde_json::Value;

use super::{Violation, containers_named, each, has_user_namespace, is_windows, name, plural, quoted};

pub(super) fn privileged(pod: &Value) -> Option<Violation> {
    let bad: Vec<&str> =
        each(pod).filter(|container| meta::is_true(container, "securityContext.privileged")).map(name).collect();
    let told = || format!("{} must not set securityContext.privileged=true", containers_named(&bad));
    (!bad.is_empty()).then(|| Violation::new("privileged", told()))
}

pub(super) fn privilege_escalation(pod: &Value) -> Option<Violation> {
    let allows = |container: &&Value| meta::at(container, "securityContext.allowPrivilegeEscalation") != false;
    let bad: Vec<&str> = each(pod).filter(allows).map(name).collect();
    let told = || format!("{} must set securityContext.allowPrivilegeEscalation=false", containers_named(&bad));
    (!bad.is_empty()).then(|| Violation::new("allowPrivilegeEscalation != false", told()))
}

/// Validation lets no Windows pod set the field.
pub(super) fn privilege_escalation_on_linux(pod: &Value) -> Option<Violation> {
    if is_windows(pod) { None } else { privilege_escalation(pod) }
}

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Containers that add more capabilities than these, and which.
fn adding<'a>(pod: &'a Value, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let (mut containers, mut added) = (Vec::new(), BTreeSet::new());
    for container in each(pod) {
        let list = meta::list(container, "securityContext.capabilities.add").iter().filter_map(Value::as_str);
        let bad: Vec<&str> = list.filter(|capability| !allowed.contains(capability)).collect();
        if !bad.is_empty() {
            containers.push(name(container));
            added.extend(bad);
        }
    }
    (containers, added)
}

fn told_adding(containers: &[&str], added: &BTreeSet<&str>) -> String {
    let added = quoted(added.iter().copied());
    format!("{} must not include {added} in securityContext.capabilities.add", containers_named(containers))
}

pub(super) fn capabilities_baseline(pod: &Value) -> Option<Violation> {
    let (containers, added) = adding(pod, &CAPABILITIES);
    (!containers.is_empty()).then(|| Violation::new("non-default capabilities", told_adding(&containers, &added)))
}

pub(super) fn capabilities_restricted(pod: &Value) -> Option<Violation> {
    let drops_all = |container: &&Value| {
        meta::list(container, "securityContext.capabilities.drop").iter().any(|capability| capability == "ALL")
    };
    let keeping: Vec<&str> = each(pod).filter(|container| !drops_all(container)).map(name).collect();
    let (containers, added) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers_named(&keeping)));
    }
    if !containers.is_empty() {
        details.push(told_adding(&containers, &added));
    }
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

pub(super) fn capabilities_restricted_on_linux(pod: &Value) -> Option<Violation> {
    if is_windows(pod) { None } else { capabilities_restricted(pod) }
}

pub(super) fn host_ports(pod: &Value) -> Option<Violation> {
    let (mut bad, mut ports) = (Vec::new(), BTreeSet::new());
    for container in each(pod) {
        let taken = meta::list(container, "ports").iter().filter_map(|port| port["hostPort"].as_i64());
        let taken: Vec<String> = taken.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        if !taken.is_empty() {
            bad.push(name(container));
            ports.extend(taken);
        }
    }
    (!bad.is_empty()).then(|| {
        let uses = plural("uses", "use", bad.len());
        let noun = plural("hostPort", "hostPorts", ports.len());
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        Violation::new("hostPort", format!("{} {uses} {noun} {}", containers_named(&bad), ports.join(", ")))
    })
}

const HANDLERS: [&str; 5] =
    ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"];

pub(super) fn probe_hosts(pod: &Value) -> Option<Violation> {
    let (mut bad, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in each(pod) {
        for handler in HANDLERS.iter().map(|path| meta::at(container, path)) {
            let named = ["httpGet.host", "tcpSocket.host"].iter().map(|path| meta::text(handler, path));
            for host in named.filter(|host| !host.is_empty()) {
                bad.insert(name(container));
                hosts.insert(host);
            }
        }
    }
    (!bad.is_empty()).then(|| {
        let bad: Vec<&str> = bad.into_iter().collect();
        let detail = format!(
            "{} {} {} {}",
            containers_named(&bad),
            plural("uses", "use", bad.len()),
            plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
            quoted(hosts.iter().copied())
        );
        Violation::new("probe or lifecycle host", detail)
    })
}

pub(super) fn proc_mount(pod: &Value) -> Option<Violation> {
    let (mut bad, mut kinds) = (Vec::new(), BTreeSet::new());
    for container in each(pod) {
        if let Some(kind) = meta::at(container, "securityContext.procMount").as_str().filter(|kind| *kind != "Default")
        {
            bad.push(name(container));
            kinds.insert(kind);
        }
    }
    (!bad.is_empty()).then(|| {
        let kinds = quoted(kinds.iter().copied());
        let detail = format!("{} must not set securityContext.procMount to {kinds}", containers_named(&bad));
        Violation::new("procMount", detail)
    })
}

pub(super) fn proc_mount_outside_user_namespaces(pod: &Value) -> Option<Violation> {
    if has_user_namespace(pod) { None } else { proc_mount(pod) }
}
