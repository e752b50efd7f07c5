//! The wishes of a node's pods for other resources: who is judged first where there is not room for all
//! (`pkg/kubelet/allocation`).
//!
//! Enter at [`Wishes::settle`]. Whoever comes has all that wait judged, each beside what those before it were given: room
//! that has become free goes to the first in upstream's order that it is enough for, not to whose worker looks first. What
//! was granted to another pod is kept for its worker, which hears of it as of any room, and finds it when it asks.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::{
    admission::{Room, Verdict},
    allocation::{self, Allocation, Pending, Settled},
    configs::{NodeFacts, resources},
    node::Registry,
    spec,
};
use crate::status::qos;

/// A pod as its source has it, and what it was given.
#[derive(Debug, Clone)]
pub struct Wish {
    pub pod: Arc<Pod>,
    pub given: Allocation,
    /// Since when it has been deferred.
    pub since: Option<Timestamp>,
}

/// What was granted, and for which generation of the pod.
#[derive(Debug, PartialEq)]
pub struct Grant {
    pub given: Allocation,
    pub generation: i64,
}

/// What a worker is told.
#[derive(Debug, PartialEq)]
pub struct Told {
    /// What was granted since it asked last; the wish was judged against that.
    pub earlier: Option<Grant>,
    pub settled: Settled,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Wishes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// False until every source has told its pods: before, room that is taken looks free.
    is_open: bool,
    /// By pod UID.
    waiting: BTreeMap<String, Wish>,
    granted: BTreeMap<String, Grant>,
    judged: Option<Judged>,
}

/// Why those wait that do, and what [`Registry::room`] told before they were judged: until it tells of more room, or another
/// wish is made, nobody need be judged anew.
#[derive(Debug)]
struct Judged {
    room: u64,
    left: BTreeMap<String, Pending>,
}

impl Wish {
    /// What an earlier kubelet left, by the pod's status.
    pub fn recovered(pod: &Arc<Pod>) -> Self {
        let since = pod.status.as_ref().and_then(Pending::recovered).map(|pending| pending.since);
        Self { pod: pod.clone(), given: Allocation::recovered(pod), since }
    }

    /// Asks for more CPU or memory than was given; what does not always fits.
    fn raises_requests(&self) -> bool {
        let before = self.given.apply(&self.pod);
        ["cpu", "memory"].iter().any(|name| resources::request(&self.pod, name) > resources::request(&before, name))
    }
}

/// Upstream's order: what takes no room first, then by priority, by class of service, by time.
pub(super) fn in_order(waiting: &BTreeMap<String, Wish>) -> Vec<String> {
    let mut order: Vec<(&String, &Wish)> = waiting.iter().collect();
    order.sort_by_cached_key(|(_, wish)| {
        let priority = spec::spec(&wish.pod).priority.unwrap_or(0);
        let is_guaranteed = qos::of_pod(&wish.pod) == qos::GUARANTEED;
        (wish.raises_requests(), Reverse(priority), !is_guaranteed, wish.since.is_none(), wish.since)
    });
    order.into_iter().map(|(uid, _)| uid.clone()).collect()
}

impl Wishes {
    /// Notes a wish before its worker asks, so that no later one is judged before it.
    pub fn note(&self, wish: Wish) {
        if !wish.given.covers(&wish.pod) {
            let mut inner = self.lock();
            // Of an earlier worker of the pod there may be an answer left, to another wish.
            inner.judged = None;
            inner.waiting.insert(spec::uid(&wish.pod).to_owned(), wish);
        }
    }

    /// As [`Registry::admit`]; what was granted is not free, though its worker may not have heard of it yet.
    pub fn admit(&self, pod: &Arc<Pod>, running: &Registry, judge: impl FnOnce(&[Arc<Pod>]) -> Verdict) -> Verdict {
        let inner = self.lock();
        running.admit(pod, |others| judge(&inner.with_grants(others.to_vec())))
    }

