//! The pod garbage collector: pods that no kubelet will ever finish.
//!
//! Enter by [`run`]. Four sorts: those whose node is gone, those that are being deleted and never had a node, those
//! being deleted on a node that is out of service, and ended ones beyond the threshold, oldest first.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::metrics;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::{Node, PodCondition};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use prometheus::IntCounterVec;

use crate::common::error::{self, Doing, Error};
use crate::common::nodes::{OUT_OF_SERVICE, is_ready, taints};
use crate::common::pod::Pod;
use crate::common::pod_status::{self, BY_NODE, disruption_target, index_by_node};
use crate::common::pods;

/// A node that is registered again within this time keeps its pods.
const QUARANTINE: Duration = Duration::from_secs(40);

static DELETED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of pods that are being forcefully deleted since the Pod GC Controller started.";
    metrics::counter("pod_gc_collector_force_delete_pods_total", help, &["namespace", "reason"])
});

static FAILED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of errors encountered when forcefully deleting the pods since the Pod GC Controller started.";
    metrics::counter("pod_gc_collector_force_delete_pod_errors_total", help, &["namespace", "reason"])
});

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Pod(Key),
    /// Whether it is gone, with pods left behind.
    Node(String),
    /// Whether too many pods have ended.
    Ended,
}

struct Controller {
    ctx: Context,
    threshold: usize,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    queue: Queue<Work>,
}

/// Runs until the context's shutdown. A `threshold` of 0 keeps all ended pods.
pub(crate) async fn run(ctx: Context, threshold: usize) {
    let controller = Arc::new(Controller {
        threshold,
        nodes: ctx.informers.of(),
        pods: ctx.informers.of(),
        queue: Queue::new("orphaned_pods_nodes"),
        ctx,
    });
    index_by_node(&controller.pods);
    let (queue, pods) = (controller.queue.clone(), controller.pods.clone());
    controller.nodes.on_event(move |event| match event {
        Event::Deleted(node) => queue.add_after(Work::Node(node.name_any()), QUARANTINE),
        Event::Added(node) | Event::Updated { new: node, .. } => {
            if is_out_of_service(node) {
                let on_node = pods.by_index(BY_NODE, &node.name_any());
                on_node.iter().for_each(|pod| queue.add(Work::Pod(Key::of(&**pod))));
            }
        }
    });
    let shutdown = controller.ctx.shutdown.clone();
    // Pods are looked at once the nodes are known, or every pod would seem to have lost its own.
    if shutdown.run_until(controller.nodes.synced()).await.is_none() {
        return;
    }
    controller.pods.notify(&controller, Controller::on_pod);
    if shutdown.run_until(controller.pods.synced()).await.is_some() {
        queue::run(controller.queue.clone(), 1, shutdown, |work| controller.sync(work)).await;
    }
}

fn is_out_of_service(node: &Node) -> bool {
    !is_ready(node) && taints(node).iter().any(|t| t.key == OUT_OF_SERVICE)
}

impl Controller {
    fn on_pod(&self, event: &Event<Pod>) {
        let (Event::Added(pod) | Event::Updated { new: pod, .. }) = event else { return };
        let node = pods::node_name(pod);
        let moved = event.old().is_none_or(|old| pods::node_name(old) != node);
        if !node.is_empty() && moved && self.nodes.get("", node).is_none() {
            self.queue.add_after(Work::Node(node.to_owned()), QUARANTINE);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            self.queue.add(Work::Pod(Key::of(&**pod)));
        }
        if self.threshold > 0 && pods::is_terminal(pod) && event.old().is_none_or(|old| !pods::is_terminal(old)) {
            self.queue.add(Work::Ended);
        }
    }

    async fn sync(&self, work: Work) -> Result<(), Error> {
        match work {
            Work::Pod(key) => self.finish_deleted(&key).await,
            Work::Node(name) => self.clear_node(&name).await,
            Work::Ended => self.clear_ended().await,
        }
    }

