//! Two controllers that keep claims and volumes from going while something uses them.
//!
//! Enter by [`run_claims`] and [`run_volumes`]. Each puts a finalizer on, and takes it off an object that is being deleted
//! and that nothing uses any more. Concepts: "Storage Object in Use Protection".

use std::sync::Arc;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};

use super::{facts, pods};
use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::pod::Pod;

const OF_CLAIM: &str = "kubernetes.io/pvc-protection";
const OF_VOLUME: &str = "kubernetes.io/pv-protection";

/// What an object needs of this controller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Finalizer,
    /// It is being deleted: may it go?
    Permission,
}

pub(super) fn need(object: &impl ResourceExt, finalizer: &str) -> Need {
    let protected = object.finalizers().iter().any(|f| f == finalizer);
    match (object.meta().deletion_timestamp.is_some(), protected) {
        (false, false) => Need::Finalizer,
        (true, true) => Need::Permission,
        _ => Need::Nothing,
    }
}

struct Claims {
    ctx: Context,
    claims: Informer<PersistentVolumeClaim>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run_claims(ctx: Context) {
    let controller = Arc::new(Claims {
        claims: ctx.informers.of(),
        pods: ctx.informers.of(),
        queue: Queue::new("pvcprotection"),
        ctx,
    });
    pods::index_by_claim(&controller.pods);
    let queue = controller.queue.clone();
    controller.claims.on_event(move |event| {
        if need(&**event.object(), OF_CLAIM) != Need::Nothing && !matches!(event, Event::Deleted(_)) {
            queue.add(Key::of(&**event.object()));
        }
    });
    controller.pods.notify(&controller, Claims::on_pod);
    let synced = async {
        controller.claims.synced().await;
        controller.pods.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), 1, shutdown, |key| controller.sync(key)).await;
    }
}

impl Claims {
    /// Only a pod that stops using its claims can let one go.
    fn on_pod(&self, event: &Event<Pod>) {
        let pod = event.object();
        let over = matches!(event, Event::Deleted(_)) || crate::common::pods::is_terminal(pod);
        let unplaced = crate::common::pods::node_name(pod).is_empty();
        let replaced = event.old().filter(|old| old.uid() != pod.uid());
        let concerned = (over || unplaced).then_some(pod).into_iter().chain(replaced);
        for key in concerned.flat_map(|pod| pods::claims(pod)) {
            if self.claims.get_key(&key).is_some_and(|c| need(&*c, OF_CLAIM) == Need::Permission) {
                self.queue.add(key);
            }
        }
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get_key(&key) else { return Ok(()) };
        let mut changed = (*claim).clone();
        match need(&*claim, OF_CLAIM) {
            Need::Nothing => return Ok(()),
            Need::Finalizer => changed.finalizers_mut().push(OF_CLAIM.into()),
            Need::Permission if self.is_used(&claim).await? => return Ok(()),
            Need::Permission => changed.finalizers_mut().retain(|f| f != OF_CLAIM),
        }
        let api = Api::<PersistentVolumeClaim>::namespaced(self.ctx.client.clone(), &key.namespace);
        let written = api.replace(&key.name, &PostParams::default(), &changed).await;
        wait_for_event(written.map(drop).doing("change protection of claim", &key))
    }

    /// Asks the cache, and before it says no the server: the scheduler may just have placed a pod.
    async fn is_used(&self, claim: &PersistentVolumeClaim) -> Result<bool, Error> {
        let key = Key::of(claim);
        if pods::using(&self.pods, &key).iter().any(|pod| uses(pod, claim)) {
            return Ok(true);
        }
        let api = Api::<Pod>::namespaced(self.ctx.client.clone(), &key.namespace);
        let fresh = api.list(&ListParams::default()).await.doing("list pods of namespace", &key.namespace)?;
        Ok(fresh.items.iter().any(|pod| uses(pod, claim)))
    }
}

/// A pod without a node uses nothing: the scheduler refuses to place it on a claim that goes.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let name = claim.name_any();
    let stopped = pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0);
    let mut volumes = pods::volumes(pod);
    !crate::common::pods::node_name(pod).is_empty()
        && volumes.any(|volume| {
            let named = volume.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == name);
            let own = volume.ephemeral.is_some() && pods::ephemeral_name(pod, volume) == name;
            named || (own && !stopped && pods::is_made_for(pod, claim))
        })
}

/// Runs until the context's shutdown. A volume is used as long as it is bound.
pub(crate) async fn run_volumes(ctx: Context) {
    let (volumes, queue) = (ctx.informers.of::<PersistentVolume>(), Queue::new("pvprotection"));
    let events = queue.clone();
    volumes.on_event(move |event| {
        if need(&**event.object(), OF_VOLUME) != Need::Nothing && !matches!(event, Event::Deleted(_)) {
            events.add(Key::of(&**event.object()));
        }
    });
    let shutdown = ctx.shutdown.clone();
    if shutdown.run_until(volumes.synced()).await.is_some() {
        queue::run(queue, 1, shutdown, |key| sync_volume(&ctx, &volumes, key)).await;
    }
}

async fn sync_volume(ctx: &Context, volumes: &Informer<PersistentVolume>, key: Key) -> Result<(), Error> {
    let Some(volume) = volumes.get_key(&key) else { return Ok(()) };
    let mut changed = (*volume).clone();
    match need(&*volume, OF_VOLUME) {
        Need::Nothing => return Ok(()),
        Need::Finalizer => changed.finalizers_mut().push(OF_VOLUME.into()),
        Need::Permission if facts::volume_phase(&volume) == "Bound" => return Ok(()),
        Need::Permission => changed.finalizers_mut().retain(|f| f != OF_VOLUME),
    }
    let api = Api::<PersistentVolume>::all(ctx.client.clone());
    let written = api.replace(&key.name, &PostParams::default(), &changed).await;
    wait_for_event(written.map(drop).doing("change protection of volume", &key))
}
