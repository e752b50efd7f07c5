//! Histories that are right, and each way in which one can be wrong.

use std::time::Instant;

use super::*;
use crate::chaos::plan::Blow;

const fn put(serial: u64, revision: u64) -> Seen {
    Seen::Wrote { write: Write::Put { serial }, outcome: Outcome::Done { revision: Some(revision) } }
}

const fn tried(serial: u64, outcome: Outcome) -> Seen {
    Seen::Wrote { write: Write::Put { serial }, outcome }
}

const fn deleted(outcome: Outcome) -> Seen {
    Seen::Wrote { write: Write::Delete, outcome }
}

const fn read(serial: u64) -> Seen {
    Seen::Read { found: Some(Version { revision: 0, serial }) }
}

const fn refused(found: Refusal) -> Outcome {
    Outcome::Refused { found, message: String::new() }
}

const GONE: Seen = Seen::Read { found: None };
const DONE: Outcome = Outcome::Done { revision: None };

#[test]
fn objects_keep_what_was_acknowledged() {
    let right: &[&[Seen]] = &[
        &[put(1, 5), read(1), put(2, 6), read(2)],
        &[put(1, 5), tried(2, Outcome::Unknown), read(1), read(2), put(3, 9), read(3)],
        &[put(1, 5), tried(2, Outcome::Unknown), tried(3, refused(Refusal::Changed)), read(2)],
        &[put(1, 5), deleted(DONE), GONE, put(2, 8), read(2)],
        &[put(1, 5), deleted(Outcome::Unknown), read(1), deleted(refused(Refusal::Gone)), GONE],
    ];
    let wrong: &[(&str, &[Seen])] = &[
        ("lost", &[put(1, 5), put(2, 6), read(1)]),
        ("lost altogether", &[put(1, 5), GONE]),
        ("back from the dead", &[put(1, 5), deleted(DONE), read(1)]),
        ("an unknown one undone", &[put(1, 5), tried(2, Outcome::Unknown), read(2), read(1)]),
        (
            "an unknown one done after its revision was overwritten",
            &[put(1, 5), tried(2, Outcome::Unknown), put(3, 6), read(2)],
        ),
        ("gone after a write", &[put(1, 5), tried(2, Outcome::Unknown), tried(3, refused(Refusal::Gone))]),
        ("refused for nothing", &[put(1, 5), tried(2, refused(Refusal::Changed))]),
    ];
    for history in right {
        assert_eq!(object(history.iter()), Ok(()), "{history:?}");
    }
    for (what, history) in wrong {
        assert!(object(history.iter()).is_err(), "{what}");
    }
}

fn event(kind: EventKind, serial: u64, revision: u64) -> Event {
    Event { kind, name: "a".into(), version: Version { revision, serial } }
}

fn records(events: &[Event], lists: &[(u64, Option<Version>)]) -> Records {
    let history = vec![put(1, 5), tried(2, Outcome::Unknown), read(2), deleted(DONE), put(3, 9)];
    let snapshot = |(revision, found): &(u64, Option<Version>)| Snapshot {
        revision: *revision,
        objects: found.iter().map(|version| ("a".to_owned(), *version)).collect(),
        acknowledged: 0,
    };
    Records {
        objects: BTreeMap::from([("a".to_owned(), history)]),
        watches: vec![Watched { start: Snapshot { revision: 4, ..Snapshot::default() }, events: events.to_vec() }],
        lists: lists.iter().map(snapshot).collect(),
        ..Records::default()
    }
}

#[test]
fn watches_tell_each_change_once_and_in_order() {
    use EventKind::{Added, Deleted, Modified};
    let good = [event(Added, 1, 5), event(Modified, 2, 6), event(Deleted, 2, 7), event(Added, 3, 9)];
    let end = (9, Some(Version { revision: 9, serial: 3 }));
    let between = (6, Some(Version { revision: 6, serial: 2 }));
    assert_eq!(all(&records(&good, &[between, (8, None), end])), Vec::<String>::new());

    let without = |at: usize| [&good[..at], &good[at + 1..]].concat();
    let mut twice = good.to_vec();
    twice.insert(1, good[0].clone());
    let mut swapped = good.to_vec();
    swapped.swap(0, 1);
    let invented = [&good[..3], &[event(Added, 8, 8)]].concat();
    let elsewhere = [&good[..3], &[event(Added, 3, 8)]].concat();
    let cases = [
        ("an acknowledged write is missing", without(0)),
        ("a deletion is missing", without(2)),
        ("an event comes twice", twice),
        ("out of order", swapped),
        ("nobody wrote it", invented),
        ("at another revision than acknowledged", elsewhere),
    ];
    for (what, events) in cases {
        assert!(!all(&records(&events, &[end])).is_empty(), "{what}");
    }
    assert!(!all(&records(&good, &[(8, Some(Version { revision: 6, serial: 2 })), end])).is_empty(), "a stale list");
    let mut stale = records(&good, &[end]);
    stale.lists[0].acknowledged = 10;
    assert!(!all(&stale).is_empty(), "a list older than an answer before it");
}

#[test]
fn only_wounds_on_the_way_excuse_failed_requests() {
    let start = Instant::now();
    let second = |seconds: u64| start + Duration::from_secs(seconds);
    let wound = |fault: Fault, part: &'static str, from: u64, to: u64| {
        let blow = Blow { fault, part, hold: Duration::ZERO };
        Wound { blow, from: second(from), to: second(to) }
    };
    let wounds = [
        wound(Fault::Kill, "kube-proxy", 10, 12),
        wound(Fault::Kill, "kube-scheduler", 30, 32),
        wound(Fault::Sever, "second", 50, 52),
    ];
    let failed = |service: &'static str, at: u64| {
        let (at, until) = (second(at), second(at + 1));
        FailedRequest { service, at, until, reason: String::new() }
    };
    let cases = [
        ("rolling", 8, 1),
        // It was under way when the blow came.
        ("rolling", 9, 0),
        ("rolling", 11, 0),
        ("rolling", 16, 0),
        ("rolling", 18, 1),
        ("rolling", 31, 1),
        ("steady", 11, 1),
        ("remote", 11, 1),
        ("rolling", 51, 0),
        ("remote", 51, 0),
        ("remote", 58, 1),
        ("steady", 51, 1),
    ];
    for (service, at, wrong) in cases {
        assert_eq!(requests(&[failed(service, at)], &wounds).len(), wrong, "{service} at {at}");
    }
}
