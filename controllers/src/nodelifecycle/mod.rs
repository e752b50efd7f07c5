//! The node lifecycle controller: nodes that have fallen silent become NotReady, and are tainted so.
//!
//! Enter by [`run`]. [`health`] tells silence, [`taints`] what it calls for, [`zones`] how fast. Each node has its own
//! deadline in the queue; nothing is looked at in turns. Evicting pods is the business of the taint-eviction controller.

mod health;
mod taints;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer, Selection};
use component::queue::{self, Queue};
use component::recorder::Type;
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, PodCondition};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use self::health::{Grace, Health};
use self::taints::Evicting;
pub(crate) use self::zones::Rates;
use self::zones::{Shift, Turn, Zones};
use crate::common::error::{self, Doing, Error};
use crate::common::nodes::{change_taints, condition, is_ready, zone_key};
use crate::common::pod::Pod;
use crate::common::pod_status::{self, BY_NODE, index_by_node};
use crate::common::{map, pods, time};

/// Where kubelets renew their Leases.
const LEASES: &str = "kube-node-lease";
const WORKERS: usize = 8;
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// What the flags say about this controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) monitor_grace: Duration,
    pub(crate) startup_grace: Duration,
    pub(crate) rates: Rates,
}

struct Controller {
    ctx: Context,
    grace: Grace,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    queue: Queue<String>,
    state: Mutex<State>,
}

struct State {
    health: HashMap<String, Health>,
    zones: Zones,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, settings: Settings) {
    let controller = Arc::new(Controller {
        grace: Grace { monitor: settings.monitor_grace, startup: settings.startup_grace },
        nodes: ctx.informers.of(),
        leases: ctx.informers.namespaced(LEASES, Selection::default()),
        pods: ctx.informers.of(),
        queue: Queue::new("node_lifecycle_controller"),
        state: Mutex::new(State { health: HashMap::new(), zones: Zones::new(settings.rates) }),
        ctx,
    });
    index_by_node(&controller.pods);
    let queue = controller.queue.clone();
    controller.nodes.on_event(move |event| queue.add(event.object().name_any()));
    controller.leases.notify(&controller, |this, event| {
        if let Event::Added(lease) | Event::Updated { new: lease, .. } = event {
            this.renewed(lease);
        }
    });
    let synced = async {
        controller.nodes.synced().await;
        controller.leases.synced().await;
        controller.pods.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), WORKERS, shutdown, |name| controller.sync(name)).await;
    }
}

impl Controller {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the time is noted: the node's deadline, when it comes, looks at it.
    fn renewed(&self, lease: &Lease) {
        let now = self.ctx.clock.now();
        if let Some(health) = self.state().health.get_mut(&lease.name_any()) {
            health.probe = now;
        }
    }

    async fn sync(&self, name: String) -> Result<(), Error> {
        let Some(node) = self.nodes.get("", &name) else {
            self.forget(&name);
            return Ok(());
        };
        let mut node = (*node).clone();
        let now = self.ctx.clock.now();
        let due = self.observe(&node, now);
        if due <= now {
            if let Some(conditions) = health::unknown(&node, now) {
                node = self.write_conditions(node, conditions).await?;
            }
        } else {
            self.queue.add_after(name.clone(), self.ctx.clock.until(due));
        }
        let counts = !map(&node.metadata.labels).contains_key(EXCLUDED);
        let shift = self.state().zones.update(&name, counts.then(|| (zone_key(&node), is_ready(&node))));
        self.follow(shift);
        let results = [self.taint(&node).await, self.mark_pods(&node).await, self.label(&node).await];
        error::all(results.into_iter().filter_map(Result::err).collect())
    }

    /// Notes the node; returns when it is overdue.
    fn observe(&self, node: &Node, now: jiff::Timestamp) -> jiff::Timestamp {
        let name = node.name_any();
        let mut state = self.state();
        let known = state.health.remove(&name);
        let is_new = known.is_none();
        let (health, due) = health::observe(known, node, self.grace, now);
        state.health.insert(name.clone(), health);
        drop(state);
        if is_new {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            self.ctx.recorder.event(node, Type::Normal, "RegisteredNode", message);
        }
        due
    }

