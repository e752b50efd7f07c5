//! StatefulSets in order: a pod is made when all before it serve, and only the last one goes, or the next one to update.
//!
//! Users change a set when it is as they asked, so that its controller has seen all that was before.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{World, is_acknowledged, is_going, is_ready, number, text};

/// The pods of each set at the last revision, by ordinal.
#[derive(Default)]
pub(super) struct Rows(BTreeMap<String, Row>);

type Row = BTreeMap<i64, Place>;

#[derive(Clone, PartialEq)]
struct Place {
    uid: String,
    revision: String,
    going: bool,
    ready: bool,
}

impl Place {
    fn serves(&self) -> bool {
        self.ready && !self.going
    }
}

impl Rows {
    pub(super) fn check(&mut self, world: &World) -> Result<(), String> {
        for (name, set) in &world.stateful_sets {
            let now = row(world, set);
            let before = self.0.insert(text(set, "/metadata/uid").to_owned(), now.clone()).unwrap_or_default();
            for (ordinal, place) in &now {
                let old = before.get(ordinal).filter(|old| old.uid == place.uid);
                let checked = match old {
                    None => check_made(&now, *ordinal),
                    Some(old) if place.going && !old.going => {
                        check_taken(&now, *ordinal, number(set, "/spec/replicas"))
                    }
                    Some(_) => Ok(()),
                };
                checked.map_err(|broken| format!("StatefulSet {name}: {broken}"))?;
            }
        }
        Ok(())
    }

    pub(super) fn unsettled(&self, world: &World) -> Vec<String> {
        let open = world.stateful_sets.values().filter(|set| !is_settled(world, set));
        open.map(|set| format!("StatefulSet {}: {}", set["metadata"]["name"], set["status"])).collect()
    }
}

fn row(world: &World, set: &Value) -> Row {
    let place = |pod: &Value| {
        let (_, ordinal) = text(pod, "/metadata/name").rsplit_once('-')?;
        let revision = text(pod, "/metadata/labels/controller-revision-hash").to_owned();
        let uid = text(pod, "/metadata/uid").to_owned();
        Some((ordinal.parse().ok()?, Place { uid, revision, going: is_going(pod), ready: is_ready(pod) }))
    };
    world.pods_of(text(set, "/metadata/uid")).filter_map(place).collect()
}

fn check_made(row: &Row, made: i64) -> Result<(), String> {
    match (0..made).find(|lower| !row.get(lower).is_some_and(Place::serves)) {
        Some(lower) => Err(format!("pod {made} is made while pod {lower} does not serve")),
        None => Ok(()),
    }
}

fn check_taken(row: &Row, taken: i64, replicas: i64) -> Result<(), String> {
    let mut higher = row.range(taken + 1..);
    if taken >= replicas {
        return higher.next().map_or(Ok(()), |(other, _)| Err(format!("pod {taken} goes before pod {other}")));
    }
    if let Some(other) = (0..replicas).find(|o| *o != taken && !row.get(o).is_some_and(Place::serves)) {
        return Err(format!("pod {taken} is replaced while pod {other} does not serve"));
    }
    match higher.find(|(_, other)| other.revision == row[&taken].revision) {
        Some((other, _)) => Err(format!("pod {taken} is replaced before pod {other}")),
        None => Ok(()),
    }
}

/// Whether the set is as asked for, and its controller says so.
pub(super) fn is_settled(world: &World, set: &Value) -> bool {
    let replicas = number(set, "/spec/replicas");
    let row = row(world, set);
    let counts = ["replicas", "readyReplicas", "updatedReplicas", "currentReplicas"];
    is_acknowledged(set)
        && counts.iter().all(|count| number(set, &format!("/status/{count}")) == replicas)
        && text(set, "/status/currentRevision") == text(set, "/status/updateRevision")
        && row.keys().copied().eq(0..replicas)
        && row.values().all(Place::serves)
}
