//! DefaultPreemption: which pods of lower priority must go so that a pod fits, and from which node.
//!
//! Enter at [`candidates`] and [`choose`]. It tries out on the snapshot itself and leaves it as it was. Rule: Kubernetes concept "Pod Priority
//! and Preemption"; the choice between nodes is upstream's.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use crate::framework::{Diagnosis, Nominated, Profile, Tally, fits_beside};
use crate::objects::{Pod, PodDisruptionBudget};
use crate::plugins::Rejection;
use crate::snapshot::{Slot, Snapshot};

/// How many nodes are found, if there are so many, before one is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortlist {
    /// This part of the nodes that might do,
    pub percentage: usize,
    /// and at least so many.
    pub absolute: usize,
}

impl Default for Shortlist {
    fn default() -> Self {
        Self { percentage: 10, absolute: 100 }
    }
}

impl Shortlist {
    fn of(self, nodes: usize) -> usize {
        (nodes * self.percentage / 100).max(self.absolute).min(nodes)
    }
}

/// Who must go, and whose room the pod gets.
#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: Box<str>,
    /// Most important first; never empty.
    pub victims: Vec<Arc<Pod>>,
    /// Pods of lower priority that the node was promised to, and is no longer.
    pub displaced: Vec<Arc<Pod>>,
}

/// Why nobody is asked to go, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    /// No node can be made to fit: one that was promised to the pod earlier is promised in vain.
    pub hopeless: bool,
}

/// A node that takes the pod once these are gone.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub slot: Slot,
    /// Most important first.
    pub victims: Vec<Arc<Pod>>,
    /// How many victims' budgets do not allow it.
    pub violations: usize,
}

impl Candidate {
    pub fn new(slot: Slot, mut victims: Vec<Arc<Pod>>, violations: usize) -> Self {
        victims.sort_by_key(|pod| importance(pod));
        Self { slot, victims, violations }
    }
}

/// The node where the least harm is done.
pub fn choose(snapshot: &Snapshot, candidates: Vec<Candidate>) -> Option<Preemption> {
    let best = candidates.into_iter().min_by_key(harm)?;
    Some(Preemption { node: snapshot.node(best.slot).name().into(), victims: best.victims, displaced: Vec::new() })
}

/// The nodes where pods of lower priority can make room, or why none helps.
///
/// `offset` is where among the nodes to start, so that it is not always the same that are tried.
pub fn candidates(
    profile: &Profile,
    pod: &Pod,
    snapshot: &mut Snapshot,
    diagnosis: &Diagnosis,
    nominated: &Nominated,
    budgets: &[Arc<PodDisruptionBudget>],
    offset: usize,
) -> Result<Vec<Candidate>, Refusal> {
    let not_now = |message: &str| Err(Refusal { message: message.to_owned(), hopeless: false });
    if pod.never_preempts {
        return not_now("not eligible due to preemptionPolicy=Never.");
    }
    if waits_for_victims(pod, snapshot, diagnosis) {
        return not_now("not eligible due to a terminating pod on the nominated node.");
    }
    let nodes = &diagnosis.preemptable;
    let mut tally = Tally::new(diagnosis.nodes);
    let mut candidates: Vec<Candidate> = Vec::new();
    let enough = profile.preemption.of(nodes.len());
    let start = offset.checked_rem(nodes.len()).unwrap_or(0);
    for slot in nodes[start..].iter().chain(&nodes[..start]) {
        match try_node(profile, pod, snapshot, nominated, *slot, budgets) {
            Ok(candidate) => candidates.push(candidate),
            Err(rejection) => tally.add(rejection),
        }
        if candidates.len() >= enough && candidates.iter().any(|candidate| candidate.violations == 0) {
            break;
        }
    }
    if candidates.is_empty() {
        return Err(Refusal { message: tally.message(), hopeless: true });
    }
    Ok(candidates)
}

