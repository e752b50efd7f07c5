//! The phase of a pod from its container statuses (`getPhase` of upstream's kubelet). Pure.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodStatus};

use super::Inputs;
use crate::pod::{
    plan,
    spec::{self, Role},
};

#[derive(Default)]
struct Tally {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
    init_pending: bool,
    sidecar_pending: bool,
    init_failed_for_good: bool,
}

/// `Pending`, `Running`, `Succeeded` or `Failed`.
pub(super) fn of(inputs: &Inputs<'_>, status: &PodStatus) -> &'static str {
    let mut tally = Tally::default();
    let inits = status.init_container_statuses.as_deref().unwrap_or_default();
    for container in spec::init_containers(inputs.pod) {
        let found = inits.iter().find(|it| it.name == container.name);
        if spec::is_sidecar(container) {
            tally.sidecar(found);
        } else {
            tally.init(inputs, container, found);
        }
    }
    let regulars = status.container_statuses.as_deref().unwrap_or_default();
    for container in &spec::spec(inputs.pod).containers {
        tally.regular(inputs, container, regulars.iter().find(|it| it.name == container.name));
    }
    verdict(inputs, &tally, regulars.iter().any(|it| it.started == Some(true) || ran(it)))
}

fn verdict(inputs: &Inputs<'_>, tally: &Tally, initialized: bool) -> &'static str {
    if tally.init_failed_for_good {
        return "Failed";
    }
    if tally.init_pending || (tally.sidecar_pending && !initialized) || tally.waiting > 0 {
        return "Pending";
    }
    if tally.running > 0 && tally.unknown == 0 {
        return "Running";
    }
    if tally.stopped == 0 || tally.unknown > 0 || tally.running > 0 {
        return "Pending";
    }
    let outcome = if tally.stopped == tally.succeeded { "Succeeded" } else { "Failed" };
    let ends = inputs.is_final && !spec::is_static(inputs.pod);
    if ends || tally.stopped == tally.stopped_for_good { outcome } else { "Running" }
}

impl Tally {
    fn init(&mut self, inputs: &Inputs<'_>, container: &Container, status: Option<&ContainerStatus>) {
        match status.and_then(exit_code) {
            Some(0) => {}
            Some(code) => {
                self.init_failed_for_good |= !spec::restarts_after(container, Role::Init, inputs.pod, code);
            }
            None => self.init_pending = true,
        }
    }

    fn sidecar(&mut self, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.unknown += 1;
            return;
        };
        let state = status.state.clone().unwrap_or_default();
        if state.running.is_some() {
            self.running += 1;
            self.sidecar_pending |= status.started != Some(true);
        } else if state.waiting.is_some() && last_exit_code(status).is_none() {
            self.waiting += 1;
            self.sidecar_pending = true;
        } else if state.terminated.is_none() && state.waiting.is_none() {
            self.unknown += 1;
            self.sidecar_pending = true;
        }
    }

    fn regular(&mut self, inputs: &Inputs<'_>, container: &Container, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.unknown += 1;
            return;
        };
        let state = status.state.clone().unwrap_or_default();
        if state.running.is_some() {
            self.running += 1;
        } else if let Some(code) = exit_code(status) {
            self.stopped += 1;
            let restarts =
                spec::restarts_after(container, Role::Regular, inputs.pod, code) || is_replaced(inputs, container);
            self.stopped_for_good += usize::from(!restarts);
            self.succeeded += usize::from(state.terminated.is_some() && code == 0);
        } else if state.waiting.is_some() {
            self.waiting += 1;
        } else {
            self.unknown += 1;
        }
    }
}

/// It was killed for a new definition of it, which runs next whatever the policy is.
fn is_replaced(inputs: &Inputs<'_>, container: &Container) -> bool {
    let record = inputs.observed.current(&container.name);
    inputs.stop.is_none() && record.is_some_and(|record| plan::definition_changed(container, record))
}

/// The exit code of a container that is not running: of this run, or of the one before while it waits.
fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    match (&state.terminated, &state.waiting) {
        (Some(terminated), _) => Some(terminated.exit_code),
        (None, Some(_)) => last_exit_code(status),
        (None, None) => None,
    }
}

fn last_exit_code(status: &ContainerStatus) -> Option<i32> {
    Some(status.last_state.as_ref()?.terminated.as_ref()?.exit_code)
}

fn ran(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}
