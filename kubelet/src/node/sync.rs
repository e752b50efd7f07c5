//! Registers the node and keeps its status true. Part of [`super`].

use std::{sync::Arc, time::Duration};

use component::{clock::Clock, random::Random, recorder::Type, shutdown::Shutdown};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::{
    conditions::Health,
    lease,
    object::{self, Identity},
};
use crate::{reporting::Reporter, runtime::SharedRuntime, status::patch::without_the_gone};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(7);
/// How long the first look at the runtime may take before the node is told without it.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(5);

/// How the node is kept.
#[derive(Clone)]
pub struct Settings {
    pub identity: Identity,
    pub register: bool,
    pub update_period: Duration,
    /// How often the status is told though nothing changed.
    pub report_period: Duration,
    pub lease_duration_seconds: i32,
    /// Nothing new is to be scheduled here.
    pub is_cordoned: Arc<dyn Fn() -> bool + Send + Sync>,
}

struct Keeper {
    settings: Settings,
    api: Api<Node>,
    runtime: SharedRuntime,
    reporter: Reporter,
    clock: Clock,
    known: NodeStatus,
    told_at: Option<Timestamp>,
    was_ready: Option<bool>,
    /// The pressures that events have told of: of memory, disk and processes.
    told_pressures: [Option<bool>; 3],
    was_cordoned: bool,
}

/// What events say of a pressure that is there, and of one that is not.
const PRESSURE_REASONS: [(&str, &str); 3] = [
    ("NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    ("NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    ("NodeHasInsufficientPID", "NodeHasSufficientPID"),
];

/// Keeps the node's object until shutdown. Wakes at once when `health` changes.
pub async fn run(
    settings: Settings,
    client: Client,
    runtime: SharedRuntime,
    reporter: Reporter,
    (clock, random): (Clock, Random),
    mut health: watch::Receiver<Health>,
    shutdown: Shutdown,
) {
    let name = settings.identity.name.clone();
    let api: Api<Node> = Api::all(client.clone());
    let mut keeper = Keeper {
        api,
        runtime,
        reporter,
        clock,
        known: NodeStatus::default(),
        told_at: None,
        was_ready: None,
        told_pressures: [None; 3],
        was_cordoned: false,
        settings,
    };
    let Some(node) = shutdown.run_until(keeper.registered(&health)).await else { return };
    let duration = keeper.settings.lease_duration_seconds;
    let lease = lease::keep(client, name, node.metadata.uid, duration, clock, random, shutdown.clone());
    let lease = tokio::spawn(lease);
    // A kubelet that comes back must not call its node unready before it has asked the runtime.
    let first_look = tokio::time::timeout(FIRST_LOOK_MAX, health.changed());
    if shutdown.run_until(first_look).await.is_some_and(|looked| looked.is_err()) {
        tracing::warn!("the runtime has not told yet how it is");
    }
    while let Some(pause) = shutdown.run_until(keeper.turn(&mut health)).await {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = health.changed() => if changed.is_err() { break },
            () = shutdown.cancelled() => break,
        }
    }
    if let Err(error) = lease.await {
        tracing::error!(%error, "the task of the node's lease failed");
    }
}

