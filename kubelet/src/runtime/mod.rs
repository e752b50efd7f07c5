//! The container runtime, as CRI v1 shows it.
//!
//! Enter at [`Runtime`]; [`cri`] speaks to a real one over its unix socket, `fake` is one in memory for tests,
//! [`events`] wakes the pod workers when something in the runtime moves, [`observe`] turns CRI answers into the small
//! records that the decision core reads. Nothing here knows the Kubernetes API.

pub(crate) mod containerd;
mod create;
pub mod cri;
pub mod error;
pub mod events;
#[cfg(test)]
mod events_tests;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
pub(crate) mod fake_grpc;
#[cfg(test)]
mod fake_state;
pub mod labels;
pub mod observe;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_cri::v1;

pub use error::Error;
pub use observe::{ContainerRecord, ContainerState, Observed, SandboxRecord};

pub type Result<T> = std::result::Result<T, Error>;

/// What a command run inside a container answered (CRI `ExecSync`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

/// The streams that an `Exec` or `Attach` asks for (CRI `ExecRequest`, `AttachRequest`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// CRI `RuntimeService` and `ImageService`, the calls that a kubelet makes.
///
/// Calls are not cancelled half way: dropping a future may leave the runtime working, so callers run them to their end
/// and look at the runtime again afterwards.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    async fn version(&self) -> Result<v1::VersionResponse>;
    async fn status(&self) -> Result<v1::StatusResponse>;
    /// `cgroupfs` or `systemd`, where the runtime tells (`RuntimeConfig`: containerd 2.0, CRI-O 1.28).
    async fn cgroup_driver(&self) -> Result<Option<&'static str>> {
        Ok(None)
    }
    /// Which addresses this node's pods get: a range, or one of each family with a comma between (`UpdateRuntimeConfig`).
    async fn update_pod_range(&self, range: &str) -> Result<()>;

    /// All sandboxes, or those of one pod UID.
    async fn list_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<v1::PodSandbox>>;
    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus>;
    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String>;
    async fn stop_sandbox(&self, id: &str) -> Result<()>;
    async fn remove_sandbox(&self, id: &str) -> Result<()>;

    /// All containers, or those of one pod UID.
    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<v1::Container>>;
    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus>;
    /// A mount of an image has as its `host_path` the path in the image: the library has no field for that.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String>;
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Sends the stop signal, and SIGKILL after `grace_period_seconds`.
    async fn stop_container(&self, id: &str, grace_period_seconds: i64) -> Result<()>;
    async fn remove_container(&self, id: &str) -> Result<()>;
    async fn update_container_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()>;
    async fn reopen_container_log(&self, id: &str) -> Result<()>;
    /// Writes the state of a running container to an archive; a `timeout` of zero is the runtime's own.
    async fn checkpoint_container(&self, id: &str, location: &str, timeout: Duration) -> Result<()> {
        let _ = (location, timeout);
        Err(Error::new("CheckpointContainer", id, &tonic::Status::unimplemented("unknown method CheckpointContainer")))
    }

    /// Runs `command` and waits; `timeout` of zero waits for ever.
    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> Result<ExecOutput>;
    /// The URL of a streaming session.
    async fn exec(&self, id: &str, command: Vec<String>, streams: Streams) -> Result<String>;
    async fn attach(&self, id: &str, streams: Streams) -> Result<String>;
    async fn port_forward(&self, sandbox_id: &str, ports: Vec<i32>) -> Result<String>;

    async fn list_container_stats(&self) -> Result<Vec<v1::ContainerStats>>;

    async fn list_images(&self) -> Result<Vec<v1::Image>>;
    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>>;
    /// Pulls and answers the image reference (ID) that containers are made from.
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String>;
    async fn remove_image(&self, image: &str) -> Result<()>;
    /// The image of the runtime's sandboxes, where it tells.
    async fn sandbox_image(&self) -> Result<Option<String>>;
    /// Names of images that must stay though CRI's list does not tell: containerd before 1.7 keeps the mark to itself.
    async fn pinned_images(&self) -> Result<Vec<String>>;
    async fn image_filesystems(&self) -> Result<Vec<v1::FilesystemUsage>>;
}

/// The runtime that all parts of one kubelet share.
pub type SharedRuntime = Arc<dyn Runtime>;
