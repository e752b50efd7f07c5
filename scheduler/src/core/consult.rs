//! Decisions that extenders have a say in: they are asked between two looks at the snapshot.
//!
//! [`Core::step`] gives out a [`Consultation`]; whoever asks the extenders comes back with [`Core::settle`],
//! [`Core::strike_out`] or [`Core::consultation_failed`]. Meanwhile the pod is in flight and others are placed: a node that
//! no longer takes the pod is passed over.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Core, Step};
use crate::extender::{Interest, Room};
use crate::framework::{Diagnosis, candidates, choose, scores, still_take};
use crate::metrics;
use crate::objects::Pod;
use crate::preemption::{Candidate, Preemption};
use crate::queue::Popped;
use crate::snapshot::Slot;

/// A pod, and the nodes that would take it.
#[derive(Debug)]
pub struct Consultation {
    pub pod: Arc<Pod>,
    pub nodes: Vec<Box<str>>,
    popped: Popped,
    diagnosis: Box<Diagnosis>,
    pub(crate) started: Timestamp,
}

impl Core {
    /// Whose word counts. Without extenders nothing is ever given out.
    pub fn with_extenders(self, extenders: Vec<Interest>) -> Self {
        Self { extenders, ..self }
    }

    pub(super) fn has_to_consult(&self, pod: &Pod) -> bool {
        self.extenders.iter().any(|extender| extender.weighs && extender.concern.is_interested(pod))
    }

    pub(super) fn has_to_ask_for_room(&self, pod: &Pod) -> bool {
        self.extenders.iter().any(|extender| extender.preempts && extender.concern.is_interested(pod))
    }

    pub(super) fn consult(&mut self, popped: Popped, now: Timestamp) -> Option<Step> {
        let (pod, started) = (popped.pod.clone(), self.snapshot.clock.now());
        let profile = self.profiles.iter().find(|profile| profile.scheduler_name == pod.scheduler_name)?;
        let (slots, diagnosis) = candidates(profile, &pod, &mut self.snapshot, &self.nominated, &mut self.walk);
        if slots.is_empty() {
            metrics::attempt(metrics::UNSCHEDULABLE, &pod, self.snapshot.clock.since(started));
            return Some(self.turn_away(pod, *diagnosis, now));
        }
        let nodes = slots.into_iter().map(|slot| self.snapshot.node(slot).name().into()).collect();
        Some(Step::Consult(Box::new(Consultation { pod, nodes, popped, diagnosis, started })))
    }

    /// Places the pod on the best of these nodes that still take it, as they are now, with what extenders think of them.
    /// `None` when there is nothing to do: the pod is gone, or is tried again soon because no node takes it any more.
    pub fn settle(&mut self, consultation: Consultation, opinions: &[(Box<str>, i64)], now: Timestamp) -> Option<Step> {
        let Consultation { pod, popped, started, .. } = consultation;
        if !self.still_waits(&pod) {
            return None;
        }
        let profile = self.profiles.iter().find(|profile| profile.scheduler_name == pod.scheduler_name)?;
        let known = opinions.iter().filter_map(|(node, opinion)| Some((self.snapshot.slot(node)?, *opinion)));
        let opinions: HashMap<Slot, i64> = known.collect();
        // In the order of the nodes: a seed decides alike whatever order the extenders answered in.
        let mut slots: Vec<Slot> = opinions.keys().copied().collect();
        slots.sort_unstable();
        still_take(profile, &pod, &mut self.snapshot, &self.nominated, &mut slots);
        // Others were placed since the extenders were asked: scores of that time would send all to the same node.
        let mut totals = scores(profile, &pod, &self.snapshot, &slots);
        totals.iter_mut().zip(&slots).for_each(|(total, slot)| *total += opinions[slot]);
        match choose(&totals, &slots, &mut self.random) {
            Some(slot) => self.place(popped, slot, started),
            None => {
                metrics::attempt(metrics::ERROR, &pod, self.snapshot.clock.since(started));
                self.queue.failed(pod.uid(), now);
                None
            }
        }
    }

    /// Extenders left no node: each with its reason, and whether other pods might make room.
    pub fn strike_out(
        &mut self,
        consultation: Consultation,
        failed: Vec<(Box<str>, String, bool)>,
        now: Timestamp,
    ) -> Option<Step> {
        let Consultation { pod, mut diagnosis, started, .. } = consultation;
        if !self.still_waits(&pod) {
            return None;
        }
        diagnosis.rejected_by.insert(crate::framework::PluginSet::EXTENDER);
        for (node, reason, preemptable) in failed {
            if let Some(slot) = self.snapshot.slot(&node) {
                diagnosis.reject_extended(slot, reason, preemptable);
            }
        }
        metrics::attempt(metrics::UNSCHEDULABLE, &pod, self.snapshot.clock.since(started));
        Some(self.turn_away(pod, *diagnosis, now))
    }

    /// An extender could not be asked: the pod is tried again after a pause.
    pub fn consultation_failed(&mut self, pod: &Pod, started: Timestamp, now: Timestamp) {
        metrics::attempt(metrics::ERROR, pod, self.snapshot.clock.since(started));
        self.queue.failed(pod.uid(), now);
    }

    /// Chooses among what extenders left, and promises the node. `None` when nothing is left.
    pub fn make_room_in(&mut self, pod: &Arc<Pod>, rooms: Vec<Room>) -> Option<Preemption> {
        let candidate = |room: Room| {
            let victims = room.victims.iter().filter_map(|uid| Some(self.snapshot.placed(uid)?.1.clone())).collect();
            Some(Candidate::new(self.snapshot.slot(&room.node)?, victims, room.violations))
        };
        let candidates = rooms.into_iter().filter_map(candidate).collect();
        self.make_room(pod, candidates)
    }

    /// A placed pod, with its node.
    pub fn placed(&self, uid: &str) -> Option<(&str, &Arc<Pod>)> {
        let (slot, pod) = self.snapshot.placed(uid)?;
        Some((self.snapshot.node(slot).name(), pod))
    }

    /// What candidates of a preemption look like from outside.
    pub(super) fn rooms(&self, candidates: Vec<Candidate>) -> Vec<Room> {
        let room = |candidate: Candidate| Room {
            node: self.snapshot.node(candidate.slot).name().into(),
            victims: candidate.victims.iter().map(|victim| victim.uid().into()).collect(),
            violations: candidate.violations,
        };
        candidates.into_iter().map(room).collect()
    }

    fn still_waits(&self, pod: &Pod) -> bool {
        let waits = self.queue.is_in_flight(pod.uid()) && !self.snapshot.is_placed(pod.uid());
        waits && self.queue.get(pod.uid()).is_some_and(|known| !known.is_terminating())
    }
}