impl Keeper {
    /// Tries until the node is there. Some of its labels are brought up to date, as upstream does at start.
    async fn registered(&mut self, health: &watch::Receiver<Health>) -> Node {
        let mut pause = RETRY_MIN;
        loop {
            let now_healthy = health.borrow().clone();
            match self.register(&now_healthy).await {
                Ok(node) => {
                    self.known = node.status.clone().unwrap_or_default();
                    let told = self.known.conditions.iter().flatten().find(|it| it.type_ == "Ready");
                    self.was_ready = told.map(|it| it.status == "True");
                    self.reporter.node(Type::Normal, "Starting", "Starting kubelet.");
                    self.tell_reboot();
                    return node;
                }
                Err(error) => {
                    tracing::warn!(%error, node = self.settings.identity.name, "unable to register the node");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn register(&self, health: &Health) -> Result<Node, kube::Error> {
        let identity = &self.settings.identity;
        if let Some(node) = self.api.get_opt(&identity.name).await? {
            return self.relabel(node).await;
        }
        if !self.settings.register {
            return self.api.get(&identity.name).await;
        }
        let images = self.images().await;
        let status = object::status(identity, &NodeStatus::default(), health, images.as_deref(), self.clock.now());
        let node = object::initial(identity, status);
        match self.api.create(&PostParams::default(), &node).await {
            Ok(node) => {
                tracing::info!(node = identity.name, "registered the node");
                Ok(node)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => self.api.get(&identity.name).await,
            Err(error) => Err(error),
        }
    }

    async fn relabel(&self, node: Node) -> Result<Node, kube::Error> {
        let has = node.metadata.labels.clone().unwrap_or_default();
        let changed = object::relabelled(&self.settings.identity, &has);
        let [annotation, value] = object::ATTACHES;
        let attaches = node.metadata.annotations.as_ref().and_then(|it| it.get(annotation)).map(String::as_str);
        if (changed.is_empty() && attaches == Some(value)) || !self.settings.register {
            return Ok(node);
        }
        let patch = json!({"metadata": {"labels": changed, "annotations": {annotation: value}}});
        self.api.patch(&self.settings.identity.name, &PatchParams::default(), &Patch::Strategic(patch)).await
    }

    /// None while the runtime does not tell.
    async fn images(&self) -> Option<Vec<k8s_cri::v1::Image>> {
        let listed = self.runtime.list_images().await;
        listed.inspect_err(|error| tracing::debug!(%error, "the images cannot be listed")).ok()
    }

    /// Looks, and tells what changed. Answers how long to wait.
    async fn turn(&mut self, health: &mut watch::Receiver<Health>) -> Duration {
        let healthy = health.borrow_and_update().clone();
        let now = self.clock.now();
        let images = self.images().await;
        let status = object::status(&self.settings.identity, &self.known, &healthy, images.as_deref(), now);
        self.tell_readiness(&healthy);
        self.tell_pressures(&healthy);
        self.tell_cordon();
        let is_due = self.told_at.is_none_or(|at| {
            Duration::try_from(now.duration_since(at)).unwrap_or_default() >= self.settings.report_period
        });
        let Some(patch) = difference(&self.known, &status, is_due) else { return self.settings.update_period };
        match self
            .api
            .patch_status(&self.settings.identity.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(node) => {
                self.known = node.status.unwrap_or_default();
                self.told_at = Some(now);
                self.settings.update_period
            }
            Err(kube::Error::Api(answer)) if answer.code == 404 => {
                // As upstream's: who deletes a Node wants it gone, and a kubelet that starts anew registers it again.
                tracing::warn!(
                    node = self.settings.identity.name,
                    "the Node was deleted; it comes back with a restart"
                );
                self.known = NodeStatus::default();
                self.settings.update_period
            }
            Err(error) => {
                tracing::warn!(%error, node = self.settings.identity.name, "the node's status cannot be told");
                Duration::from_secs(1)
            }
        }
    }

    fn tell_reboot(&self) {
        let before = self.known.node_info.as_ref().map_or("", |info| info.boot_id.as_str());
        let (name, now) = (&self.settings.identity.name, &self.settings.identity.machine.boot_id);
        if !before.is_empty() && before != now {
            let message = format!("Node {name} has been rebooted, boot id: {now}");
            self.reporter.node(Type::Warning, "Rebooted", message);
        }
    }

    fn tell_pressures(&mut self, health: &Health) {
        let now = [health.memory_pressure, health.disk_pressure, health.pid_pressure];
        for ((told, now), (is, is_not)) in self.told_pressures.iter_mut().zip(now).zip(PRESSURE_REASONS) {
            if told.replace(now) != Some(now) {
                let (name, reason) = (&self.settings.identity.name, if now { is } else { is_not });
                self.reporter.node(Type::Normal, reason, format!("Node {name} status is now: {reason}"));
            }
        }
    }

    fn tell_cordon(&mut self) {
        let now = (self.settings.is_cordoned)();
        if std::mem::replace(&mut self.was_cordoned, now) != now {
            let name = &self.settings.identity.name;
            let reason = if now { "NodeNotSchedulable" } else { "NodeSchedulable" };
            self.reporter.node(Type::Normal, reason, format!("Node {name} status is now: {reason}"));
        }
    }

    fn tell_readiness(&mut self, health: &Health) {
        let ready = health.runtime_problem.is_none() && health.network_problem.is_none();
        if self.was_ready == Some(ready) {
            return;
        }
        self.was_ready = Some(ready);
        let name = &self.settings.identity.name;
        let reason = if ready { "NodeReady" } else { "NodeNotReady" };
        self.reporter.node(Type::Normal, reason, format!("Node {name} status is now: {reason}"));
    }
}

/// The fields that changed; heartbeat times alone are no change until a report is due.
fn difference(known: &NodeStatus, wanted: &NodeStatus, is_due: bool) -> Option<Value> {
    let object = |status: &NodeStatus| match serde_json::to_value(status) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => Map::new(),
    };
    let calm = |mut conditions: Value| {
        for condition in conditions.as_array_mut().into_iter().flatten() {
            condition["lastHeartbeatTime"] = Value::Null;
        }
        conditions
    };
    let (known, wanted) = (object(known), object(wanted));
    let mut status = Map::new();
    for (key, value) in wanted {
        let before = known.get(&key).cloned().unwrap_or(Value::Null);
        let is_nothing = before.is_null() && value.as_array().is_some_and(Vec::is_empty);
        let same = match key.as_str() {
            "conditions" => calm(before) == calm(value.clone()) && !is_due,
            _ => before == value || is_nothing,
        };
        if !same {
            let is_amounts = matches!(key.as_str(), "capacity" | "allocatable");
            let value = if is_amounts { without_the_gone(known.get(&key), &value) } else { value };
            status.insert(key, value);
        }
    }
    (!status.is_empty()).then(|| json!({"status": status}))
}

#[test]
fn an_empty_list_is_not_told_again_and_again() {
    let of = |images: Option<Vec<k8s_openapi::api::core::v1::ContainerImage>>| NodeStatus {
        images,
        ..NodeStatus::default()
    };
    assert_eq!(difference(&of(None), &of(Some(Vec::new())), false), None);
    assert!(difference(&of(Some(vec![Default::default()])), &of(Some(Vec::new())), false).is_some());
}

#[test]
fn amounts_that_are_gone_are_named() {
    let of = |capacity: Value| serde_json::from_value::<NodeStatus>(json!({"capacity": capacity})).expect("a status");
    let told = difference(&of(json!({"cpu": "1", "hugepages-3Mi": "9Mi"})), &of(json!({"cpu": "1"})), false);
    assert_eq!(told, Some(json!({"status": {"capacity": {"cpu": "1", "hugepages-3Mi": null}}})));
}
