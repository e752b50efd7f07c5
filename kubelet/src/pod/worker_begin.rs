//! The worker's steps, begun: each in a task of its own, noted in the memory. Part of [`super::worker`].

use component::recorder::Type;
use jiff::Timestamp;

use super::{
    make_sandbox,
    memory::{ImageState, Starting, Volumes},
    plan::{Action, Plan},
    spec, steps,
    worker::{Done, Ending, Worker},
};

impl Worker {
    /// Begins one step of a plan.
    pub(super) fn begin(&mut self, action: Action) {
        let (node, pod, observed) = (self.node.clone(), self.pod.clone(), self.observed.clone());
        match action {
            // Two at once would write the same files; the plan asks again when the one under way is through.
            Action::SetUpVolumes if self.refreshing => {}
            Action::SetUpVolumes => {
                self.memory.volumes = match self.memory.volumes {
                    Volumes::Failed { tries, .. } => {
                        Volumes::Failed { message: String::new(), tries, retry_at: Timestamp::MAX }
                    }
                    _ => Volumes::SettingUp,
                };
                self.set_up_volumes();
            }
            Action::PullImage { name } => {
                self.memory.images.insert(name.clone(), ImageState::Pulling);
                let Some((_, container)) = spec::find_container(&pod, &name) else { return };
                let stopping = self.stopping.clone();
                self.steps.spawn(async move {
                    node.sources.loaded(spec::uid(&pod)).await;
                    let pull = node.puller.ensure(&pod, &container);
                    let state = stopping.run_until(pull).await.unwrap_or(ImageState::Pulling);
                    Done::Image(name, state)
                });
            }
            Action::CreateSandbox { attempt } => {
                if attempt > 0 {
                    let message = "Pod sandbox changed, it will be killed and re-created.";
                    node.reporter.pod(&pod, Type::Normal, "SandboxChanged", message);
                }
                self.memory.starting = Some(Starting::Sandbox);
                let stopping = self.stopping.clone();
                self.steps.spawn(async move {
                    Done::Sandbox(make_sandbox::run_sandbox(&node, &pod, attempt, &stopping).await)
                });
            }
            Action::StartContainer(start) => {
                self.memory.starting = Some(Starting::Container { name: start.name.clone(), attempt: start.attempt });
                let stopping = self.stopping.clone();
                self.steps.spawn(async move {
                    let result = steps::start_container(&node, &pod, &observed, &start, &stopping).await;
                    Done::Container(start.name, start.crashed_at, result)
                });
            }
            stop => self.begin_stop(stop),
        }
    }

    /// The steps that end something.
    fn begin_stop(&mut self, action: Action) {
        let (node, pod, observed) = (self.node.clone(), self.pod.clone(), self.observed.clone());
        match action {
            Action::RunPreStop { id, name, grace_period_seconds } => {
                self.memory.pre_stopping.insert(id.clone(), false);
                self.told_killing.insert(id.clone());
                let message = Some(format!("Stopping container {name}"));
                let order = steps::StopOrder { id: id.clone(), name, message, grace_period_seconds };
                self.steps.spawn(async move {
                    steps::announce_stop(&node, &pod, &observed, &order).await;
                    Done::PreStopped(id)
                });
            }
            Action::StopContainer { id, name, message, grace_period_seconds, deadline } => {
                self.memory.stopping.insert(id.clone(), deadline);
                let message = self.told_killing.insert(id.clone()).then_some(message);
                let order = steps::StopOrder { id: id.clone(), name, message, grace_period_seconds };
                self.steps
                    .spawn(async move { Done::Stopped(id, steps::stop_container(node, pod, observed, order).await) });
            }
            Action::StopSandbox { id } => {
                self.memory.stopping_sandboxes.insert(id.clone());
                self.steps.spawn(async move {
                    let result = match node.runtime.stop_sandbox(&id).await {
                        Err(error) if !error.is_not_found() => Err(error.to_string()),
                        _ => Ok(()),
                    };
                    Done::SandboxStopped(id, result)
                });
            }
            Action::RemoveContainer { id, log_path } => {
                self.memory.removing.insert(id.clone());
                self.steps.spawn(async move {
                    let result = steps::remove_container(&node, &id, &log_path).await;
                    Done::Removed(id, result)
                });
            }
            Action::ForgetRun { id, name, crashed_at } => {
                self.memory.removing.insert(id.clone());
                if let Some(crashed_at) = crashed_at {
                    self.memory.backoff.advance(&name, crashed_at, self.now());
                }
                self.steps.spawn(async move {
                    let result = steps::remove_container(&node, &id, "").await;
                    Done::Removed(id, result)
                });
            }
            Action::RemoveSandbox { id } => {
                self.memory.removing.insert(id.clone());
                self.steps.spawn(async move {
                    let result = node.runtime.remove_sandbox(&id).await.map_err(|error| error.to_string());
                    Done::Removed(id, result)
                });
            }
            _ => {}
        }
    }

    /// Once for each wait of a container that failed.
    pub(super) fn tell_back_off(&mut self, plan: &Plan) {
        for (name, crashed_at) in &plan.held_back {
            if self.told_back_off.insert(name.clone(), *crashed_at) != Some(*crashed_at) {
                let message = format!("Back-off restarting failed container {name} in pod {}", spec::shown(&self.pod));
                self.node.reporter.container(&self.pod, name, Type::Warning, "BackOff", message);
            }
        }
    }

    pub(super) fn set_up_volumes(&mut self) {
        let (node, pod, observed) = (self.node.clone(), self.pod.clone(), self.observed.clone());
        self.refreshing = true;
        self.refresh = false;
        self.renew_at = None;
        let stopping = self.stopping.clone();
        self.steps.spawn(async move {
            if stopping.run_until(node.sources.loaded(spec::uid(&pod))).await.is_none() {
                return Done::VolumesLeft;
            }
            let pod_ips = steps::ips(&node, &pod, &observed);
            Done::Volumes(spec::used_volume_names(&pod), node.volumes.set_up(&pod, &pod_ips, &node.facts).await)
        });
    }

    /// Brings the contents of volumes up to date while the pod runs.
    pub(super) fn renew(&mut self) {
        let is_due = self.refresh || self.renew_at.is_some_and(|at| at <= self.now());
        if is_due && self.memory.volumes == Volumes::Ready && !self.refreshing && self.ending == Ending::No {
            self.set_up_volumes();
        }
    }
}
