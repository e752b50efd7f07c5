//! The worker's bookkeeping of finished steps, its reports to the API, and a pod's end. Part of [`super::worker`].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use component::recorder::Type;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};

use super::{
    backoff::after,
    fate::Why,
    held,
    look::Look,
    memory::{ImageState, Volumes},
    plan::Plan,
    spec, steps,
    worker::{Done, Ending, Worker, version},
};
use crate::{
    metrics,
    runtime::observe::Item,
    status::{patch, qos},
};

const RETRY: Duration = Duration::from_secs(1);
/// After a status that changed nothing.
const UNHEARD_RETRY: Duration = Duration::from_secs(10);
const CONFLICT_RETRY: Duration = Duration::from_millis(100);
/// Upstream tries a failed mount again after half a second, doubling to about two minutes.
const VOLUME_RETRY: Duration = Duration::from_millis(500);
const VOLUME_RETRY_MAX: Duration = Duration::from_secs(122);

impl Worker {
    /// Folds the answer of a step into the memory.
    pub(super) fn finish(&mut self, done: Done) {
        let now = self.now();
        match done {
            Done::Volumes(names, result) => self.volumes_done(&names, result),
            Done::VolumesLeft => {
                self.refreshing = false;
                if self.memory.volumes == Volumes::SettingUp {
                    self.memory.volumes = Volumes::Unset;
                }
            }
            Done::Image(name, state) => {
                if matches!(self.memory.images.get(&name), Some(ImageState::Pulling)) {
                    self.memory.images.insert(name, state);
                }
            }
            Done::Sandbox(result) => {
                self.memory.starting = None;
                match result {
                    Ok(None) => {}
                    Ok(Some(id)) => {
                        self.look.add(Item::Sandbox(id));
                        self.memory.failures.remove("");
                    }
                    Err(message) => {
                        self.look = Look::Everything;
                        tracing::warn!(pod = %spec::identity(&self.pod), message, "the sandbox cannot be made");
                        self.memory.fail("", "FailedCreatePodSandBox", message, now);
                    }
                }
            }
            Done::Container(name, crashed_at, result) => self.container_done(name, crashed_at, result),
            Done::Stopped(id, result) => {
                self.memory.stopping.remove(&id);
                if let Err(message) = &result {
                    self.stop_failed(message);
                }
                self.container_ended(id, "KillContainerError", result);
            }
            Done::SandboxStopped(id, result) => self.sandbox_stopped(id, result),
            Done::Removed(id, result) => {
                self.memory.removing.remove(&id);
                if let Err(message) = &result {
                    tracing::warn!(id, message, "a dead container or sandbox cannot be removed; it is tried again");
                }
                self.container_ended(id, "RemoveError", result);
            }
            Done::Reported(result, sent_at) => self.reported(result, sent_at),
            Done::Cleaned(result) => match result {
                Ok(()) => self.ending = Ending::Clean,
                Err(message) => self.end_failed(Ending::No, &message),
            },
            Done::Released(result) => self.released(result),
            Done::PreStopped(id) => drop(self.memory.pre_stopping.insert(id, true)),
            Done::Resized(done) => self.resized(done),
            Done::Gone(result) => match result {
                Ok(()) => self.ending = Ending::Removed,
                Err(message) => self.end_failed(Ending::Clean, &message),
            },
        }
    }

    /// A container was stopped, or something dead removed; a failure is kept under that reason, and tried again.
    fn container_ended(&mut self, id: String, reason: &str, result: Result<(), String>) {
        self.look.add_id(&id, &self.observed);
        let now = self.now();
        match result {
            Ok(()) => drop(self.memory.failures.remove(&id)),
            Err(message) => self.memory.fail(&id, reason, message, now),
        }
    }

    fn sandbox_stopped(&mut self, id: String, result: Result<(), String>) {
        self.look.add_id(&id, &self.observed);
        self.memory.stopping_sandboxes.remove(&id);
        match result {
            Ok(()) => drop(self.memory.stopped_sandboxes.insert(id)),
            Err(message) => {
                self.stop_failed(&message);
                let now = self.now();
                self.memory.fail("", "KillPodSandboxError", message, now);
            }
        }
    }

    fn container_done(&mut self, name: String, crashed_at: Option<Timestamp>, result: Result<Item, steps::StartError>) {
        let now = self.now();
        self.memory.starting = None;
        // Looked for again at the next start: the pull policy may be Always.
        self.memory.images.remove(&name);
        if let Some(crashed_at) = crashed_at {
            self.memory.backoff.advance(&name, crashed_at, now);
        }
        match result {
            Ok(container) => {
                self.look.add(container);
                self.memory.failures.remove(&name);
            }
            Err(error) => {
                self.look = Look::Everything;
                self.memory.fail(&name, &error.reason, error.message, now);
            }
        }
    }

