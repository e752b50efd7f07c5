//! Which sysctls a pod may set: the safe ones, those that the node allows, and none of a namespace that it shares with
//! the host (`pkg/kubelet/sysctl`). Pure.

use k8s_openapi::api::core::v1::Pod;
use machinery::sysctls::{self, dotted};

use super::Refusal;
use crate::pod::spec;

pub(super) fn refuse(pod: &Pod, allowed: &[String]) -> Option<Refusal> {
    let context = spec::spec(pod).security_context.as_ref()?;
    let names = context.sysctls.iter().flatten().map(|sysctl| dotted(&sysctl.name));
    let why = names.into_iter().find_map(|name| problem(pod, &name, allowed))?;
    Some(Refusal::new("SysctlForbidden", format!("forbidden sysctl: {why}")))
}

fn problem(pod: &Pod, name: &str, allowed: &[String]) -> Option<String> {
    let is_allowed = allowed.iter().map(|pattern| dotted(pattern)).any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    });
    if !sysctls::SAFE.contains(&name) && !is_allowed {
        return Some(format!("{name:?} not allowlisted"));
    }
    let is_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
        || name == "kernel.sem";
    if spec::spec(pod).host_ipc == Some(true) && is_ipc {
        return Some(format!("{name:?} not allowed with host ipc enabled"));
    }
    (spec::is_host_network(pod) && name.starts_with("net."))
        .then(|| format!("{name:?} not allowed with host net enabled"))
}
