//! What the store really holds, revision by revision, and whether it keeps the rules.
//!
//! [`Truth::catch_up`] reads each revision from the store's own watch, so no state in between is missed, and checks
//! [`jobs`], [`rollouts`], [`rows`], [`daemons`] and [`places`]. [`Truth::check_after_failure`] compares what a restarted store holds with what it held.

mod daemons;
mod jobs;
mod places;
mod rollouts;
mod rows;

use std::collections::BTreeMap;

use apiserver::store::{Batch, ChangeKind, Previous, RangeRequest, Revision, Store};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;

use self::daemons::Daemons;
use self::jobs::Jobs;
use self::places::Places;
use self::rollouts::Rollouts;
use self::rows::Rows;
use crate::doubts::Doubts;
use crate::trace::Trace;

/// Objects of one kind, by name.
pub(crate) type Objects = BTreeMap<String, Value>;

/// The objects that rules speak of.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) pods: Objects,
    pub(crate) replica_sets: Objects,
    pub(crate) deployments: Objects,
    pub(crate) jobs: Objects,
    pub(crate) stateful_sets: Objects,
    pub(crate) daemon_sets: Objects,
}

impl World {
    /// The objects of the kind of a key, and its name; `None` for what no rule speaks of.
    fn place<'k>(&mut self, key: &'k str) -> Option<(&mut Objects, &'k str)> {
        let mut parts = key.strip_prefix("/registry/")?.splitn(3, '/');
        let (kind, _namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        let objects = match kind {
            "pods" => &mut self.pods,
            "replicasets" => &mut self.replica_sets,
            "deployments" => &mut self.deployments,
            "jobs" => &mut self.jobs,
            "statefulsets" => &mut self.stateful_sets,
            "daemonsets" => &mut self.daemon_sets,
            _ => return None,
        };
        Some((objects, name))
    }

    /// The pods that an owner controls.
    fn pods_of(&self, owner: &str) -> impl Iterator<Item = &Value> {
        self.pods.values().filter(move |pod| controller(pod) == owner)
    }
}

pub(crate) struct Truth {
    pub(crate) world: World,
    stored: BTreeMap<String, Bytes>,
    seen: Revision,
    pub(crate) revisions: u64,
    jobs: Jobs,
    rollouts: Rollouts,
    places: Places,
    rows: Rows,
    daemons: Daemons,
    trace: Trace,
}

impl Truth {
    pub(crate) fn new(trace: Trace) -> Self {
        Self {
            world: World::default(),
            stored: BTreeMap::new(),
            seen: Revision(1),
            revisions: 0,
            jobs: Jobs::default(),
            rollouts: Rollouts::default(),
            places: Places::default(),
            rows: Rows::default(),
            daemons: Daemons::default(),
            trace,
        }
    }

    /// Reads all that has come. `doubts` is how much more there may be than controllers and scheduler know of.
    pub(crate) async fn catch_up(&mut self, store: &dyn Store, doubts: &Doubts) -> Result<(), String> {
        let newest = store.revision().await.map_err(|error| error.to_string())?;
        if self.seen >= newest {
            return Ok(());
        }
        let mut batches = store.watch(self.seen, Previous::Omit);
        while self.seen < newest {
            match batches.next().await {
                Some(Ok(batch)) => self.take(batch, doubts)?,
                // The store is failing; the next life tells the rest.
                Some(Err(_)) | None => return Ok(()),
            }
        }
        Ok(())
    }

