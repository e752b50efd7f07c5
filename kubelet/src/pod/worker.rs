//! The task of one pod: look at the runtime, decide, do, report; wait for news; again.
//!
//! Enter at [`start`]. Steps run in tasks of their own ([`super::steps`]) and are waited for here, so the worker always
//! hears of a deletion. It ends when the pod is gone from its source and nothing of it is left on the node; a kubelet
//! that stops just drops its workers, and the next one finds the containers by their labels.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use component::shutdown::Shutdown;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::task::{JoinError, JoinSet};

use super::{
    allocation::{Allocation, Pending},
    backoff::{self, Backoff},
    fate::{Stop, Why},
    inbox::{Inbox, Stage},
    look::Look,
    memory::{ImageState, Memory, Resize},
    node::Node,
    plan::{self, Plan, Situation},
    spec, steps, termination,
    worker_admit::Admission,
    worker_resize::Resized,
};
use crate::{
    probes,
    runtime::{Observed, observe::Item},
    status,
};

/// The first pause before looking again for an end that does not show yet; it doubles.
const EXIT_LOOK_PAUSE: Duration = Duration::from_millis(10);
const EXIT_LOOKS_MAX: u32 = 12;

/// How far the end of a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    No,
    /// Volumes and cgroup are being given back.
    Cleaning,
    Clean,
    /// The API is being told that nothing holds the object any more.
    Releasing,
    /// The runtime's remains are being removed.
    Removing,
    Removed,
}

/// What a finished step answers.
pub(super) enum Done {
    /// With the names of those that were asked for.
    Volumes(BTreeSet<String>, Result<Option<Timestamp>, Vec<crate::volumes::Error>>),
    /// The pod is to stop before the API has told what they hold.
    VolumesLeft,
    Image(String, ImageState),
    /// None when the pod was to stop before its turn came.
    Sandbox(Result<Option<String>, String>),
    /// The container's name, when the run before it crashed, and what the runtime made.
    Container(String, Option<Timestamp>, Result<Item, steps::StartError>),
    Stopped(String, Result<(), String>),
    SandboxStopped(String, Result<(), String>),
    Removed(String, Result<(), String>),
    /// The API's answer to a status, and the version that was known when it was sent.
    Reported(Result<Box<Pod>, kube::Error>, u64),
    Cleaned(Result<(), String>),
    Released(Result<(), kube::Error>),
    Gone(Result<(), String>),
    PreStopped(String),
    Resized(Resized),
}

pub(super) struct Worker {
    pub(super) node: Arc<Node>,
    pub(super) inbox: Inbox,
    /// The pod as it is to run: with the resources that it was given.
    pub(super) pod: Arc<Pod>,
    /// The object as its source has it.
    pub(super) desired: Arc<Pod>,
    /// Tells that other pods have given up resources.
    pub(super) room: tokio::sync::watch::Receiver<u64>,
    /// The API's image of a static pod.
    pub(super) mirror: Option<Arc<Pod>>,
    /// The status that the API is known to have.
    pub(super) known: PodStatus,
    pub(super) known_version: u64,
    pub(super) observed: Arc<Observed>,
    pub(super) memory: Memory,
    pub(super) stop: Option<Stop>,
    /// Ends postStart hooks when the pod is to stop.
    pub(super) stopping: Shutdown,
    pub(super) gone: bool,
    /// The same pod is to run again after its end.
    pub(super) returns: bool,
    pub(super) admission: Admission,
    pub(super) ending: Ending,
    pub(super) look: Look,
    /// Containers and sandboxes that have ended but may not show it yet, with how often they were looked at for it.
    pub(super) exited: HashMap<String, u32>,
    pub(super) look_again_at: Option<Timestamp>,
    pub(super) refresh: bool,
    pub(super) refreshing: bool,
    pub(super) renew_at: Option<Timestamp>,
    pub(super) reporting: bool,
    pub(super) report_not_before: Option<Timestamp>,
    /// Since when the status waits for a container's start.
    pub(super) held_since: Option<Timestamp>,
    pub(super) retry_end_at: Option<Timestamp>,
    pub(super) told_killing: HashSet<String>,
    pub(super) told_network: bool,
    /// By container: the end of the run whose back-off was told.
    pub(super) told_back_off: HashMap<String, Timestamp>,
    pub(super) steps: JoinSet<Done>,
    pub(super) probes: probes::PodProbes,
}