/// The pod already has a node promised, and pods there are going: making more go would be rash.
fn waits_for_victims(pod: &Pod, snapshot: &Snapshot, diagnosis: &Diagnosis) -> bool {
    let promised = snapshot.slot(&pod.nominated_node_name).filter(|slot| diagnosis.preemptable.contains(slot));
    promised.is_some_and(|slot| {
        let going = |other: &Arc<Pod>| other.priority < pod.priority && other.preempted && other.is_terminating();
        snapshot.node(slot).pods().iter().any(going)
    })
}

/// Takes all pods of lower priority off the node; if the pod then fits, puts back as many as possible, the important
/// ones and those with exhausted budgets first.
fn try_node(
    profile: &Profile,
    pod: &Pod,
    snapshot: &mut Snapshot,
    nominated: &Nominated,
    slot: Slot,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Result<Candidate, Rejection> {
    let mut lower: Vec<_> = snapshot.node(slot).pods().iter().filter(|p| p.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(Rejection::lasting("No preemption victims found for incoming pod"));
    }
    lower.sort_by_key(|pod| importance(pod));
    let assumed: Vec<bool> = lower.iter().map(|pod| snapshot.is_assumed(pod.uid())).collect();
    lower.iter().for_each(|pod| drop(snapshot.remove_pod(pod.uid())));
    // Also beside those of its priority or more that the node was promised to.
    let verdict = fits_beside(profile, pod, snapshot, nominated, slot);
    let mut victims = Vec::new();
    let mut violations = 0;
    if verdict.is_ok() {
        let (violating, others): (Vec<_>, Vec<_>) = split_by_budget(&lower, budgets);
        for (victim, violates) in violating.iter().map(|p| (p, true)).chain(others.iter().map(|p| (p, false))) {
            snapshot.assume(slot, (*victim).clone());
            if fits_beside(profile, pod, snapshot, nominated, slot).is_err() {
                snapshot.remove_pod(victim.uid());
                victims.push((*victim).clone());
                violations += usize::from(violates);
            }
        }
    }
    for (pod, assumed) in lower.into_iter().zip(assumed) {
        if assumed { snapshot.assume(slot, pod) } else { snapshot.set_pod(pod) }
    }
    verdict?;
    if victims.is_empty() {
        return Err(Rejection::lasting("No preemption victims found for incoming pod"));
    }
    Ok(Candidate::new(slot, victims, violations))
}

/// Smaller is more important: by priority, then by how long it runs.
fn importance(pod: &Pod) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.priority), pod.start_time.unwrap_or(Timestamp::MAX))
}

/// Pods whose disruption some budget does not allow, and the others; both keep their order.
fn split_by_budget<'a>(
    pods: &'a [Arc<Pod>],
    budgets: &[Arc<PodDisruptionBudget>],
) -> (Vec<&'a Arc<Pod>>, Vec<&'a Arc<Pod>>) {
    let mut left: Vec<i64> = budgets.iter().map(|budget| budget.disruptions_allowed).collect();
    pods.iter().partition(|pod| {
        let mut violates = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            if protects(budget, pod) {
                *left -= 1;
                violates |= *left < 0;
            }
        }
        violates
    })
}

fn protects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    pod.metadata.labels.as_ref().is_some_and(|labels| !labels.is_empty())
        && budget.metadata.namespace == pod.metadata.namespace
        && !budget.selector.is_everything()
        && budget.selector.matches_labels(pod.metadata.labels.as_ref())
        && !budget.disrupted_pods.contains(pod.name())
}

/// What a candidate costs; the least is best: broken budgets, the highest priority that must go, the sum of priorities,
/// the number of pods, and then pods that started latest.
fn harm(candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
    let highest = candidate.victims.first().map_or(i32::MIN, |pod| pod.priority);
    let sum = candidate.victims.iter().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum();
    let important = candidate.victims.iter().filter(|pod| pod.priority == highest);
    let earliest = important.filter_map(|pod| pod.start_time).min().unwrap_or(Timestamp::MAX);
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
}
