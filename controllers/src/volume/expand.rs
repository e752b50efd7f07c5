//! The volume expander: tells who is to make a bound claim's volume as large as the claim asks for now.
//!
//! Enter by [`run`]. No volume that this controller manager knows itself can grow, as with upstream without its cloud
//! volumes: an external resizer has to.

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;

use super::facts;
use crate::common::error::{Doing, Error};

const WORKERS: usize = 10;

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let (claims, queue) = (ctx.informers.of::<PersistentVolumeClaim>(), Queue::new("volume_expand"));
    let events = queue.clone();
    claims.on_event(move |event| {
        let (old, claim) = (event.old(), event.object());
        let grew = old.is_none_or(|old| facts::requested(claim) > facts::requested(old));
        if facts::claim_phase(claim) == "Bound" && grew && !matches!(event, Event::Deleted(_)) {
            events.add(Key::of(&**claim));
        }
    });
    let shutdown = ctx.shutdown.clone();
    if shutdown.run_until(claims.synced()).await.is_some() {
        queue::run(queue, WORKERS, shutdown, |key| sync(&ctx, &claims, key)).await;
    }
}

async fn sync(ctx: &Context, claims: &Informer<PersistentVolumeClaim>, key: Key) -> Result<(), Error> {
    let Some(claim) = claims.get_key(&key) else { return Ok(()) };
    if !wants_more(&claim) {
        return Ok(());
    }
    let name = facts::volume_name(&claim);
    let volume = Api::<PersistentVolume>::all(ctx.client.clone()).get(name).await.doing("get volume", name)?;
    if facts::claim_ref(&volume).is_none_or(|r| r.uid != claim.metadata.uid) {
        let why = format!("persistent Volume is not bound to PVC being updated : {key}");
        return Err(Error::refused("expand volume of claim", key, why));
    }
    let message = "waiting for an external controller to expand this PVC";
    ctx.recorder.event(&*claim, Type::Normal, "ExternalExpanding", message);
    Ok(())
}

fn wants_more(claim: &PersistentVolumeClaim) -> bool {
    let has = facts::storage(&claim.status.as_ref().and_then(|s| s.capacity.clone()));
    facts::requested(claim) > has
}
