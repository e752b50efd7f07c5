//! The runtime's share: the same sandboxes and containers made straight over CRI, at the same parallelism.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    CreateContainerRequest, ListPodSandboxRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};
use testbed::eventually;
use tonic::transport::{Channel, Endpoint};

use crate::mold::Mold;

/// The grace that pods and bare containers are given to end by themselves.
pub(crate) const GRACE_PERIOD_SECONDS: i64 = 2;
const EMPTY_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Runtime {
    tasks: tokio::runtime::Runtime,
    client: RuntimeServiceClient<Channel>,
    mold: Mold,
}

impl Runtime {
    /// `folder` is for the files that are mounted into the containers.
    pub(crate) fn connect(socket: &Path, folder: &Path) -> Result<Self> {
        let tasks = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = tasks.block_on(endpoint.connect()).context("connect to containerd")?;
        Ok(Self { tasks, client: RuntimeServiceClient::new(channel), mold: Mold::new(folder)? })
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

    /// Returns when the runtime holds nothing any more.
    pub(crate) fn wait_until_empty(&self) -> Result<()> {
        eventually("the runtime holds nothing", EMPTY_DEADLINE, || {
            let mut client = self.client.clone();
            let list = self.tasks.block_on(client.list_pod_sandbox(ListPodSandboxRequest::default()))?.into_inner();
            ensure!(list.items.is_empty(), "{} sandboxes are left", list.items.len());
            Ok(())
        })
    }

    async fn start(&self, index: usize) -> Result<(String, String)> {
        let mut client = self.client.clone();
        let pod = self.mold.pod(index);
        let request = RunPodSandboxRequest { config: Some(pod.sandbox.clone()), ..Default::default() };
        let pod_sandbox_id =
            client.run_pod_sandbox(request).await.context("run a sandbox")?.into_inner().pod_sandbox_id;
        let request = CreateContainerRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
            config: Some(pod.container),
            sandbox_config: Some(pod.sandbox),
        };
        let container_id =
            client.create_container(request).await.context("create a container")?.into_inner().container_id;
        let request = StartContainerRequest { container_id: container_id.clone() };
        client.start_container(request).await.context("start a container")?;
        Ok((pod_sandbox_id, container_id))
    }

    async fn stop(&self, pod_sandbox_id: String, container_id: String) -> Result<()> {
        let mut client = self.client.clone();
        let request = StopContainerRequest { container_id, timeout: GRACE_PERIOD_SECONDS };
        let stopped = match client.stop_container(request.clone()).await {
            // containerd 1.6, of a container that ends in that moment. A kubelet asks again, too.
            Err(status) if status.message().contains("ttrpc: closed") => client.stop_container(request).await,
            stopped => stopped,
        };
        stopped.context("stop a container")?;
        let request = StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
        client.stop_pod_sandbox(request).await.context("stop a sandbox")?;
        client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await.context("remove a sandbox")?;
        Ok(())
    }
}
