//! The one thread that writes the log. It takes whatever commits wait, decides them in order, writes them as one group,
//! and answers them when the group is durable: the busier the store, the cheaper a commit.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use component::clock::Clock;
use tokio::sync::{mpsc, oneshot};

use super::gathering::Gathering;
use super::index::{Place, Version};
use super::record::{self, Kind};
use super::recovery;
use super::segment::Segment;
use super::state::{Found, Shared, State};
use crate::store::{Batch, Change, ChangeKind, Commit, CommitError, Condition, Entry, Error, Revision, Write};

/// Commits and bytes in one group.
const GROUP_COMMITS_MAX: usize = 512;
const GROUP_BYTES_MAX: usize = 4 << 20;

pub(super) enum Request {
    Commit(Commit, oneshot::Sender<Result<Revision, CommitError>>),
    /// Writes down that history before the revision is forgotten.
    Compact(u64, oneshot::Sender<Result<(), Error>>),
    /// Ends the thread.
    Close,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    /// The segment appended to, and how much of its file is made ready.
    pub(super) active: Segment,
    pub(super) ready: u64,
    /// The active segment is being closed.
    rolling: bool,
    /// Set by the first failed write of records. What is on the disk then is not known, so nothing more is written.
    failed: Option<String>,
    buffer: Vec<u8>,
}

/// A group being made.
#[derive(Default)]
struct Group {
    /// What each key will be when the group is durable; `None` is deleted.
    keys: HashMap<String, Option<Pending>>,
    batches: Vec<Made>,
    commits: Vec<(oneshot::Sender<Result<Revision, CommitError>>, Outcome)>,
    compactions: Vec<(oneshot::Sender<Result<(), Error>>, u64)>,
}

struct Pending {
    created: u64,
    modified: u64,
    version: u64,
    value: Bytes,
}

/// A revision in the group's buffer.
struct Made {
    record_at: usize,
    batch: Batch,
    /// Of each change: where its value lies in the buffer, and when it expires.
    changes: Vec<(usize, u64)>,
}

enum Outcome {
    Done(u64),
    Conflict { key: String, current: Current },
    Refused(Error),
}

