//! One scheduling cycle: filter nodes, score the feasible ones, pick the best.
//!
//! Enter at [`schedule`]. A pure function of pod, snapshot and [`Walk`]: it places nothing and tells nobody.

mod diagnosis;
mod filter;
mod profile;
mod score;
#[cfg(test)]
mod tests;

pub use diagnosis::{Diagnosis, Message, NO_NODES, Tally, cut};
pub use filter::{Walk, fits_beside, still_take};
pub use profile::{Enabled, PluginSet, Profile};
pub use score::choose;

use rand::rngs::SmallRng;

use crate::objects::Pod;
use crate::snapshot::{Slot, Snapshot};

/// A node for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub slot: Slot,
    /// How many nodes were looked at, and how many of them would have done.
    pub evaluated: usize,
    pub feasible: usize,
}

/// Pods that wait for room on a node that was promised to them, by slot.
pub type Nominated = std::collections::HashMap<Slot, Vec<std::sync::Arc<Pod>>>;

/// Finds the best node for a pod, or says why there is none.
///
/// `snapshot` is changed only while nominated pods are tried out, and is the same afterwards. Equal pods, snapshots,
/// walks and random streams give equal placements.
pub fn schedule(
    profile: &Profile,
    pod: &Pod,
    snapshot: &mut Snapshot,
    nominated: &Nominated,
    walk: &mut Walk,
    random: &mut SmallRng,
) -> Result<Placement, Box<Diagnosis>> {
    if snapshot.is_empty() {
        return Err(Box::new(Diagnosis::no_nodes()));
    }
    let mut found = filter::feasible(profile, pod, snapshot, walk);
    filter::respect_nominated(profile, pod, snapshot, nominated, &mut found);
    let (feasible, evaluated) = (found.feasible.len(), found.evaluated());
    let slot = match found.feasible.as_slice() {
        [] => return Err(found.into_diagnosis()),
        [only] => *only,
        several => score::best(profile, pod, snapshot, several, random),
    };
    Ok(Placement { slot, evaluated, feasible })
}

/// The nodes that take a pod, and why the others do not: for who has others to ask before one is chosen.
pub fn candidates(
    profile: &Profile,
    pod: &Pod,
    snapshot: &mut Snapshot,
    nominated: &Nominated,
    walk: &mut Walk,
) -> (Vec<Slot>, Box<Diagnosis>) {
    if snapshot.is_empty() {
        return (Vec::new(), Box::new(Diagnosis::no_nodes()));
    }
    let mut found = filter::feasible(profile, pod, snapshot, walk);
    filter::respect_nominated(profile, pod, snapshot, nominated, &mut found);
    found.into_parts()
}

/// What the plugins think of nodes that take the pod: the higher the better.
pub fn scores(profile: &Profile, pod: &Pod, snapshot: &Snapshot, feasible: &[Slot]) -> Vec<i64> {
    score::totals(profile, pod, snapshot, feasible)
}
