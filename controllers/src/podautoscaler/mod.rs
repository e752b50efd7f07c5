//! The HorizontalPodAutoscaler controller: as many replicas as the load asks for.
//!
//! Enter by [`run`]. Every sync period each autoscaler reads its metrics; [`calculate`] says how many replicas they ask for,
//! [`scaling`] how many of those may be had now. What is scaled is only known by its scale subresource. Concepts:
//! "Horizontal Pod Autoscaling".

mod calculate;
mod condition;
mod metric;
mod metrics;
mod scaling;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use machinery::selector::Selector;

use self::metrics::Metrics;
use self::scaling::History;
use crate::common::discovery::Kinds;
use crate::common::error::Error;
use crate::common::pod::Pod;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) sync_period: Duration,
    /// How long a higher recommendation holds, where the spec does not say.
    pub(crate) downscale_stabilization: Duration,
    pub(crate) tolerance: f64,
    pub(crate) cpu_initialization_period: Duration,
    pub(crate) initial_readiness_delay: Duration,
}

struct Controller {
    ctx: Context,
    settings: Settings,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    kinds: Kinds,
    metrics: Metrics,
    memory: Mutex<HashMap<Key, Memory>>,
}

/// What is remembered of an autoscaler between its syncs.
#[derive(Default)]
struct Memory {
    history: History,
    /// Of its target; none before it was first read.
    selector: Option<Selector>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, settings: Settings) {
    let controller = Arc::new(Controller {
        settings,
        autoscalers: ctx.informers.of(),
        pods: ctx.informers.of(),
        queue: Queue::new("horizontalpodautoscaler"),
        kinds: Kinds::default(),
        metrics: Metrics::new(ctx.client.clone()),
        memory: Mutex::default(),
        ctx,
    });
    let queue = controller.queue.clone();
    controller.autoscalers.on_event(move |event: &Event<HorizontalPodAutoscaler>| {
        // Its own status is no news.
        let spec_changed = event.old().is_none_or(|old| old.spec != event.object().spec);
        if spec_changed || matches!(event, Event::Deleted(_)) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let synced = async {
        controller.autoscalers.synced().await;
        controller.pods.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), settings.workers, shutdown, |key| controller.look(key)).await;
    }
}

impl Controller {
    fn memory(&self) -> MutexGuard<'_, HashMap<Key, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_history<R>(&self, key: &Key, f: impl FnOnce(&mut History) -> R) -> R {
        f(&mut self.memory().entry(key.clone()).or_default().history)
    }

    /// Whatever comes of it, the next look is due after the period: a failure is told in events, and metrics do not come
    /// sooner when they are asked for more often.
    async fn look(&self, key: Key) -> Result<(), Error> {
        let Some(hpa) = self.autoscalers.get_key(&key) else {
            self.memory().remove(&key);
            return Ok(());
        };
        if let Err(error) = self.sync(&key, &hpa).await {
            tracing::warn!(autoscaler = %key, %error, "could not be brought up to date");
        }
        self.queue.add_after(key, self.settings.sync_period);
        Ok(())
    }
}