    fn volumes_done(
        &mut self,
        names: &BTreeSet<String>,
        result: Result<Option<Timestamp>, Vec<crate::volumes::Error>>,
    ) {
        self.refreshing = false;
        let now = self.now();
        match result {
            Ok(renew_at) => {
                // An ephemeral container may have come meanwhile that uses another.
                let all = *names == spec::used_volume_names(&self.desired);
                self.memory.volumes = if all { Volumes::Ready } else { Volumes::Unset };
                self.renew_at = renew_at;
            }
            Err(errors) => {
                let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
                for message in &messages {
                    self.node.reporter.pod(&self.pod, Type::Warning, "FailedMount", message.clone());
                }
                let tries = match self.memory.volumes {
                    Volumes::Failed { tries, .. } => tries + 1,
                    _ => 1,
                };
                let delay = (VOLUME_RETRY * (1 << tries.min(8))).min(VOLUME_RETRY_MAX);
                if self.memory.volumes == Volumes::Ready {
                    // The pod runs on with what it had.
                    self.renew_at = Some(after(now, delay));
                } else {
                    self.memory.volumes =
                        Volumes::Failed { message: messages.join("; "), tries, retry_at: after(now, delay) };
                }
            }
        }
    }

    fn stop_failed(&mut self, message: &str) {
        tracing::warn!(pod = %spec::identity(&self.pod), message, "stopping failed; it is tried again");
        self.node.reporter.pod(&self.pod, Type::Warning, "FailedKillPod", format!("error killing pod: {message}"));
    }

    fn end_failed(&mut self, back_to: Ending, message: &str) {
        tracing::warn!(pod = %spec::identity(&self.pod), message, "clearing away a pod failed; it is tried again");
        self.ending = back_to;
        self.retry_end_at = Some(after(self.now(), RETRY));
    }

