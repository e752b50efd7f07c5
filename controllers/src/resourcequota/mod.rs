//! The ResourceQuota controller: counts anew what a namespace holds, and gives back what is gone.
//!
//! Enter by [`run`]. Admission charges what comes; this counts after a quota was changed, after something counted went, and
//! from time to time. A count is a list that the server answers as of now, and is written only over the quota as it was before
//! that list: so a charge made meanwhile is never overwritten. Concepts: "Resource Quotas".

mod plan;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceQuota, Service};
use kube::api::{ListParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use machinery::quota::{Devices, Evaluator};
use machinery::resources::ResourceList;
use serde_json::{Value, json};

use self::watch::Watches;
use crate::common::discovery::{self, Kinds, Resource};
use crate::common::error::{Doing, Error};
use crate::common::pod::Pod;
use crate::common::pods;

/// What goes together is given back together.
const BATCH_PERIOD: Duration = Duration::from_millis(200);
const PAGE: u32 = 500;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    /// How often everything is counted anew; zero: only when something happens.
    pub(crate) resync_period: Duration,
}

struct Controller {
    ctx: Context,
    settings: Settings,
    quotas: Informer<ResourceQuota>,
    queue: Queue<Key>,
    watches: Watches,
    kinds: Kinds,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, settings: Settings) {
    let quotas: Informer<ResourceQuota> = ctx.informers.of();
    let queue = Queue::new("resourcequota_primary");
    let gone = Gone { quotas: quotas.clone(), queue: queue.clone() };
    let controller = Arc::new(Controller {
        settings,
        watches: Watches::new(ctx.clone(), gone.clone()),
        kinds: Kinds::default(),
        quotas,
        queue,
        ctx,
    });
    let queue = controller.queue.clone();
    controller.quotas.on_event(move |event| on_quota(&queue, event));
    gone.subscribe(&controller.ctx);
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(controller.quotas.synced()).await.is_some() {
        queue::run(controller.queue.clone(), settings.workers, shutdown, |key| controller.sync(key)).await;
    }
}

/// Charges change the status only, and need no count.
fn on_quota(queue: &Queue<Key>, event: &Event<ResourceQuota>) {
    let quota = event.object();
    let hard = |quota: &ResourceQuota| quota.spec.as_ref().and_then(|s| s.hard.clone());
    if event.old().is_none_or(|old| hard(old) != hard(quota)) || plan::is_urgent(&value(quota)) {
        queue.add(Key::of(&**quota));
    }
}

fn value(quota: &ResourceQuota) -> Value {
    serde_json::to_value(quota).unwrap_or_default()
}

/// Wakes the quotas of a namespace in which less is used.
#[derive(Clone)]
struct Gone {
    quotas: Informer<ResourceQuota>,
    queue: Queue<Key>,
}

impl Gone {
    fn tell(&self, namespace: &str, evaluator: &Evaluator) {
        for quota in self.quotas.in_namespace(namespace) {
            let hard = quota.spec.as_ref().map(|s| map_names(&s.hard)).unwrap_or_default();
            if hard.iter().any(|name| evaluator.may_count(name)) {
                self.queue.add_after(Key::of(&*quota), BATCH_PERIOD);
            }
        }
    }

    /// The kinds whose use is more than their number are watched whole, by the caches that others share.
    fn subscribe(&self, ctx: &Context) {
        let this = self.clone();
        ctx.informers.of::<Pod>().on_event(move |event| {
            let ended = |pod: &Pod| pods::is_terminal(pod) || pod.metadata.deletion_timestamp.is_some();
            let less = match event {
                Event::Added(_) => false,
                Event::Updated { old, new } => ended(old) != ended(new) || resources(old) != resources(new),
                Event::Deleted(_) => true,
            };
            if less {
                this.tell(&event.object().namespace().unwrap_or_default(), &Evaluator::Pods);
            }
        });
        let this = self.clone();
        ctx.informers.of::<Service>().on_event(move |event| {
            if !matches!(event, Event::Added(_)) && event.old().is_none_or(|old| old.spec != event.object().spec) {
                this.tell(&event.object().namespace().unwrap_or_default(), &Evaluator::Services);
            }
        });
        let this = self.clone();
        ctx.informers.of::<PersistentVolumeClaim>().on_event(move |event| {
            if !matches!(event, Event::Added(_)) {
                this.tell(&event.object().namespace().unwrap_or_default(), &Evaluator::Claims);
            }
        });
    }
}

fn map_names<V>(list: &Option<std::collections::BTreeMap<String, V>>) -> Vec<&String> {
    list.iter().flat_map(|list| list.keys()).collect()
}

