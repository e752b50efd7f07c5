//! Container statuses: state, last state, restart count, readiness. Part of [`super::compute`]; pure.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, ContainerUser, LinuxContainerUser, PodStatus, VolumeMountStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{Inputs, whole_second};
use crate::{
    pod::{
        memory::Starting,
        resize,
        spec::{self, Role},
    },
    runtime::{ContainerRecord, ContainerState},
    volumes::mounts::recursive_read_only,
};

/// Reason of a container that the runtime lost.
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

/// What all termination messages of a pod may take; each container has its equal part.
const MESSAGES_BYTES_MAX: usize = 12 * 1024;

/// Writes the three lists: init containers in the order of the spec, the others by name.
pub(super) fn write(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let told = inputs.before;
    let mut init = Vec::new();
    let mut regular = Vec::new();
    let mut ephemeral = Vec::new();
    for (role, container) in spec::containers(inputs.pod) {
        let (list, before) = match role {
            Role::Init | Role::Sidecar => (&mut init, &told.init_container_statuses),
            Role::Regular => (&mut regular, &told.container_statuses),
            Role::Ephemeral => (&mut ephemeral, &told.ephemeral_container_statuses),
        };
        let before = before.iter().flatten().find(|it| it.name == container.name);
        list.push(one(inputs, role, &container, before));
    }
    let part = MESSAGES_BYTES_MAX / (init.len() + regular.len() + ephemeral.len()).max(1);
    for status in init.iter_mut().chain(&mut regular).chain(&mut ephemeral) {
        [&mut status.state, &mut status.last_state].into_iter().flatten().for_each(|state| shorten(state, part));
    }
    regular.sort_by(|a: &ContainerStatus, b| a.name.cmp(&b.name));
    ephemeral.sort_by(|a: &ContainerStatus, b| a.name.cmp(&b.name));
    let listed = |list: Vec<ContainerStatus>| (!list.is_empty()).then_some(list);
    status.init_container_statuses = listed(init);
    status.container_statuses = listed(regular);
    status.ephemeral_container_statuses = listed(ephemeral);
}

fn shorten(state: &mut ApiState, bytes_max: usize) {
    if let Some(message) = state.terminated.as_mut().and_then(|it| it.message.as_mut()) {
        message.truncate(message.floor_char_boundary(bytes_max));
    }
}

fn one(inputs: &Inputs<'_>, role: Role, container: &Container, before: Option<&ContainerStatus>) -> ContainerStatus {
    // While a container is being started the status stays what it was before: its start includes the postStart hook.
    let is_starting = |record: &&ContainerRecord| {
        matches!(&inputs.memory.starting, Some(Starting::Container { name, attempt })
            if *name == record.name && *attempt == record.attempt)
    };
    let mut records = inputs.observed.containers.iter().filter(|it| it.name == container.name && !is_starting(it));
    let mut status = match records.next() {
        Some(record) => {
            let mut status = of_record(inputs, record, before);
            status.last_state = records.next().map(|older| state(inputs, older, before)).or(status.last_state);
            status
        }
        None => without_record(inputs, role, container, before),
    };
    status.resources = match inputs.observed.current(&container.name) {
        Some(record) => resize::actual(container, record),
        None => container.resources.clone(),
    };
    status.allocated_resources = container.resources.as_ref().and_then(|it| it.requests.clone());
    status.volume_mounts = volume_mounts(inputs, container);
    overlay_waiting(inputs, role, container, &mut status);
    status
}

fn of_record(inputs: &Inputs<'_>, record: &ContainerRecord, before: Option<&ContainerStatus>) -> ContainerStatus {
    let id = container_id(inputs, record);
    let user = record.user.as_ref().map(|user| ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: Some(user.supplemental_groups.clone()).filter(|groups| !groups.is_empty()),
        }),
    });
    let same = before.filter(|it| it.container_id.as_deref() == Some(id.as_str()));
    ContainerStatus {
        name: record.name.clone(),
        restart_count: record.restart_count().max(same.map_or(0, |it| it.restart_count)),
        image: record.image.clone(),
        image_id: record.image_ref.clone(),
        last_state: same.and_then(|it| it.last_state.clone()).or_else(|| ended_before(before, &id)),
        container_id: Some(id),
        state: Some(state(inputs, record, before)),
        user,
        ..ContainerStatus::default()
    }
}

