//! The runtime's share: the same sandboxes and containers made straight over CRI, at the same parallelism.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, LinuxPodSandboxConfig, PodSandboxConfig,
    PodSandboxMetadata, RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest, StopContainerRequest,
    StopPodSandboxRequest,
};
use tonic::transport::{Channel, Endpoint};

pub(crate) struct Runtime {
    tasks: tokio::runtime::Runtime,
    client: RuntimeServiceClient<Channel>,
}

impl Runtime {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let tasks = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = tasks.block_on(endpoint.connect()).context("connect to containerd")?;
        Ok(Self { tasks, client: RuntimeServiceClient::new(channel) })
    }

    /// How long `count` pods take to run, and to be gone.
    pub(crate) fn start_and_stop(&self, count: usize) -> Result<(Duration, Duration)> {
        self.tasks.block_on(async {
            let start = Instant::now();
            let pods = try_join_all((0..count).map(|index| self.start(index))).await?;
            let started = start.elapsed();
            let stop = Instant::now();
            try_join_all(pods.into_iter().map(|(sandbox, container)| self.stop(sandbox, container))).await?;
            Ok((started, stop.elapsed()))
        })
    }

    async fn start(&self, index: usize) -> Result<(String, String)> {
        let mut client = self.client.clone();
        let name = format!("share-{index}");
        let sandbox = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.clone(),
                uid: name.clone(),
                namespace: "bench".into(),
                attempt: 0,
            }),
            log_directory: format!("/var/log/pods/{name}"),
            linux: Some(LinuxPodSandboxConfig { cgroup_parent: "/share".into(), ..Default::default() }),
            labels: HashMap::from([("bench".to_owned(), "share".to_owned())]),
            ..Default::default()
        };
        let request = RunPodSandboxRequest { config: Some(sandbox.clone()), ..Default::default() };
        let pod_sandbox_id =
            client.run_pod_sandbox(request).await.context("run a sandbox")?.into_inner().pod_sandbox_id;
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "web".into(), attempt: 0 }),
            image: Some(ImageSpec { image: "docker.io/library/nginx:latest".into(), ..Default::default() }),
            log_path: "web.log".into(),
            ..Default::default()
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        let container_id =
            client.create_container(request).await.context("create a container")?.into_inner().container_id;
        let request = StartContainerRequest { container_id: container_id.clone() };
        client.start_container(request).await.context("start a container")?;
        Ok((pod_sandbox_id, container_id))
    }

    async fn stop(&self, pod_sandbox_id: String, container_id: String) -> Result<()> {
        let mut client = self.client.clone();
        client.stop_container(StopContainerRequest { container_id, timeout: 0 }).await.context("stop a container")?;
        let request = StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
        client.stop_pod_sandbox(request).await.context("stop a sandbox")?;
        client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await.context("remove a sandbox")?;
        Ok(())
    }
}
