//! The Endpoints controller: for each Service that selects pods, one Endpoints object of the same name.
//!
//! Enter by [`run`]. This shell reads the caches, lets [`plan`] decide and writes the object.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use crate::common::error::{Doing, Error};
use crate::common::map;
use crate::common::pod::Pod;
use crate::common::service::{concerned, selecting, selects};
use crate::common::trigger_times::{self, TriggerTimes};

/// Elections of old were held on Endpoints; such an object has no Service and is none of ours.
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

struct Controller {
    ctx: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
    queue: Queue<Key>,
    times: TriggerTimes,
}

/// Runs until the context's shutdown. Changes of pods are collected for `batch_period`.
pub(crate) async fn run(ctx: Context, workers: usize, batch_period: Duration) {
    let controller = Controller {
        services: ctx.informers.of(),
        pods: ctx.informers.of(),
        endpoints: ctx.informers.of(),
        queue: Queue::new("endpoint"),
        times: TriggerTimes::default(),
        ctx,
    };
    controller.subscribe(batch_period);
    let synced = async {
        controller.services.synced().await;
        controller.pods.synced().await;
        controller.endpoints.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        // What was left behind while nobody looked: Endpoints whose Service is gone.
        for endpoints in controller.endpoints.list() {
            if !map(&endpoints.metadata.annotations).contains_key(LEADER_ANNOTATION) {
                controller.queue.add(Key::of(&*endpoints));
            }
        }
        let controller = Arc::new(controller);
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    fn subscribe(&self, batch: Duration) {
        let queue = self.queue.clone();
        self.services.on_event(move |event| queue.add(Key::of(&**event.object())));
        let (queue, services) = (self.queue.clone(), self.services.clone());
        self.pods.on_event(move |event| {
            concerned(&services, event).into_iter().for_each(|key| queue.add_after(key, batch));
        });
        // Only a deletion is taken back: Endpoints without a Service are their maker's, who may change them.
        let queue = self.queue.clone();
        self.endpoints.on_event(move |event| {
            if matches!(event, Event::Deleted(_)) {
                queue.add(Key::of(&**event.object()));
            }
        });
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(service) = self.services.get_key(&key) else {
            self.times.forget(&key);
            return self.remove(&key).await;
        };
        let Some(spec) = selecting(&service) else { return Ok(()) };
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|p| selects(&service, p));
        let current = self.endpoints.get_key(&key);
        let changed_at = self.times.look(&service, &pods);
        let subsets = plan::subsets(&service, spec, &pods);
        let Some(mut new) = plan::updated(&service, spec, subsets, current.as_deref()) else { return Ok(()) };
        trigger_times::annotate(&mut new.metadata, changed_at);
        let creating = current.is_none();
        let result = match creating {
            true => self.api(&key).create(&PostParams::default(), &new).await.doing("create endpoints", &key),
            false => {
                self.api(&key).replace(&key.name, &PostParams::default(), &new).await.doing("update endpoints", &key)
            }
        };
        match result {
            Err(e) if creating && e.is_namespace_terminating() => Ok(()),
            // The cache was behind. What it has yet to see does not wake this key, as only deletions do.
            Err(e) if !creating && e.is_conflict() => {
                self.queue.add_rate_limited(key);
                Ok(())
            }
            Err(e) => {
                let (reason, message) = match creating {
                    true => (
                        "FailedToCreateEndpoint",
                        format!("Failed to create endpoint for service {key}: {}", e.api_message()),
                    ),
                    false => {
                        ("FailedToUpdateEndpoint", format!("Failed to update endpoint {key}: {}", e.api_message()))
                    }
                };
                self.ctx.recorder.event(&new, Type::Warning, reason, message);
                Err(e)
            }
            Ok(_) => Ok(()),
        }
    }

    async fn remove(&self, key: &Key) -> Result<(), Error> {
        if self.endpoints.get_key(key).is_none() {
            return Ok(());
        }
        match self.api(key).delete(&key.name, &DeleteParams::default()).await.doing("delete endpoints", key) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    fn api(&self, key: &Key) -> Api<Endpoints> {
        Api::namespaced(self.ctx.client.clone(), &key.namespace)
    }
}
