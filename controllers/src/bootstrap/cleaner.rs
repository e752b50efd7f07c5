//! The token cleaner: deletes bootstrap tokens that have expired.

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};

use super::token::{self, NAMESPACE, Validity};
use crate::common::error::{Doing, Error};

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let (secrets, queue) = (token::informer(&ctx.informers), Queue::new("token_cleaner"));
    let events = queue.clone();
    secrets.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            events.add(Key::of(&**event.object()));
        }
    });
    let shutdown = ctx.shutdown.clone();
    if shutdown.run_until(secrets.synced()).await.is_some() {
        let again = queue.clone();
        queue::run(queue, 1, shutdown, |key| sync(&ctx, &secrets, &again, key)).await;
    }
}

async fn sync(ctx: &Context, secrets: &Informer<Secret>, queue: &Queue<Key>, key: Key) -> Result<(), Error> {
    let Some(secret) = secrets.get_key(&key) else { return Ok(()) };
    match token::validity(&secret, ctx.clock.now()) {
        Validity::Forever => Ok(()),
        Validity::For(left) => {
            queue.add_after(key, left);
            Ok(())
        }
        Validity::Over => {
            let only = Preconditions { uid: secret.uid(), ..Default::default() };
            let params = DeleteParams::default().preconditions(only);
            let api = Api::<Secret>::namespaced(ctx.client.clone(), NAMESPACE);
            match api.delete(&key.name, &params).await.doing("delete expired bootstrap token", &key) {
                Err(e) if !(e.is_conflict() || e.is_not_found()) => Err(e),
                _ => Ok(()),
            }
        }
    }
}
