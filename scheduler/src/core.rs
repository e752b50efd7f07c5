//! The scheduler without its surroundings: events go in, decisions come out.
//!
//! Enter at [`Core::step`]: it takes the next pod, decides, and assumes the decision, all in one go, so that no event can
//! fall between a decision and its record. Knows no API, no task and no timer; time and randomness are given.

mod consult;
mod devices;
mod events;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use jiff::Timestamp;
use k8s_openapi::api::resource::v1::ResourceClaim;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

pub use self::consult::Consultation;
use crate::extender::{Interest, Room};
use crate::framework::{Diagnosis, Message, Nominated, Profile, Walk, schedule};
use crate::metrics;
use crate::objects::{Pod, PodDisruptionBudget};
use crate::plugins::volume_binding;
use crate::preemption::{self, Candidate, Preemption, Refusal};
use crate::queue::{Backoff, Popped, Queue};
use crate::snapshot::{DevicePlan, Slot, Snapshot, VolumePlan};

/// What [`Core::step`] came to.
#[derive(Debug)]
pub enum Step {
    /// Bind `pod` to `node`; it already counts there. Answer with [`Core::bound`] or [`Core::binding_failed`].
    Bind { pod: Arc<Pod>, node: Box<str>, attempt: Attempt, preparation: Preparation },
    /// No node takes the pod; tell so, and, where others can make room, ask them to. With `rooms`, extenders have to be
    /// asked about these first: [`Core::make_room_in`].
    Unschedulable {
        pod: Arc<Pod>,
        message: Message,
        preemption: Option<Preemption>,
        nominated: Nominate,
        rooms: Vec<Room>,
        /// A claim whose devices keep the pod from nodes, and that is nobody else's: to be given back.
        stuck: Option<Arc<ResourceClaim>>,
    },
    /// Extenders have to be asked about these nodes.
    Consult(Box<Consultation>),
    /// Nothing to do before this time; without one, before the next event.
    Idle(Option<Timestamp>),
}

/// What is counted of an attempt once its pod is bound, or cannot be.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Which of the pod's this is, from 1 on.
    pub number: u32,
    /// When the pod first came.
    pub arrived: Timestamp,
    pub started: Timestamp,
}

/// What has to be done before a pod is bound.
#[derive(Debug, Default)]
pub struct Preparation {
    /// In the given time.
    pub volumes: Option<(Box<VolumePlan>, Duration)>,
    /// In the given time.
    pub devices: Option<(Box<DevicePlan>, Duration)>,
}

impl Preparation {
    pub fn takes_time(&self) -> bool {
        self.volumes.is_some() || self.devices.is_some()
    }

    /// Whether others have to do something first.
    pub fn waits(&self) -> bool {
        self.volumes.is_some() || self.devices.as_ref().is_some_and(|(plan, _)| plan.waits())
    }
}

/// What to tell about the node that a pod is promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nominate {
    Keep,
    Clear,
    Node(Box<str>),
}

pub struct Core {
    snapshot: Snapshot,
    queue: Queue,
    profiles: Vec<Profile>,
    nominated: Nominated,
    budgets: std::collections::BTreeMap<(String, String), Arc<PodDisruptionBudget>>,
    walk: Walk,
    random: SmallRng,
    extenders: Vec<Interest>,
}

impl Core {
    /// `clock` tells how long decisions take, and ends those that take too long; `seed` decides between equally good nodes.
    pub fn new(profiles: Vec<Profile>, pauses: Backoff, clock: Clock, seed: u64) -> Self {
        Self {
            snapshot: Snapshot::new(clock),
            queue: Queue::new(pauses),
            profiles,
            nominated: Nominated::new(),
            budgets: std::collections::BTreeMap::new(),
            walk: Walk::default(),
            random: SmallRng::seed_from_u64(seed),
            extenders: Vec::new(),
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn profile(&self, pod: &Pod) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.scheduler_name == pod.scheduler_name)
    }