    fn forget(&self, name: &str) {
        let mut state = self.state();
        let known = state.health.remove(name).is_some();
        let shift = state.zones.update(name, None);
        drop(state);
        self.follow(shift);
        if known {
            let gone = k8s_openapi::api::core::v1::ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(name.into()),
                ..Default::default()
            };
            let message = format!("Node {name} event: Removing Node {name} from Controller");
            self.ctx.recorder.event_about(&gone, Type::Normal, "RemovingNode", message);
        }
    }

    async fn write_conditions(
        &self,
        mut node: Node,
        conditions: Vec<k8s_openapi::api::core::v1::NodeCondition>,
    ) -> Result<Node, Error> {
        let was_ready = is_ready(&node);
        let name = node.name_any();
        node.status.get_or_insert_default().conditions = Some(conditions);
        let api = Api::<Node>::all(self.ctx.client.clone());
        let written = api.replace_status(&name, &PostParams::default(), &node).await;
        let node = written.doing("update status of node", &name)?;
        if was_ready {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.ctx.recorder.event(&node, Type::Normal, "NodeNotReady", message);
        }
        Ok(node)
    }

    /// What one node's change means for the others.
    fn follow(&self, shift: Shift) {
        match shift {
            Shift::Nothing => return,
            Shift::Rates => {}
            Shift::AllDown => tracing::info!("all nodes are not ready: nothing is evicted until one is"),
            Shift::SomeUp => {
                tracing::info!("some nodes are ready again");
                let now = self.ctx.clock.now();
                self.state().health.values_mut().for_each(|health| health.probe = now);
            }
        }
        self.nodes.list().iter().for_each(|node| self.queue.add(node.name_any()));
    }

    async fn taint(&self, node: &Node) -> Result<(), Error> {
        let now = self.ctx.clock.now();
        let evicting = self.evicting(node, now);
        if taints::wanted(node, evicting, now).is_none() {
            return Ok(());
        }
        // Decided again over the server's node: the cached one may be behind its conditions.
        let decide = |fresh: &Node| {
            let evicting = match evicting {
                Evicting::Set(_) => taints::evicting_key(fresh).map_or(Evicting::Clear, Evicting::Set),
                other => other,
            };
            taints::wanted(fresh, evicting, now)
        };
        change_taints(&self.ctx.client, &node.name_any(), decide).await.map(drop)
    }

    fn evicting(&self, node: &Node, now: jiff::Timestamp) -> Evicting {
        let Some(key) = taints::evicting_key(node) else { return Evicting::Clear };
        let mut state = self.state();
        if state.zones.all_down() {
            return Evicting::Clear;
        }
        // A node that has had its turn only changes from the one to the other.
        if taints::has_evicting(node) {
            return Evicting::Set(key);
        }
        match state.zones.take_turn(&zone_key(node), now) {
            Turn::Now => Evicting::Set(key),
            Turn::Never => Evicting::Leave,
            Turn::After(wait) => {
                drop(state);
                self.queue.add_after(node.name_any(), wait);
                Evicting::Leave
            }
        }
    }

    /// Nobody speaks for the pods of a node that is not heard of: they are not ready.
    async fn mark_pods(&self, node: &Node) -> Result<(), Error> {
        if condition(node, "Ready").is_none_or(|c| c.status != "Unknown") {
            return Ok(());
        }
        let mut on_node = self.pods.by_index(BY_NODE, &node.name_any());
        on_node.retain(|p| pods::is_ready(p));
        let marks = on_node.iter().map(|pod| async {
            let ready = pods::condition(pod, "Ready").cloned().unwrap_or_default();
            let not_ready = PodCondition {
                status: "False".into(),
                last_transition_time: Some(time(self.ctx.clock.now())),
                ..ready
            };
            pod_status::patch(&self.ctx.client, pod, None, Some(not_ready)).await?;
            self.ctx.recorder.event(&**pod, Type::Warning, "NodeNotReady", "Node is not ready");
            Ok(())
        });
        error::all(join_all(marks).await.into_iter().filter_map(Result::err).collect())
    }

    /// The old names of two labels, for selectors written long ago.
    async fn label(&self, node: &Node) -> Result<(), Error> {
        let labels = map(&node.metadata.labels);
        let mut missing = serde_json::Map::new();
        for (new, old) in
            [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")]
        {
            if let Some(value) = labels.get(new).filter(|v| labels.get(old) != Some(v)) {
                missing.insert(old.into(), json!(value));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let patch = json!({"metadata": {"labels": missing}});
        let api = Api::<Node>::all(self.ctx.client.clone());
        let patched = api.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
        match patched.doing("label node", node.name_any()) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}
