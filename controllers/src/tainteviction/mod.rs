//! The taint eviction controller: pods leave nodes whose NoExecute taints they do not tolerate.
//!
//! Enter by [`run`]. Who taints, and why, it does not know.

mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};

use self::plan::{Verdict, verdict};
use crate::common::error::{Doing, Error};
use crate::common::nodes::{NO_EXECUTE, taints};
use crate::common::pod::Pod;
use crate::common::pod_status::{self, BY_NODE, disruption_target, index_by_node};
use crate::common::pods;

const WORKERS: usize = 8;

struct Controller {
    ctx: Context,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    /// Pods that may stay for a while, by UID, and since when they have been.
    staying: Mutex<HashMap<Key, (String, Timestamp)>>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let controller = Arc::new(Controller {
        nodes: ctx.informers.of(),
        pods: ctx.informers.of(),
        queue: Queue::new("noexec_taint_pod"),
        staying: Mutex::default(),
        ctx,
    });
    index_by_node(&controller.pods);
    let (queue, pods) = (controller.queue.clone(), controller.pods.clone());
    controller.nodes.on_event(move |event| {
        let before = event.old().map(|old| evicting(old)).unwrap_or_default();
        if evicting(event.object()) != before {
            let on_node = pods.by_index(BY_NODE, &event.object().name_any());
            on_node.iter().for_each(|pod| queue.add(Key::of(&**pod)));
        }
    });
    let queue = controller.queue.clone();
    controller.pods.on_event(move |event| {
        if concerns(event) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let synced = async {
        controller.nodes.synced().await;
        controller.pods.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), WORKERS, shutdown, |key| controller.sync(key)).await;
    }
}

fn evicting(node: &Node) -> Vec<Taint> {
    taints(node).iter().filter(|t| t.effect == NO_EXECUTE).cloned().collect()
}

/// Only the node and the tolerations of a pod matter here, and that it goes.
fn concerns(event: &Event<Pod>) -> bool {
    let part = |pod: &Pod| pod.spec.as_ref().map(|s| (s.node_name.clone(), s.tolerations.clone()));
    match event {
        Event::Added(pod) => !pods::node_name(pod).is_empty(),
        Event::Updated { old, new } => part(old) != part(new) || old.uid() != new.uid(),
        Event::Deleted(_) => true,
    }
}

impl Controller {
    fn staying(&self) -> MutexGuard<'_, HashMap<Key, (String, Timestamp)>> {
        self.staying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get_key(&key).filter(|p| p.metadata.deletion_timestamp.is_none()) else {
            let (name, namespace) = (Some(key.name.clone()), Some(key.namespace.clone()));
            let metadata = ObjectMeta { name, namespace, ..Default::default() };
            self.cancel(&key, &Pod { metadata, ..Default::default() });
            return Ok(());
        };
        let taints = self.nodes.get("", pods::node_name(&pod)).map(|node| evicting(&node)).unwrap_or_default();
        let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
        match verdict(&taints, tolerations) {
            Verdict::Stay => self.cancel(&key, &pod),
            Verdict::Go => return self.evict(&key, &pod).await,
            Verdict::StayFor(time) => {
                let now = self.ctx.clock.now();
                let since = self.since(&key, &pod, now);
                let until = SignedDuration::try_from(time).ok().and_then(|t| since.checked_add(t).ok());
                let until = until.unwrap_or(Timestamp::MAX);
                if until <= now {
                    return self.evict(&key, &pod).await;
                }
                self.queue.add_after(key, self.ctx.clock.until(until));
            }
        }
        Ok(())
    }

    /// Since when this very pod may stay only for a while.
    fn since(&self, key: &Key, pod: &Pod, now: Timestamp) -> Timestamp {
        let uid = pod.uid().unwrap_or_default();
        let mut staying = self.staying();
        let entry = staying.entry(key.clone()).or_insert_with(|| (uid.clone(), now));
        if entry.0 != uid {
            *entry = (uid, now);
        }
        entry.1
    }

    fn cancel(&self, key: &Key, pod: &Pod) {
        if self.staying().remove(key).is_some() {
            let message = format!("Cancelling deletion of Pod {key}");
            self.ctx.recorder.event(pod, Type::Normal, "TaintManagerEviction", message);
        }
    }

    async fn evict(&self, key: &Key, pod: &Pod) -> Result<(), Error> {
        let message = format!("Marking for deletion Pod {key}");
        self.ctx.recorder.event(pod, Type::Normal, "TaintManagerEviction", message);
        let why = "Taint manager: deleting due to NoExecute taint";
        let condition = disruption_target(pod, "DeletionByTaintManager", why, self.ctx.clock.now());
        pod_status::patch(&self.ctx.client, pod, None, Some(condition)).await?;
        let api = Api::<Pod>::namespaced(self.ctx.client.clone(), &key.namespace);
        let this_one = Preconditions { uid: pod.uid(), resource_version: None };
        let params = DeleteParams::default().preconditions(this_one);
        match api.delete(&key.name, &params).await.doing("evict pod", key) {
            Err(e) if !(e.is_not_found() || e.is_conflict()) => Err(e),
            _ => {
                self.staying().remove(key);
                Ok(())
            }
        }
    }
}