    /// Every source has told its pods: wishes are judged from now on.
    pub fn open(&self, running: &Registry) {
        if !std::mem::replace(&mut self.lock().is_open, true) {
            running.tell_room();
        }
    }

    /// Judges a wish, and with it all others that wait. What is granted is held at once.
    pub fn settle(&self, mut wish: Wish, running: &Registry, facts: &NodeFacts, now: Timestamp) -> Told {
        let uid = spec::uid(&wish.pod).to_owned();
        let mut inner = self.lock();
        let earlier = inner.granted.remove(&uid);
        if let Some(grant) = &earlier {
            // Again: the worker may have shown its pod as it was before.
            running.give(&uid, &grant.given);
            wish = Wish { given: grant.given.clone(), since: None, ..wish };
        }
        let settled = inner.judge(&uid, wish, running, facts, now);
        Told { earlier, settled }
    }

    /// Nothing of the pod is left.
    pub fn forget(&self, pod_uid: &str) {
        let mut inner = self.lock();
        inner.waiting.remove(pod_uid);
        inner.granted.remove(pod_uid);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn judge(&mut self, uid: &str, wish: Wish, running: &Registry, facts: &NodeFacts, now: Timestamp) -> Settled {
        if wish.given.covers(&wish.pod) {
            self.waiting.remove(uid);
            return Settled::Same;
        }
        if let Some(known) = self.judged_before(uid, &wish, *running.room().borrow()) {
            return Settled::Waits(known);
        }
        self.waiting.insert(uid.to_owned(), wish);
        if !self.is_open {
            return Settled::Unjudged;
        }
        let others = self.granted.len();
        let pending = self.judge_all(running, facts, now).remove(uid);
        let own = self.granted.remove(uid);
        // Told once: workers that are told look at all of this again.
        if self.granted.len() > others {
            running.tell_room();
        }
        match (own, pending) {
            (Some(grant), _) => Settled::Granted(grant.given),
            (None, Some(pending)) => Settled::Waits(pending),
            (None, None) => Settled::Same,
        }
    }

    fn with_grants(&self, mut pods: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
        for pod in &mut pods {
            if let Some(grant) = self.granted.get(spec::uid(pod)) {
                *pod = grant.given.apply(pod);
            }
        }
        pods
    }

    fn judged_before(&self, uid: &str, wish: &Wish, room: u64) -> Option<Pending> {
        let judged = self.judged.as_ref().filter(|judged| judged.room == room)?;
        let known = self.waiting.get(uid)?;
        let of = |pod: &Pod| pod.metadata.generation;
        let is_same = known.given == wish.given && known.pod.spec == wish.pod.spec && of(&known.pod) == of(&wish.pod);
        judged.left.get(uid).filter(|_| is_same).cloned()
    }

    /// Answers why those wait that still do.
    fn judge_all(&mut self, running: &Registry, facts: &NodeFacts, now: Timestamp) -> BTreeMap<String, Pending> {
        // Before the pods are looked at: what is told from then on is judged at the next word.
        let told = *running.room().borrow();
        let mut room = Room::new(&self.with_grants(running.list()), &Node::default(), facts);
        let mut left = BTreeMap::new();
        for uid in in_order(&self.waiting) {
            let Some(wish) = self.waiting.get_mut(&uid) else { continue };
            match allocation::settle(&wish.given, &wish.pod, &room, wish.since.unwrap_or(now)) {
                Settled::Granted(given) => {
                    if let Some(pod) = running.give(&uid, &given) {
                        room.put(&pod);
                    }
                    let generation = wish.pod.metadata.generation.unwrap_or(0);
                    self.granted.insert(uid.clone(), Grant { given, generation });
                    self.waiting.remove(&uid);
                }
                Settled::Waits(pending) => {
                    wish.since = Some(pending.since);
                    left.insert(uid, pending);
                }
                Settled::Same | Settled::Unjudged => drop(self.waiting.remove(&uid)),
            }
        }
        self.judged = Some(Judged { room: told, left: left.clone() });
        left
    }
}
