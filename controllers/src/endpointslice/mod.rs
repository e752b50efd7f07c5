//! The EndpointSlice controller: for each Service that selects pods, slices that list them.
//!
//! Enter by [`run`]. This shell reads the caches, lets [`plan`] decide and writes the slices; slices of other makers
//! (another `managed-by` label) it does not touch. It knows no proxy.

mod endpoint;
mod hints;
mod plan;
mod slice;
#[cfg(test)]
mod tests;
mod topology;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Backoff, Queue};
use component::recorder::Type;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};

use self::plan::{Nodes, Plan, Planning};
use self::slice::SERVICE_NAME;
use self::topology::Shares;
use crate::common::error::{Doing, Error};
use crate::common::map;
use crate::common::pod::Pod;
use crate::common::service::{concerned, selecting, selects};
use crate::common::slice_tracker::{self, Tracker};
use crate::common::trigger_times::{self, TriggerTimes};

/// Slices by the Service that they belong to.
const BY_SERVICE: &str = "service";

/// What the flags say about this controller.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) max_endpoints_per_slice: usize,
    /// How long changes of pods are collected before slices are written.
    pub(crate) batch_period: Duration,
}

struct Controller {
    ctx: Context,
    settings: Settings,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    queue: Queue<Key>,
    tracker: Tracker,
    times: TriggerTimes,
    /// The Services that got hints by their annotation.
    hinted: Mutex<HashSet<Key>>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, settings: Settings) {
    let backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(1000) };
    let controller = Arc::new(Controller {
        services: ctx.informers.of(),
        pods: ctx.informers.of(),
        nodes: ctx.informers.of(),
        slices: ctx.informers.of(),
        queue: Queue::with_backoff("endpoint_slice", backoff),
        tracker: Tracker::default(),
        times: TriggerTimes::default(),
        hinted: Mutex::default(),
        ctx,
        settings,
    });
    controller.slices.index(BY_SERVICE, |s| service_of(s).map(|key| key.to_string()).into_iter().collect());
    controller.subscribe();
    let synced = async {
        controller.services.synced().await;
        controller.pods.synced().await;
        controller.nodes.synced().await;
        controller.slices.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        let workers = controller.settings.workers;
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = map(&slice.metadata.labels).get(SERVICE_NAME).filter(|n| !n.is_empty())?;
    slice::is_managed(slice).then(|| Key::new(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

impl Controller {
    fn subscribe(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.services.on_event(move |event| queue.add(Key::of(&**event.object())));
        let (queue, services) = (self.queue.clone(), self.services.clone());
        self.nodes.on_event(move |event| {
            let same = event.old().is_some_and(|old| topology::part(old) == topology::part(event.object()));
            if !same {
                let asking = services.list().into_iter().filter(|service| topology::is_asked(service));
                asking.for_each(|service| queue.add(Key::of(&*service)));
            }
        });
        let (queue, services, batch) = (self.queue.clone(), self.services.clone(), self.settings.batch_period);
        self.pods.on_event(move |event| {
            concerned(&services, event).into_iter().for_each(|key| queue.add_after(key, batch));
        });
        self.slices.notify(self, Self::on_slice);
    }

    fn on_slice(&self, event: &Event<EndpointSlice>) {
        let (now, before) = (service_of(event.object()), event.old().and_then(|old| service_of(old)));
        if let (Event::Deleted(slice), Some(key)) = (event, &now) {
            self.tracker.saw_deletion(key, slice);
        }
        before.into_iter().chain(now).for_each(|key| self.queue.add(key));
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(service) = self.services.get_key(&key) else {
            self.tracker.forget(&key);
            self.times.forget(&key);
            self.swap_hinted(&key, false);
            return Ok(());
        };
        let Some(spec) = selecting(&service) else { return Ok(()) };
        let mut existing = self.slices.by_index(BY_SERVICE, &key.to_string());
        existing.retain(|s| s.metadata.deletion_timestamp.is_none());
        if self.tracker.is_stale(&key, &existing, self.ctx.clock.now()) {
            // The events still to come wake this key; the delay is for one that never comes.
            self.queue.add_after(key, slice_tracker::EXPIRY);
            return Ok(());
        }
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|p| selects(&service, p));
        let nodes = Zones(&self.nodes);
        let endpoints_max = self.settings.max_endpoints_per_slice;
        let planning = Planning { endpoints_max, hinted: self.swap_hinted(&key, false) };
        let mut plan = plan::plan(&service, spec, &pods, &existing, &nodes, planning);
        self.swap_hinted(&key, plan.hinted);
        let changed_at = self.times.look(&service, &pods);
        for slice in plan.create.iter_mut().chain(&mut plan.update) {
            trigger_times::annotate(&mut slice.metadata, changed_at);
        }
        let result = self.carry_out(&key, &service, &plan).await;
        for (kind, reason, message) in &plan.notes {
            self.ctx.recorder.event(&*service, *kind, reason, message);
        }
        let result = all_told(&key, &plan, result);
        if let Err(error) = &result {
            let message = format!("Error updating Endpoint Slices for Service {key}: {}", error.own_words());
            self.ctx.recorder.event(&*service, Type::Warning, "FailedToUpdateEndpointSlices", &message);
        }
        result
    }

    /// Whether it had hints before.
    fn swap_hinted(&self, key: &Key, hinted: bool) -> bool {
        let mut all = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        if hinted { !all.insert(key.clone()) } else { all.remove(key) }
    }

    async fn carry_out(&self, key: &Key, service: &Service, plan: &Plan) -> Result<(), Error> {
        let api = Api::<EndpointSlice>::namespaced(self.ctx.client.clone(), &key.namespace);
        let now = || self.ctx.clock.now();
        let failed = |what: String, e: Error| {
            let why = format!("failed to {what} EndpointSlice for Service {key}: {}", e.api_message());
            Error::refused("write endpoint slices of service", key, why)
        };
        if service.metadata.deletion_timestamp.is_none() {
            for slice in &plan.create {
                match api.create(&PostParams::default(), slice).await.doing("create endpoint slice for service", key) {
                    Err(e) if e.is_namespace_terminating() => return Ok(()),
                    created => self.tracker.wrote(key, &created.map_err(|e| failed("create".into(), e))?, now()),
                }
            }
        }
        for slice in &plan.update {
            let updated = api.replace(&slice.name_any(), &PostParams::default(), slice).await;
            let updated = updated.doing("update endpoint slice", Key::of(slice));
            let updated = updated.map_err(|e| failed(format!("update {}", slice.name_any()), e))?;
            self.tracker.wrote(key, &updated, now());
        }
        for slice in &plan.delete {
            match api
                .delete(&slice.name_any(), &DeleteParams::default())
                .await
                .doing("delete endpoint slice", Key::of(slice))
            {
                Err(e) if !e.is_not_found() => return Err(failed(format!("delete {}", slice.name_any()), e)),
                _ => self.tracker.deleted(key, slice, now()),
            }
        }
        Ok(())
    }
}

/// A pod of an unknown node is left out and waited for; each is told once, before what went wrong with the writes.
fn all_told(key: &Key, plan: &Plan, written: Result<(), Error>) -> Result<(), Error> {
    let skipped =
        |(pod, node): &(String, String)| format!("skipping Pod {pod} for Service {key}: Node {node} Not Found");
    let mut seen = HashSet::new();
    let words: Vec<String> = plan.nodes_missing.iter().filter(|missing| seen.insert(*missing)).map(skipped).collect();
    let words = match (words.as_slice(), &written) {
        ([], _) => return written,
        ([one], Ok(())) => one.clone(),
        (_, Ok(())) => format!("[{}]", words.join(", ")),
        (_, Err(error)) => format!("[{}, {}]", words.join(", "), error.own_words()),
    };
    Err(Error::refused("sync endpoint slices of service", key, words))
}

struct Zones<'a>(&'a Informer<Node>);

impl Nodes for Zones<'_> {
    fn zone(&self, node: &str) -> Option<Option<String>> {
        let node = self.0.get("", node)?;
        Some(map(&node.metadata.labels).get("topology.kubernetes.io/zone").cloned())
    }

    fn shares(&self) -> Option<Shares> {
        topology::shares(self.0.list().iter().map(Arc::as_ref))
    }
}
