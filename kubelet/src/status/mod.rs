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
    let mut status = PodStatus {
        qos_class: Some(qos::of_pod(inputs.pod).to_owned()),
        observed_generation: inputs.pod.metadata.generation,
        start_time: inputs.known.start_time.clone().or(Some(Time(whole_second(inputs.now)))),
        nominated_node_name: inputs.known.nominated_node_name.clone(),
        resource_claim_statuses: inputs.known.resource_claim_statuses.clone(),
        ..PodStatus::default()
    };
    addresses(inputs, &mut status);
    containers::write(inputs, &mut status);
    status.phase = Some(phase::of(inputs, &status).to_owned());
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
    status
}

/// Reason and message stay while the phase does; the kubelet's own verdict overrides them.
fn reason(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let known = inputs.known;
    if matches!(known.phase.as_deref(), Some("Failed" | "Succeeded")) {
        // A final phase is never left.
        status.phase.clone_from(&known.phase);
    }
    if status.phase == known.phase {
        status.reason.clone_from(&known.reason);
        status.message.clone_from(&known.message);
    }
    if let Some(Stop { why: Why::Failed { reason, message } | Why::Evicted { reason, message }, .. }) = inputs.stop {
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
    status.host_ip = host_ips.first().cloned();
    status.host_ips = (!host_ips.is_empty()).then(|| host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    status.pod_ip = pod_ips.first().cloned();
    status.pod_ips = (!pod_ips.is_empty()).then(|| pod_ips.into_iter().map(|ip| PodIP { ip }).collect());
}

/// The API's times are whole seconds.
pub fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