    /// Decides about the next pod that is due.
    pub fn step(&mut self, now: Timestamp) -> Step {
        loop {
            let Some(popped) = self.queue.pop(now) else {
                self.report_lengths();
                return Step::Idle(self.queue.next_wakeup());
            };
            if popped.pod.is_terminating() || self.snapshot.is_placed(popped.pod.uid()) {
                self.queue.remove(popped.pod.uid());
                continue;
            }
            if let Some(step) = self.decide(popped, now) {
                self.report_lengths();
                return step;
            }
        }
    }

    fn decide(&mut self, popped: Popped, now: Timestamp) -> Option<Step> {
        let pod = popped.pod.clone();
        if self.has_to_consult(&pod) {
            return self.consult(popped, now);
        }
        let profile = self.profiles.iter().find(|profile| profile.scheduler_name == pod.scheduler_name)?;
        let started = self.snapshot.clock.now();
        let result = schedule(profile, &pod, &mut self.snapshot, &self.nominated, &mut self.walk, &mut self.random);
        match result {
            Ok(placement) => self.place(popped, placement.slot, started),
            Err(diagnosis) => {
                metrics::attempt(metrics::UNSCHEDULABLE, &pod, self.snapshot.clock.since(started));
                Some(self.turn_away(pod, *diagnosis, now))
            }
        }
    }

    /// Takes the pod to be on this node from now on.
    fn place(&mut self, popped: Popped, slot: Slot, started: Timestamp) -> Option<Step> {
        let Popped { pod, attempts, arrived } = popped;
        let profile = self.profiles.iter().find(|profile| profile.scheduler_name == pod.scheduler_name)?;
        let node: Box<str> = self.snapshot.node(slot).name().into();
        let reserving = self.snapshot.clock.now();
        let preparation = Preparation {
            volumes: volumes_for(profile, &pod, &self.snapshot, slot),
            devices: devices::plan(profile, &pod, &self.snapshot, slot, &mut self.random),
        };
        if let Some((plan, _)) = &preparation.volumes {
            self.snapshot.volumes.assume(pod.uid(), VolumePlan::clone(plan));
        }
        if let Some((plan, _)) = &preparation.devices {
            self.snapshot.devices.assume(pod.uid(), DevicePlan::clone(plan));
        }
        let placed = Arc::new(Pod { node_name: node.clone(), ..Pod::clone(&pod) });
        self.snapshot.assume(slot, placed);
        self.forget_nomination(pod.uid());
        metrics::point_done("Reserve", true, &pod.scheduler_name, self.snapshot.clock.since(reserving));
        let attempt = Attempt { number: attempts, arrived, started };
        Some(Step::Bind { pod, node, attempt, preparation })
    }

    fn turn_away(&mut self, pod: Arc<Pod>, mut diagnosis: Diagnosis, now: Timestamp) -> Step {
        let mut nominated = Nominate::Keep;
        let (mut preemption, mut rooms) = (None, Vec::new());
        match self.find_room(&pod, &diagnosis) {
            None => {}
            Some(Ok(candidates)) if self.has_to_ask_for_room(&pod) => rooms = self.rooms(candidates),
            Some(Ok(candidates)) => {
                preemption = self.make_room(&pod, candidates);
                if let Some(found) = &preemption {
                    nominated = Nominate::Node(found.node.clone());
                }
            }
            Some(Err(refusal)) => {
                diagnosis.preemption = Some(format!("preemption: {}", refusal.message));
                if refusal.hopeless {
                    self.forget_nomination(pod.uid());
                    nominated = Nominate::Clear;
                }
            }
        }
        let stuck = self.stuck_claim(&pod, &diagnosis);
        self.queue.unschedulable(pod.uid(), diagnosis.rejected_by, now);
        let nearest = diagnosis.nearest.as_ref();
        let nearest = nearest.map(|(slot, lacking)| (self.snapshot.node(*slot).name(), &**lacking));
        let message = diagnosis.to_tell(nearest);
        Step::Unschedulable { message, pod, preemption, nominated, rooms, stuck }
    }

