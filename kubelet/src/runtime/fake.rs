//! A runtime in memory: sandboxes and containers that start, stop and fail as a test says.
//!
//! [`FakeRuntime::cut`] makes one call the last of its caller: it never answers, and the test is told so that it can end
//! the kubelet there and then. What of the call has happened by then is the test's choice.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use k8s_cri::v1;
use tokio::sync::Notify;

pub(crate) use super::fake_state::Cut;
use super::{Error, ExecOutput, Result, Runtime, Streams, fake_state::State, labels::POD_UID};

#[derive(Default)]
pub(crate) struct FakeRuntime {
    state: Mutex<State>,
    died: Notify,
}

impl FakeRuntime {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller dies at its changing call number `call`, counted from zero and from now on.
    pub(crate) fn cut(&self, call: usize, cut: Cut) {
        self.state().cut = Some((call, cut));
    }

    /// Takes a cut away again; true where it never came to it.
    pub(crate) fn mend(&self) -> bool {
        self.state().cut.take().is_some()
    }

    /// Waits for the call at which the caller is to die.
    pub(crate) async fn died(&self) {
        self.died.notified().await;
    }

    /// One changing call. `effect` is told whether the runtime gives up half way.
    async fn change<T>(&self, effect: impl FnOnce(&mut State, bool) -> Result<T> + Send) -> Result<T>
    where
        T: Send,
    {
        let cut = self.state().count();
        if cut == Some(Cut::Nothing) {
            self.die().await;
        }
        let result = effect(&mut self.state(), cut == Some(Cut::Half));
        if cut.is_some() {
            self.die().await;
        }
        result
    }

    async fn die(&self) {
        self.died.notify_one();
        std::future::pending::<()>().await;
    }

