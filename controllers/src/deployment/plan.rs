//! The Deployment controller's core: from a Deployment and its ReplicaSets to the writes that bring it on.
//!
//! Enter by [`plan`]. It works on a copy of the world, changes it step by step as a rollout goes, and
//! says in the end what differs. It knows no API, no cache and no clock. Concepts: "Deployments".

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::rollback::{self, Rollback};
use super::{annotations, facts, status};
use crate::common::owner::controller_ref;
use crate::common::template;

/// One write to a ReplicaSet, in the order in which they are to be made.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    Create(ReplicaSet),
    Update { replica_set: ReplicaSet, scaled: Option<Scaled> },
    Delete(ReplicaSet),
}

/// A change of size, told in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scaled {
    pub(super) from: i32,
    pub(super) to: i32,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) writes: Vec<Write>,
    /// The Deployment with its new status and revision, when they differ; written last.
    pub(super) status: Option<Deployment>,
    /// When to look for progress again if nothing happens.
    pub(super) recheck: Option<Duration>,
    /// The Deployment goes back; then nothing else is written.
    pub(super) rollback: Option<Rollback>,
}

/// Whether the pods of the ReplicaSets may still run, for `Recreate`.
pub(super) struct RunningPods {
    /// UIDs of ReplicaSets with at least one pod that has not ended.
    pub(super) replica_sets: Vec<String>,
}

/// Decides one step. `replica_sets` are those that the Deployment controls.
pub(super) fn plan(d: &Deployment, replica_sets: &[ReplicaSet], running: &RunningPods, now: Timestamp) -> Plan {
    let mut rollout = Rollout::new(d, replica_sets, now);
    let paused = facts::spec(d).and_then(|s| s.paused).unwrap_or(false);
    if d.metadata.deletion_timestamp.is_some() {
        rollout.sync_revision(false);
        return rollout.finish(status::Progress::Keep);
    }
    status::check_paused(&mut rollout.d, paused, now);
    if let Some(wanted) = rollback::wanted(d).filter(|_| !paused) {
        rollout.sync_revision(true);
        let plan = rollout.finish(status::Progress::Keep);
        // The history must be told to its end before.
        return match plan.writes.is_empty() {
            true => Plan { rollback: Some(rollback::rollback(d, replica_sets, wanted)), ..Plan::default() },
            false => plan,
        };
    }
    if paused || rollout.is_scaling_event() {
        rollout.sync_revision(false);
        rollout.scale();
        if paused {
            rollout.clean_up();
        }
        return rollout.finish(status::Progress::Keep);
    }
    if facts::is_recreate(d) {
        rollout.recreate(running);
    } else {
        rollout.roll();
    }
    rollout.finish(status::Progress::Estimate)
}

/// A rollout under way: the Deployment and its ReplicaSets as they will be after the writes so far.
pub(super) struct Rollout<'a> {
    original: &'a Deployment,
    pub(super) d: Deployment,
    /// Oldest first.
    pub(super) sets: Vec<Tracked>,
    /// Index of the ReplicaSet that has the Deployment's template.
    pub(super) new: Option<usize>,
    deletes: Vec<ReplicaSet>,
    now: Timestamp,
}

pub(super) struct Tracked {
    /// None for one that is still to be created.
    original: Option<ReplicaSet>,
    pub(super) rs: ReplicaSet,
}

impl<'a> Rollout<'a> {
    fn new(d: &'a Deployment, replica_sets: &[ReplicaSet], now: Timestamp) -> Self {
        let mut sets: Vec<_> =
            replica_sets.iter().map(|rs| Tracked { original: Some(rs.clone()), rs: rs.clone() }).collect();
        sets.sort_by_cached_key(|t| facts::age_key(&t.rs));
        let wanted = facts::spec(d).map(|s| &s.template);
        let new = sets.iter().position(|t| {
            let has = t.rs.spec.as_ref().and_then(|s| s.template.as_ref());
            matches!((has, wanted), (Some(has), Some(wanted)) if template::equal_ignoring_hash(has, wanted))
        });
        Rollout { original: d, d: d.clone(), sets, new, deletes: Vec::new(), now }
    }

    /// Indices of the other ReplicaSets, oldest first.
    pub(super) fn old(&self) -> impl Iterator<Item = usize> + use<> {
        let new = self.new;
        (0..self.sets.len()).filter(move |i| Some(*i) != new)
    }

    pub(super) fn replicas(&self, index: usize) -> i32 {
        facts::replicas(&self.sets[index].rs)
    }

    pub(super) fn total_replicas(&self) -> i32 {
        self.sets.iter().map(|t| facts::replicas(&t.rs)).sum()
    }