    /// Chooses whose room the pod gets, and promises it the node.
    fn make_room(&mut self, pod: &Arc<Pod>, candidates: Vec<Candidate>) -> Option<Preemption> {
        let mut found = preemption::choose(&self.snapshot, candidates)?;
        metrics::preempted(found.victims.len());
        found.displaced = self.nominate(pod, &found.node);
        Some(found)
    }

    /// Whom to push out for a pod; `None` where its profile does not.
    fn find_room(&mut self, pod: &Pod, diagnosis: &Diagnosis) -> Option<Result<Vec<Candidate>, Refusal>> {
        let profile = self.profiles.iter().find(|profile| profile.scheduler_name == pod.scheduler_name)?;
        if !profile.preempts || diagnosis.nodes == 0 {
            return None;
        }
        let budgets: Vec<_> = self.budgets.values().cloned().collect();
        let offset = self.random.random::<u32>() as usize;
        metrics::preemption_tried();
        let started = self.snapshot.clock.now();
        let found =
            preemption::candidates(profile, pod, &mut self.snapshot, diagnosis, &self.nominated, &budgets, offset);
        let status = if found.is_ok() { "Success" } else { "Unschedulable" };
        metrics::point("PostFilter", status, &pod.scheduler_name, self.snapshot.clock.since(started));
        Some(found)
    }

    /// The API took the binding; the placed pod's own event follows or came already.
    pub fn bound(&mut self, pod: &Pod) {
        self.snapshot.volumes.forget(pod.uid());
        self.snapshot.devices.forget(pod.uid());
        self.queue.remove(pod.uid());
    }

    /// The API did not take the binding: the pod's room is free again, and the pod is tried later.
    pub fn binding_failed(&mut self, pod: &Pod, now: Timestamp) {
        self.snapshot.volumes.forget(pod.uid());
        self.snapshot.devices.forget(pod.uid());
        // A binding whose answer was lost may have been taken; then the pod's event has confirmed it.
        if !self.snapshot.is_assumed(pod.uid()) {
            return;
        }
        if let Some((_, placed)) = self.snapshot.remove_pod(pod.uid()) {
            self.queue.failed(pod.uid(), now);
            self.wake(&crate::event::Event::PodDelete(&placed), now);
        }
    }

    /// Asking for room failed: the pod is tried again without waiting for the pods that were to go.
    pub fn preemption_failed(&mut self, pod: &Pod, now: Timestamp) {
        self.forget_nomination(pod.uid());
        self.queue.failed(pod.uid(), now);
    }

    /// Promises a node to a pod. Returns pods of lower priority that were promised it: they must look elsewhere.
    fn nominate(&mut self, pod: &Arc<Pod>, node: &str) -> Vec<Arc<Pod>> {
        self.forget_nomination(pod.uid());
        let Some(slot) = self.snapshot.slot(node) else { return Vec::new() };
        let promised = Pod { node_name: node.into(), nominated_node_name: node.into(), ..Pod::clone(pod) };
        let there = self.nominated.entry(slot).or_default();
        let (displaced, mut kept): (Vec<_>, Vec<_>) = there.drain(..).partition(|other| other.priority < pod.priority);
        kept.push(Arc::new(promised));
        *there = kept;
        displaced
    }

    /// Takes a promise back; returns the pod as if it were on that node.
    fn forget_nomination(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let mut promised = None;
        self.nominated.retain(|_, pods| {
            if let Some(place) = pods.iter().position(|pod| pod.uid() == uid) {
                promised = Some(pods.remove(place));
            }
            !pods.is_empty()
        });
        promised
    }

    fn report_lengths(&self) {
        metrics::lengths(self.queue.lengths());
    }
}

/// What has to become of the pod's claims there, and in which time.
fn volumes_for(profile: &Profile, pod: &Pod, snapshot: &Snapshot, slot: Slot) -> Option<(Box<VolumePlan>, Duration)> {
    let enabled = profile.plugins.iter().find(|enabled| enabled.plugin.name() == volume_binding::NAME)?;
    let node = snapshot.node(slot).node().filter(|_| enabled.filters)?;
    let plan = volume_binding::plan(pod, snapshot, node)?;
    Some((Box::new(plan), profile.volume_bind_timeout))
}