    /// Ends a running container by itself.
    pub(crate) fn exit(&self, id: &str, exit_code: i32) {
        self.state().end(id, exit_code);
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

    async fn update_pod_range(&self, range: &str) -> Result<()> {
        self.state().pod_range = range.to_owned();
        Ok(())
    }

    async fn list_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<v1::PodSandbox>> {
        let mut state = self.state();
        state.lists += 1;
        let own = state.sandboxes.values().filter(|it| is_of(&it.labels, pod_uid));
        Ok(own.map(|it| v1::PodSandbox { id: it.id.clone(), ..Default::default() }).collect())
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        self.state().sandboxes.get(id).cloned().ok_or_else(|| missing("PodSandboxStatus", id))
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, _: &str) -> Result<String> {
        self.change(|state, gives_up| {
            let now = state.call("RunPodSandbox", "")?;
            let id = format!("sandbox{now}");
            let network = v1::PodSandboxNetworkStatus { ip: "10.0.0.2".into(), ..Default::default() };
            let dead = v1::PodSandboxState::SandboxNotready as i32;
            let status = v1::PodSandboxStatus {
                id: id.clone(),
                metadata: config.metadata,
                created_at: now,
                state: if gives_up { dead } else { 0 },
                network: Some(network).filter(|_| !gives_up),
                labels: config.labels,
                ..Default::default()
            };
            state.sandboxes.insert(id.clone(), status);
            Ok(id)
        })
        .await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        self.change(|state, gives_up| {
            state.call("StopPodSandbox", "")?;
            let sandbox = state.sandboxes.get_mut(id).filter(|_| !gives_up);
            if let Some(sandbox) = sandbox {
                sandbox.state = v1::PodSandboxState::SandboxNotready as i32;
            }
            Ok(())
        })
        .await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.change(|state, gives_up| {
            state.call("RemovePodSandbox", "")?;
            if !gives_up {
                state.sandboxes.remove(id);
            }
            Ok(())
        })
        .await
    }

    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<v1::Container>> {
        let state = self.state();
        let own = state.containers.values().filter(|(_, it)| is_of(&it.labels, pod_uid));
        let one = |(sandbox, it): &(String, v1::ContainerStatus)| v1::Container {
            id: it.id.clone(),
            pod_sandbox_id: sandbox.clone(),
            state: it.state,
            labels: it.labels.clone(),
            annotations: it.annotations.clone(),
            ..Default::default()
        };
        Ok(own.map(one).collect())
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        self.state().containers.get(id).map(|(_, it)| it.clone()).ok_or_else(|| missing("ContainerStatus", id))
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        _: v1::PodSandboxConfig,
    ) -> Result<String> {
        self.change(|state, gives_up| {
            let name = config.metadata.as_ref().map(|it| it.name.clone()).unwrap_or_default();
            let now = state.call("CreateContainer", &name)?;
            let paths = config.mounts.iter().map(|mount| mount.host_path.clone());
            state.missing_mounts.extend(paths.filter(|path| !std::path::Path::new(path).exists()));
            let id = format!("{name}{now}");
            let resources = config.linux.and_then(|linux| linux.resources);
            let status = v1::ContainerStatus {
                id: id.clone(),
                metadata: config.metadata,
                created_at: now,
                labels: config.labels,
                annotations: config.annotations,
                resources: Some(v1::ContainerResources { linux: resources, ..Default::default() }),
                ..Default::default()
            };
            if !gives_up {
                state.containers.insert(id.clone(), (sandbox_id.to_owned(), status));
            }
            Ok(id)
        })
        .await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        self.change(|state, gives_up| {
            let now = state.call("StartContainer", "")?;
            if !gives_up {
                state.check_start(id);
            }
            let (_, status) = state.containers.get_mut(id).ok_or_else(|| missing("StartContainer", id))?;
            if gives_up {
                status.state = v1::ContainerState::ContainerExited as i32;
                (status.exit_code, status.reason) = (128, "StartError".into());
                status.message = "failed to create containerd task: context canceled".into();
                status.finished_at = now;
            } else {
                status.state = v1::ContainerState::ContainerRunning as i32;
                status.started_at = now;
            }
            Ok(())
        })
        .await
    }

    async fn stop_container(&self, id: &str, _: i64) -> Result<()> {
        self.change(|state, gives_up| {
            state.call("StopContainer", "")?;
            if !gives_up {
                state.end(id, 143);
            }
            Ok(())
        })
        .await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.change(|state, gives_up| {
            state.call("RemoveContainer", "")?;
            if !gives_up {
                state.containers.remove(id);
            }
            Ok(())
        })
        .await
    }

    async fn update_container_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()> {
        self.change(|state, _| {
            state.call("UpdateContainerResources", id)?;
            let (_, status) = state.containers.get_mut(id).ok_or_else(|| missing("UpdateContainerResources", id))?;
            status.resources = Some(v1::ContainerResources { linux: Some(resources.clone()), ..Default::default() });
            state.updates.push((id.to_owned(), resources));
            Ok(())
        })
        .await
    }

    async fn reopen_container_log(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn exec_sync(&self, _: &str, _: Vec<String>, _: Duration) -> Result<ExecOutput> {
        Ok(ExecOutput::default())
    }

    async fn exec(&self, id: &str, _: Vec<String>, _: Streams) -> Result<String> {
        // Nothing listens there.
        Ok(format!("http://127.0.0.1:0/exec/{id}"))
    }

    async fn attach(&self, id: &str, _: Streams) -> Result<String> {
        Err(missing("Attach", id))
    }

    async fn port_forward(&self, id: &str, _: Vec<i32>) -> Result<String> {
        Err(missing("PortForward", id))
    }

    async fn list_container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        Ok(self.state().stats.clone())
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>> {
        Ok(self.state().images.clone())
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>> {
        Ok(Some(v1::Image { id: image.to_owned(), ..Default::default() }))
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        _: Option<v1::PodSandboxConfig>,
    ) -> Result<String> {
        {
            let mut state = self.state();
            state.pulls.push(image.to_owned());
            if state.is_private && auth.is_none() {
                return Err(Error::new("PullImage", image, &tonic::Status::unknown("pull access denied")));
            }
            state.pulling += 1;
            state.pulling_max = state.pulling_max.max(state.pulling);
        }
        // Others begin meanwhile, if they may.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.state().pulling -= 1;
        Ok(image.to_owned())
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.state().images.retain(|it| it.id != image);
        Ok(())
    }

    async fn sandbox_image(&self) -> Result<Option<String>> {
        Ok(None)
    }

    async fn pinned_images(&self) -> Result<Vec<String>> {
        Ok(self.state().pinned.clone())
    }

    async fn image_filesystems(&self) -> Result<Vec<v1::FilesystemUsage>> {
        Ok(Vec::new())
    }
}
