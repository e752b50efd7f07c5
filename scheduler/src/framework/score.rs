//! Which of several feasible nodes is best.

use rand::RngExt;
use rand::rngs::SmallRng;

use super::Profile;
use crate::metrics;
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
    choose(&totals, feasible, random).unwrap_or(feasible[0])
}

/// The node with the highest total; chance decides between equals. `None` without nodes.
pub fn choose(totals: &[i64], slots: &[Slot], random: &mut SmallRng) -> Option<Slot> {
    let highest = *totals.iter().max()?;
    let ties = totals.iter().zip(slots).filter(|(total, _)| **total == highest).map(|(_, slot)| *slot);
    let ties: Vec<Slot> = ties.collect();
    Some(ties[random.random_range(0..ties.len())])
}

/// The sum of weighted scores of each node.
pub(super) fn totals(profile: &Profile, pod: &Pod, snapshot: &Snapshot, feasible: &[Slot]) -> Vec<i64> {
    let (clock, name) = (snapshot.clock, &*profile.scheduler_name);
    let started = clock.now();
    let scorers = profile.plugins.iter().filter(|enabled| enabled.weight != 0);
    let prepared = scorers.filter_map(|enabled| match enabled.plugin.score(pod, snapshot, feasible) {
        Score::Skip => None,
        Score::Run { score, normalize } => Some((score, normalize, enabled.weight)),
    });
    let prepared: Vec<_> = prepared.collect();
    let scoring = clock.now();
    metrics::point_done("PreScore", true, name, scoring.duration_since(started).unsigned_abs());
    let mut totals = vec![0_i64; feasible.len()];
    let mut scores = Vec::with_capacity(feasible.len());
    for (score, normalize, weight) in &prepared {
        scores.clear();
        scores.extend(feasible.iter().map(|slot| {
            let info = snapshot.node(*slot);
            info.node().map_or(0, |node| score(Candidate { slot: *slot, info, node }))
        }));
        normalize.apply(&mut scores);
        totals.iter_mut().zip(&scores).for_each(|(total, score)| *total += score * weight);
    }
    metrics::point_done("Score", true, name, clock.since(scoring));
    totals
}
