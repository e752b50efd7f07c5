//! A pod's status, as upstream's kubelet writes it.
//!
//! Enter at [`compute`]: pod, runtime state, waiting reasons, probe results and time go in, a whole `PodStatus` comes
//! out. [`patch`] turns the difference to what the API has into a strategic merge patch. Pure, but for nothing: the
//! worker sends the patch.

mod conditions;
mod containers;
pub mod patch;
mod phase;
pub mod qos;
mod resources;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{HostIP, Pod, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::{
    pod::{
        fate::{Stop, Why},
        memory::Memory,
        plan::Waiting,
        spec,
    },
    runtime::Observed,
};

/// All that a status is computed from.
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    /// The status last known to be in the API; conditions of others and transition times are taken from it.
    pub known: &'a PodStatus,
    /// What the kubelet itself said last of the pod: how containers were, of which the runtime knows no more. Of a static pod
    /// the API's word is none: its mirror may tell of another run.
    pub before: &'a PodStatus,
    pub observed: &'a Observed,
    pub waiting: &'a BTreeMap<String, Waiting>,
    pub memory: &'a Memory,
    pub stop: Option<&'a Stop>,
    /// Nothing of the pod is alive any more and nothing starts again.
    pub is_final: bool,
    pub host_ips: &'a [String],
    /// CRI's name of the runtime: the scheme of container IDs (`containerd`).
    pub runtime_name: &'a str,
    /// The runtime makes mounts read-only all the way down.
    pub has_recursive_read_only: bool,
    pub now: Timestamp,
}

/// Computes the status of a pod.
pub fn compute(inputs: &Inputs<'_>) -> PodStatus {
    let started = inputs.known.start_time.clone();
    let mut status = PodStatus {
        qos_class: Some(qos::of_pod(inputs.pod).to_owned()),
        observed_generation: inputs.pod.metadata.generation,
        start_time: started.or_else(|| inputs.before.start_time.clone()).or(Some(Time(whole_second(inputs.now)))),
        nominated_node_name: inputs.known.nominated_node_name.clone(),
        resource_claim_statuses: inputs.known.resource_claim_statuses.clone(),
        ..PodStatus::default()
    };
    addresses(inputs, &mut status);
    containers::write(inputs, &mut status);
    let own_phase = phase::of(inputs, &status);
    status.phase = Some(own_phase.to_owned());
    reason(inputs, &mut status);
    if inputs.is_final {
        containers::finish(inputs, &mut status);
        let is_static = spec::is_static(inputs.pod);
        if !is_static && !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            status.phase = Some("Failed".into());
        }
    }
    containers::write_readiness(inputs, &mut status);
    status.conditions = Some(conditions::all(inputs, &status));
    hold_back(inputs, own_phase, &mut status);
    resources::write(inputs, &mut status);
    status
}

/// The phase becomes final only when nothing of the pod runs any more: others take that for the sign that its volumes,
/// addresses and resources are free.
fn hold_back(inputs: &Inputs<'_>, own_phase: &str, status: &mut PodStatus) {
    let is_final = |phase: &str| matches!(phase, "Failed" | "Succeeded");
    let (known, now) = (inputs.known, status.phase.as_deref().unwrap_or_default());
    let ends_by_kubelet = matches!(inputs.stop, Some(Stop { why: Why::Failed { .. } | Why::Evicted { .. }, .. }));
    if ends_by_kubelet && !inputs.is_final && is_final(now) && !known.phase.as_deref().is_some_and(is_final) {
        let before = known.phase.as_deref().unwrap_or("Pending");
        status.phase = Some(if is_final(own_phase) { before } else { own_phase }.to_owned());
        status.reason.clone_from(&known.reason);
        status.message.clone_from(&known.message);
    }
}

/// Reason and message stay while the phase does; the kubelet's own verdict overrides them. Of an eviction nothing is told
/// before the pod has ended, and only the condition where its containers then ended well; of other ends the conditions tell.
fn reason(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let known = inputs.known;
    if matches!(known.phase.as_deref(), Some("Failed" | "Succeeded")) && !spec::is_static(inputs.pod) {
        // A final phase is never left. A mirror's may be of another run.
        status.phase.clone_from(&known.phase);
    }
    if status.phase == known.phase {
        status.reason.clone_from(&known.reason);
        status.message.clone_from(&known.message);
    }
    let verdict = match inputs.stop.map(|stop| &stop.why) {
        Some(Why::Failed { reason, message }) => Some((reason, message)),
        Some(Why::Evicted { reason, message }) if inputs.is_final && status.phase.as_deref() != Some("Succeeded") => {
            Some((reason, message))
        }
        _ => None,
    };
    if let Some((reason, message)) = verdict {
        status.phase = Some("Failed".into());
        status.reason = Some(reason.clone());
        status.message = Some(message.clone());
    }
}

fn addresses(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let host_ips = inputs.host_ips;
    let mut pod_ips: Vec<String> = inputs.observed.ips().to_vec();
    if spec::is_host_network(inputs.pod) && (pod_ips.is_empty() || !inputs.observed.sandboxes.is_empty()) {
        pod_ips = host_ips.to_vec();
    }
    if pod_ips.is_empty() && inputs.is_final {
        // The sandbox is gone with its address; the status remembers it.
        pod_ips = inputs.known.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    }
    let pod_ips = of_families(pod_ips, host_ips);
    status.host_ip = host_ips.first().cloned();
    status.host_ips = (!host_ips.is_empty()).then(|| host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    status.pod_ip = pod_ips.first().cloned();
    status.pod_ips = (!pod_ips.is_empty()).then(|| pod_ips.into_iter().map(|ip| PodIP { ip }).collect());
}

/// One of each family, that of the node's first address first.
fn of_families(ips: Vec<String>, host_ips: &[String]) -> Vec<String> {
    let is_six = |ip: &str| ip.contains(':');
    let first = is_six(host_ips.first().or(ips.first()).map_or("", String::as_str));
    [first, !first].into_iter().filter_map(|family| ips.iter().find(|ip| is_six(ip) == family).cloned()).collect()
}

/// The API's times are whole seconds.
pub fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
