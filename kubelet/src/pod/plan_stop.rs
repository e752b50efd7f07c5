//! The stopping half of the decision, and what is cleared away while a pod runs. Part of [`super::plan`].

use std::time::Duration;

use super::{
    backoff::after,
    fate::Stop,
    plan::{Action, Planner},
    spec,
};
use crate::runtime::{ContainerRecord, ContainerState};

/// Stops the pod's own and init containers first, sidecars after them in reverse order, then the sandboxes. All preStop
/// hooks run at once: a sidecar waits for its turn after its hook.
///
/// A start that is under way is waited for: stopping a sandbox below a container that the runtime is just making leaves
/// the container behind.
pub(super) fn stop(planner: &mut Planner<'_>, stop: &Stop) {
    let alive = planner.s.observed.containers.iter().filter(|it| it.is_alive());
    let alive: Vec<(usize, &ContainerRecord)> = alive.map(|record| (order(planner, record), record)).collect();
    let remaining = whole_seconds_until(planner, stop);
    if let Some(turn) = alive.iter().map(|(turn, _)| *turn).max() {
        for (own, record) in alive {
            if own == turn || remaining == 0 {
                planner.stop_container_by(record, remaining, stop);
            } else {
                planner.run_pre_stop(record, remaining);
            }
        }
        return;
    }
    if planner.s.memory.starting.is_some() || !planner.s.memory.stopping.is_empty() {
        return;
    }
    let cut_off = planner.s.observed.containers.iter().filter(|it| it.was_cut_off());
    let cut_off: Vec<&ContainerRecord> = cut_off.collect();
    cut_off.iter().for_each(|record| planner.remove_container(record));
    // What the runtime left of such a start is in the pod's cgroup until the container is removed.
    if cut_off.iter().any(|record| !planner.s.memory.failures.contains_key(&record.id)) {
        return;
    }
    let mut stopped = true;
    for sandbox in &planner.s.observed.sandboxes {
        if !planner.s.memory.stopped_sandboxes.contains(&sandbox.id) {
            stopped = false;
            planner.stop_sandbox(&sandbox.id);
        }
    }
    planner.plan.stopped = stopped;
}

fn whole_seconds_until(planner: &Planner<'_>, stop: &Stop) -> i64 {
    let left = stop.deadline().duration_since(planner.s.now);
    (left.as_millis().max(0) as i64 + 999) / 1000
}

/// Everything but sidecars is in the first turn (the highest number); then sidecars from the last to the first.
fn order(planner: &Planner<'_>, record: &ContainerRecord) -> usize {
    let inits = spec::init_containers(planner.s.pod);
    inits.iter().position(|it| it.name == record.name && spec::is_sidecar(it)).unwrap_or(inits.len())
}

/// While a pod runs: of each container name the current and the one before are kept (for `lastState` and the logs of
/// `--previous`), and of sandboxes the current one and those that still hold kept containers.
pub(super) fn collect_garbage(planner: &mut Planner<'_>) {
    let observed = planner.s.observed;
    let mut seen: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    let mut kept_in: std::collections::HashSet<&str> = std::collections::HashSet::new();
    for record in &observed.containers {
        let newer = seen.entry(record.name.as_str()).or_default();
        *newer += 1;
        if *newer > 2 && record.state == ContainerState::Exited {
            planner.remove_container(record);
        } else {
            kept_in.insert(record.sandbox_id.as_str());
        }
    }
    for sandbox in observed.sandboxes.iter().skip(1) {
        let is_done = planner.s.memory.stopped_sandboxes.contains(&sandbox.id);
        let is_empty = !observed.containers.iter().any(|record| record.sandbox_id == sandbox.id);
        if is_done
            && is_empty
            && !kept_in.contains(sandbox.id.as_str())
            && !planner.s.memory.removing.contains(&sandbox.id)
            && !planner.is_refused(&sandbox.id)
        {
            planner.plan.actions.push(Action::RemoveSandbox { id: sandbox.id.clone() });
        } else if !is_done && !sandbox.ready {
            // Left by a kubelet that died: its network may not have been given back.
            planner.stop_sandbox(&sandbox.id);
        }
    }
}

impl Planner<'_> {
    /// What is killed comes first, whichever container it is: upstream starts nothing of a pod beside its preStop hook.
    pub(super) fn stop_first(&mut self) {
        if self.plan.actions.iter().any(|it| matches!(it, Action::StopContainer { .. })) {
            self.plan.actions.retain(|it| !matches!(it, Action::StartContainer(_)));
        }
    }

    /// Stops a container of a pod that goes on.
    pub(super) fn stop_container(&mut self, record: &ContainerRecord, message: &str, grace_period_seconds: i64) {
        let grace = Duration::from_secs(u64::try_from(grace_period_seconds).unwrap_or(0));
        let deadline = after(self.s.now, grace);
        // Asked again only to be stricter: a runtime takes a second stop with an earlier end.
        if self.s.memory.stopping.get(&record.id).is_some_and(|given| *given <= deadline) || self.is_refused(&record.id)
        {
            return;
        }
        self.plan.actions.push(Action::StopContainer {
            id: record.id.clone(),
            name: record.name.clone(),
            message: message.to_owned(),
            grace_period_seconds,
            deadline,
        });
    }

    /// True while the runtime is not asked again to stop or to remove what it would not stop or remove.
    pub(super) fn is_refused(&mut self, id: &str) -> bool {
        let Some(retry_at) = self.s.memory.held_back(id, self.s.now).map(|it| it.retry_at) else {
            return false;
        };
        self.wake_at(retry_at);
        true
    }

    fn run_pre_stop(&mut self, record: &ContainerRecord, remaining_seconds: i64) {
        if self.s.memory.pre_stopping.contains_key(&record.id) || self.s.memory.stopping.contains_key(&record.id) {
            return;
        }
        self.plan.actions.push(Action::RunPreStop {
            id: record.id.clone(),
            name: record.name.clone(),
            grace_period_seconds: remaining_seconds,
        });
    }

    fn stop_container_by(&mut self, record: &ContainerRecord, remaining_seconds: i64, stop: &Stop) {
        let deadline = stop.deadline();
        let is_asked = self.s.memory.stopping.get(&record.id).is_some_and(|given| *given <= deadline);
        let is_hooked = self.s.memory.pre_stopping.get(&record.id) == Some(&false);
        if is_asked || (is_hooked && remaining_seconds > 0) || self.is_refused(&record.id) {
            return;
        }
        // Counted from the stop's own end, so that deciding again at a later second is no stricter demand.
        self.plan.actions.push(Action::StopContainer {
            id: record.id.clone(),
            name: record.name.clone(),
            message: format!("Stopping container {}", record.name),
            grace_period_seconds: remaining_seconds,
            deadline,
        });
    }
}
