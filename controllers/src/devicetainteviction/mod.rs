//! The device taint eviction controller: pods leave devices whose NoExecute taints their claims do not tolerate.
//!
//! Enter by [`run`]; `plan` is pure. Taints are those in ResourceSlices; DeviceTaintRules, off by default upstream, are
//! not served here.

mod plan;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::metrics;
use component::queue::{self, Queue};
use component::recorder::Type;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};
use prometheus::{HistogramVec, IntCounterVec};

use crate::common::device_claims::{claims_of, is_pod};
use crate::common::error::{Doing, Error};
use crate::common::pod::Pod;
use crate::common::pod_status::{self, disruption_target};
use crate::common::pods;

const NAME: &str = "device-taint-eviction-controller";
const REASON: &str = "DeviceTaintManagerEviction";
/// The index of slices, and of claims with devices, by their pools.
const BY_POOL: &str = "pool";

static DELETIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Total number of Pods deleted by DeviceTaintEvictionController since its start.";
    metrics::counter("device_taint_eviction_controller_pod_deletions_total", help, &[])
});

static DELAYS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Seconds between the time when a device taint takes effect and a Pod's deletion.";
    let buckets = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0];
    metrics::histogram("device_taint_eviction_controller_pod_deletion_duration_seconds", help, &[], &buckets)
});

struct Controller {
    ctx: Context,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    slices: Informer<ResourceSlice>,
    queue: Queue<Key>,
    /// Pods that will have to go.
    marked: Mutex<HashMap<Key, Marked>>,
}

struct Marked {
    uid: String,
    /// Its eviction may have to be tried again, and is told once.
    is_told: bool,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let controller = Arc::new(Controller {
        pods: ctx.informers.of(),
        claims: ctx.informers.of(),
        slices: ctx.informers.of(),
        queue: Queue::new(NAME),
        marked: Mutex::default(),
        ctx,
    });
    controller.slices.index(BY_POOL, |slice| vec![plan::pool_name(&slice.spec.driver, &slice.spec.pool.name)]);
    controller.claims.index(BY_POOL, |claim| {
        let pools = plan::devices_of(claim).iter().map(|device| plan::pool_name(&device.driver, &device.pool));
        pools.collect::<BTreeSet<_>>().into_iter().collect()
    });
    controller.slices.notify(&controller, Controller::on_slice);
    controller.claims.notify(&controller, |controller, event| {
        let changed = event.old().into_iter().chain([event.object()]);
        changed.for_each(|claim| controller.queue_users(claim));
    });
    controller.pods.notify(&controller, |controller, event| {
        if concerns(event) {
            controller.queue.add(Key::of(&**event.object()));
        }
    });
    let synced = async {
        controller.pods.synced().await;
        controller.claims.synced().await;
        controller.slices.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

/// Only the node and the claims of a pod matter here, and that it goes.
fn concerns(event: &Event<Pod>) -> bool {
    let told = |pod: &Pod| pod.status.as_ref().and_then(|status| status.resource_claim_statuses.clone());
    let is_same = |old: &Pod, new: &Pod| {
        pods::node_name(old) == pods::node_name(new) && told(old) == told(new) && old.uid() == new.uid()
    };
    !claims_of(event.object()).is_empty()
        && match event {
            Event::Updated { old, new } => !is_same(old, new),
            Event::Added(_) | Event::Deleted(_) => true,
        }
}

impl Controller {
    fn marked(&self) -> MutexGuard<'_, HashMap<Key, Marked>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, key: &Key, uid: &str) {
        let mut marked = self.marked();
        if marked.get(key).is_none_or(|pod| pod.uid != uid) {
            marked.insert(key.clone(), Marked { uid: uid.to_owned(), is_told: false });
        }
    }

    /// Whether this is the first time.
    fn is_first_told(&self, key: &Key) -> bool {
        self.marked().get_mut(key).is_some_and(|pod| !std::mem::replace(&mut pod.is_told, true))
    }

    /// A slice without taints may be of a newer generation than one that had some.
    fn on_slice(&self, event: &Event<ResourceSlice>) {
        let spec = &event.object().spec;
        let pool = plan::pool_name(&spec.driver, &spec.pool.name);
        let there = self.slices.by_index(BY_POOL, &pool);
        let mut seen = event.old().into_iter().chain([event.object()]).chain(&there);
        if seen.any(|slice| plan::has_evicting(slice)) {
            self.claims.by_index(BY_POOL, &pool).iter().for_each(|claim| self.queue_users(claim));
        }
    }

    fn queue_users(&self, claim: &ResourceClaim) {
        let namespace = claim.namespace().unwrap_or_default();
        let users = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
        users.filter(|user| is_pod(user)).for_each(|user| self.queue.add(Key::new(&*namespace, &*user.name)));
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get_key(&key).filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
            self.marked().remove(&key);
            return Ok(());
        };
        let claim = |name: &str| self.claims.get(&key.namespace, name);
        let Some(due) = plan::pod_due(&pod, claim, |pool| self.slices.by_index(BY_POOL, pool)) else {
            if self.marked().remove(&key).is_some_and(|marked| pod.uid() == Some(marked.uid)) {
                self.ctx.recorder.event(&*pod, Type::Normal, REASON, "Cancelling deletion");
            }
            return Ok(());
        };
        let uid = pod.uid().unwrap_or_default();
        self.mark(&key, &uid);
        if due <= self.ctx.clock.now() {
            self.evict(&key, uid, due).await?;
            self.marked().remove(&key);
            return Ok(());
        }
        let left = self.ctx.clock.until(due);
        self.queue.add_after(key, left);
        Ok(())
    }

    /// Asks the server first: the cache may not know yet that the pod goes already, which must not be told twice.
    async fn evict(&self, key: &Key, uid: String, due: Timestamp) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.ctx.client.clone(), &key.namespace);
        let found = api.get_opt(&key.name).await.doing("get pod", key)?;
        let is_this_one = |pod: &Pod| pod.uid().as_ref() == Some(&uid) && pod.metadata.deletion_timestamp.is_none();
        let Some(pod) = found.filter(is_this_one) else { return Ok(()) };
        if self.is_first_told(key) {
            self.ctx.recorder.event(&pod, Type::Normal, REASON, "Marking for deletion");
        }
        let why = "Device Taint manager: deleting due to NoExecute taint";
        let condition = disruption_target(&pod, "DeletionByDeviceTaintManager", why, self.ctx.clock.now());
        // Upstream's other evictions tell of what generation they speak; this one does not.
        let condition = PodCondition { observed_generation: None, ..condition };
        pod_status::patch(&self.ctx.client, &pod, None, Some(condition)).await?;
        let this_one = Preconditions { uid: Some(uid), resource_version: None };
        let params = DeleteParams::default().preconditions(this_one);
        match api.delete(&key.name, &params).await.doing("evict pod", key) {
            Err(e) if !(e.is_not_found() || e.is_conflict()) => return Err(e),
            Err(_) => {}
            Ok(_) => {
                DELETIONS.with_label_values::<&str>(&[]).inc();
                DELAYS.with_label_values::<&str>(&[]).observe(self.ctx.clock.since(due).as_secs_f64());
            }
        }
        Ok(())
    }
}