/// The end of the run before, where the runtime does not hold it any more.
fn ended_before(before: Option<&ContainerStatus>, id: &str) -> Option<ApiState> {
    let before = before.filter(|it| it.container_id.as_deref() != Some(id))?;
    let ended = |state: &Option<ApiState>| state.clone().filter(|state| state.terminated.is_some());
    ended(&before.state).or_else(|| ended(&before.last_state))
}

fn state(inputs: &Inputs<'_>, record: &ContainerRecord, before: Option<&ContainerStatus>) -> ApiState {
    match record.state {
        ContainerState::Running => ApiState {
            running: Some(ContainerStateRunning { started_at: time(record.started_at_ns) }),
            ..ApiState::default()
        },
        ContainerState::Exited if !record.was_cut_off() => ApiState {
            terminated: Some(ContainerStateTerminated {
                exit_code: record.exit_code,
                reason: Some(record.reason.clone()).filter(|it| !it.is_empty()),
                message: Some(record.message.clone()).filter(|it| !it.is_empty()),
                started_at: time(record.started_at_ns),
                finished_at: time(record.finished_at_ns),
                container_id: Some(container_id(inputs, record)),
                signal: None,
            }),
            ..ApiState::default()
        },
        ContainerState::Unknown if was_running(before) => {
            lost("The container could not be located when the pod was terminated")
        }
        ContainerState::Created | ContainerState::Exited | ContainerState::Unknown => {
            ApiState { waiting: Some(ContainerStateWaiting::default()), ..ApiState::default() }
        }
    }
}

/// The runtime has no container of that name: it waits, stays ended as it was, or got lost.
fn without_record(
    inputs: &Inputs<'_>,
    role: Role,
    container: &Container,
    before: Option<&ContainerStatus>,
) -> ContainerStatus {
    if let Some(before) = before.filter(|it| it.state.as_ref().is_some_and(|state| state.terminated.is_some())) {
        return before.clone();
    }
    let has_init = !spec::init_containers(inputs.pod).is_empty();
    let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(reason, "")),
        restart_count: before.map_or(0, |it| it.restart_count),
        last_state: before.and_then(|it| it.last_state.clone()),
        ..ContainerStatus::default()
    };
    if role == Role::Init && is_initialized(inputs) && !inputs.waiting.contains_key(&container.name) {
        status.state = Some(passed());
        return status;
    }
    let has_last = status.last_state.as_ref().is_some_and(|it| it.terminated.is_some());
    if was_running(before) && !has_last {
        let message = "The container could not be located when the pod was deleted.  The container used to be Running";
        status.last_state = Some(lost(message));
        status.restart_count += i32::from(inputs.pod.metadata.deletion_timestamp.is_none());
    }
    status
}

/// One of the pod's own containers was made in its sandbox.
fn is_initialized(inputs: &Inputs<'_>) -> bool {
    let Some(sandbox) = inputs.observed.sandboxes.first() else { return false };
    let is_here = |name: &str| inputs.observed.current(name).is_some_and(|record| record.sandbox_id == sandbox.id);
    spec::spec(inputs.pod).containers.iter().any(|container| is_here(&container.name))
}

/// An init container that has left no trace, but for the containers after it.
fn passed() -> ApiState {
    let message = "Unable to get init container status from container runtime and pod has been initialized, treat it as \
                   exited normally";
    ApiState {
        terminated: Some(ContainerStateTerminated {
            reason: Some("Completed".into()),
            message: Some(message.into()),
            ..ContainerStateTerminated::default()
        }),
        ..ApiState::default()
    }
}

/// Where the worker knows why a container does not run, that reason takes the place of the end of its last run.
fn overlay_waiting(inputs: &Inputs<'_>, role: Role, container: &Container, status: &mut ContainerStatus) {
    let Some(why) = inputs.waiting.get(&container.name).filter(|_| inputs.stop.is_none()) else { return };
    let state = status.state.take().unwrap_or_default();
    let ends = state.terminated.as_ref().is_some_and(|it| {
        !spec::restarts_after(container, role, inputs.pod, it.exit_code) && why.reason != "CrashLoopBackOff"
    });
    if state.running.is_some() || ends {
        status.state = Some(state);
        return;
    }
    if state.terminated.is_some() {
        status.last_state = Some(state);
    }
    status.state = Some(waiting(&why.reason, &why.message));
}