enum Current {
    Known(Option<Entry>),
    Stored(Found),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, clock: Clock, active: Segment, ready: u64) -> Self {
        Self { shared, clock, active, ready, rolling: false, failed: None, buffer: Vec::new() }
    }

    /// Runs until closed. Blocks its thread.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>, gathering: &Gathering) {
        while let Some(first) = requests.blocking_recv() {
            let Some(served) = self.serve(first, &mut requests) else { break };
            gathering.gather(served, || requests.len());
        }
    }

    /// As [`Writer::run`], as a task: its writes block whoever else runs on the thread.
    pub(super) async fn run_in_place(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.recv().await {
            if self.serve(first, &mut requests).is_none() {
                break;
            }
        }
    }

    /// Writes a group of what waits: how many commits it had, or none when it was the last.
    fn serve(&mut self, first: Request, requests: &mut mpsc::Receiver<Request>) -> Option<usize> {
        let mut group = Group::default();
        let mut next = Some(first);
        let mut close = false;
        while let Some(request) = next {
            match request {
                Request::Close => close = true,
                request => self.decide(&mut group, request),
            }
            let full = group.commits.len() >= GROUP_COMMITS_MAX || self.buffer.len() >= GROUP_BYTES_MAX;
            next = if full || close { None } else { requests.try_recv().ok() };
        }
        let served = group.commits.len();
        self.finish(group);
        (!close).then_some(served)
    }

    fn decide(&mut self, group: &mut Group, request: Request) {
        match request {
            Request::Commit(commit, answer) => {
                let outcome = match &self.failed {
                    Some(reason) => Outcome::Refused(failed(reason)),
                    None => self.prepare(group, commit),
                };
                group.commits.push((answer, outcome));
            }
            Request::Compact(at, answer) => {
                let revision =
                    group.batches.last().map_or_else(|| self.shared.read().revision, |made| made.batch.revision.0);
                record::Writer::begin(&mut self.buffer, revision, at).end();
                group.compactions.push((answer, at));
            }
            Request::Close => {}
        }
    }

    fn prepare(&mut self, group: &mut Group, commit: Commit) -> Outcome {
        let shared = self.shared.clone();
        let state = shared.read();
        for condition in &commit.conditions {
            if let Some(current) = group.violates(&state, condition) {
                return Outcome::Conflict { key: condition.key().to_owned(), current };
            }
        }
        let newest = group.batches.last().map_or(state.revision, |made| made.batch.revision.0);
        let writes = commit.writes.into_iter();
        let writes: Vec<Write> =
            writes.filter(|write| matches!(write, Write::Put { .. }) || group.exists(&state, write.key())).collect();
        if writes.is_empty() {
            return Outcome::Done(newest);
        }
        let revision = newest + 1;
        let record_at = self.buffer.len();
        let mut made = Made {
            record_at,
            batch: Batch { revision: Revision(revision), changes: Vec::with_capacity(writes.len()) },
            changes: Vec::with_capacity(writes.len()),
        };
        let mut writer = record::Writer::begin(&mut self.buffer, revision, state.compacted);
        for write in writes {
            let before = group.before(&state, write.key());
            let (key, pending, deadline_ms) = match write {
                Write::Delete { key } => (key, None, 0),
                Write::Put { key, value, ttl } => {
                    let deadline_ms = ttl.map_or(0, |ttl| now_ms(&self.clock) + ttl.as_millis() as u64);
                    let (created, version) = before.map_or((revision, 1), |(created, version)| (created, version + 1));
                    (key, Some(Pending { created, modified: revision, version, value }), deadline_ms)
                }
            };
            let (kind, change) = match &pending {
                None => (Kind::Delete, ChangeKind::Delete),
                Some(Pending { created, version, value, .. }) => (
                    Kind::Put { created: *created, version: *version, deadline_ms, value },
                    ChangeKind::Put { value: value.clone(), created: Revision(*created), version: *version },
                ),
            };
            made.changes.push((writer.change(record::Change { key: &key, kind }), deadline_ms));
            made.batch.changes.push(Change { key: key.clone(), kind: change, previous: None });
            group.keys.insert(key, pending);
        }
        writer.end();
        group.batches.push(made);
        Outcome::Done(revision)
    }

    /// Makes the group durable, shows it to readers, and answers.
    fn finish(&mut self, group: Group) {
        let written = if self.buffer.is_empty() { Ok(0) } else { self.write() };
        let Group { batches, commits, compactions, .. } = group;
        match written {
            Ok(offset) => {
                self.publish(batches, compactions.iter().map(|(_, at)| *at).max(), offset);
                for (answer, outcome) in commits {
                    // Who asked may have gone.
                    let _ = answer.send(outcome.answer());
                }
                compactions.into_iter().for_each(|(answer, _)| drop(answer.send(Ok(()))));
            }
            Err(reason) => {
                commits.into_iter().for_each(|(answer, _)| drop(answer.send(Err(failed(&reason).into()))));
                compactions.into_iter().for_each(|(answer, _)| drop(answer.send(Err(failed(&reason)))));
            }
        }
        self.buffer.clear();
        // A burst's buffer is not kept.
        self.buffer.shrink_to(64 << 10);
    }

    /// Appends the buffer to the log; where in the active segment it begins. A full disk shows itself while room is made,
    /// when nothing of the group is written: the group fails, and the next may succeed.
    fn write(&mut self) -> Result<u64, String> {
        if let Some(reason) = &self.failed {
            return Err(reason.clone());
        }
        self.make_room().map_err(|error| {
            tracing::error!(%error, "no room for the log");
            error.to_string()
        })?;
        self.append().map_err(|error| {
            tracing::error!(%error, "could not write the log; the store refuses all writes from now on");
            self.failed.insert(error.to_string()).clone()
        })
    }

    fn make_room(&mut self) -> io::Result<()> {
        let length = self.buffer.len() as u64;
        let full = self.active.end > 0 && self.active.end + length > self.shared.options.segment_bytes_max;
        if full || self.rolling {
            self.roll()?;
        }
        let needed = self.active.end + length;
        if needed > self.ready {
            let room = needed.next_multiple_of(self.shared.options.room_bytes);
            self.active.file.write_all_at(&vec![0; (room - self.ready) as usize], self.ready)?;
            self.active.file.sync()?;
            self.ready = room;
        }
        Ok(())
    }

    fn append(&mut self) -> io::Result<u64> {
        let offset = self.active.end;
        self.active.file.write_all_at(&self.buffer, offset)?;
        self.active.file.sync()?;
        self.active.end = offset + self.buffer.len() as u64;
        Ok(offset)
    }

    /// Closes the active segment and begins the next. The order matters: a segment that has a successor must end with
    /// its records, or the store would refuse to start after a crash in between. For the same reason nothing more is
    /// appended to a segment once its closing has begun, also when it could not be finished.
    fn roll(&mut self) -> io::Result<()> {
        self.rolling = true;
        self.active.file.set_size(self.active.end)?;
        self.active.file.sync()?;
        self.active = recovery::create(&*self.shared.disk, self.active.last + 1)?;
        self.ready = 0;
        self.rolling = false;
        self.shared.write().segments.insert(self.active.last, self.active.clone());
        Ok(())
    }

    fn publish(&mut self, batches: Vec<Made>, compacted: Option<u64>, offset: u64) {
        let mut nearer = false;
        let mut state = self.shared.write();
        let number = self.active.last;
        for made in batches {
            let revision = made.batch.revision.0;
            if let Some(segment) = state.segments.get_mut(&number) {
                segment.note(revision, offset + made.record_at as u64);
            }
            for (change, (at, deadline_ms)) in made.batch.changes.iter().zip(made.changes) {
                let offset = (offset + at as u64) as u32;
                state.index.push(&change.key, version(change, revision, Place { segment: number, offset, length: 0 }));
                if deadline_ms > 0 {
                    let expiry = (deadline_ms, revision, change.key.as_str().into());
                    nearer |= state.expiries.first().is_none_or(|first| expiry < *first);
                    state.expiries.insert(expiry);
                }
            }
            state.publish(made.batch, self.shared.options.tail_bytes_max);
        }
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.end = self.active.end;
        }
        if let Some(compacted) = compacted {
            state.compact(compacted);
        }
        let revision = state.revision;
        drop(state);
        self.shared.revision.send_if_modified(|newest| std::mem::replace(newest, revision) != revision);
        if nearer {
            self.shared.expiry.notify_one();
        }
    }
}