    fn take(&mut self, batch: Batch, doubts: &Doubts) -> Result<(), String> {
        if batch.revision.0 != self.seen.0 + 1 {
            return Err(format!("the watch goes from revision {} to {}", self.seen, batch.revision));
        }
        self.seen = batch.revision;
        self.revisions += 1;
        let mut matters = false;
        for change in batch.changes {
            let object = match &change.kind {
                ChangeKind::Put { value, .. } => Some(value.clone()),
                ChangeKind::Delete => None,
            };
            self.trace.mix(object.as_deref().unwrap_or_default());
            if let Some((objects, name)) = self.world.place(&change.key) {
                matters = true;
                let value =
                    object.as_ref().map(|bytes| serde_json::from_slice::<Value>(bytes).expect("stored as JSON"));
                self.trace.tell(format!("revision {}: {}", batch.revision, shown(&change.key, value.as_ref())));
                match value {
                    Some(value) => objects.insert(name.to_owned(), value),
                    None => {
                        let gone = objects.remove(name);
                        doubts.bindings.forget(gone.as_ref().map_or("", |gone| text(gone, "/metadata/uid")));
                        gone
                    }
                };
            }
            match object {
                Some(bytes) => self.stored.insert(change.key, bytes),
                None => self.stored.remove(&change.key),
            };
        }
        if matters {
            self.rollouts.check(&self.world, &doubts.pods)?;
            self.jobs.check(&self.world, &doubts.pods)?;
            self.places.check(&self.world, &doubts.bindings)?;
            self.rows.check(&self.world)?;
            self.daemons.check(&self.world, &doubts.pods)?;
        }
        Ok(())
    }

    /// Whether the store of a new life holds what the old one has told, and nothing else up to there.
    pub(crate) async fn check_after_failure(&self, store: &dyn Store) -> Result<(), String> {
        let newest = store.revision().await.map_err(|error| error.to_string())?;
        if newest < self.seen {
            return Err(format!("revision {} was told and is lost: the store is at {newest}", self.seen));
        }
        let range = store.range(RangeRequest::everything().at(self.seen)).await.map_err(|error| error.to_string())?;
        let held: BTreeMap<String, Bytes> = range.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        let keys = held.keys().chain(self.stored.keys());
        match keys.into_iter().find(|key| held.get(*key) != self.stored.get(*key)) {
            Some(key) => Err(format!("{key} is not after the failure what it was at revision {}", self.seen)),
            None => Ok(()),
        }
    }

    pub(crate) fn seen(&self) -> Revision {
        self.seen
    }

    /// What has yet to happen; empty when all has converged.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let world = &self.world;
        let workloads = [self.rollouts.unsettled(world), self.rows.unsettled(world), self.daemons.unsettled(world)];
        [workloads.concat(), self.jobs.unsettled(world), places::unsettled(world)].concat()
    }

    /// The resources, and names, of the sets that are as asked for.
    pub(crate) fn settled_sets(&self) -> Vec<(&'static str, String)> {
        let world = &self.world;
        let rows = world.stateful_sets.iter().filter(|(_, set)| rows::is_settled(world, set));
        let daemons = world.daemon_sets.iter().filter(|(_, set)| daemons::is_settled(world, set));
        let rows = rows.map(|(name, _)| ("statefulsets", name.clone()));
        rows.chain(daemons.map(|(name, _)| ("daemonsets", name.clone()))).collect()
    }

    /// What must hold of what has converged.
    pub(crate) fn check_end(&self, doubts: &Doubts) -> Result<(), String> {
        self.jobs.check_end(&self.world, &doubts.pods)
    }
}

/// A string in an object; empty when there is none.
pub(crate) fn text<'v>(object: &'v Value, path: &str) -> &'v str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A number in an object; 0 when there is none.
pub(crate) fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

pub(crate) fn is_terminal(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

pub(crate) fn is_going(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some()
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether the controller has seen the object as it is.
pub(crate) fn is_acknowledged(object: &Value) -> bool {
    number(object, "/status/observedGeneration") == number(object, "/metadata/generation")
}

/// Where a pod of a DaemonSet is, or must go.
pub(crate) fn node_of(pod: &Value) -> &str {
    let term = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0";
    match text(pod, "/spec/nodeName") {
        "" => text(pod, &format!("{term}/matchFields/0/values/0")),
        node => node,
    }
}

/// The UID of an object's controller.
pub(crate) fn controller(object: &Value) -> &str {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    controller.map_or("", |owner| text(owner, "/uid"))
}

/// An object in a line.
fn shown(key: &str, object: Option<&Value>) -> String {
    let Some(object) = object else { return format!("{key} is gone") };
    let deleted = if object.pointer("/metadata/deletionTimestamp").is_some() { " deleted" } else { "" };
    let status = match text(object, "/status/phase") {
        "" => object["status"].to_string(),
        phase => format!("{phase} {}", object["metadata"]["finalizers"]),
    };
    format!("{key}{deleted} replicas={} {status}", object["spec"]["replicas"])
}
