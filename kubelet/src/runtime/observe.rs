//! One pod as the runtime has it, in records small enough for the decision core to compare.
//!
//! Enter at [`Observed::of_pod`]. All order is newest first: index 0 is the current sandbox, the first record of a name
//! its current container. Knows no pod spec.

use std::collections::{BTreeSet, HashMap};

use k8s_cri::v1;

use super::{Result, Runtime, labels};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    Unknown,
}

/// A sandbox; times are nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRecord {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created_at_ns: i64,
    pub host_network: bool,
    /// Empty on the host network, and until CNI has answered.
    pub ips: Vec<String>,
}

/// A container; times are nanoseconds since 1970, zero when not yet.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRecord {
    pub id: String,
    pub sandbox_id: String,
    pub name: String,
    pub attempt: u32,
    pub state: ContainerState,
    pub created_at_ns: i64,
    pub started_at_ns: i64,
    pub finished_at_ns: i64,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    pub image: String,
    pub image_ref: String,
    pub log_path: String,
    pub annotations: HashMap<String, String>,
    pub mounts: Vec<(String, String)>,
    pub resources: Option<v1::LinuxContainerResources>,
    pub user: Option<v1::LinuxContainerUser>,
}

impl ContainerRecord {
    /// A record that tells nothing but its name, which is its ID as well.
    #[cfg(test)]
    pub(crate) fn for_test(name: &str, state: ContainerState) -> Self {
        Self {
            id: name.to_owned(),
            sandbox_id: "s".to_owned(),
            name: name.to_owned(),
            attempt: 0,
            state,
            created_at_ns: 1,
            started_at_ns: 1,
            finished_at_ns: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: String::new(),
            image_ref: String::new(),
            log_path: String::new(),
            annotations: HashMap::new(),
            mounts: Vec::new(),
            resources: None,
            user: None,
        }
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// The restart count that the container was made with.
    pub fn restart_count(&self) -> i32 {
        self.annotation(labels::RESTART_COUNT)
            .and_then(|count| count.parse().ok())
            .unwrap_or_else(|| i32::try_from(self.attempt).unwrap_or(i32::MAX))
    }

    /// The runtime gave a start up because whoever asked for it went away: the container never ran. That is what a
    /// kubelet that dies in the middle of a start leaves.
    pub fn was_cut_off(&self) -> bool {
        let is_cut = |text: &str| text.contains("context canceled") || text.contains("context deadline exceeded");
        self.state == ContainerState::Exited
            && self.started_at_ns <= 0
            && self.reason == "StartError"
            && is_cut(&self.message)
    }

    pub fn is_alive(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Unknown)
    }
}

/// One thing that the runtime holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    Sandbox(String),
    Container { id: String, sandbox_id: String },
}

impl Item {
    pub fn id(&self) -> &str {
        match self {
            Self::Sandbox(id) | Self::Container { id, .. } => id,
        }
    }
}

/// Everything that the runtime holds for one pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    pub sandboxes: Vec<SandboxRecord>,
    pub containers: Vec<ContainerRecord>,
}

impl Observed {
    /// Reads one pod from the runtime. What vanishes between the list and the look is left out.
    pub async fn of_pod(runtime: &dyn Runtime, pod_uid: &str) -> Result<Self> {
        let mut sandboxes = Vec::new();
        for item in runtime.list_sandboxes(Some(pod_uid)).await? {
            sandboxes.extend(found(runtime.sandbox_status(&item.id).await)?.map(sandbox_record));
        }
        let mut containers = Vec::new();
        for item in runtime.list_containers(Some(pod_uid)).await? {
            let status = found(runtime.container_status(&item.id).await)?;
            containers.extend(status.map(|status| container_record(status, &item.pod_sandbox_id)));
        }
        Ok(Self::sorted(sandboxes, containers))
    }

    /// Reads only these again. What has vanished is left out.
    pub async fn renewed(&self, runtime: &dyn Runtime, items: &BTreeSet<Item>) -> Result<Self> {
        let Self { mut sandboxes, mut containers } = self.clone();
        for item in items {
            match item {
                Item::Sandbox(id) => {
                    sandboxes.retain(|sandbox| sandbox.id != *id);
                    sandboxes.extend(found(runtime.sandbox_status(id).await)?.map(sandbox_record));
                }
                Item::Container { id, sandbox_id } => {
                    containers.retain(|container| container.id != *id);
                    let status = found(runtime.container_status(id).await)?;
                    containers.extend(status.map(|status| container_record(status, sandbox_id)));
                }
            }
        }
        Ok(Self::sorted(sandboxes, containers))
    }

