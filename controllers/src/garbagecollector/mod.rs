//! The garbage collector: deletes what has lost its owners, in the order that the deleter asked for.
//!
//! Enter by [`run`]. [`monitors`] watches every kind's metadata into the [`graph`]; this shell takes what the graph wants
//! looked at, looks at the live objects ([`live`]) and lets [`decide`] say what becomes of them. The graph only raises
//! suspicion: nothing is deleted without a fresh look at the object and at its owners.

mod absent;
mod decide;
mod graph;
mod identity;
mod live;
mod monitors;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use component::context::Context;
use component::queue::{self, Queue};
use component::recorder::Type;
use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use tokio::sync::watch;

use self::decide::{Action, Owner, decide};
use self::graph::{Effects, FOREGROUND, Graph, Node, ORPHAN};
use self::identity::{Identity, Uid};
use self::live::Live;
use self::monitors::{Monitors, Sink};
use crate::common::discovery::Resource;
use crate::common::error::{self, Error};

struct Collector {
    ctx: Context,
    live: Live,
    graph: Mutex<Graph>,
    to_delete: Queue<Uid>,
    to_orphan: Queue<Uid>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let collector = Arc::new(Collector {
        live: Live::new(ctx.client.clone()),
        graph: Mutex::default(),
        to_delete: Queue::new("garbage_collector_attempt_to_delete"),
        to_orphan: Queue::new("garbage_collector_attempt_to_orphan"),
        ctx: ctx.clone(),
    });
    let (ready, mut is_ready) = watch::channel(false);
    let monitors = Monitors::new(ctx.clone(), collector.clone()).run(ready);
    let work = async {
        let synced = is_ready.wait_for(|ready| *ready);
        if !matches!(ctx.shutdown.run_until(synced).await, Some(Ok(_))) {
            return;
        }
        tracing::debug!(objects = collector.graph().len(), "the graph of owners is complete");
        let deleting =
            queue::run(collector.to_delete.clone(), workers, ctx.shutdown.clone(), |uid| collector.sync(uid));
        let orphaning =
            queue::run(collector.to_orphan.clone(), workers, ctx.shutdown.clone(), |uid| collector.orphan(uid));
        tokio::join!(deleting, orphaning);
    };
    tokio::join!(monitors, work);
}

impl Sink for Collector {
    fn seen(&self, identity: Identity, meta: &ObjectMeta) {
        let effects = self.graph().observe(identity, meta);
        self.apply(effects);
    }

    fn gone(&self, identity: &Identity) {
        let effects = self.graph().gone(identity);
        self.apply(effects);
    }

    fn listed(&self, api_version: &str, kind: &str, uids: &HashSet<Uid>) {
        let missing = self.graph().missing(api_version, kind, uids);
        missing.iter().for_each(|identity| self.gone(identity));
    }

    fn kinds(&self, resources: &[Resource]) {
        self.live.set_kinds(resources);
    }
}