fn version(change: &Change, revision: u64, place: Place) -> Version {
    match &change.kind {
        ChangeKind::Put { value, created, version } => Version {
            modified: revision,
            created: created.0,
            version: u32::try_from(*version).unwrap_or(u32::MAX),
            place: Place { length: value.len() as u32, ..place },
        },
        ChangeKind::Delete => Version { modified: revision, created: 0, version: 0, place },
    }
}

impl Group {
    fn exists(&self, state: &State, key: &str) -> bool {
        self.before(state, key).is_some()
    }

    /// (created, version) of a key, after what the group did so far.
    fn before(&self, state: &State, key: &str) -> Option<(u64, u64)> {
        match self.keys.get(key) {
            Some(pending) => pending.as_ref().map(|pending| (pending.created, pending.version)),
            None => state.index.current(key).map(|version| (version.created, version.version.into())),
        }
    }

    /// What the key holds, when the condition does not hold.
    fn violates(&self, state: &State, condition: &Condition) -> Option<Current> {
        let want = match condition {
            Condition::Modified { revision, .. } => Some(revision.0),
            Condition::Absent { .. } => None,
        };
        let key = condition.key();
        if let Some(pending) = self.keys.get(key) {
            let modified = pending.as_ref().map(|pending| pending.modified);
            return (modified != want)
                .then(|| Current::Known(pending.as_ref().map(|pending| pending.entry(key.to_owned()))));
        }
        if state.index.current(key).map(|version| version.modified) == want {
            return None;
        }
        let stored = state.get(key, None).ok().flatten();
        Some(stored.map_or(Current::Known(None), Current::Stored))
    }
}

impl Pending {
    fn entry(&self, key: String) -> Entry {
        Entry {
            key,
            value: self.value.clone(),
            created: Revision(self.created),
            modified: Revision(self.modified),
            version: self.version,
        }
    }
}

impl Outcome {
    fn answer(self) -> Result<Revision, CommitError> {
        match self {
            Self::Done(revision) => Ok(Revision(revision)),
            Self::Refused(error) => Err(error.into()),
            Self::Conflict { key, current: Current::Known(current) } => Err(CommitError::Conflict { key, current }),
            Self::Conflict { key, current: Current::Stored(found) } => {
                let current = found.read().map_err(|error| failed(&error.to_string()))?;
                Err(CommitError::Conflict { key, current: Some(current) })
            }
        }
    }
}

fn failed(reason: &str) -> Error {
    Error::Failed { operation: "commit", reason: reason.to_owned() }
}

/// Milliseconds since 1970.
pub(super) fn now_ms(clock: &Clock) -> u64 {
    clock.now().as_millisecond().try_into().unwrap_or(0)
}
