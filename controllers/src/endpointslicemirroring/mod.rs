//! The EndpointSlice mirroring controller: Endpoints that somebody writes by hand reach the proxies as slices.
//!
//! Enter by [`run`]. Only for Services without a selector: the others' slices are made from pods.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};

use self::plan::{CONTROLLER, MANAGED_BY, Plan, SERVICE_NAME, Skipped, is_mirrored};
use crate::common::error::{Doing, Error};
use crate::common::map;
use crate::common::slice_tracker::{self, Tracker};

/// Mirrored slices by the Endpoints that they mirror.
const BY_ENDPOINTS: &str = "mirrored endpoints";

/// What the flags say about this controller.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) max_per_subset: usize,
    pub(crate) batch_period: Duration,
}

struct Controller {
    ctx: Context,
    settings: Settings,
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Informer<EndpointSlice>,
    queue: Queue<Key>,
    tracker: Tracker,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, settings: Settings) {
    let controller = Arc::new(Controller {
        services: ctx.informers.of(),
        endpoints: ctx.informers.of(),
        slices: ctx.informers.of(),
        queue: Queue::new("endpoint_slice_mirroring"),
        tracker: Tracker::default(),
        ctx,
        settings,
    });
    controller.slices.index(BY_ENDPOINTS, |s| endpoints_of(s).map(|key| key.to_string()).into_iter().collect());
    controller.subscribe();
    let synced = async {
        controller.services.synced().await;
        controller.endpoints.synced().await;
        controller.slices.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        let workers = controller.settings.workers;
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

fn endpoints_of(slice: &EndpointSlice) -> Option<Key> {
    let labels = map(&slice.metadata.labels);
    let mirrored = labels.get(MANAGED_BY).is_some_and(|m| m == CONTROLLER);
    let name = labels.get(SERVICE_NAME).filter(|n| mirrored && !n.is_empty())?;
    Some(Key::new(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

impl Controller {
    fn subscribe(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.services.on_event(move |event| queue.add(Key::of(&**event.object())));
        let (queue, batch) = (self.queue.clone(), self.settings.batch_period);
        self.endpoints.on_event(move |event| queue.add_after(Key::of(&**event.object()), batch));
        self.slices.notify(self, |this, event| {
            let Some(key) = endpoints_of(event.object()) else { return };
            if let Event::Deleted(slice) = event {
                this.tracker.saw_deletion(&key, slice);
            }
            this.queue.add(key);
        });
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let existing = self.slices.by_index(BY_ENDPOINTS, &key.to_string());
        if self.tracker.is_stale(&key, &existing, self.ctx.clock.now()) {
            // The events still to come wake this key; the delay is for one that never comes.
            self.queue.add_after(key, slice_tracker::EXPIRY);
            return Ok(());
        }
        let by_hand =
            self.services.get_key(&key).is_some_and(|s| s.spec.as_ref().is_some_and(|s| s.selector.is_none()));
        let source = self.endpoints.get_key(&key).filter(|e| by_hand && is_mirrored(e));
        let plan = match &source {
            Some(endpoints) => {
                let mut plan = plan::plan(endpoints, &existing, self.settings.max_per_subset);
                self.tell_skipped(endpoints, plan.skipped);
                if endpoints.metadata.deletion_timestamp.is_some() {
                    plan.create.clear();
                }
                plan
            }
            None => Plan { delete: existing.iter().map(|s| (**s).clone()).collect(), ..Plan::default() },
        };
        self.carry_out(&key, plan).await
    }

    fn tell_skipped(&self, endpoints: &Endpoints, Skipped { invalid, all }: Skipped) {
        let tell = |reason: &str, message: String| {
            self.ctx.recorder.event(endpoints, Type::Warning, reason, message);
        };
        if invalid > 0 {
            let message = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
            tell("InvalidIPAddress", message);
        }
        if all > invalid {
            let max = self.settings.max_per_subset;
            let rule = format!("A max of {max} addresses can be mirrored to EndpointSlices per Endpoints subset.");
            tell("TooManyAddressesToMirror", format!("{rule} {all} addresses were skipped"));
        }
    }

    async fn carry_out(&self, key: &Key, plan: Plan) -> Result<(), Error> {
        let api = Api::<EndpointSlice>::namespaced(self.ctx.client.clone(), &key.namespace);
        let now = || self.ctx.clock.now();
        for slice in &plan.create {
            match api.create(&PostParams::default(), slice).await.doing("create mirrored endpoint slice for", key) {
                Err(e) if e.is_namespace_terminating() => return Ok(()),
                created => self.tracker.wrote(key, &created?, now()),
            }
        }
        for slice in &plan.update {
            let updated = api.replace(&slice.name_any(), &PostParams::default(), slice).await;
            self.tracker.wrote(key, &updated.doing("update mirrored endpoint slice", Key::of(slice))?, now());
        }
        for slice in &plan.delete {
            match api
                .delete(&slice.name_any(), &DeleteParams::default())
                .await
                .doing("delete mirrored endpoint slice", key)
            {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => self.tracker.deleted(key, slice, now()),
            }
        }
        Ok(())
    }
}