    /// The thing of that ID, if it was seen.
    pub fn item(&self, id: &str) -> Option<Item> {
        let container = self.containers.iter().find(|container| container.id == id);
        let container = container.map(|it| Item::Container { id: it.id.clone(), sandbox_id: it.sandbox_id.clone() });
        let sandbox = || self.sandboxes.iter().find(|sandbox| sandbox.id == id);
        container.or_else(|| sandbox().map(|it| Item::Sandbox(it.id.clone())))
    }

    /// Puts the newest first.
    pub fn sorted(mut sandboxes: Vec<SandboxRecord>, mut containers: Vec<ContainerRecord>) -> Self {
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.created_at_ns, sandbox.attempt)));
        containers.sort_by_key(|container| std::cmp::Reverse((container.created_at_ns, container.attempt)));
        Self { sandboxes, containers }
    }

    /// The newest container of that name.
    pub fn current(&self, name: &str) -> Option<&ContainerRecord> {
        self.containers.iter().find(|container| container.name == name)
    }

    pub fn ready_sandbox(&self) -> Option<&SandboxRecord> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The addresses of the current sandbox, ready or not.
    pub fn ips(&self) -> &[String] {
        self.sandboxes.first().map_or(&[], |sandbox| sandbox.ips.as_slice())
    }

    pub fn any_alive(&self) -> bool {
        self.containers.iter().any(ContainerRecord::is_alive) || self.sandboxes.iter().any(|sandbox| sandbox.ready)
    }

    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }
}

/// None for what has vanished.
fn found<T>(status: Result<T>) -> Result<Option<T>> {
    match status {
        Err(error) if error.is_not_found() => Ok(None),
        status => status.map(Some),
    }
}

fn sandbox_record(status: v1::PodSandboxStatus) -> SandboxRecord {
    let mut ips = Vec::new();
    if let Some(network) = status.network {
        ips.extend(Some(network.ip).filter(|ip| !ip.is_empty()));
        ips.extend(network.additional_ips.into_iter().map(|ip| ip.ip).filter(|ip| !ip.is_empty()));
    }
    let network_mode = status
        .linux
        .and_then(|linux| linux.namespaces)
        .and_then(|namespaces| namespaces.options)
        .map_or(0, |options| options.network);
    SandboxRecord {
        id: status.id,
        attempt: status.metadata.map_or(0, |metadata| metadata.attempt),
        ready: status.state == v1::PodSandboxState::SandboxReady as i32,
        created_at_ns: status.created_at,
        host_network: network_mode == v1::NamespaceMode::Node as i32,
        ips,
    }
}

fn container_record(status: v1::ContainerStatus, sandbox_id: &str) -> ContainerRecord {
    let state = match v1::ContainerState::try_from(status.state) {
        Ok(v1::ContainerState::ContainerCreated) => ContainerState::Created,
        Ok(v1::ContainerState::ContainerRunning) => ContainerState::Running,
        Ok(v1::ContainerState::ContainerExited) => ContainerState::Exited,
        Ok(v1::ContainerState::ContainerUnknown) | Err(_) => ContainerState::Unknown,
    };
    let (metadata_name, attempt) =
        status.metadata.map_or((String::new(), 0), |metadata| (metadata.name, metadata.attempt));
    ContainerRecord {
        name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata_name),
        id: status.id,
        sandbox_id: sandbox_id.to_owned(),
        attempt,
        state,
        created_at_ns: status.created_at,
        started_at_ns: status.started_at,
        finished_at_ns: status.finished_at,
        exit_code: status.exit_code,
        reason: status.reason,
        message: status.message,
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_ref: status.image_ref,
        log_path: status.log_path,
        annotations: status.annotations,
        mounts: status.mounts.into_iter().map(|mount| (mount.container_path, mount.host_path)).collect(),
        resources: status.resources.and_then(|resources| resources.linux),
        user: status.user.and_then(|user| user.linux),
    }
}