/// Runs the pod to its end, and answers its last status. `gone` for what the runtime still holds of a pod that no source has.
pub async fn run(node: Arc<Node>, inbox: Inbox, pod: Arc<Pod>, gone: bool, shutdown: Shutdown) -> Option<PodStatus> {
    let uid = spec::uid(&pod).to_owned();
    let probes = node.prober.of_pod(inbox.clone());
    let memory = Memory {
        allocation: Allocation::recovered(&pod),
        resize: Resize { pending: pod.status.as_ref().and_then(Pending::recovered), ..Resize::default() },
        backoff: Backoff::new(backoff::INITIAL, node.facts.restart_delay_max),
        ..Memory::default()
    };
    let mut worker = Worker {
        known: pod.status.clone().unwrap_or_default(),
        known_version: version(&pod),
        node: node.clone(),
        inbox,
        desired: pod.clone(),
        pod,
        room: node.running.room(),
        mirror: None,
        observed: Arc::default(),
        memory,
        stop: None,
        stopping: Shutdown::new(),
        gone,
        returns: false,
        admission: Admission::Unasked,
        ending: Ending::No,
        look: if node.index.may_hold(&uid) || gone { Look::Everything } else { Look::Nothing },
        exited: HashMap::new(),
        look_again_at: None,
        refresh: false,
        refreshing: false,
        renew_at: None,
        reporting: false,
        report_not_before: None,
        held_since: None,
        retry_end_at: None,
        told_killing: HashSet::new(),
        told_network: false,
        told_back_off: HashMap::new(),
        steps: JoinSet::new(),
        probes,
    };
    node.sources.claim(&worker.pod);
    worker.settle_resources();
    let ended = shutdown.run_until(worker.turn_until_removed()).await.is_some();
    let last = node.running.get(&uid).and_then(|pod| pod.status.clone());
    if ended {
        node.wishes.forget(&uid);
        node.running.remove(&uid);
        node.index.forget_pod(&uid);
        node.puller.forget(&uid);
    }
    node.sources.release(&uid);
    if !ended {
        // The kubelet ends. A step cut off in the runtime is finished or undone by it, and found at the next start.
        worker.steps.detach_all();
    }
    last
}

impl Worker {
    async fn turn_until_removed(&mut self) {
        let news = self.inbox.take();
        self.apply(news);
        while self.ending != Ending::Removed {
            let wake_at = self.turn().await;
            self.wait(wake_at).await;
            let news = self.inbox.take();
            self.apply(news);
        }
    }

    /// One look, one decision, its steps begun, the status told.
    async fn turn(&mut self) -> Option<Timestamp> {
        if self.look_again_at.is_some_and(|at| at <= self.now()) {
            self.exited.keys().for_each(|id| self.look.add_id(id, &self.observed));
        }
        if self.look.is_wanted() && self.ending < Ending::Removing && !self.observe().await {
            return Some(super::backoff::after(self.now(), Duration::from_secs(1)));
        }
        if !self.admit().await {
            return None;
        }
        let due = self.due_resizes();
        let mut plan = self.decide();
        if plan.completed && self.stop.is_none() {
            let grace_period_seconds = spec::termination_grace_period_seconds(&self.pod);
            self.order_stop(Stop { why: Why::Completed, since: self.now(), grace_period_seconds });
            plan = self.decide();
        }
        self.inbox.set_stage(match &self.stop {
            None => Stage::Sync,
            Some(_) if plan.stopped => Stage::Terminated,
            Some(_) => Stage::Terminating,
        });
        self.tell_back_off(&plan);
        for action in std::mem::take(&mut plan.actions) {
            self.begin(action);
        }
        let resize = self.begin_resize(due);
        self.renew();
        self.probes.tend(&self.node, &self.pod, &self.known, &self.observed, self.stop.is_some());
        let wait = self.report(&plan);
        let end = if plan.stopped { self.end(&plan) } else { None };
        [plan.wake_at, self.renew_at, self.look_again_at, wait, end, resize].into_iter().flatten().min()
    }

