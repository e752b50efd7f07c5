//! Which pods end so that a critical one fits (`pkg/kubelet/preemption`). Pure.
//!
//! Enter at [`victims`]. As few as possible, and of the lowest class of service: a guaranteed pod ends only where all
//! others together would not do.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::{
    pod::{configs::resources, spec},
    status::qos,
};

/// Reason and message of a pod that ends for a critical one, and the words of its condition `DisruptionTarget`.
pub const REASON: &str = "Preempting";
pub const MESSAGE: &str = "Preempted in order to admit critical pod";
pub const CONDITION_MESSAGE: &str = "Pod was preempted by Kubelet to accommodate a critical pod.";

/// An amount to be freed, in the resource's unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    pub resource: String,
    pub amount: i64,
}

/// The pods to end, of those that run here.
///
/// # Errors
/// Even all together would not free enough.
pub fn victims(preemptor: &Pod, pods: Vec<Arc<Pod>>, needs: Vec<Need>) -> Result<Vec<Arc<Pod>>, String> {
    let may_end: Vec<Arc<Pod>> = pods.into_iter().filter(|pod| is_preemptable(preemptor, pod)).collect();
    let of_class = |class: &str| may_end.iter().filter(|pod| qos::of_pod(pod) == class).cloned().collect::<Vec<_>>();
    let [best_effort, burstable, guaranteed] = [qos::BEST_EFFORT, qos::BURSTABLE, qos::GUARANTEED].map(of_class);
    let unmet = without(&needs, &may_end);
    if !unmet.is_empty() {
        return Err(no_set(&unmet));
    }
    // From above: of a class only what would be lacking if all below it, and what was chosen above it, had ended.
    let below = [best_effort.clone(), burstable.clone()].concat();
    let guaranteed = nearest(guaranteed, without(&needs, &below))?;
    let burstable = nearest(burstable, without(&needs, &[best_effort.clone(), guaranteed.clone()].concat()))?;
    let chosen = [burstable, guaranteed].concat();
    let best_effort = nearest(best_effort, without(&needs, &chosen))?;
    Ok([best_effort, chosen].concat())
}

fn is_preemptable(preemptor: &Pod, pod: &Pod) -> bool {
    if spec::is_critical(preemptor) && !spec::is_critical(pod) {
        return true;
    }
    matches!((spec::spec(preemptor).priority, spec::spec(pod).priority), (Some(own), Some(other)) if own > other)
}

/// Pods that free the needs, in each round the one that leaves the least of them.
fn nearest(mut pods: Vec<Arc<Pod>>, mut needs: Vec<Need>) -> Result<Vec<Arc<Pod>>, String> {
    let mut chosen = Vec::new();
    while !needs.is_empty() {
        let mut best: Option<(usize, f64)> = None;
        for (index, pod) in pods.iter().enumerate() {
            let distance = distance(&needs, pod);
            let is_better = best.is_none_or(|(other, least)| {
                distance < least || (distance == least && asks_no_more(pod, &pods[other]))
            });
            if is_better {
                best = Some((index, distance));
            }
        }
        let Some((index, _)) = best else { return Err(no_set(&needs)) };
        let pod = pods.swap_remove(index);
        needs = without(&needs, std::slice::from_ref(&pod));
        chosen.push(pod);
    }
    Ok(chosen)
}

/// What is left of the needs when pods end.
fn without(needs: &[Need], pods: &[Arc<Pod>]) -> Vec<Need> {
    let left = |need: &Need| {
        let freed = pods.iter().map(|pod| request(pod, &need.resource)).fold(0, i64::saturating_add);
        Need { amount: need.amount.saturating_sub(freed), ..need.clone() }
    };
    needs.iter().map(left).filter(|need| need.amount > 0).collect()
}

/// The sum of the squares of the shares that a pod leaves unmet: each resource weighs the same.
fn distance(needs: &[Need], pod: &Pod) -> f64 {
    let share = |need: &Need| {
        let left = need.amount.saturating_sub(request(pod, &need.resource)).max(0);
        (left as f64 / need.amount as f64).powi(2)
    };
    needs.iter().map(share).sum()
}

fn asks_no_more(pod: &Pod, other: &Pod) -> bool {
    let of = |pod: &Pod| ["memory", "cpu"].map(|name| request(pod, name));
    of(pod) <= of(other)
}

fn request(pod: &Pod, resource: &str) -> i64 {
    if resource == "pods" { 1 } else { resources::request(pod, resource) }
}

fn no_set(needs: &[Need]) -> String {
    let texts: String = needs.iter().map(|it| format!("(res: {}, q: {}), ", it.resource, it.amount)).collect();
    format!("no set of running pods found to reclaim resources: [{texts}]")
}
