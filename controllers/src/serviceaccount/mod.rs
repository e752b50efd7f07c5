//! The ServiceAccount controller: every active namespace has a ServiceAccount `default`.
//!
//! Enter by [`run`]. Tokens are none of its business: the API server signs them.

use std::sync::Arc;

use component::context::Context;
use component::informer::{Event, Informer, Selection};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::common::error::{Doing, Error};
use crate::common::is_active_namespace;

/// The ServiceAccount of pods that name none.
const NAME: &str = "default";

struct Controller {
    ctx: Context,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
    queue: Queue<Key>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let controller = Arc::new(Controller {
        namespaces: ctx.informers.of(),
        accounts: ctx.informers.selected(Selection::fields(format!("metadata.name={NAME}"))),
        queue: Queue::new("serviceaccount"),
        ctx,
    });
    let queue = controller.queue.clone();
    controller.namespaces.on_event(move |event| queue.add(Key::of(&**event.object())));
    let queue = controller.queue.clone();
    controller.accounts.on_event(move |event| {
        if let Event::Deleted(account) = event {
            queue.add(Key::cluster(account.metadata.namespace.clone().unwrap_or_default()));
        }
    });
    let synced = async {
        controller.namespaces.synced().await;
        controller.accounts.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<(), Error> {
        let wanted = self.namespaces.get_key(&key).is_some_and(|ns| is_active_namespace(&ns));
        if !wanted || self.accounts.get(&key.name, NAME).is_some() {
            return Ok(());
        }
        let account = ServiceAccount {
            metadata: ObjectMeta { name: Some(NAME.into()), namespace: Some(key.name.clone()), ..Default::default() },
            ..Default::default()
        };
        let api = Api::<ServiceAccount>::namespaced(self.ctx.client.clone(), &key.name);
        match api.create(&PostParams::default(), &account).await.doing("create service account default in", &key) {
            Err(e) if !(e.is_already_exists() || e.is_namespace_terminating()) => Err(e),
            _ => Ok(()),
        }
    }
}