    /// Sends the status where it differs from what the API has. Answers when to try again.
    pub(super) fn report(&mut self, plan: &Plan) -> Option<Timestamp> {
        let status = self.compute_status(plan);
        let target = if spec::is_static(&self.pod) { self.mirror.clone() } else { Some(self.pod.clone()) };
        self.count_from(&status);
        let difference = patch::between(target.as_ref().map_or("", |it| spec::uid(it)), &self.known, &status);
        let shown = self.shown(&status, difference.is_none());
        let runs = |status: &PodStatus| status.phase.as_deref() == Some("Running");
        let before = self.node.running.get(spec::uid(&shown));
        let told = before.as_ref().and_then(|pod| pod.status.as_ref());
        metrics::containers_ended(told.unwrap_or(&self.known), &status);
        if runs(&status) && before.is_some_and(|pod| !pod.status.as_ref().is_some_and(runs)) {
            metrics::pod_runs(&shown, self.now());
        }
        let is_heard = target.is_some() && self.node.client.is_some() && !self.gone;
        // Before others see that the pod has ended: they may wait for the API to know.
        self.node.running.note_told(spec::uid(&shown), difference.is_none() || !is_heard);
        self.node.running.put(shown);
        let (target, client) = (target?, self.node.client.clone()?);
        if self.gone || self.reporting || self.ending >= Ending::Releasing {
            return None;
        }
        if let Some(at) = self.report_not_before.filter(|at| self.now() < *at) {
            return Some(at);
        }
        let can_wait = self.stop.is_none() && held::can_wait(&self.memory, &self.known, &status);
        let now = self.now();
        if let Some(until) = held::until(&mut self.held_since, can_wait, now) {
            return Some(until);
        }
        let difference = difference?;
        self.reporting = true;
        let name = target.metadata.name.clone().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(client, target.metadata.namespace.as_deref().unwrap_or_default());
        let sent_at = self.known_version;
        self.steps.spawn(async move {
            let told = api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(difference)).await;
            Done::Reported(told.map(Box::new), sent_at)
        });
        None
    }

    /// A static pod has no status of its own: its deadline is counted from when it is told to have begun.
    fn count_from(&mut self, status: &PodStatus) {
        let started = |pod: &Pod| pod.status.as_ref().and_then(|it| it.start_time.clone());
        let is_bound = spec::is_static(&self.pod) && spec::spec(&self.pod).active_deadline_seconds.is_some();
        if is_bound && started(&self.pod) != status.start_time {
            let own = PodStatus { start_time: status.start_time.clone(), ..PodStatus::default() };
            self.pod = Arc::new(Pod { status: Some(own), ..(*self.pod).clone() });
        }
    }

    /// The pod with that status: where the API has the same, the object itself, for a node full of pods is a lot of copies.
    fn shown(&self, status: &PodStatus, is_told: bool) -> Arc<Pod> {
        if is_told && self.pod.status.as_ref() == Some(&self.known) {
            return self.pod.clone();
        }
        let mut shown = (*self.pod).clone();
        shown.status = Some(status.clone());
        Arc::new(shown)
    }

    fn reported(&mut self, result: Result<Box<Pod>, kube::Error>, sent_at: u64) {
        self.reporting = false;
        self.report_not_before = None;
        match result {
            Ok(pod) => {
                // An older server leaves out what it does not know: to say it again at once would never end.
                if version(&pod) == sent_at {
                    self.report_not_before = Some(after(self.now(), UNHEARD_RETRY));
                }
                if version(&pod) >= self.known_version {
                    self.known_version = version(&pod);
                    self.known = pod.status.unwrap_or_default();
                }
            }
            // Gone, or replaced under the same name: the informer tells soon. A conflict may also be another writer's.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                let identity = spec::identity(&self.pod);
                tracing::debug!(pod = %identity, code = status.code, message = status.message, "a status was refused");
                let pause = if status.code == 409 { CONFLICT_RETRY } else { RETRY };
                self.report_not_before = Some(after(self.now(), pause));
            }
            Err(error) => {
                tracing::warn!(pod = %spec::identity(&self.pod), %error, "the pod's status cannot be told");
                self.report_not_before = Some(after(self.now(), RETRY));
            }
        }
    }

    /// Everything is dead: give back what the pod held, tell the API, remove the traces.
    ///
    /// The order matters for a kubelet that dies in between: the object is released last of what others rely on, so a
    /// pod in the API always means that its volumes may still be mounted here; what is left after that (dead containers,
    /// logs) belongs to no object and is found and removed at the next start.
    pub(super) fn end(&mut self, plan: &Plan) -> Option<Timestamp> {
        if let Some(at) = self.retry_end_at.filter(|at| self.now() < *at) {
            return Some(at);
        }
        match self.ending {
            Ending::No if self.memory.volumes != Volumes::SettingUp && !self.refreshing => self.clean(),
            Ending::Clean if self.gone => self.remove(),
            Ending::Clean if self.is_deleted() && self.is_told(plan) => self.release(),
            Ending::Releasing if self.gone => self.remove(),
            _ => {}
        }
        None
    }

    fn is_deleted(&self) -> bool {
        matches!(&self.stop, Some(stop) if stop.why == Why::Deleted)
            || (self.pod.metadata.deletion_timestamp.is_some() && !spec::is_static(&self.pod))
    }

    fn is_told(&self, plan: &Plan) -> bool {
        !self.reporting && patch::between("", &self.known, &self.compute_status(plan)).is_none()
    }

    fn clean(&mut self) {
        self.ending = Ending::Cleaning;
        let (node, pod) = (self.node.clone(), self.pod.clone());
        self.steps.spawn(async move {
            let uid = spec::uid(&pod);
            let mut failures = Vec::new();
            if let Err(error) = node.volumes.tear_down(uid).await {
                failures.push(format!("volumes: {error}"));
            }
            if let Some(cgroups) = &node.cgroups
                && let Err(error) = cgroups.remove_pod(qos::of_pod(&pod), uid).await
            {
                failures.push(error.to_string());
            }
            Done::Cleaned(if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) })
        });
    }

    fn release(&mut self) {
        let Some(client) = self.node.client.clone() else { return };
        self.ending = Ending::Releasing;
        let pod = self.pod.clone();
        self.steps.spawn(async move {
            let api: Api<Pod> = Api::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or_default());
            let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }.grace_period(0);
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            Done::Released(api.delete(name, &params).await.map(drop))
        });
    }

    fn released(&mut self, result: Result<(), kube::Error>) {
        match result {
            Ok(()) => {}
            // Gone, or another object of that name by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => self.end_failed(Ending::Clean, &error.to_string()),
        }
    }

    fn remove(&mut self) {
        self.ending = Ending::Removing;
        let (node, pod, returns) = (self.node.clone(), self.pod.clone(), self.returns);
        self.steps.spawn(async move { Done::Gone(steps::remove_pod(&node, &pod, returns).await) });
    }
}