/// In-place resize changes what a pod asks for.
fn resources(pod: &Pod) -> Vec<&Option<k8s_openapi::api::core::v1::ResourceRequirements>> {
    pod.spec.iter().flat_map(|s| s.containers.iter().map(|c| &c.resources)).collect()
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(cached) = self.quotas.get_key(&key) else { return Ok(()) };
        let quota = value(&cached);
        let known = |all: &[Resource]| plan::all_known(&quota, &plan::counted(&quota, all));
        let resources = self.kinds.with(&self.ctx.client, known).await?;
        let mut used = ResourceList::default();
        let mut failure = Ok(());
        let mut pods = None;
        for (resource, evaluator) in plan::counted(&quota, &resources) {
            self.watches.follow(resource);
            match self.count(resource, evaluator, &resources, pods.as_deref(), &key.namespace).await {
                Ok((evaluator, objects)) => {
                    plan::add(&mut used, &quota, &evaluator, &objects, self.ctx.clock.now().as_second());
                    if evaluator == Evaluator::Pods {
                        pods = Some(objects);
                    }
                }
                // What could be counted is still worth writing.
                Err(e) => failure = Err(e),
            }
        }
        if let Some(status) = plan::status(&quota, &used) {
            match self.write(&key, &cached, status).await {
                // Charged meanwhile: the cache will have that in a moment.
                Err(e) if e.is_conflict() => self.queue.add_after(key.clone(), BATCH_PERIOD),
                Err(e) if e.is_not_found() => return Ok(()),
                other => other?,
            }
        }
        // A kind that is not there yet may come.
        let again = if known(&resources) { self.settings.resync_period } else { discovery::REDISCOVER };
        if !again.is_zero() {
            self.queue.add_after(key, again);
        }
        failure
    }

    async fn write(&self, key: &Key, cached: &ResourceQuota, status: Value) -> Result<(), Error> {
        let api = Api::<ResourceQuota>::namespaced(self.ctx.client.clone(), &key.namespace);
        let changed = ResourceQuota { status: serde_json::from_value(status).ok(), ..cached.clone() };
        let written = api.replace_status(&key.name, &PostParams::default(), &changed).await;
        written.map(drop).doing("update status of resource quota", key)
    }

    /// All of a kind in the namespace, and how they count with what else there is. `pods` are the namespace's, if known.
    async fn count(
        &self,
        resource: &Resource,
        evaluator: Evaluator,
        resources: &[Resource],
        pods: Option<&[Value]>,
        namespace: &str,
    ) -> Result<(Evaluator, Vec<Value>), Error> {
        let objects = self.list(resource, !matches!(evaluator, Evaluator::Objects(_)), namespace).await?;
        let evaluator = match evaluator {
            Evaluator::DeviceClaims(_) => {
                Evaluator::DeviceClaims(self.devices(resources, &objects, pods, namespace).await?)
            }
            other => other,
        };
        Ok((evaluator, objects))
    }

    async fn devices(
        &self,
        resources: &[Resource],
        claims: &[Value],
        pods: Option<&[Value]>,
        namespace: &str,
    ) -> Result<Devices, Error> {
        let all = async |group: &str, plural: &str, namespace: &str| match resources
            .iter()
            .find(|r| r.group == group && r.resource == plural)
        {
            Some(resource) => self.list(resource, true, namespace).await,
            None => Ok(Vec::new()),
        };
        let mut devices = Devices::new(&all("resource.k8s.io", "deviceclasses", "").await?);
        if claims.iter().any(|claim| Devices::pod_of(claim).is_some()) {
            let now = self.ctx.clock.now().as_second();
            match pods {
                Some(pods) => devices.charge(pods, claims, now),
                None => devices.charge(&all("", "pods", namespace).await?, claims, now),
            }
        }
        Ok(devices)
    }

    /// All of a kind in the namespace, or of one without; not `whole`: only their metadata.
    async fn list(&self, resource: &Resource, whole: bool, namespace: &str) -> Result<Vec<Value>, Error> {
        let kind = resource.api_resource();
        let client = self.ctx.client.clone();
        let api = match resource.namespaced {
            true => Api::<DynamicObject>::namespaced_with(client, namespace, &kind),
            false => Api::all_with(client, &kind),
        };
        let mut page = ListParams::default().limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let next = match whole {
                false => {
                    let list = api.list_metadata(&page).await.doing("list", &resource.resource)?;
                    objects.extend(list.items.iter().map(|item| json!({"metadata": item.metadata})));
                    list.metadata.continue_
                }
                true => {
                    let list = api.list(&page).await.doing("list", &resource.resource)?;
                    objects.extend(list.items.into_iter().filter_map(|item| serde_json::to_value(item).ok()));
                    list.metadata.continue_
                }
            };
            match next.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }
}
