//! Startup, readiness and liveness probes: a task per running container and probe.
//!
//! Enter at [`PodProbes::tend`], which a pod's worker calls on every turn; results come back through its inbox.
//! [`handlers`] does one check, [`tally`] counts results to a verdict, [`figures`] has their numbers for
//! `/metrics/probes`. Nothing here decides what a verdict leads to.

pub mod figures;
#[cfg(test)]
mod figures_tests;
pub mod grpc;
pub mod handlers;
mod path;
pub mod tally;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use component::{clock::Clock, random::Random, recorder::Type};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, Probe};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, MissedTickBehavior},
};

use self::{
    figures::{Figures, Series},
    handlers::{Outcome, Target},
    tally::Tally,
};
use crate::{
    pod::{
        inbox::Inbox,
        memory::Probed,
        node::Node,
        plan_reset,
        spec::{self, Role},
    },
    runtime::{ContainerRecord, ContainerState, Observed},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    /// As events and metrics name it.
    fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
        }
    }

    fn note(self, probed: &mut Probed, verdict: bool) {
        match self {
            Self::Startup => probed.startup = Some(verdict),
            Self::Readiness => probed.readiness = Some(verdict),
            Self::Liveness => probed.liveness = Some(verdict),
        }
    }
}

/// What the probes of a node share.
#[derive(Clone)]
pub struct Prober {
    clock: Clock,
    random: Random,
    /// When this kubelet started: probes of containers older than that begin spread out, not all at once.
    started_at: Timestamp,
    pub figures: Figures,
}

impl Prober {
    pub fn new(clock: Clock, random: Random) -> Self {
        let started_at = clock.now();
        Self { clock, random, started_at, figures: Figures::default() }
    }

    pub fn of_pod(&self, inbox: Inbox) -> PodProbes {
        PodProbes { prober: self.clone(), inbox, tasks: HashMap::new(), series: HashMap::new(), probed: HashMap::new() }
    }
}

/// The running probes of one pod. Dropping it ends them.
pub struct PodProbes {
    prober: Prober,
    inbox: Inbox,
    /// By container ID.
    tasks: HashMap<(String, Kind), AbortHandle>,
    /// By container name: they go on through its restarts.
    series: HashMap<(String, Kind), Arc<Series>>,
    /// By container ID; shared with the probes, which each write their own field, and wait for what the startup probe says.
    probed: HashMap<String, Arc<watch::Sender<Probed>>>,
}

impl Drop for PodProbes {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

impl PodProbes {
    /// Starts the probes of containers that run, and ends those of containers that do not. While a pod stops only
    /// readiness goes on: endpoints follow it to the end. What has started by the status that the API knows is not asked
    /// again whether it has, by a kubelet that comes back.
    pub fn tend(&mut self, node: &Arc<Node>, pod: &Arc<Pod>, known: &PodStatus, observed: &Observed, stopping: bool) {
        let mut wanted = HashSet::new();
        for record in observed.containers.iter().filter(|record| record.state == ContainerState::Running) {
            let Some((role, container)) = spec::find_container(pod, &record.name) else { continue };
            if !matches!(role, Role::Regular | Role::Sidecar) {
                continue;
            }
            for kind in [Kind::Startup, Kind::Readiness, Kind::Liveness] {
                let Some(probe) = kind.of(&container) else { continue };
                let key = (record.id.clone(), kind);
                if stopping && kind != Kind::Readiness {
                    continue;
                }
                wanted.insert(key.clone());
                if kind == Kind::Startup && !self.tasks.contains_key(&key) && has_started(known, record) {
                    self.note_started(&record.id);
                } else if !self.tasks.contains_key(&key) {
                    let task = self.start(node, pod, &container, probe.clone(), kind, record, observed);
                    self.tasks.insert(key, task);
                }
            }
        }
        self.tasks.retain(|key, task| {
            let keep = wanted.contains(key);
            if !keep {
                task.abort();
            }
            keep
        });
        self.probed.retain(|id, _| wanted.iter().any(|(wanted, _)| wanted == id));
        self.series.retain(|(name, kind), _| may_be_asked(pod, name, *kind, observed, stopping));
    }

    /// What the probe would have told: others wait for it, and so may the containers after a sidecar.
    fn note_started(&mut self, id: &str) {
        let inbox = &self.inbox;
        self.probed.entry(id.to_owned()).or_default().send_if_modified(|probed| {
            let is_news = probed.startup.replace(true) != Some(true);
            if is_news {
                inbox.tell(|news| {
                    news.probed.insert(id.to_owned(), *probed);
                });
            }
            is_news
        });
    }