impl Collector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, uid: &str) -> Option<Node> {
        self.graph().get(uid).cloned()
    }

    fn apply(&self, effects: Effects) {
        effects.delete.into_iter().for_each(|uid| self.to_delete.add(uid));
        effects.delete_later.into_iter().for_each(|uid| self.to_delete.add_rate_limited(uid));
        effects.orphan.into_iter().for_each(|uid| self.to_orphan.add(uid));
        for (identity, message) in effects.warnings {
            let object = identity.object_ref();
            self.ctx.recorder.event_about(&object, Type::Warning, "OwnerRefInvalidNamespace", message);
        }
    }

    fn found_absent(&self, identity: &Identity) {
        let effects = self.graph().found_absent(identity);
        self.apply(effects);
    }

    /// Looks whether an object is to be deleted.
    async fn sync(&self, uid: Uid) -> Result<(), Error> {
        let Some(node) = self.node(&uid) else { return Ok(()) };
        if node.being_deleted && !node.deleting_dependents {
            return Ok(());
        }
        let Some(latest) = self.live.get(&node.identity).await? else {
            self.found_absent(&node.identity);
            return Ok(());
        };
        if node.deleting_dependents {
            return self.wait_for_dependents(&node).await;
        }
        let references = latest.owner_references.clone().unwrap_or_default();
        let mut owners = Vec::with_capacity(references.len());
        for reference in &references {
            match self.look_at_owner(reference, &node.identity).await? {
                Some(owner) => owners.push((reference.uid.as_str().into(), owner)),
                // A reference that can never be right: nothing is done about its object.
                None => return Ok(()),
            }
        }
        self.act(&node, &latest, &references, owners).await?;
        // It exists; the watch will show it.
        match self.node(&uid).is_some_and(|n| n.is_virtual) {
            true => Err(Error::refused("collect", node.identity, "not observed by a watch yet")),
            false => Ok(()),
        }
    }

    async fn act(
        &self,
        node: &Node,
        latest: &ObjectMeta,
        references: &[OwnerReference],
        owners: Vec<(Uid, Owner)>,
    ) -> Result<(), Error> {
        let dependents: Vec<bool> = {
            let graph = self.graph();
            node.dependents.iter().filter_map(|uid| graph.get(uid)).map(|n| n.deleting_dependents).collect()
        };
        match decide(latest, &owners, &dependents) {
            Action::Keep => Ok(()),
            Action::DropOwners(uids) => self.live.drop_owners(&node.identity, &uids).await,
            Action::Delete { policy, unblock } => {
                if unblock {
                    self.live.unblock(&node.identity, references).await?;
                }
                tracing::debug!(object = %node.identity, ?policy, "deleting");
                let fresh = if unblock { self.live.get(&node.identity).await? } else { Some(latest.clone()) };
                let deleted = match fresh {
                    Some(fresh) => self.live.delete(&node.identity, &fresh, policy).await,
                    None => Ok(()),
                };
                match deleted {
                    Err(e) if e.is_not_found() => {
                        self.found_absent(&node.identity);
                        Ok(())
                    }
                    other => other,
                }
            }
        }
    }

    /// What is at the other end of a reference. None: a cluster-scoped object names a namespaced owner, which can mean
    /// anything.
    async fn look_at_owner(&self, reference: &OwnerReference, item: &Identity) -> Result<Option<Owner>, Error> {
        let in_namespace = Identity::of_owner(reference, &item.namespace);
        let in_cluster = Identity::of_owner(reference, "");
        {
            let graph = self.graph();
            if graph.absent.has(&in_namespace) || graph.absent.has(&in_cluster) {
                return Ok(Some(Owner::Dangling));
            }
        }
        let kind = self.live.kind(&reference.api_version, &reference.kind)?;
        if kind.namespaced && item.namespace.is_empty() {
            tracing::debug!(object = %item, owner = %in_cluster, "cluster-scoped objects cannot refer to namespaced owners");
            return Ok(None);
        }
        let owner = if kind.namespaced { in_namespace } else { in_cluster };
        let Some(meta) = self.live.get(&owner).await? else {
            self.graph().absent.add(owner);
            return Ok(Some(Owner::Dangling));
        };
        let waits = meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|f| f == FOREGROUND);
        Ok(Some(if waits { Owner::Waiting } else { Owner::Solid }))
    }

    /// An owner that is deleted in the foreground goes when nothing blocks it any more.
    async fn wait_for_dependents(&self, node: &Node) -> Result<(), Error> {
        let blocking: Vec<(Uid, bool)> = {
            let graph = self.graph();
            let blocks = |n: &&Node| {
                n.owners.iter().any(|o| *o.uid == *node.identity.uid && o.block_owner_deletion == Some(true))
            };
            let dependents = node.dependents.iter().filter_map(|uid| graph.get(uid)).filter(blocks);
            dependents.map(|n| (n.identity.uid.clone(), n.deleting_dependents)).collect()
        };
        if blocking.is_empty() {
            return self.live.remove_finalizer(&node.identity, FOREGROUND).await;
        }
        blocking.into_iter().filter(|(_, deleting)| !deleting).for_each(|(uid, _)| self.to_delete.add(uid));
        Ok(())
    }

    /// Lets go of an owner's dependents, then lets the owner go.
    async fn orphan(&self, uid: Uid) -> Result<(), Error> {
        let Some(owner) = self.node(&uid) else { return Ok(()) };
        let dependents: Vec<Identity> = {
            let graph = self.graph();
            owner.dependents.iter().filter_map(|uid| graph.get(uid)).map(|n| n.identity.clone()).collect()
        };
        let owners = [uid];
        let results = join_all(dependents.iter().map(|d| self.live.drop_owners(d, &owners))).await;
        error::all(results.into_iter().filter_map(Result::err).collect())?;
        self.live.remove_finalizer(&owner.identity, ORPHAN).await
    }
}
