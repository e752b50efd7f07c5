//! Init containers and sidecars in the decision. Part of [`super::plan`].

use k8s_openapi::api::core::v1::Container;

use super::{
    plan::Planner,
    spec::{self, Role},
};
use crate::runtime::{ContainerRecord, ContainerState};

impl Planner<'_> {
    /// Init containers and sidecars, in order. True when the pod's own containers may run.
    ///
    /// Only containers of the current sandbox count: a new sandbox means initializing again. Once a later container was made
    /// in it an init container is over for good, whatever has become of its record.
    pub(super) fn run_init(&mut self, sandbox_id: &str) -> bool {
        let here = |name: &str| self.s.observed.current(name).filter(|record| record.sandbox_id == sandbox_id);
        let is_initialized = spec::spec(self.s.pod).containers.iter().any(|container| here(&container.name).is_some());
        let inits = spec::init_containers(self.s.pod);
        let last = inits.iter().rposition(|container| here(&container.name).is_some());
        for (index, container) in inits.iter().enumerate() {
            let sidecar = spec::is_sidecar(container);
            let is_past = is_initialized || last.is_some_and(|last| index < last);
            if is_past && !sidecar {
                continue;
            }
            let done = match here(&container.name) {
                Some(record) if sidecar => self.tend_sidecar(container, record, sandbox_id),
                Some(record) => self.tend_init(container, record, sandbox_id),
                None => {
                    self.start(container, sandbox_id, None);
                    false
                }
            };
            if !done && !is_past {
                return false;
            }
        }
        true
    }

    fn tend_init(&mut self, container: &Container, record: &ContainerRecord, sandbox_id: &str) -> bool {
        match record.state {
            ContainerState::Exited if record.was_cut_off() => self.replace_created(record),
            ContainerState::Exited if record.exit_code == 0 => return true,
            ContainerState::Exited if spec::restarts_after(container, Role::Init, self.s.pod, record.exit_code) => {
                self.start(container, sandbox_id, Some(record));
            }
            ContainerState::Exited => self.plan.completed = true,
            ContainerState::Created => self.replace_created(record),
            ContainerState::Unknown => {
                let message = "Init container is in \"unknown\" state, try killing it before restart";
                self.stop_container(record, message, spec::termination_grace_period_seconds(self.s.pod));
            }
            ContainerState::Running => {}
        }
        false
    }

    /// True when the sidecar counts as started.
    fn tend_sidecar(&mut self, container: &Container, record: &ContainerRecord, sandbox_id: &str) -> bool {
        match record.state {
            ContainerState::Running => {
                self.restart_if_wanted(container, record, "Init container");
                container.startup_probe.is_none() || self.s.memory.probed(&record.id).startup == Some(true)
            }
            ContainerState::Exited if !record.was_cut_off() => {
                self.start(container, sandbox_id, Some(record));
                false
            }
            ContainerState::Exited | ContainerState::Created => {
                self.replace_created(record);
                false
            }
            ContainerState::Unknown => {
                let message = "Init container is in \"unknown\" state, try killing it before restart";
                self.stop_container(record, message, spec::termination_grace_period_seconds(self.s.pod));
                false
            }
        }
    }
}