    /// A pod that is being deleted, and whose kubelet there is not.
    async fn finish_deleted(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get_key(key).filter(|p| p.metadata.deletion_timestamp.is_some()) else {
            return Ok(());
        };
        let node = pods::node_name(&pod);
        if node.is_empty() {
            return self.remove(&pod, None, "unscheduled").await;
        }
        let abandoned = self.nodes.get("", node).is_some_and(|node| is_out_of_service(&node));
        if abandoned { self.remove(&pod, None, "out-of-service").await } else { Ok(()) }
    }

    async fn clear_node(&self, name: &str) -> Result<(), Error> {
        let left = self.pods.by_index(BY_NODE, name);
        if left.is_empty() || self.nodes.get("", name).is_some() {
            return Ok(());
        }
        let api = Api::<Node>::all(self.ctx.client.clone());
        if api.get_metadata_opt(name).await.doing("get node", name)?.is_some() {
            return Ok(());
        }
        let mut errors = Vec::new();
        for pod in left {
            let now = self.ctx.clock.now();
            let condition = disruption_target(&pod, "DeletionByPodGC", "PodGC: node no longer exists", now);
            errors.extend(self.remove(&pod, Some(condition), "orphaned").await.err());
        }
        error::all(errors)
    }

    async fn clear_ended(&self) -> Result<(), Error> {
        let mut ended = self.pods.list();
        ended.retain(|p| pods::is_terminal(p));
        let surplus = surplus(ended, self.threshold);
        let mut errors = Vec::new();
        for pod in surplus {
            errors.extend(self.remove(&pod, None, "terminated").await.err());
        }
        error::all(errors)
    }

    async fn remove(&self, pod: &Pod, condition: Option<PodCondition>, reason: &str) -> Result<(), Error> {
        let namespace = pod.namespace().unwrap_or_default();
        let removed = self.fail_and_delete(pod, condition).await;
        DELETED.with_label_values(&[namespace.as_str(), reason]).inc();
        if removed.is_err() {
            FAILED.with_label_values(&[namespace.as_str(), reason]).inc();
        }
        removed
    }

    /// Past all grace: nobody is there to give it to.
    async fn fail_and_delete(&self, pod: &Pod, condition: Option<PodCondition>) -> Result<(), Error> {
        if !pods::is_terminal(pod) {
            pod_status::patch(&self.ctx.client, pod, Some("Failed"), condition).await?;
        }
        let key = Key::of(pod);
        let api = Api::<Pod>::namespaced(self.ctx.client.clone(), &key.namespace);
        match api.delete(&key.name, &DeleteParams::default().grace_period(0)).await.doing("delete pod", &key) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}

/// The ended pods beyond the threshold: evicted ones first, then the oldest.
fn surplus(mut ended: Vec<Arc<Pod>>, threshold: usize) -> Vec<Arc<Pod>> {
    let evicted = |p: &Pod| p.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
    ended.sort_by_cached_key(|p| {
        let created = p.metadata.creation_timestamp.as_ref().map(|t| t.0);
        (!evicted(p), created, p.metadata.name.clone())
    });
    let count = ended.len().saturating_sub(threshold);
    ended.truncate(count);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn surplus_goes_evicted_and_oldest_first() {
        let pod = |name: &str, hour: u8, reason: &str| {
            let created = format!("2026-01-01T{hour:02}:00:00Z");
            let value = json!({"metadata": {"name": name, "creationTimestamp": created}, "status": {"phase": "Failed", "reason": reason}});
            Arc::new(serde_json::from_value::<Pod>(value).unwrap())
        };
        let all = vec![pod("new", 3, ""), pod("old", 1, ""), pod("evicted", 4, "Evicted"), pod("older", 0, "")];
        let gone: Vec<_> = surplus(all, 2).iter().map(|p| p.name_any()).collect();
        assert_eq!(gone, ["evicted", "older"]);
    }
}
