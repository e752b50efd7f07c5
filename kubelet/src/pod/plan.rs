//! The kubelet's decision: `(pod spec, runtime state, memory, time) → CRI actions`.
//!
//! Enter at [`decide`]. It starts at most one thing at a time, in upstream's order (sandbox, init containers and sidecars
//! one by one, then the containers), and stops any number. It is total and repeatable: what is already under way is in
//! [`Memory`], so deciding twice does nothing twice. Pure: no clock, no runtime, no API.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{
    fate::Stop,
    memory::{ImageState, Memory, Volumes},
    plan_stop,
    spec::{self, Role},
};
use crate::{
    images::Image,
    runtime::{ContainerRecord, ContainerState, Observed, labels},
};

/// One step for the worker to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    SetUpVolumes,
    PullImage {
        name: String,
    },
    CreateSandbox {
        attempt: u32,
    },
    StartContainer(Start),
    /// A container whose turn to stop comes later: its preStop hook runs at once.
    RunPreStop {
        id: String,
        name: String,
        grace_period_seconds: i64,
    },
    StopContainer {
        id: String,
        name: String,
        message: String,
        grace_period_seconds: i64,
        deadline: Timestamp,
    },
    StopSandbox {
        id: String,
    },
    RemoveContainer {
        id: String,
        log_path: String,
    },
    RemoveSandbox {
        id: String,
    },
    /// Removes a container of a pod that begins anew; `crashed_at` where its end is the reason, which counts for the
    /// back-off.
    ForgetRun {
        id: String,
        name: String,
        crashed_at: Option<Timestamp>,
    },
}

/// A container to create and start. `crashed_at` is the end of the run before, which counts for the back-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub name: String,
    pub sandbox_id: String,
    pub attempt: u32,
    pub image: Image,
    pub crashed_at: Option<Timestamp>,
}

/// Why a container is not there yet, as its status says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// What to do now, and when to look again if nothing wakes the worker before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Waiting reasons by container name; where there is none, the status has its default.
    pub waiting: BTreeMap<String, Waiting>,
    pub wake_at: Option<Timestamp>,
    /// Containers that wait before they run again, with the ends of the runs that they wait after.
    pub held_back: BTreeMap<String, Timestamp>,
    /// Every container of the pod has ended for good: the pod is to be stopped.
    pub completed: bool,
    /// A stop is through: nothing of the pod is alive, its network is given back.
    pub stopped: bool,
}

/// All that a decision may rest on.
pub struct Situation<'a> {
    pub pod: &'a Pod,
    pub observed: &'a Observed,
    pub memory: &'a Memory,
    pub stop: Option<&'a Stop>,
    pub now: Timestamp,
}

/// Decides the next steps of one pod.
pub fn decide(situation: &Situation<'_>) -> Plan {
    let mut planner = Planner { s: situation, plan: Plan::default() };
    match situation.stop {
        Some(stop) => plan_stop::stop(&mut planner, stop),
        None => {
            planner.run();
            planner.stop_first();
        }
    }
    planner.plan
}

pub(super) struct Planner<'a> {
    pub(super) s: &'a Situation<'a>,
    pub(super) plan: Plan,
}

