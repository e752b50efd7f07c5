//! The pods that wait for a node: to be tried now (active), after a pause (backoff), or when something changes
//! (unschedulable, gated).
//!
//! Enter at [`Queue`]. Time is an argument; nothing here runs by itself: [`Queue::next_wakeup`] says when to look again.

mod backoff;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use backoff::Backoff;

use crate::event::Event;
use crate::framework::PluginSet;
use crate::metrics;
use crate::objects::Pod;
use crate::plugins::priority_sort::Rank;

/// What brings a pod into a part of the queue, by upstream's labels.
const ADDED: &str = "UnschedulablePodAdd";
const FAILED: &str = "ScheduleAttemptFailure";

/// No number of events.
const CHANGED_IN_FLIGHT: u64 = u64::MAX;

type Uid = Arc<str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active(Rank),
    Backoff {
        until: Timestamp,
        rank: Rank,
    },
    Unschedulable {
        leftover_at: Timestamp,
    },
    Gated,
    /// Taken out to be scheduled and bound.
    InFlight,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    place: Place,
    /// When the pod last came to wait.
    since: Timestamp,
    /// When it first came.
    arrived: Timestamp,
    attempts: u32,
    unschedulable_count: u32,
    error_count: u32,
    /// Plugins of its profile that turned it away last time.
    rejected_by: PluginSet,
    /// How many events there had been when it was taken out; [`CHANGED_IN_FLIGHT`] when the pod itself changed since.
    events_before: u64,
    /// Something happened, which may or may not concern it, while it was judged.
    missed_events: bool,
}

/// A pod to schedule, with what its wait so far was.
#[derive(Clone, Debug)]
pub struct Popped {
    pub pod: Arc<Pod>,
    /// Counts this attempt.
    pub attempts: u32,
    pub arrived: Timestamp,
}

/// How many pods are in each part: upstream's `scheduler_pending_pods`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<Uid, Entry>,
    active: BTreeSet<(Rank, Uid)>,
    backoff: BTreeSet<(Timestamp, Rank, Uid)>,
    unschedulable: BTreeSet<(Timestamp, Uid)>,
    gated: usize,
    sequence: u64,
    events: u64,
    pauses: Backoff,
}

impl Queue {
    pub fn new(pauses: Backoff) -> Self {
        Self { pauses, ..Self::default() }
    }

    pub fn lengths(&self) -> Lengths {
        Lengths {
            active: self.active.len(),
            backoff: self.backoff.len(),
            unschedulable: self.unschedulable.len(),
            gated: self.gated,
        }
    }

    /// A pod as the queue knows it.
    pub fn get(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.entries.get(uid).map(|entry| &entry.pod)
    }

    pub fn is_in_flight(&self, uid: &str) -> bool {
        self.entries.get(uid).is_some_and(|entry| entry.place == Place::InFlight)
    }

    /// A pod came to wait. One that is known keeps its place and history.
    pub fn add(&mut self, pod: Arc<Pod>, now: Timestamp) {
        if self.entries.contains_key(pod.uid()) {
            return self.update(pod, now, |_, _| false);
        }
        let uid: Uid = pod.uid().into();
        let entry = Entry {
            place: Place::InFlight,
            since: now,
            arrived: now,
            attempts: 0,
            unschedulable_count: 0,
            error_count: 0,
            rejected_by: PluginSet::default(),
            events_before: 0,
            missed_events: false,
            pod,
        };
        let gated = !entry.pod.gates.is_empty();
        self.entries.insert(uid.clone(), entry);
        if gated { self.put(&uid, Place::Gated, ADDED) } else { self.activate(&uid, now, ADDED) }
    }

    /// A waiting pod changed. `wakes` says, for its old and new state, whether a turned-away pod may now fit.
    pub fn update(&mut self, pod: Arc<Pod>, now: Timestamp, wakes: impl FnOnce(&Pod, PluginSet) -> bool) {
        let new = pod.clone();
        let Some((uid, entry)) = self.known(pod.uid()) else { return };
        let old = std::mem::replace(&mut entry.pod, pod);
        let (place, rejected_by, ungated) = (entry.place, entry.rejected_by, entry.pod.gates.is_empty());
        match place {
            Place::Gated if ungated => self.activate(&uid, now, own_update(&old, &new)),
            Place::Unschedulable { .. } if wakes(&old, rejected_by) => self.wake(&uid, now, own_update(&old, &new)),
            // What is being judged is the old pod.
            Place::InFlight => entry.events_before = CHANGED_IN_FLIGHT,
            _ => {}
        }
    }

