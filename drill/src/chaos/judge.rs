//! What of a run's records is wrong. Pure: enter at [`all`], which knows nothing of faults; requests are judged beside the
//! wounds of their time by [`requests`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::plan::Fault;
use super::record::{
    Event, EventKind, FailedRequest, Outcome, Records, Refusal, Seen, Snapshot, Version, Watched, Write,
};
use super::scene::{REMOTE, STEADY};
use super::strike::Wound;

/// Everything that is wrong, in words.
pub(super) fn all(records: &Records) -> Vec<String> {
    let mut wrong = Vec::new();
    let last = records.lists.last();
    for (name, seen) in &records.objects {
        let end = last.map(|list| Seen::Read { found: list.objects.get(name).copied() });
        wrong.extend(object(seen.iter().chain(&end)).err().map(|error| format!("{name}: {error}")));
    }
    let written = Written::of(&records.objects);
    for (number, watched) in records.watches.iter().enumerate() {
        wrong.extend(watch(watched, &written, &records.lists).into_iter().map(|it| format!("watch {number}: {it}")));
    }
    for list in records.lists.iter().filter(|list| list.revision < list.acknowledged) {
        let (revision, acknowledged) = (list.revision, list.acknowledged);
        wrong.push(format!("a list shows revision {revision} after {acknowledged} was acknowledged"));
    }
    wrong
}

/// How much of an object's history is told with what is wrong with it.
const TOLD: usize = 5;

fn object<'a>(history: impl Iterator<Item = &'a Seen>) -> Result<(), String> {
    let history: Vec<&Seen> = history.collect();
    let mut possible = vec![None];
    for (at, seen) in history.iter().enumerate() {
        follow(&mut possible, seen)
            .map_err(|wrong| format!("{wrong}; before that: {:?}", &history[at.saturating_sub(TOLD)..at]))?;
    }
    Ok(())
}

/// One step of an object through the states that it may be in: the last one known, and those of writes since whose end
/// is not known. Each write is bound to the revision that its writer had read, so an acknowledged one ends all before it.
fn follow(possible: &mut Vec<Option<u64>>, seen: &Seen) -> Result<(), String> {
    match seen {
        Seen::Wrote { write, outcome } => {
            let state = match write {
                Write::Put { serial } => Some(*serial),
                Write::Delete => None,
            };
            match outcome {
                Outcome::Done { .. } => *possible = vec![state],
                Outcome::Unknown => possible.push(state),
                Outcome::Refused { found, .. } if explains(possible, *found) => {}
                Outcome::Refused { message, .. } => {
                    return Err(format!("{write:?} was refused ({message}), which nothing explains: {possible:?}"));
                }
            }
        }
        Seen::Read { found } => {
            let serial = found.map(|version| version.serial);
            let Some(at) = possible.iter().position(|state| *state == serial) else {
                return Err(format!("holds {serial:?}, and should hold one of {possible:?}"));
            };
            possible.drain(..at);
        }
    }
    Ok(())
}

/// Whether an object that may be in these states, of which the writer had read the first, can be found like this.
fn explains(possible: &[Option<u64>], found: Refusal) -> bool {
    possible.iter().skip(1).any(|state| state.is_none() == (found == Refusal::Gone))
}

/// All puts by name and number, with the revision that was acknowledged.
struct Written(BTreeMap<(String, u64), Option<u64>>);

impl Written {
    fn of(objects: &BTreeMap<String, Vec<Seen>>) -> Self {
        let mut puts = BTreeMap::new();
        for (name, seen) in objects.iter().flat_map(|(name, history)| history.iter().map(move |seen| (name, seen))) {
            if let Seen::Wrote { write: Write::Put { serial }, outcome } = seen {
                let revision = if let Outcome::Done { revision } = outcome { *revision } else { None };
                puts.insert((name.clone(), *serial), revision);
            }
        }
        Self(puts)
    }
}

