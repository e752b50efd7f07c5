//! What `skiff` itself asks a container runtime over CRI: its version, its images, and to end all pods.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::join_all;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerFilter, ContainerState, ContainerStateValue, ImageSpec, ImageStatusRequest, ListContainersRequest,
    ListPodSandboxRequest, RemovePodSandboxRequest, StopContainerRequest, StopPodSandboxRequest, VersionRequest,
};
use tonic::transport::{Channel, Endpoint};

/// How long a container has between the request to stop and the kill.
const STOP_GRACE_SECONDS: i64 = 5;
/// Between two tries of a runtime that is not initialized.
const PAUSE: Duration = Duration::from_millis(20);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Runtime {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl Runtime {
    /// `endpoint` is a `unix://` address.
    pub(crate) async fn connect(endpoint: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .with_context(|| format!("{endpoint} is no address of a runtime"))?
            .timeout(REQUEST_TIMEOUT)
            .connect()
            .await
            .with_context(|| format!("connect to the container runtime at {endpoint}"))?;
        Ok(Self { runtime: RuntimeServiceClient::new(channel.clone()), images: ImageServiceClient::new(channel) })
    }

    pub(crate) async fn version(&mut self) -> Result<String> {
        let version =
            self.runtime.version(VersionRequest::default()).await.context("ask the runtime for its version")?;
        let version = version.into_inner();
        Ok(format!("{} {}", version.runtime_name, version.runtime_version))
    }

    /// Until requests are answered, or the last error after `timeout`. The CRI has no way to be told.
    pub(super) async fn wait_until_initialized(&mut self, timeout: Duration) -> Result<()> {
        let start = tokio::time::Instant::now();
        while let Err(status) = self.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await {
            if start.elapsed() >= timeout {
                return Err(status).context("the container runtime does not answer");
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    pub(super) async fn has_image(&mut self, reference: &str) -> Result<bool> {
        let spec = ImageSpec { image: reference.to_owned(), ..ImageSpec::default() };
        let request = ImageStatusRequest { image: Some(spec), ..ImageStatusRequest::default() };
        let status =
            self.images.image_status(request).await.with_context(|| format!("ask for the image {reference}"))?;
        Ok(status.into_inner().image.is_some())
    }

    /// Stops every pod, its containers first, which gives back their addresses. With `remove`, nothing of them stays
    /// in the runtime. Tries every pod and returns what went wrong.
    pub(crate) async fn end_pods(&mut self, remove: bool) -> Result<Vec<tonic::Status>> {
        let mut failures = self.stop_containers().await?;
        let pods = self.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.context("list pods")?;
        let stops = pods.into_inner().items.into_iter().map(|pod| {
            let mut runtime = self.runtime.clone();
            async move {
                runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
                if remove {
                    runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await?;
                }
                Ok(())
            }
        });
        failures.extend(join_all(stops).await.into_iter().filter_map(Result::err));
        Ok(failures)
    }

    async fn stop_containers(&mut self) -> Result<Vec<tonic::Status>> {
        let running = ContainerStateValue { state: ContainerState::ContainerRunning as i32 };
        let filter = ContainerFilter { state: Some(running), ..ContainerFilter::default() };
        let request = ListContainersRequest { filter: Some(filter) };
        let containers = self.runtime.list_containers(request).await.context("list containers")?;
        let stops = containers.into_inner().containers.into_iter().map(|container| {
            let mut runtime = self.runtime.clone();
            let request = StopContainerRequest { container_id: container.id, timeout: STOP_GRACE_SECONDS };
            async move { runtime.stop_container(request).await }
        });
        Ok(join_all(stops).await.into_iter().filter_map(Result::err).collect())
    }
}