    fn decide(&mut self) -> Plan {
        let network = self.node.network.borrow().clone();
        self.memory.network_ready = network.ready;
        if !network.ready && !spec::is_host_network(&self.pod) && self.stop.is_none() && !self.told_network {
            self.told_network = true;
            let message = format!("network is not ready: container runtime network not ready: {}", network.message);
            self.node.reporter.pod(&self.pod, component::recorder::Type::Warning, "NetworkNotReady", message);
        }
        let situation = Situation {
            pod: &self.pod,
            observed: &self.observed,
            memory: &self.memory,
            stop: self.stop.as_ref(),
            now: self.now(),
        };
        plan::decide(&situation)
    }

    /// False when the runtime does not answer.
    async fn observe(&mut self) -> bool {
        let uid = spec::uid(&self.pod);
        let look = std::mem::take(&mut self.look);
        match look.take(self.node.runtime.as_ref(), uid, &self.observed).await {
            Ok((mut observed, is_fresh)) => {
                termination::enrich(&mut observed, is_fresh).await;
                let ids = observed.sandboxes.iter().map(|it| it.id.clone());
                self.node.index.note(ids.chain(observed.containers.iter().map(|it| it.id.clone())), uid);
                self.memory.probed.retain(|id, _| observed.containers.iter().any(|record| record.id == *id));
                self.observed = Arc::new(observed);
                self.expect_exits();
                true
            }
            Err(error) => {
                self.look = Look::Everything;
                tracing::warn!(pod = %spec::identity(&self.pod), %error, "the runtime cannot be read");
                false
            }
        }
    }

    /// What is known to have ended but still shows as alive is looked at again soon, for a few seconds.
    fn expect_exits(&mut self) {
        let observed = self.observed.clone();
        let shows_alive = |id: &String| {
            observed.containers.iter().any(|it| it.id == *id && it.is_alive())
                || observed.sandboxes.iter().any(|it| it.id == *id && it.ready)
        };
        self.exited.retain(|id, tries| {
            *tries += 1;
            *tries <= EXIT_LOOKS_MAX && shows_alive(id)
        });
        let tries = self.exited.values().min();
        let pause = tries.map(|tries| EXIT_LOOK_PAUSE * (1 << tries.saturating_sub(1).min(6)));
        self.look_again_at = pause.map(|pause| super::backoff::after(self.now(), pause));
    }

    async fn wait(&mut self, wake_at: Option<Timestamp>) {
        if self.ending == Ending::Removed {
            return;
        }
        let clock = self.node.clock;
        let inbox = self.inbox.clone();
        let alarm = async {
            match wake_at {
                Some(at) => tokio::time::sleep(clock.until(at)).await,
                None => std::future::pending().await,
            }
        };
        let done = tokio::select! {
            done = self.steps.join_next(), if !self.steps.is_empty() => done,
            () = inbox.told() => None,
            _ = self.room.changed(), if self.waits_for_room() => {
                self.settle_resources();
                None
            }
            () = alarm => None,
        };
        // What else has finished meanwhile is taken along: one look serves all.
        let mut next = done;
        while let Some(done) = next {
            self.ended(done);
            next = self.steps.try_join_next();
        }
    }

    /// A step that panics takes its worker along: the next one finds its traces, as after a kubelet's end.
    fn ended(&mut self, step: Result<Done, JoinError>) {
        match step.map_err(JoinError::try_into_panic) {
            Ok(done) => self.finish(done),
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(error)) => tracing::error!(pod = %spec::identity(&self.pod), %error, "a step was cut off"),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.node.clock.now()
    }

    /// What this kubelet said last of a static pod, which need not be what the API has of it.
    fn last_told(&self) -> Option<PodStatus> {
        let shown = || self.node.running.get(spec::uid(&self.pod)).unwrap_or_else(|| self.pod.clone());
        spec::is_static(&self.pod).then(|| shown().status.clone().unwrap_or_default())
    }

    /// The status as it is now.
    pub(super) fn compute_status(&self, plan: &Plan) -> PodStatus {
        let own = self.last_told();
        status::compute(&status::Inputs {
            pod: &self.pod,
            known: &self.known,
            before: own.as_ref().unwrap_or(&self.known),
            observed: &self.observed,
            waiting: &plan.waiting,
            memory: &self.memory,
            stop: self.stop.as_ref(),
            is_final: plan.stopped,
            host_ips: &self.node.facts.host_ips,
            runtime_name: &self.node.runtime_name,
            has_recursive_read_only: self.node.facts.abilities.recursive_read_only,
            now: self.now(),
        })
    }
}

/// The resource version as a number; zero where there is none (static pods).
pub(super) fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}
