//! What a run saw: writes and their answers, reads, watches, lists, requests. Data only; `judge` says what of it is wrong.

use std::collections::BTreeMap;
use std::time::Instant;

/// What an object holds, and since which revision. Every write has a number of its own, which is its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) revision: u64,
    pub(super) serial: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// Creates, or replaces what was read before.
    Put {
        serial: u64,
    },
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Acknowledged; a deletion's answer does not tell its revision.
    Done { revision: Option<u64> },
    /// Answered that the object is not what the writer had read.
    Refused { found: Refusal, message: String },
    /// No answer, or one that leaves open whether it was done.
    Unknown,
}

/// What a server that refuses a write says of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not there (404).
    Gone,
    /// It is there, and is not what was read (409).
    Changed,
}

/// One thing that an object's only writer did or saw, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Wrote { write: Write, outcome: Outcome },
    Read { found: Option<Version> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: EventKind,
    pub(super) name: String,
    pub(super) version: Version,
}

/// The objects at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) revision: u64,
    pub(super) objects: BTreeMap<String, Version>,
    /// What had been acknowledged before it was asked for.
    pub(super) acknowledged: u64,
}

/// A list, and every event since, over any number of connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    pub(super) start: Snapshot,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub(super) struct FailedRequest {
    pub(super) service: &'static str,
    pub(super) at: Instant,
    /// When it was known to have failed.
    pub(super) until: Instant,
    pub(super) reason: String,
}

#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) objects: BTreeMap<String, Vec<Seen>>,
    /// One a watcher; one that was told to list again began another.
    pub(super) watches: Vec<Watched>,
    pub(super) lists: Vec<Snapshot>,
    pub(super) requests: usize,
    pub(super) failed_requests: Vec<FailedRequest>,
    pub(super) rollouts: usize,
    /// Watches that were begun again with a list.
    pub(super) relists: usize,
}

impl Records {
    pub(super) fn join(&mut self, other: Self) {
        self.objects.extend(other.objects);
        self.watches.extend(other.watches);
        self.lists.extend(other.lists);
        self.requests += other.requests;
        self.failed_requests.extend(other.failed_requests);
        self.rollouts += other.rollouts;
        self.relists += other.relists;
    }

    /// Acknowledged writes.
    pub(super) fn acknowledged(&self) -> usize {
        let done = |seen: &&Seen| matches!(seen, Seen::Wrote { outcome: Outcome::Done { .. }, .. });
        self.objects.values().flatten().filter(done).count()
    }
}