/// Each event once, in order, none invented and none missing; and every list what the events before it make.
fn watch(watched: &Watched, written: &Written, lists: &[Snapshot]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut objects = watched.start.objects.clone();
    let mut revision = watched.start.revision;
    let mut seen = BTreeSet::new();
    let mut lists: Vec<&Snapshot> = lists.iter().filter(|list| list.revision >= revision).collect();
    lists.sort_by_key(|list| list.revision);
    let mut lists = lists.into_iter().peekable();
    for event in &watched.events {
        while let Some(list) = lists.next_if(|list| list.revision < event.version.revision) {
            wrong.extend(same(list, &objects));
        }
        if event.version.revision <= revision {
            wrong.push(format!("{event:?} after revision {revision}"));
        }
        revision = event.version.revision;
        wrong.extend(fits(event, &objects, written).err().map(|error| format!("{event:?}: {error}")));
        match event.kind {
            EventKind::Deleted => drop(objects.remove(&event.name)),
            EventKind::Added | EventKind::Modified => drop(objects.insert(event.name.clone(), event.version)),
        }
        seen.insert((event.name.clone(), event.version.serial));
    }
    for list in lists.take_while(|list| list.revision == revision) {
        wrong.extend(same(list, &objects));
    }
    for ((name, serial), acknowledged) in &written.0 {
        let within = acknowledged.is_some_and(|it| it > watched.start.revision && it <= revision);
        if within && !seen.contains(&(name.clone(), *serial)) {
            wrong.push(format!("no event for {name} = {serial}, acknowledged at {acknowledged:?}"));
        }
    }
    wrong
}

/// Whether an event can follow what is known of its object.
fn fits(event: &Event, objects: &BTreeMap<String, Version>, written: &Written) -> Result<(), String> {
    let before = objects.get(&event.name);
    match (event.kind, before) {
        (EventKind::Added, Some(_)) => return Err("it was there already".into()),
        (EventKind::Modified | EventKind::Deleted, None) => return Err("it was not there".into()),
        (EventKind::Modified, Some(before)) if before.serial >= event.version.serial => {
            return Err(format!("{} came before", before.serial));
        }
        (EventKind::Deleted, Some(before)) if before.serial != event.version.serial => {
            return Err(format!("it held {} before", before.serial));
        }
        _ => {}
    }
    if event.kind == EventKind::Deleted {
        return Ok(());
    }
    match written.0.get(&(event.name.clone(), event.version.serial)) {
        None => Err("nobody wrote that".into()),
        Some(Some(revision)) if *revision != event.version.revision => {
            Err(format!("it was acknowledged at revision {revision}"))
        }
        Some(_) => Ok(()),
    }
}

fn same(list: &Snapshot, objects: &BTreeMap<String, Version>) -> Option<String> {
    if list.objects == *objects {
        return None;
    }
    let differ = |(name, version): &(&String, &Version)| list.objects.get(*name) != Some(version);
    let missing = objects.iter().find(differ);
    let more = list.objects.iter().find(|(name, _)| !objects.contains_key(*name));
    Some(format!("the list at {} and the events differ: {missing:?}, {more:?}", list.revision))
}

/// How long after a wound has healed requests to what was rolled meanwhile may still fail.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Requests that nothing excuses. Pods of `steady` never end and are on the node that asks, so nothing does; those of
/// `remote` are on another, and out of reach while the network between them is cut. Those of `rolling` end gracefully,
/// after everybody was told; but whoever is wounded cannot tell, or be told.
pub(super) fn requests<'a>(failed: &'a [FailedRequest], wounds: &[Wound]) -> Vec<&'a FailedRequest> {
    let excused = |request: &FailedRequest, excuse: fn(&Wound) -> bool| {
        let lasts = |wound: &Wound| wound.from <= request.until && request.at <= wound.to + AFTERMATH;
        wounds.iter().any(|wound| excuse(wound) && lasts(wound))
    };
    let is_wrong = |request: &&FailedRequest| match request.service {
        STEADY => true,
        REMOTE => !excused(request, |wound| wound.blow.fault == Fault::Sever),
        _ => !excused(request, leads_to_endpoints),
    };
    failed.iter().filter(is_wrong).collect()
}

/// Whether the way from a pod's state to the rules of its Service was broken, or the one to the pod.
fn leads_to_endpoints(wound: &Wound) -> bool {
    wound.blow.fault == Fault::Fill || !matches!(wound.blow.part, "kube-scheduler" | "skiff-dns" | "skiff-router")
}

#[cfg(test)]
mod tests;
