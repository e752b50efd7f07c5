//! May a pod that has just come run here? Pure.
//!
//! Enter at [`judge`]. The scheduler has looked already; this is for pods that name their node themselves, for races,
//! and for what this kubelet does not build: a pod that asks for it is refused by name, never run as if it had it.
//! [`fit`] compares the pod with the node, [`room`] with what others hold of it, [`preemption`] finds what must end for a critical pod. The order of the
//! questions is upstream's (`pkg/kubelet/kubelet.go`): the first that is answered with no gives the reason.

mod fit;
pub mod preemption;
mod room;
mod sysctls;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod};

pub(super) use self::room::Room;
use super::{configs::NodeFacts, spec};
use crate::eviction::{self, signal::Pressure};

/// Why a pod is refused: the reason and the message of its status and event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    pub message: String,
}

impl Refusal {
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }
}

/// The answer.
#[derive(Debug)]
pub enum Verdict {
    Admitted,
    /// A critical pod, once these have ended.
    AdmittedAfter(Vec<Arc<Pod>>),
    Refused(Refusal),
}

/// What a pod comes to.
pub struct Ground<'a> {
    /// The Node object as it was heard of last.
    pub node: &'a Node,
    pub facts: &'a NodeFacts,
    /// What the node is short of.
    pub pressures: BTreeSet<Pressure>,
    pub is_shutting_down: bool,
}

/// `others` are the pods that are here already.
pub fn judge(pod: &Pod, others: &[Arc<Pod>], ground: &Ground<'_>) -> Verdict {
    let refusal = not_built(pod)
        .or_else(|| eviction::rank::refuse(pod, &ground.pressures))
        .or_else(|| sysctls::refuse(pod, &ground.facts.allowed_unsafe_sysctls))
        .or_else(|| other_platform(pod, ground.facts));
    if let Some(refusal) = refusal {
        return Verdict::Refused(refusal);
    }
    let ended = match room(pod, others, ground) {
        Ok(ended) => ended,
        Err(refusal) => return Verdict::Refused(refusal),
    };
    match app_armor(pod, ground.facts).or_else(|| ground.is_shutting_down.then(shutting_down)) {
        Some(refusal) => Verdict::Refused(refusal),
        None if ended.is_empty() => Verdict::Admitted,
        None => Verdict::AdmittedAfter(ended),
    }
}

fn not_built(pod: &Pod) -> Option<Refusal> {
    let pod_spec = spec::spec(pod);
    let asked = [
        (pod_spec.host_users == Some(false), "user namespaces (hostUsers: false)"),
        (
            pod_spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()),
            "dynamic resources (resourceClaims)",
        ),
    ];
    let (_, what) = asked.into_iter().find(|(is, _)| *is)?;
    Some(Refusal::new("UnsupportedPodSpec", format!("{what} are not supported by this kubelet")))
}

/// What upstream asks of a pod before it looks at resources (`pkg/kubelet/lifecycle/predicate.go`).
fn other_platform(pod: &Pod, facts: &NodeFacts) -> Option<Refusal> {
    const OS: &str = "kubernetes.io/os";
    if pod.metadata.labels.as_ref().and_then(|labels| labels.get(OS)).is_some_and(|os| os != "linux") {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Some(Refusal::new("PodOSSelectorNodeLabelDoesNotMatch", message));
    }
    if spec::spec(pod).os.as_ref().is_some_and(|os| os.name != "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Some(Refusal::new("PodOSNotSupported", message));
    }
    let context = spec::spec(pod).security_context.as_ref();
    let policy = context.and_then(|it| it.supplemental_groups_policy.as_deref());
    if policy == Some("Strict") && !facts.abilities.strict_supplemental_groups {
        let message = "SupplementalGroupsPolicy=Strict is not supported in this node";
        return Some(Refusal::new("SupplementalGroupsPolicyNotSupported", message));
    }
    None
}

/// The pods that must end so that this one fits. Only resources are made free, and only for critical pods.
fn room(pod: &Pod, others: &[Arc<Pod>], ground: &Ground<'_>) -> Result<Vec<Arc<Pod>>, Refusal> {
    let misfits = fit::misfits(pod, others, ground.node, ground.facts);
    let Some(first) = misfits.first() else { return Ok(Vec::new()) };
    if !spec::is_critical(pod) {
        return Err(first.refusal());
    }
    let (lacking, hopeless): (Vec<_>, Vec<_>) = misfits.iter().partition(|it| it.lacking().is_some());
    if let Some(first) = hopeless.first() {
        return Err(first.refusal());
    }
    let needs = lacking.into_iter().filter_map(fit::Misfit::lacking).collect();
    preemption::victims(pod, fit::holding(pod, others), needs).map_err(|problem| {
        let message = "Unexpected error while attempting to recover from admission failure: preemption: error finding a \
                       set of pods to preempt";
        Refusal::new("UnexpectedAdmissionError", format!("{message}: {problem}"))
    })
}

/// A profile that the kernel would not enforce is a promise that is not kept.
fn app_armor(pod: &Pod, facts: &NodeFacts) -> Option<Refusal> {
    let of_pod = spec::spec(pod).security_context.as_ref().and_then(|it| it.app_armor_profile.as_ref());
    let containers = spec::containers(pod);
    let profiles = containers.iter().filter_map(|(_, container)| {
        container.security_context.as_ref().and_then(|it| it.app_armor_profile.as_ref()).or(of_pod)
    });
    let enforced: Vec<_> = profiles.filter(|profile| profile.type_ != "Unconfined").collect();
    let refused = |why: &str| Some(Refusal::new("AppArmor", format!("Cannot enforce AppArmor: {why}")));
    if !enforced.is_empty() && !facts.has_app_armor {
        return refused("AppArmor is not enabled on the host");
    }
    let is_nameless = |name: &Option<String>| name.as_deref().is_none_or(|name| name.trim().is_empty());
    if enforced.iter().any(|it| it.type_ == "Localhost" && is_nameless(&it.localhost_profile)) {
        return refused("invalid empty AppArmor profile name");
    }
    None
}

fn shutting_down() -> Refusal {
    Refusal::new("NodeShutdown", "Pod was rejected as the node is shutting down.")
}
