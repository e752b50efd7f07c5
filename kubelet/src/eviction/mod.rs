//! Pods are ended before the node runs out of memory, disk or processes; and pods that take more local storage than they
//! may (`pkg/kubelet/eviction`).
//!
//! Enter at [`run`]. [`signal`] reads the thresholds, [`state`] decides when pods must go, [`rank`] which and in what
//! words: all three are pure. [`observe`] looks at the machine. Workers end the pods; nothing here touches a container.

mod observe;
pub mod rank;
pub mod signal;
pub mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use component::{recorder::Type, shutdown::Shutdown};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use self::{
    observe::Observer,
    signal::{Pressure, Signal, Threshold},
    state::{Starving, State},
};
pub(crate) use observe::{image_folder, processes};

use crate::{
    dispatch::Dispatcher,
    images::collect::Collector,
    metrics,
    node::conditions::Health,
    pod::{backoff::after, inbox::Eviction, node::Node, spec},
    usage::{self, Usage},
};

/// How often the signals are looked at, as upstream does.
const PERIOD: Duration = Duration::from_secs(10);
/// The least time that an evicted pod is given before another must go.
const END_WAIT_MIN: Duration = Duration::from_secs(10);

/// What pods are given that must go at once, as upstream has it: preStop hooks still run.
const IMMEDIATE_GRACE_PERIOD_SECONDS: i64 = 1;

/// How evictions go.
#[derive(Debug, Clone)]
pub struct Settings {
    pub thresholds: Vec<Threshold>,
    pub transition: Duration,
    /// The most grace that a soft eviction gives.
    pub grace_period_seconds_max: i64,
    /// Limits of local storage are enforced.
    pub storage_limits: bool,
    /// Where /proc is read: `/` but in tests.
    pub root: PathBuf,
}

struct Manager {
    settings: Settings,
    node: Arc<Node>,
    dispatch: Dispatcher,
    images: Arc<Collector>,
    state: State,
    observer: Observer,
    health: watch::Sender<Health>,
    /// Pods that are ending for the node's sake, by UID, and how long what they free is waited for.
    ending: HashMap<String, Timestamp>,
}

/// Looks, tells the pressures to `health`, and evicts, until shutdown.
pub async fn run(
    settings: Settings,
    node: Arc<Node>,
    dispatch: Dispatcher,
    images: Arc<Collector>,
    health: watch::Sender<Health>,
    shutdown: Shutdown,
) {
    let observer = Observer::new(settings.root.clone(), node.facts.paths.root.clone(), node.cgroups.clone());
    let state = State::new(settings.thresholds.clone(), settings.transition);
    let mut manager = Manager { settings, node, dispatch, images, state, observer, health, ending: HashMap::new() };
    loop {
        manager.turn().await;
        if shutdown.run_until(tokio::time::sleep(PERIOD)).await.is_none() {
            return;
        }
    }
}

impl Manager {
    async fn turn(&mut self) {
        let observations = self.observer.look(self.node.runtime.as_ref()).await;
        let verdict = self.state.look(&observations, self.node.clock.now());
        tell(&self.health, &verdict.pressures);
        self.forget_ended();
        if self.settings.storage_limits && self.end_greedy().await {
            return;
        }
        let waits = self.ending.values().any(|until| *until > self.node.clock.now());
        if let Some(starving) = verdict.starving.filter(|_| !waits) {
            self.relieve(&starving).await;
        }
    }

    fn forget_ended(&mut self) {
        let running = &self.node.running;
        self.ending.retain(|uid, _| running.get(uid).is_some_and(|pod| !spec::is_over(&pod)));
    }

    /// Pods that run here and are not about to end.
    fn active(&self) -> Vec<Arc<Pod>> {
        let is_active = |pod: &Arc<Pod>| {
            let ends = pod.metadata.deletion_timestamp.is_some() || self.ending.contains_key(spec::uid(pod));
            !ends && !spec::is_over(pod)
        };
        self.node.running.list().into_iter().filter(is_active).collect()
    }

