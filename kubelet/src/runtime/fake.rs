//! A runtime in memory: sandboxes and containers that start, stop and fail as a test says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use k8s_cri::v1;

use super::{Error, ExecOutput, Result, Runtime, Streams, labels::POD_UID};

#[derive(Default)]
pub(crate) struct State {
    pub(crate) sandboxes: BTreeMap<String, v1::PodSandboxStatus>,
    pub(crate) containers: BTreeMap<String, (String, v1::ContainerStatus)>,
    /// Every changing call with its object, in order.
    pub(crate) calls: Vec<String>,
    /// Calls that fail the next time, by name.
    pub(crate) failing: BTreeSet<&'static str>,
    next: i64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct FakeRuntime(Mutex<State>);

impl FakeRuntime {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a running container by itself.
    pub(crate) fn exit(&self, id: &str, exit_code: i32) {
        self.state().end(id, exit_code);
    }
}

impl State {
    fn call(&mut self, name: &'static str, object: &str) -> Result<i64> {
        self.calls.push(format!("{name} {object}"));
        self.next += 1;
        match self.failing.remove(name) {
            true => Err(Error::new(name, object, &tonic::Status::unknown("as the test wants"))),
            false => Ok(self.next),
        }
    }

    fn end(&mut self, id: &str, exit_code: i32) {
        self.next += 1;
        let now = self.next;
        if let Some((_, status)) = self.containers.get_mut(id) {
            status.state = v1::ContainerState::ContainerExited as i32;
            status.exit_code = exit_code;
            status.finished_at = now;
        }
    }
}

fn missing(operation: &'static str, id: &str) -> Error {
    Error::new(operation, id, &tonic::Status::not_found("not found"))
}

fn is_of(labels: &std::collections::HashMap<String, String>, uid: Option<&str>) -> bool {
    uid.is_none_or(|uid| labels.get(POD_UID).is_some_and(|it| it == uid))
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn version(&self) -> Result<v1::VersionResponse> {
        Ok(v1::VersionResponse { runtime_name: "fake".into(), ..Default::default() })
    }

    async fn status(&self) -> Result<v1::StatusResponse> {
        Ok(v1::StatusResponse::default())
    }

    async fn list_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<v1::PodSandbox>> {
        let state = self.state();
        let own = state.sandboxes.values().filter(|it| is_of(&it.labels, pod_uid));
        let one = |it: &v1::PodSandboxStatus| v1::PodSandbox { id: it.id.clone(), ..Default::default() };
        Ok(own.map(one).collect())
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        self.state().sandboxes.get(id).cloned().ok_or_else(|| missing("PodSandboxStatus", id))
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, _: &str) -> Result<String> {
        let mut state = self.state();
        let now = state.call("RunPodSandbox", "")?;
        let id = format!("sandbox{now}");
        let network = v1::PodSandboxNetworkStatus { ip: "10.0.0.2".into(), ..Default::default() };
        let status = v1::PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata,
            created_at: now,
            network: Some(network),
            labels: config.labels,
            ..Default::default()
        };
        state.sandboxes.insert(id.clone(), status);
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.state();
        state.call("StopPodSandbox", "")?;
        if let Some(sandbox) = state.sandboxes.get_mut(id) {
            sandbox.state = v1::PodSandboxState::SandboxNotready as i32;
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.state();
        state.call("RemovePodSandbox", "")?;
        state.sandboxes.remove(id);
        Ok(())
    }

    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<v1::Container>> {
        let state = self.state();
        let own = state.containers.values().filter(|(_, it)| is_of(&it.labels, pod_uid));
        let one = |(sandbox, it): &(String, v1::ContainerStatus)| v1::Container {
            id: it.id.clone(),
            pod_sandbox_id: sandbox.clone(),
            ..Default::default()
        };
        Ok(own.map(one).collect())
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        let found = self.state().containers.get(id).map(|(_, status)| status.clone());
        found.ok_or_else(|| missing("ContainerStatus", id))
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        _: v1::PodSandboxConfig,
    ) -> Result<String> {
        let mut state = self.state();
        let name = config.metadata.as_ref().map(|it| it.name.clone()).unwrap_or_default();
        let now = state.call("CreateContainer", &name)?;
        let id = format!("{name}{now}");
        let status = v1::ContainerStatus {
            id: id.clone(),
            metadata: config.metadata,
            created_at: now,
            labels: config.labels,
            annotations: config.annotations,
            ..Default::default()
        };
        state.containers.insert(id.clone(), (sandbox_id.to_owned(), status));
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let mut state = self.state();
        let now = state.call("StartContainer", "")?;
        let (_, status) = state.containers.get_mut(id).ok_or_else(|| missing("StartContainer", id))?;
        status.state = v1::ContainerState::ContainerRunning as i32;
        status.started_at = now;
        Ok(())
    }

    async fn stop_container(&self, id: &str, _: i64) -> Result<()> {
        let mut state = self.state();
        state.call("StopContainer", "")?;
        state.end(id, 143);
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let mut state = self.state();
        state.call("RemoveContainer", "")?;
        state.containers.remove(id);
        Ok(())
    }

    async fn update_container_resources(&self, _: &str, _: v1::LinuxContainerResources) -> Result<()> {
        Ok(())
    }

    async fn reopen_container_log(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn exec_sync(&self, _: &str, _: Vec<String>, _: Duration) -> Result<ExecOutput> {
        Ok(ExecOutput::default())
    }

    async fn exec(&self, id: &str, _: Vec<String>, _: Streams) -> Result<String> {
        Err(missing("Exec", id))
    }

    async fn attach(&self, id: &str, _: Streams) -> Result<String> {
        Err(missing("Attach", id))
    }

    async fn port_forward(&self, id: &str, _: Vec<i32>) -> Result<String> {
        Err(missing("PortForward", id))
    }

    async fn list_container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        Ok(Vec::new())
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>> {
        Ok(Vec::new())
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>> {
        Ok(Some(v1::Image { id: image.to_owned(), ..Default::default() }))
    }

    async fn pull_image(
        &self,
        image: &str,
        _: Option<v1::AuthConfig>,
        _: Option<v1::PodSandboxConfig>,
    ) -> Result<String> {
        Ok(image.to_owned())
    }

    async fn remove_image(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn image_filesystems(&self) -> Result<Vec<v1::FilesystemUsage>> {
        Ok(Vec::new())
    }
}
