//! Which nodes take a pod.

use super::{Diagnosis, Nominated, Profile};
use crate::metrics;
use crate::objects::Pod;
use crate::plugins::{Candidate, Check, Filter, Rejection};
use crate::snapshot::{Slot, Snapshot};

/// Fewer feasible nodes than this are not enough to choose from, where there are more.
const FEASIBLE_MIN: usize = 100;
const PERCENTAGE_MIN: usize = 5;

/// Where the last search ended; the next one goes on there, so that all nodes get their turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    next: usize,
}

pub(super) struct Found {
    pub(super) feasible: Vec<Slot>,
    /// Nodes that said no, with the plugin's place: counted up only if all do.
    rejected: Vec<(Slot, usize, Rejection)>,
    diagnosis: Diagnosis,
}

impl Found {
    pub(super) fn evaluated(&self) -> usize {
        self.feasible.len() + self.rejected.len()
    }

    pub(super) fn into_diagnosis(self) -> Box<Diagnosis> {
        self.into_parts().1
    }

    pub(super) fn into_parts(mut self) -> (Vec<Slot>, Box<Diagnosis>) {
        for (slot, plugin, rejection) in self.rejected {
            self.diagnosis.reject(slot, plugin, rejection);
        }
        (self.feasible, Box::new(self.diagnosis))
    }
}

/// The checks of all plugins that have something to say, with their places in the profile.
struct Checks<'a> {
    checks: Vec<(usize, Check<'a>)>,
    /// The only nodes worth a look, and which plugin says so.
    among: Option<(Vec<Slot>, usize)>,
}

impl<'a> Checks<'a> {
    fn collect(profile: &'a Profile, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Self, (usize, Rejection)> {
        let mut all = Self { checks: Vec::with_capacity(profile.plugins.len()), among: None };
        for (index, enabled) in profile.plugins.iter().enumerate().filter(|(_, enabled)| enabled.filters) {
            match enabled.plugin.filter(pod, snapshot) {
                Filter::Skip => {}
                Filter::Check(check) => all.checks.push((index, check)),
                Filter::Refuse(rejection) => return Err((index, rejection)),
                Filter::Among(mut slots, check) => {
                    if let Some((narrower, _)) = &all.among {
                        slots.retain(|slot| narrower.contains(slot));
                    }
                    all.among = Some((slots, index));
                    all.checks.push((index, check));
                }
            }
        }
        Ok(all)
    }

    fn try_node(&self, snapshot: &Snapshot, slot: Slot) -> Result<(), (usize, Rejection)> {
        let info = snapshot.node(slot);
        let Some(node) = info.node() else {
            return Err((0, Rejection::lasting("node not found")));
        };
        let candidate = Candidate { slot, info, node };
        self.checks.iter().try_for_each(|(index, check)| check(candidate).map_err(|rejection| (*index, rejection)))
    }
}

/// How many feasible nodes are enough.
fn enough(percentage: usize, nodes: usize) -> usize {
    if nodes < FEASIBLE_MIN {
        return nodes;
    }
    let adaptive = || 50_usize.saturating_sub(nodes / 125).max(PERCENTAGE_MIN);
    let percentage = if percentage == 0 { adaptive() } else { percentage };
    (nodes * percentage / 100).clamp(FEASIBLE_MIN, nodes)
}

