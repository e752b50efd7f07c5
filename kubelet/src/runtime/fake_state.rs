//! What the runtime in memory holds, and what goes wrong in it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_cri::v1;

use super::{Error, Result, labels::POD_UID};

#[derive(Default)]
pub(crate) struct State {
    pub(crate) sandboxes: BTreeMap<String, v1::PodSandboxStatus>,
    pub(crate) containers: BTreeMap<String, (String, v1::ContainerStatus)>,
    /// Every changing call with its object, in order.
    pub(crate) calls: Vec<String>,
    pub(crate) lists: usize,
    /// Calls that fail the next time, by name.
    pub(crate) failing: BTreeSet<&'static str>,
    /// A call that panics the next time.
    pub(crate) panicking: Option<&'static str>,
    /// Containers that were started while another of their name ran in the same pod.
    pub(crate) twice: Vec<String>,
    /// What containers were to have of the node that was not there when they were made.
    pub(crate) missing_mounts: Vec<String>,
    /// What `UpdateContainerResources` was told, by container.
    pub(crate) updates: Vec<(String, v1::LinuxContainerResources)>,
    pub(crate) images: Vec<v1::Image>,
    pub(crate) stats: Vec<v1::ContainerStats>,
    pub(crate) pulls: Vec<String>,
    /// Pulls without credentials fail.
    pub(crate) is_private: bool,
    pub(super) pulling: usize,
    /// The most pulls that ran at once.
    pub(crate) pulling_max: usize,
    /// Names of images that CRI does not tell to be pinned.
    pub(crate) pinned: Vec<String>,
    /// What `UpdateRuntimeConfig` was told last.
    pub(crate) pod_range: String,
    pub(super) cut: Option<(usize, Cut)>,
    next: i64,
}

/// How much of the call at which the caller dies has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Nothing,
    /// The runtime noticed that nobody waits any more and gave up, as containerd does.
    Half,
    All,
}

impl State {
    pub(super) fn count(&mut self) -> Option<Cut> {
        let (left, cut) = self.cut?;
        self.cut = left.checked_sub(1).map(|left| (left, cut));
        (left == 0).then_some(cut)
    }

    /// Notes a start of a container whose like runs already.
    pub(super) fn check_start(&mut self, id: &str) {
        let Some((_, own)) = self.containers.get(id) else { return };
        let of = |it: &v1::ContainerStatus| {
            (it.labels.get(POD_UID).cloned(), it.metadata.as_ref().map(|it| it.name.clone()))
        };
        let running = v1::ContainerState::ContainerRunning as i32;
        let is_twice = self.containers.values().any(|(_, it)| it.id != id && it.state == running && of(it) == of(own));
        if is_twice {
            self.twice.push(id.to_owned());
        }
    }

    pub(super) fn call(&mut self, name: &'static str, object: &str) -> Result<i64> {
        self.calls.push(format!("{name} {object}"));
        self.next += 1;
        assert!(self.panicking.take_if(|it| *it == name).is_none(), "as the test wants");
        match self.failing.remove(name) {
            true => Err(Error::new(name, object, &tonic::Status::unknown("as the test wants"))),
            false => Ok(self.next),
        }
    }

    pub(super) fn end(&mut self, id: &str, exit_code: i32) {
        self.next += 1;
        let now = self.next;
        if let Some((_, status)) = self.containers.get_mut(id) {
            status.state = v1::ContainerState::ContainerExited as i32;
            status.exit_code = exit_code;
            status.finished_at = now;
        }
    }
}