    /// A pod waits no more: it was placed, deleted, or is another scheduler's now.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let (uid, _) = self.known(uid)?;
        self.take_out(&uid);
        self.entries.remove(&uid).map(|entry| entry.pod)
    }

    /// The next pod to try. When none is due, one that still pauses after being woken goes early: nothing else would
    /// use the time. Pods that failed with an error, or only may have missed something, sit out their pause.
    pub fn pop(&mut self, now: Timestamp) -> Option<Popped> {
        self.flush(now);
        let uid = match self.active.first() {
            Some((_, uid)) => uid.clone(),
            None => {
                let early = |uid: &Uid| {
                    self.entries.get(uid).is_some_and(|entry| entry.error_count == 0 && !entry.missed_events)
                };
                let uid = self.backoff.iter().find(|(_, _, uid)| early(uid)).map(|(_, _, uid)| uid.clone())?;
                metrics::incoming("active", "PopFromBackoffQ");
                uid
            }
        };
        self.put(&uid, Place::InFlight, "");
        let events_before = self.events;
        let entry = self.entries.get_mut(&uid)?;
        entry.events_before = events_before;
        entry.missed_events = false;
        entry.attempts += 1;
        Some(Popped { pod: entry.pod.clone(), attempts: entry.attempts, arrived: entry.arrived })
    }

    /// No node took the pod: it waits until an event that one of these plugins cares for. Where something happened while
    /// others were asked about it, that may have been such an event: it only pauses.
    pub fn unschedulable(&mut self, uid: &str, rejected_by: PluginSet, now: Timestamp) {
        let (leftover_at, events) = (later(now, self.pauses.leftover_after), self.events);
        let Some((uid, entry)) = self.known(uid) else { return };
        entry.since = now;
        entry.unschedulable_count += 1;
        entry.error_count = 0;
        entry.rejected_by = rejected_by;
        entry.missed_events = entry.events_before != events;
        match entry.missed_events {
            true => self.wake(&uid, now, FAILED),
            false => self.put(&uid, Place::Unschedulable { leftover_at }, FAILED),
        }
    }

    /// Something failed that has nothing to do with the pod: it is tried again after a pause.
    pub fn failed(&mut self, uid: &str, now: Timestamp) {
        let Some((uid, entry)) = self.known(uid) else { return };
        entry.since = now;
        entry.error_count += 1;
        entry.rejected_by = PluginSet::default();
        self.wake(&uid, now, FAILED);
    }

    /// An event of this label happened. `wakes` says of each turned-away pod whether it may now fit.
    pub fn event(&mut self, label: &str, now: Timestamp, wakes: impl Fn(&Pod, PluginSet) -> bool) {
        self.events += 1;
        let woken: Vec<Uid> = self
            .unschedulable
            .iter()
            .filter(|(_, uid)| {
                let entry = &self.entries[uid];
                entry.rejected_by.is_empty() || wakes(&entry.pod, entry.rejected_by)
            })
            .map(|(_, uid)| uid.clone())
            .collect();
        woken.iter().for_each(|uid| self.wake(uid, now, label));
    }

    /// When [`Queue::pop`] may have something without any further event; `None` when only events can help.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let backoff = self.backoff.first().map(|(until, _, _)| *until);
        let leftover = self.unschedulable.first().map(|(at, _)| *at);
        backoff.into_iter().chain(leftover).min()
    }

    /// Activates what has paused long enough or was left over.
    fn flush(&mut self, now: Timestamp) {
        while let Some((until, _, uid)) = self.backoff.first()
            && *until <= now
        {
            let uid = uid.clone();
            self.activate(&uid, now, "BackoffComplete");
        }
        while let Some((leftover_at, uid)) = self.unschedulable.first()
            && *leftover_at <= now
        {
            let uid = uid.clone();
            self.wake(&uid, now, "UnschedulableTimeout");
        }
    }

    /// To active, or to backoff for the rest of its pause.
    fn wake(&mut self, uid: &Uid, now: Timestamp, event: &str) {
        let Some(entry) = self.entries.get(uid) else { return };
        let failures = if entry.error_count > 0 { entry.error_count } else { entry.unschedulable_count };
        let until = later(entry.since, self.pauses.after(failures));
        if until <= now {
            self.activate(uid, now, event);
        } else {
            let rank = self.rank(uid, now);
            self.put(uid, Place::Backoff { until, rank }, event);
        }
    }

    fn activate(&mut self, uid: &Uid, now: Timestamp, event: &str) {
        let rank = self.rank(uid, now);
        self.put(uid, Place::Active(rank), event);
    }

    fn rank(&mut self, uid: &Uid, now: Timestamp) -> Rank {
        self.sequence += 1;
        let entry = self.entries.get(uid);
        let since = entry.map_or(now, |entry| entry.since);
        Rank::new(entry.map_or(0, |entry| entry.pod.priority), since, self.sequence)
    }

    fn known(&mut self, uid: &str) -> Option<(Uid, &mut Entry)> {
        let uid = self.entries.get_key_value(uid)?.0.clone();
        let entry = self.entries.get_mut(&uid)?;
        Some((uid, entry))
    }

    /// `event` is what brings it there, for metrics.
    fn put(&mut self, uid: &Uid, place: Place, event: &str) {
        self.take_out(uid);
        match place {
            Place::Active(_) => metrics::incoming("active", event),
            Place::Backoff { .. } => metrics::incoming("backoff", event),
            Place::Unschedulable { .. } | Place::Gated => metrics::incoming("unschedulable", event),
            Place::InFlight => {}
        }
        match place {
            Place::Active(rank) => drop(self.active.insert((rank, uid.clone()))),
            Place::Backoff { until, rank } => drop(self.backoff.insert((until, rank, uid.clone()))),
            Place::Unschedulable { leftover_at } => drop(self.unschedulable.insert((leftover_at, uid.clone()))),
            Place::Gated => self.gated += 1,
            Place::InFlight => {}
        }
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.place = place;
        }
    }

    /// Leaves the entry in no part; only [`Queue::put`] and [`Queue::remove`] may follow.
    fn take_out(&mut self, uid: &Uid) {
        let Some(place) = self.entries.get(uid).map(|entry| entry.place) else { return };
        match place {
            Place::Active(rank) => drop(self.active.remove(&(rank, uid.clone()))),
            Place::Backoff { until, rank } => drop(self.backoff.remove(&(until, rank, uid.clone()))),
            Place::Unschedulable { leftover_at } => drop(self.unschedulable.remove(&(leftover_at, uid.clone()))),
            Place::Gated => self.gated -= 1,
            Place::InFlight => {}
        }
    }
}

fn own_update(old: &Pod, new: &Pod) -> &'static str {
    Event::OwnUpdate { old, new }.label()
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}