pub(super) fn feasible(profile: &Profile, pod: &Pod, snapshot: &Snapshot, walk: &mut Walk) -> Found {
    let diagnosis = Diagnosis::new(snapshot.len());
    let mut found = Found { feasible: Vec::new(), rejected: Vec::new(), diagnosis };
    let (clock, name) = (snapshot.clock, &*profile.scheduler_name);
    let started = clock.now();
    let collected = Checks::collect(profile, pod, snapshot);
    let status = if collected.is_ok() { "Success" } else { "UnschedulableAndUnresolvable" };
    metrics::point("PreFilter", status, name, clock.since(started));
    let checks = match collected {
        Ok(checks) => checks,
        Err((plugin, rejection)) => {
            found.diagnosis.refuse(plugin, &rejection);
            return found;
        }
    };
    // A node that was promised to the pod is taken when it will do, even if others would do better by now.
    let started = clock.now();
    if let Some(slot) = snapshot.slot(&pod.nominated_node_name)
        && checks.try_node(snapshot, slot).is_ok()
    {
        found.feasible.push(slot);
        return found;
    }
    let order = match &checks.among {
        None => snapshot.order(),
        Some((slots, plugin)) => {
            found.diagnosis.narrow(*plugin, profile.plugins[*plugin].plugin.name());
            slots
        }
    };
    if order.is_empty() {
        return found;
    }
    let enough = enough(profile.percentage_of_nodes_to_score, order.len());
    let start = walk.next % order.len();
    let mut seen = 0;
    for slot in order[start..].iter().chain(&order[..start]) {
        seen += 1;
        match checks.try_node(snapshot, *slot) {
            Ok(()) => found.feasible.push(*slot),
            Err((plugin, rejection)) => found.rejected.push((*slot, plugin, rejection)),
        }
        if found.feasible.len() >= enough {
            break;
        }
    }
    walk.next = (walk.next + seen) % snapshot.len();
    metrics::point_done("Filter", true, name, clock.since(started));
    found
}

/// Drops nodes where the pod would not fit once the pods come that were promised room there.
pub(super) fn respect_nominated(
    profile: &Profile,
    pod: &Pod,
    snapshot: &mut Snapshot,
    nominated: &Nominated,
    found: &mut Found,
) {
    if nominated.is_empty() {
        return;
    }
    let Found { feasible, rejected, .. } = found;
    feasible.retain(|slot| {
        let verdict = with_rivals(profile, pod, snapshot, nominated, *slot);
        verdict.map_err(|(plugin, rejection)| rejected.push((*slot, plugin, rejection))).is_ok()
    });
}

/// Leaves those of the nodes that still take the pod, which took it a moment ago.
pub fn still_take(profile: &Profile, pod: &Pod, snapshot: &mut Snapshot, nominated: &Nominated, slots: &mut Vec<Slot>) {
    match Checks::collect(profile, pod, snapshot) {
        Ok(checks) => slots.retain(|slot| checks.try_node(snapshot, *slot).is_ok()),
        Err(_) => slots.clear(),
    }
    slots.retain(|slot| with_rivals(profile, pod, snapshot, nominated, *slot).is_ok());
}

/// Whether the node takes the pod beside those of at least its priority that were promised room there; without any it
/// is not asked.
fn with_rivals(
    profile: &Profile,
    pod: &Pod,
    snapshot: &mut Snapshot,
    nominated: &Nominated,
    slot: Slot,
) -> Result<(), (usize, Rejection)> {
    let rivals = nominated.get(&slot).into_iter().flatten();
    let rivals = rivals.filter(|other| other.priority >= pod.priority && other.uid() != pod.uid());
    let rivals: Vec<_> = rivals.filter(|other| !snapshot.is_placed(other.uid())).cloned().collect();
    if rivals.is_empty() {
        return Ok(());
    }
    rivals.iter().for_each(|rival| snapshot.assume(slot, rival.clone()));
    let verdict = try_one(profile, pod, snapshot, slot);
    rivals.iter().for_each(|rival| drop(snapshot.remove_pod(rival.uid())));
    verdict
}

/// Whether one node takes the pod as the snapshot stands, both with and without the pods that were promised room there, as
/// they may come or not.
pub fn fits_beside(
    profile: &Profile,
    pod: &Pod,
    snapshot: &mut Snapshot,
    nominated: &Nominated,
    slot: Slot,
) -> Result<(), Rejection> {
    let verdict = with_rivals(profile, pod, snapshot, nominated, slot);
    verdict.and_then(|()| try_one(profile, pod, snapshot, slot)).map_err(|(_, rejection)| rejection)
}

fn try_one(profile: &Profile, pod: &Pod, snapshot: &Snapshot, slot: Slot) -> Result<(), (usize, Rejection)> {
    Checks::collect(profile, pod, snapshot)?.try_node(snapshot, slot)
}