    #[allow(clippy::too_many_arguments)]
    fn start(
        &mut self,
        node: &Arc<Node>,
        pod: &Arc<Pod>,
        container: &Container,
        probe: Probe,
        kind: Kind,
        record: &ContainerRecord,
        observed: &Observed,
    ) -> AbortHandle {
        let probed = self.probed.entry(record.id.clone()).or_default().clone();
        let made = || self.prober.figures.series(&spec::identity(pod), &container.name, kind);
        let series = self.series.entry((container.name.clone(), kind)).or_insert_with(made).clone();
        let ips = if spec::is_host_network(pod) { &node.facts.host_ips[..] } else { observed.ips() };
        let task = ProbeTask {
            node: node.clone(),
            pod: pod.clone(),
            container: container.clone(),
            probe,
            kind,
            id: record.id.clone(),
            pod_ip: ips.first().cloned().unwrap_or_default(),
            started_at: Timestamp::from_nanosecond(record.started_at_ns.into()).unwrap_or(self.prober.started_at),
            prober: self.prober.clone(),
            inbox: self.inbox.clone(),
            probed,
            series,
        };
        tokio::spawn(task.run()).abort_handle()
    }
}

fn has_started(known: &PodStatus, record: &ContainerRecord) -> bool {
    let lists = known.init_container_statuses.iter().chain(&known.container_statuses);
    let is_same = |id: &str| id.split_once("://").is_some_and(|(_, id)| id == record.id);
    lists.flatten().any(|it| it.started == Some(true) && it.container_id.as_deref().is_some_and(is_same))
}

/// Is this probe asked now, or will it be when its container runs again?
fn may_be_asked(pod: &Pod, name: &str, kind: Kind, observed: &Observed, stopping: bool) -> bool {
    let Some((role, container)) = spec::find_container(pod, name) else { return false };
    let starts_again =
        |exit_code| spec::restarts_after(&container, role, pod, exit_code) || plan_reset::is_under_way(pod, observed);
    let is_over = observed
        .current(name)
        .is_some_and(|record| record.state == ContainerState::Exited && (stopping || !starts_again(record.exit_code)));
    !is_over && (!stopping || kind == Kind::Readiness)
}

struct ProbeTask {
    node: Arc<Node>,
    pod: Arc<Pod>,
    container: Container,
    probe: Probe,
    kind: Kind,
    id: String,
    pod_ip: String,
    started_at: Timestamp,
    prober: Prober,
    inbox: Inbox,
    probed: Arc<watch::Sender<Probed>>,
    series: Arc<Series>,
}

impl ProbeTask {
    async fn run(self) {
        let period = seconds(self.probe.period_seconds, 10);
        if self.started_at < self.prober.started_at {
            tokio::time::sleep(period.mul_f64(self.prober.random.f64())).await;
        }
        let initial = seconds(self.probe.initial_delay_seconds, 0);
        let begin = crate::pod::backoff::after(self.started_at, initial);
        tokio::time::sleep(self.prober.clock.until(begin)).await;
        if self.kind != Kind::Startup && self.container.startup_probe.is_some() {
            // No longer than it must: a pod is to be ready as soon as it has started, however long the period is.
            let mut probed = self.probed.subscribe();
            if probed.wait_for(|probed| probed.startup == Some(true)).await.is_err() {
                return;
            }
        }
        let mut tally = Tally::new(self.kind, &self.probe);
        let mut ticks = tokio::time::interval(period);
        // Periods count from begin to begin: a check that outlasts its own is followed by the next one at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let begun = Instant::now();
            let outcome = self.check().await;
            self.tell(&outcome);
            self.series.count(&outcome, begun.elapsed().as_secs_f64());
            // A check that could not be made says nothing of the container.
            let is_result = !matches!(outcome, Outcome::Errored(_));
            if let Some(verdict) = is_result.then(|| tally.count(outcome.is_success())).flatten() {
                self.publish(verdict);
                if self.kind != Kind::Readiness && (!verdict || self.kind == Kind::Startup) {
                    // Started for good, or to be killed: nothing more to learn of this container.
                    return;
                }
            }
        }
    }

    async fn check(&self) -> Outcome {
        let target = Target { container: &self.container, container_id: &self.id, pod_ip: &self.pod_ip };
        let timeout = seconds(self.probe.timeout_seconds, 1);
        let mut outcome = handlers::check(self.node.runtime.as_ref(), &self.probe, &target, timeout).await;
        // Upstream asks up to three times before it believes that a probe could not be made at all.
        for _ in 0..2 {
            if !matches!(outcome, Outcome::Errored(_)) {
                break;
            }
            outcome = handlers::check(self.node.runtime.as_ref(), &self.probe, &target, timeout).await;
        }
        outcome
    }

    fn tell(&self, outcome: &Outcome) {
        let (reason, text) = match outcome {
            Outcome::Success => return,
            Outcome::Warning(message) => ("ProbeWarning", format!("{} probe warning: {message}", self.kind.title())),
            Outcome::Failure(message) => ("Unhealthy", format!("{} probe failed: {message}", self.kind.title())),
            Outcome::Errored(message) => {
                ("Unhealthy", format!("{} probe errored and resulted in unknown state: {message}", self.kind.title()))
            }
        };
        self.node.reporter.container(&self.pod, &self.container.name, Type::Warning, reason, text);
    }

    /// Told while the other probes of the container wait: none tells an older state after a newer one.
    fn publish(&self, verdict: bool) {
        self.probed.send_if_modified(|probed| {
            let before = *probed;
            self.kind.note(probed, verdict);
            if *probed != before {
                self.inbox.tell(|news| {
                    news.probed.insert(self.id.clone(), *probed);
                });
            }
            *probed != before
        });
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default))
}