impl Planner<'_> {
    fn run(&mut self) {
        plan_stop::collect_garbage(self);
        if let Some(deadline) = super::fate::active_deadline(self.s.pod) {
            self.wake_at(deadline);
        }
        if !self.volumes_stand() {
            return;
        }
        let Some(sandbox_id) = self.ensure_sandbox() else { return };
        if self.reset_all() {
            return;
        }
        self.run_ephemeral(&sandbox_id);
        if self.run_init(&sandbox_id) {
            self.run_regular(&sandbox_id);
        }
    }

    fn volumes_stand(&mut self) -> bool {
        match &self.s.memory.volumes {
            Volumes::Ready => true,
            Volumes::SettingUp => false,
            Volumes::Failed { retry_at, .. } if self.s.now < *retry_at => {
                self.wake_at(*retry_at);
                false
            }
            Volumes::Unset | Volumes::Failed { .. } => {
                self.plan.actions.push(Action::SetUpVolumes);
                false
            }
        }
    }

    /// The sandbox to start containers in; None while there is none, and then the plan says how to get it.
    fn ensure_sandbox(&mut self) -> Option<String> {
        let Observed { sandboxes, containers } = self.s.observed;
        let usable = |sandbox: &&crate::runtime::SandboxRecord| {
            sandbox.ready && (spec::is_host_network(self.s.pod) || sandbox.host_network || !sandbox.ips.is_empty())
        };
        if let Some(current) = sandboxes.first().filter(usable) {
            for older in sandboxes.iter().skip(1).filter(|sandbox| sandbox.ready) {
                self.stop_sandbox(&older.id);
            }
            return Some(current.id.clone());
        }
        let attempt = sandboxes.first().map_or(0, |sandbox| sandbox.attempt + 1);
        if attempt > 0 && !self.wants_another_sandbox() {
            self.plan.completed = self.s.memory.starting.is_none();
            return None;
        }
        let mut clear = true;
        for container in containers.iter().filter(|container| container.is_alive()) {
            clear = false;
            let grace = spec::termination_grace_period_seconds(self.s.pod);
            self.stop_container(container, "Stopping container", grace);
        }
        for sandbox in sandboxes.iter().filter(|it| !self.s.memory.stopped_sandboxes.contains(&it.id)) {
            clear = false;
            self.stop_sandbox(&sandbox.id);
        }
        if clear && self.may_start("") && (self.s.memory.network_ready || spec::is_host_network(self.s.pod)) {
            self.plan.actions.push(Action::CreateSandbox { attempt });
        }
        None
    }

    /// After the sandbox died: is there anything left to run in a new one?
    fn wants_another_sandbox(&self) -> bool {
        if !spec::restarts_on_failure(self.s.pod) && !self.s.observed.containers.is_empty() {
            return false;
        }
        let regular = &spec::spec(self.s.pod).containers;
        let all_done = regular.iter().all(|container| {
            self.s.observed.current(&container.name).is_some_and(|record| {
                record.state == ContainerState::Exited
                    && !spec::restarts_after(container, Role::Regular, self.s.pod, record.exit_code)
            })
        });
        regular.is_empty() || !all_done
    }

    fn run_ephemeral(&mut self, sandbox_id: &str) {
        for container in spec::ephemeral_containers(self.s.pod) {
            match self.s.observed.current(&container.name) {
                None => self.start(&container, sandbox_id, None),
                Some(record) if record.state == ContainerState::Created => self.replace_created(record),
                Some(_) => {}
            }
        }
    }

    fn run_regular(&mut self, sandbox_id: &str) {
        let mut living = false;
        for container in &spec::spec(self.s.pod).containers {
            living |= match self.s.observed.current(&container.name) {
                None => {
                    self.start(container, sandbox_id, None);
                    true
                }
                Some(record) => self.tend_regular(container, record, sandbox_id),
            };
        }
        if !living && self.s.memory.starting.is_none() {
            self.plan.completed = true;
        }
    }

    /// True while the container runs or is to run again.
    fn tend_regular(&mut self, container: &Container, record: &ContainerRecord, sandbox_id: &str) -> bool {
        match record.state {
            ContainerState::Running => self.restart_if_wanted(container, record, "Container"),
            ContainerState::Created => self.replace_created(record),
            ContainerState::Exited if record.was_cut_off() => self.replace_created(record),
            ContainerState::Unknown => {
                let message = "Container is in \"unknown\" state, try killing it before restart";
                self.stop_container(record, message, spec::termination_grace_period_seconds(self.s.pod));
            }
            ContainerState::Exited => {
                // A run in a sandbox that is gone may have been cut by the sandbox's death: only its exit code counts.
                if !spec::restarts_after(container, Role::Regular, self.s.pod, record.exit_code)
                    && !definition_changed(container, record)
                {
                    return false;
                }
                self.start(container, sandbox_id, Some(record));
            }
        }
        true
    }

    /// Kills a running container whose definition changed or whose startup or liveness probe failed; it is started
    /// again when its end is seen, by the same rules as after any other end.
    pub(super) fn restart_if_wanted(&mut self, container: &Container, record: &ContainerRecord, what: &str) {
        let probed = self.s.memory.probed(&record.id);
        let pod_grace = spec::termination_grace_period_seconds(self.s.pod);
        let of_probe = |probe: &Option<k8s_openapi::api::core::v1::Probe>| {
            probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds).unwrap_or(pod_grace)
        };
        let (why, grace) = if definition_changed(container, record) {
            ("definition changed", pod_grace)
        } else if probed.liveness == Some(false) {
            ("failed liveness probe", of_probe(&container.liveness_probe))
        } else if probed.startup == Some(false) {
            ("failed startup probe", of_probe(&container.startup_probe))
        } else if self.s.memory.resize.restarts.contains(&record.id) {
            self.stop_container(record, &format!("{what} {} resize requires restart", container.name), pod_grace);
            return;
        } else {
            return;
        };
        let again = why == "definition changed" || spec::restarts_after_probe(container, self.s.pod);
        let suffix = if again { ", will be restarted" } else { "" };
        self.stop_container(record, &format!("{what} {} {why}{suffix}", container.name), grace);
    }

    /// A container that was created but never ran is what a kubelet that died in between has left. Its mounts may
    /// point at files of that time, so it is made anew under the same attempt number.
    pub(super) fn replace_created(&mut self, record: &ContainerRecord) {
        let is_ours = matches!(&self.s.memory.starting, Some(super::memory::Starting::Container { name, .. }) if *name == record.name);
        if !is_ours {
            self.remove_container(record);
        }
    }

    /// Starts `container` unless back-off, its image, an earlier failure, another start or a kill says to wait.
    pub(super) fn start(&mut self, container: &Container, sandbox_id: &str, previous: Option<&ContainerRecord>) {
        let crashed_at = previous.and_then(|record| Timestamp::from_nanosecond(record.finished_at_ns.into()).ok());
        let failed = |delay| {
            let pod = spec::shown(self.s.pod);
            format!("back-off {delay} restarting failed container={} pod={pod}", container.name)
        };
        if crashed_at.is_some_and(|at| self.holds_back(&container.name, at, failed)) {
            return;
        }
        let Some(image) = self.image(container) else { return };
        if let Some(failure) = self.s.memory.failures.get(&container.name) {
            self.wait(&container.name, &failure.reason.clone(), failure.message.clone());
        }
        if self.may_start(&container.name)
            && self.s.memory.stopping.is_empty()
            && !self.plan.actions.iter().any(|it| matches!(it, Action::StartContainer(_)))
        {
            let attempt = previous.map_or(0, |record| record.attempt + 1);
            self.plan.actions.push(Action::StartContainer(Start {
                name: container.name.clone(),
                sandbox_id: sandbox_id.to_owned(),
                attempt,
                image,
                crashed_at,
            }));
        }
    }

    /// The image, once it is there.
    fn image(&mut self, container: &Container) -> Option<Image> {
        match self.s.memory.images.get(&container.name) {
            Some(ImageState::Ready(image)) => return Some(image.clone()),
            Some(ImageState::Pulling) => {}
            Some(ImageState::Failed { reason, message, retry_at }) => {
                self.wait(&container.name, reason, message.clone());
                if self.s.now < *retry_at {
                    self.wake_at(*retry_at);
                } else {
                    self.plan.actions.push(Action::PullImage { name: container.name.clone() });
                }
            }
            None => self.plan.actions.push(Action::PullImage { name: container.name.clone() }),
        }
        None
    }

    fn may_start(&mut self, name: &str) -> bool {
        if let Some(failure) = self.s.memory.held_back(name, self.s.now) {
            let retry_at = failure.retry_at;
            self.wake_at(retry_at);
            return false;
        }
        self.s.memory.starting.is_none()
    }

    pub(super) fn stop_sandbox(&mut self, id: &str) {
        if !self.s.memory.stopping_sandboxes.contains(id) && self.may_start("") {
            self.plan.actions.push(Action::StopSandbox { id: id.to_owned() });
        }
    }

    pub(super) fn remove_container(&mut self, record: &ContainerRecord) {
        if !self.s.memory.removing.contains(&record.id) && !self.is_refused(&record.id) {
            self.plan
                .actions
                .push(Action::RemoveContainer { id: record.id.clone(), log_path: record.log_path.clone() });
        }
    }

    pub(super) fn wait(&mut self, name: &str, reason: &str, message: String) {
        self.plan.waiting.insert(name.to_owned(), Waiting { reason: reason.to_owned(), message });
    }

    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Is the container made from another definition than the spec's? (Only name and image count, as upstream's hash.)
pub fn definition_changed(container: &Container, record: &ContainerRecord) -> bool {
    record.annotation(labels::CONTAINER_HASH).is_some_and(|hash| hash != container_hash(container))
}

/// The hash of what must not change under a running container: FNV-1a of name and image, in hexadecimal.
pub fn container_hash(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    let bytes = container.name.bytes().chain([0]).chain(image.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}
