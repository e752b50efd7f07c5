//! Restart rules with the action RestartAllContainers (KEP-5532) in the decision. Part of [`super::plan`].
//!
//! A container that ends with a code that such a rule names takes all others with it: they are stopped and removed, and
//! the pod begins anew in its sandbox, init containers first. The container that ended is removed last: a kubelet that
//! dies in between finds by it what was under way.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{
    plan::{Action, Planner},
    spec::{self, Role},
};
use crate::runtime::{ContainerRecord, ContainerState, Observed};

/// The waiting reason of all containers meanwhile.
pub const RESTARTING: &str = "RestartingAllContainers";

/// Has a container ended that takes all others with it?
pub fn is_under_way(pod: &Pod, observed: &Observed) -> bool {
    let mut containers = spec::containers(pod).into_iter().filter(|(role, _)| *role != Role::Ephemeral);
    containers.any(|(_, container)| ended_by_rule(observed, &container).is_some())
}

impl Planner<'_> {
    /// True while the pod is being begun anew: nothing else is to be decided.
    pub(super) fn reset_all(&mut self) -> bool {
        let observed = self.s.observed;
        let mut containers = spec::containers(self.s.pod);
        containers.retain(|(role, _)| *role != Role::Ephemeral);
        let sources: Vec<&ContainerRecord> =
            containers.iter().filter_map(|(_, container)| ended_by_rule(observed, container)).collect();
        let Some(first) = sources.first() else { return false };
        for (_, container) in &containers {
            let message = "The container is removed because RestartAllContainers in place";
            self.wait(&container.name, RESTARTING, message.to_owned());
        }
        let is_counted = |record: &&ContainerRecord| containers.iter().any(|(_, it)| it.name == record.name);
        let is_source = |record: &ContainerRecord| sources.iter().any(|source| source.id == record.id);
        let grace = spec::termination_grace_period_seconds(self.s.pod);
        let mut clear = self.s.memory.starting.is_none();
        for record in observed.containers.iter().filter(is_counted).filter(|record| !is_source(record)) {
            clear = false;
            if record.is_alive() {
                self.stop_container(record, &format!("Container {} is restarted with all others", record.name), grace);
            } else {
                self.forget_run(record, None);
            }
        }
        if clear && !self.is_held_back(first) {
            for source in &sources {
                self.forget_run(source, ended_at(source));
            }
        }
        true
    }

    fn is_held_back(&mut self, source: &ContainerRecord) -> bool {
        let Some(crashed_at) = ended_at(source) else { return false };
        self.holds_back(&source.name, crashed_at, |delay| format!("back-off {delay} restarting all containers"))
    }

    /// Removes a run, but not its log: the number of the next run is counted by it.
    fn forget_run(&mut self, record: &ContainerRecord, crashed_at: Option<Timestamp>) {
        if !self.s.memory.removing.contains(&record.id) && !self.is_refused(&record.id) {
            let (id, name) = (record.id.clone(), record.name.clone());
            self.plan.actions.push(Action::ForgetRun { id, name, crashed_at });
        }
    }
}

fn ended_at(record: &ContainerRecord) -> Option<Timestamp> {
    Timestamp::from_nanosecond(record.finished_at_ns.into()).ok()
}

fn ended_by_rule<'a>(observed: &'a Observed, container: &Container) -> Option<&'a ContainerRecord> {
    let record = observed.current(&container.name)?;
    let is_over = record.state == ContainerState::Exited && !record.was_cut_off();
    (is_over && spec::restarts_all_after(container, record.exit_code)).then_some(record)
}