/// `ready` and `started`, from the probes.
pub(super) fn write_readiness(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let known = inputs.known;
    for (list, before) in [
        (&mut status.init_container_statuses, &known.init_container_statuses),
        (&mut status.container_statuses, &known.container_statuses),
    ] {
        for status in list.iter_mut().flatten() {
            let Some((role, container)) = spec::find_container(inputs.pod, &status.name) else { continue };
            let before = before.iter().flatten().find(|it| it.container_id == status.container_id);
            let (started, ready) = readiness(inputs, role, &container, status, before);
            status.started = Some(started);
            status.ready = ready;
        }
    }
}

fn readiness(
    inputs: &Inputs<'_>,
    role: Role,
    container: &Container,
    status: &ContainerStatus,
    before: Option<&ContainerStatus>,
) -> (bool, bool) {
    let state = status.state.clone().unwrap_or_default();
    if role == Role::Init {
        let succeeded = state.terminated.is_some_and(|it| it.exit_code == 0);
        return (state.running.is_some(), succeeded);
    }
    if state.running.is_none() {
        return (false, false);
    }
    let id = status.container_id.as_deref().and_then(|id| id.split_once("://")).map_or("", |(_, id)| id);
    let probed = inputs.memory.probed(id);
    // A kubelet that has just come back has no results yet: it believes what the API says of the same container.
    let was = |field: fn(&ContainerStatus) -> bool| before.is_some_and(field);
    let started =
        container.startup_probe.is_none() || probed.startup.unwrap_or_else(|| was(|it| it.started == Some(true)));
    let ready =
        started && (container.readiness_probe.is_none() || probed.readiness.unwrap_or_else(|| was(|it| it.ready)));
    (started, ready)
}

/// The pod is over: what is not seen to have ended is told as lost, once the pod's own containers were due.
pub(super) fn finish(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let init_done = status.init_container_statuses.iter().flatten().all(|it| {
        it.state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|it| it.exit_code == 0)
            || spec::init_containers(inputs.pod).iter().any(|init| init.name == it.name && spec::is_sidecar(init))
    });
    if !init_done || inputs.observed.containers.is_empty() {
        return;
    }
    for status in status.container_statuses.iter_mut().flatten() {
        if status.state.as_ref().is_none_or(|state| state.terminated.is_none()) {
            status.state = Some(lost("The container could not be located when the pod was terminated"));
        }
    }
}

fn was_running(before: Option<&ContainerStatus>) -> bool {
    before.and_then(|it| it.state.as_ref()).is_some_and(|state| state.running.is_some())
}

fn waiting(reason: &str, message: &str) -> ApiState {
    ApiState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()).filter(|it| !it.is_empty()),
        }),
        ..ApiState::default()
    }
}

fn lost(message: &str) -> ApiState {
    ApiState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some(STATUS_UNKNOWN.into()),
            message: Some(message.into()),
            ..ContainerStateTerminated::default()
        }),
        ..ApiState::default()
    }
}

fn container_id(inputs: &Inputs<'_>, record: &ContainerRecord) -> String {
    format!("{}://{}", inputs.runtime_name, record.id)
}

fn volume_mounts(inputs: &Inputs<'_>, container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let one = |mount: &k8s_openapi::api::core::v1::VolumeMount| {
        let read_only = mount.read_only.filter(|it| *it);
        let is_recursive = recursive_read_only(mount, inputs.has_recursive_read_only) == Ok(true);
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| if is_recursive { "Enabled" } else { "Disabled" }.to_owned()),
            ..VolumeMountStatus::default()
        }
    };
    Some(mounts.iter().map(one).collect())
}

fn time(ns: i64) -> Option<Time> {
    let at = Timestamp::from_nanosecond(ns.into()).ok().filter(|_| ns > 0)?;
    Some(Time(whole_second(at)))
}