    /// Brings revision and annotations of the new ReplicaSet and of the Deployment up to date; makes
    /// the new ReplicaSet if there is none and `create` says so.
    pub(super) fn sync_revision(&mut self, create: bool) {
        let newest_old = self.old().filter_map(|i| facts::revision(&self.sets[i].rs)).max().unwrap_or(0).max(0);
        let revision = newest_old + 1;
        let created = match self.new {
            Some(index) => {
                let rs = &mut self.sets[index].rs;
                annotations::set_for_new(&self.d, rs, revision);
                let min_ready_seconds = facts::min_ready_seconds(&self.d);
                if let Some(spec) = rs.spec.as_mut().filter(|s| s.min_ready_seconds.unwrap_or(0) != min_ready_seconds) {
                    spec.min_ready_seconds = crate::common::nonzero(min_ready_seconds);
                }
                false
            }
            None if create => {
                self.create_new(revision);
                true
            }
            None => return,
        };
        let Some(index) = self.new else { return };
        let rs = &self.sets[index].rs;
        let revision = crate::common::map(&rs.metadata.annotations).get(annotations::REVISION).cloned();
        self.d
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(annotations::REVISION.into(), revision.unwrap_or_default());
        status::note_new_replica_set(&mut self.d, rs.metadata.name.as_deref().unwrap_or_default(), created, self.now);
    }

    fn create_new(&mut self, revision: i64) {
        let mut rs = new_replica_set(&self.d);
        annotations::set_for_new(&self.d, &mut rs, revision);
        annotations::set_sizes(&self.d, &mut rs);
        self.sets.push(Tracked { original: None, rs });
        let index = self.sets.len() - 1;
        self.new = Some(index);
        let size = if facts::is_recreate(&self.d) { facts::desired(&self.d) } else { self.surged_size(index) };
        self.set_replicas(index, size);
    }

    /// Changes a size, with the size annotations; nothing happens when the size is that already.
    pub(super) fn resize(&mut self, index: usize, size: i32) -> bool {
        if self.replicas(index) == size {
            return false;
        }
        self.set_replicas(index, size);
        annotations::set_sizes(&self.d, &mut self.sets[index].rs);
        true
    }

    fn set_replicas(&mut self, index: usize, size: i32) {
        if let Some(spec) = self.sets[index].rs.spec.as_mut() {
            spec.replicas = Some(size);
        }
    }

    /// A change of the Deployment's size shows in the sizes that its active ReplicaSets remember.
    fn is_scaling_event(&mut self) -> bool {
        self.sync_revision(false);
        let desired = facts::desired(&self.d);
        let active = self.sets.iter().filter(|t| facts::replicas(&t.rs) > 0);
        active.filter_map(|t| annotations::size(&t.rs, annotations::DESIRED_REPLICAS)).any(|size| size != desired)
    }

    /// Deletes empty old ReplicaSets beyond the history limit, lowest revision first.
    pub(super) fn clean_up(&mut self) {
        let Some(limit) = facts::history_limit(&self.d) else { return };
        let mut old: Vec<&ReplicaSet> = self.old().map(|i| &self.sets[i].rs).collect();
        old.retain(|rs| rs.metadata.deletion_timestamp.is_none());
        old.sort_by_cached_key(|rs| (facts::revision(rs).unwrap_or(0), facts::age_key(rs)));
        let surplus = old.len().saturating_sub(limit);
        let idle =
            |rs: &&&ReplicaSet| facts::actual(rs) == 0 && facts::replicas(rs) == 0 && facts::is_status_current(rs);
        self.deletes = old.iter().take(surplus).filter(idle).map(|rs| (*rs).clone()).collect();
    }

    fn finish(mut self, progress: status::Progress) -> Plan {
        let sets: Vec<&ReplicaSet> = self.sets.iter().map(|t| &t.rs).collect();
        let new = self.new.map(|i| sets[i]);
        let recheck = status::set(self.original, &mut self.d, &sets, new, progress, self.now);
        let changed = self.d.status != self.original.status
            || crate::common::map(&self.d.metadata.annotations)
                != crate::common::map(&self.original.metadata.annotations);
        let mut writes: Vec<Write> = self.sets.into_iter().filter_map(Tracked::into_write).collect();
        writes.extend(self.deletes.into_iter().map(Write::Delete));
        Plan { writes, status: changed.then_some(self.d), recheck, rollback: None }
    }
}

impl Tracked {
    fn into_write(self) -> Option<Write> {
        let Some(original) = self.original else { return Some(Write::Create(self.rs)) };
        if original == self.rs {
            return None;
        }
        let (from, to) = (facts::replicas(&original), facts::replicas(&self.rs));
        Some(Write::Update { replica_set: self.rs, scaled: (from != to).then_some(Scaled { from, to }) })
    }
}

/// The ReplicaSet for the Deployment's template, of no pods yet.
fn new_replica_set(d: &Deployment) -> ReplicaSet {
    let spec = facts::spec(d).cloned().unwrap_or_default();
    let hash = template::hash(&spec.template, d.status.as_ref().and_then(|s| s.collision_count));
    let mut pod_template = spec.template;
    let labels = pod_template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(template::HASH_LABEL.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(template::HASH_LABEL.into(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(replica_set_name(d.metadata.name.as_deref().unwrap_or_default(), &hash)),
            namespace: d.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_ref(d)]),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(pod_template),
        }),
        status: None,
    }
}

/// Deterministic, so that a second try does not make a second one; within the length of a DNS subdomain.
fn replica_set_name(deployment: &str, hash: &str) -> String {
    let room = 253 - 1 - hash.len();
    format!("{}-{hash}", &deployment[..deployment.len().min(room)])
}
