//! The store's log, and whether what a watcher wrote down is what it says.

use std::collections::BTreeMap;

use apiserver::store::{ChangeKind, Previous, Revision, Store};
use futures::StreamExt;
use machinery::{schema, wire};
use serde_json::Value;

use super::watcher::Step;
use super::{DEADLINE, WRITES};

/// One object as both sides compare it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    data: Value,
    labels: Value,
    uid: Value,
}

impl Seen {
    pub fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        Self { data: object["data"].clone(), labels: metadata["labels"].clone(), uid: metadata["uid"].clone() }
    }

    fn is_on(&self) -> bool {
        self.labels["on"] == "yes"
    }
}

/// A change as the store has it, or as a watcher was told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub revision: u64,
    pub kind: String,
    pub name: String,
    pub object: Seen,
}

/// What the store's log says happened to the objects after a revision, up to now.
pub async fn read_log(store: &dyn Store, after: u64, log: &mut Log) -> u64 {
    let newest = store.revision().await.expect("a revision").0;
    let mut batches = store.watch(Revision(after), Previous::Omit);
    let mut at = after;
    while at < newest {
        let batch = tokio::time::timeout(DEADLINE, batches.next()).await.expect("a batch in time");
        let batch = batch.expect("the watch goes on").expect("no error");
        at = batch.revision.0;
        for change in batch.changes {
            let Some(name) = change.key.strip_prefix("/registry/configmaps/default/") else { continue };
            let object = match change.kind {
                ChangeKind::Put { value, .. } => Some(Seen::of(&decoded(&value))),
                ChangeKind::Delete => None,
            };
            log.push((at, name.to_owned(), object));
        }
    }
    newest
}

fn decoded(value: &[u8]) -> Value {
    if !wire::is_protobuf(value) {
        return serde_json::from_slice(value).expect("JSON");
    }
    let schema = schema::message("io.k8s.api.core.v1.ConfigMap").expect("a schema");
    wire::decode(schema, value).expect("an object")
}

/// A change: the revision, the object's name, and what it became.
pub type Logged = (u64, String, Option<Seen>);
pub type Log = Vec<Logged>;

/// The log as a watcher is told it, and what there was at any revision.
struct Truth {
    events: Vec<Told>,
    log: Log,
}

impl Truth {
    fn of(log: &[Logged], selects: bool) -> Self {
        let mut objects: BTreeMap<&str, &Seen> = BTreeMap::new();
        let mut events = Vec::new();
        for (revision, name, object) in log {
            let before = objects.get(name.as_str()).copied();
            match object {
                Some(object) => objects.insert(name, object),
                None => objects.remove(name.as_str()),
            };
            let is = |object: Option<&Seen>| object.is_some_and(|object| !selects || object.is_on());
            let (kind, shown) = match (is(before), is(object.as_ref())) {
                (false, true) => ("ADDED", object.as_ref()),
                (true, true) => ("MODIFIED", object.as_ref()),
                // Gone, or no longer selected: shown as it was.
                (true, false) => ("DELETED", before),
                (false, false) => continue,
            };
            let object = shown.cloned().expect("there is one");
            events.push(Told { revision: *revision, kind: kind.to_owned(), name: name.clone(), object });
        }
        Self { events, log: log.to_vec() }
    }

    fn objects_at(&self, revision: u64, selects: bool) -> BTreeMap<String, Seen> {
        let mut objects = BTreeMap::new();
        for (_, name, object) in self.log.iter().filter(|(at, ..)| *at <= revision) {
            match object {
                Some(object) => objects.insert(name.clone(), object.clone()),
                None => objects.remove(name),
            };
        }
        objects.retain(|_, object| !selects || object.is_on());
        objects
    }

    /// Goes through a watcher's steps: between a list and the next each event comes once, in order.
    fn check(&self, who: usize, selects: bool, steps: &[Step]) {
        let mut next = 0;
        for (position, step) in steps.iter().enumerate() {
            match step {
                Step::Listed(revision, objects) => {
                    let wanted = self.objects_at(*revision, selects);
                    let names = |of: &BTreeMap<String, Seen>| of.keys().cloned().collect::<Vec<_>>();
                    assert_eq!(names(objects), names(&wanted), "watcher {who}: list at {revision}");
                    assert!(*objects == wanted, "watcher {who}: the list at {revision} is of another time");
                    next = self.events.partition_point(|event| event.revision <= *revision);
                }
                Step::Event(told) => {
                    let wanted = self.events.get(next).expect("no event is invented");
                    let short = |told: &Told| format!("{} {} at {}", told.kind, told.name, told.revision);
                    assert_eq!(short(told), short(wanted), "watcher {who}, step {position}");
                    assert!(told == wanted, "watcher {who}, step {position}: another object");
                    next += 1;
                }
                Step::Bookmark(revision) => {
                    let missed = self.events.get(next).filter(|event| event.revision <= *revision);
                    assert!(missed.is_none(), "watcher {who}: bookmark {revision} before {missed:?}");
                }
            }
        }
    }
}

pub fn check(watchers: &[(usize, (bool, Vec<Step>))], log: &[Logged]) {
    let truths = [Truth::of(log, false), Truth::of(log, true)];
    assert!(truths[0].events.len() > WRITES, "something happened");
    for (who, (selects, steps)) in watchers {
        let truth = &truths[usize::from(*selects)];
        truth.check(*who, *selects, steps);
        let events = steps.iter().filter(|step| matches!(step, Step::Event(_))).count();
        assert!(events > 0, "watcher {who} saw {} steps and no event", steps.len());
    }
}