    /// Usage by pod UID; disk is measured for those that `wants_disk` names.
    async fn usage(
        &self,
        pods: &[Arc<Pod>],
        wants_disk: impl Fn(&Pod) -> bool,
    ) -> std::collections::HashMap<String, Usage> {
        let stats = self.node.runtime.list_container_stats().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the use of containers cannot be read");
            Vec::new()
        });
        let mut by_uid = usage::of_containers(&stats);
        let measured: Vec<Arc<Pod>> = pods.iter().filter(|pod| wants_disk(pod)).cloned().collect();
        let paths = self.node.facts.paths.clone();
        for pod in &measured {
            by_uid.entry(spec::uid(pod).to_owned()).or_default();
        }
        let work = move || {
            for pod in measured {
                if let Some(usage) = by_uid.get_mut(spec::uid(&pod)) {
                    usage::measure_disk(usage, &pod, &paths);
                }
            }
            by_uid
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_default()
    }

    /// True when a pod was ended for taking more local storage than it may.
    async fn end_greedy(&mut self) -> bool {
        let pods: Vec<Arc<Pod>> = self.active().into_iter().filter(|pod| rank::has_storage_limits(pod)).collect();
        if pods.is_empty() {
            return false;
        }
        let usage = self.usage(&pods, |_| true).await;
        let mut any = false;
        for pod in pods.iter().filter(|pod| !spec::is_critical(pod)) {
            let own = usage.get(spec::uid(pod));
            if let Some(excess) = own.and_then(|own| rank::over_limits(pod, own, self.observer.has_own_image_disk())) {
                self.evict(pod, excess.signal, excess.message, IMMEDIATE_GRACE_PERIOD_SECONDS);
                any = true;
            }
        }
        any
    }

    /// Frees what is short: unused images first where disk is, then one pod.
    async fn relieve(&mut self, starving: &Starving) {
        let signal = starving.threshold.signal;
        let message = format!("Attempting to reclaim {}", signal.resource());
        self.node.reporter.node(Type::Warning, "EvictionThresholdMet", message);
        let frees_by_images = match signal {
            Signal::ImagefsAvailable | Signal::ImagefsInodesFree => true,
            Signal::NodefsAvailable | Signal::NodefsInodesFree => !self.observer.has_own_image_disk(),
            Signal::MemoryAvailable | Signal::AllocatableMemoryAvailable | Signal::PidAvailable => false,
        };
        if frees_by_images {
            self.images.delete_unused().await;
            let again = self.observer.look(self.node.runtime.as_ref()).await;
            if self.state.look(&again, self.node.clock.now()).starving.is_none() {
                return;
            }
        }
        let pods = self.active();
        let wants_disk = signal.pressure() == Pressure::Disk;
        let mut usage = self.usage(&pods, |_| wants_disk).await;
        if signal == Signal::PidAvailable
            && let Some(cgroups) = &self.node.cgroups
        {
            for pod in &pods {
                usage.entry(spec::uid(pod).to_owned()).or_default().processes = cgroups.processes(pod);
            }
        }
        let list = pods.iter().map(|pod| (&**pod, usage.get(spec::uid(pod))));
        match rank::first(list, signal) {
            Some((pod, own)) => {
                let grace = grace_period_seconds(&starving.threshold, pod, self.settings.grace_period_seconds_max);
                self.evict(pod, signal.name(), rank::message(pod, own, starving), grace);
            }
            None => tracing::error!(?signal, "the node is short of a resource, and there is no pod to evict"),
        }
    }

    fn evict(&mut self, pod: &Pod, signal: &str, message: String, grace_period_seconds: i64) {
        let grace = Duration::from_secs(u64::try_from(grace_period_seconds).unwrap_or(0));
        let until = after(self.node.clock.now(), (grace + grace / 2).max(END_WAIT_MIN));
        self.ending.insert(spec::uid(pod).to_owned(), until);
        metrics::evicted(signal);
        tracing::warn!(pod = %spec::identity(pod), message, "evicting a pod");
        self.node.reporter.pod(pod, Type::Warning, rank::REASON, message.clone());
        let eviction = Eviction { reason: rank::REASON.to_owned(), message, grace_period_seconds };
        self.dispatch.tell(spec::uid(pod), |news| news.evict = Some(eviction));
    }
}

/// What a threshold leaves a pod for its end.
fn grace_period_seconds(threshold: &Threshold, pod: &Pod, max: i64) -> i64 {
    match threshold.grace {
        None => IMMEDIATE_GRACE_PERIOD_SECONDS,
        Some(_) => max.min(spec::termination_grace_period_seconds(pod)),
    }
}

fn tell(health: &watch::Sender<Health>, pressures: &BTreeSet<Pressure>) {
    health.send_if_modified(|known| {
        let now = Health {
            memory_pressure: pressures.contains(&Pressure::Memory),
            disk_pressure: pressures.contains(&Pressure::Disk),
            pid_pressure: pressures.contains(&Pressure::Pid),
            ..known.clone()
        };
        let changed = *known != now;
        *known = now;
        changed
    });
}

/// The pressures that the node's health tells.
pub fn pressures(health: &Health) -> BTreeSet<Pressure> {
    let rows = [
        (health.memory_pressure, Pressure::Memory),
        (health.disk_pressure, Pressure::Disk),
        (health.pid_pressure, Pressure::Pid),
    ];
    rows.into_iter().filter(|(is, _)| *is).map(|(_, pressure)| pressure).collect()
}
