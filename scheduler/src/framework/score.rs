//! Which of several feasible nodes is best.

use rand::RngExt;
use rand::rngs::SmallRng;

use super::Profile;
use crate::objects::Pod;
use crate::plugins::{Candidate, Score};
use crate::snapshot::{Slot, Snapshot};

/// The node with the highest sum of weighted scores; chance decides between equals.
pub(super) fn best(
    profile: &Profile,
    pod: &Pod,
    snapshot: &Snapshot,
    feasible: &[Slot],
    random: &mut SmallRng,
) -> Slot {
    let totals = totals(profile, pod, snapshot, feasible);
    let highest = totals.iter().copied().max().unwrap_or_default();
    let ties = totals.iter().zip(feasible).filter(|(total, _)| **total == highest).map(|(_, slot)| *slot);
    let ties: Vec<Slot> = ties.collect();
    ties[random.random_range(0..ties.len())]
}

/// The sum of weighted scores of each node.
pub(super) fn totals(profile: &Profile, pod: &Pod, snapshot: &Snapshot, feasible: &[Slot]) -> Vec<i64> {
    let mut totals = vec![0_i64; feasible.len()];
    let mut scores = Vec::with_capacity(feasible.len());
    for enabled in profile.plugins.iter().filter(|enabled| enabled.weight != 0) {
        let Score::Run { score, normalize } = enabled.plugin.score(pod, snapshot, feasible) else { continue };
        scores.clear();
        scores.extend(feasible.iter().map(|slot| {
            let info = snapshot.node(*slot);
            info.node().map_or(0, |node| score(Candidate { slot: *slot, info, node }))
        }));
        normalize.apply(&mut scores);
        totals.iter_mut().zip(&scores).for_each(|(total, score)| *total += score * enabled.weight);
    }
    totals
}
