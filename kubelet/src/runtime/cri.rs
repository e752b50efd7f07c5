//! [`Runtime`] over a CRI v1 unix socket.
//!
//! Enter at [`CriRuntime::connect`], which fails with words when nothing answers there. One HTTP/2 connection carries
//! all calls; tonic reconnects it after the runtime's restart.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use k8s_cri::v1::{self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::{
    Error, ExecOutput, Result, Runtime, Streams, containerd,
    create::{CreateClient, CreateContainerRequest},
    labels,
};
use crate::metrics::Operation;

/// Upstream's limit of one CRI message.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A CRI client; clones share one connection.
#[derive(Clone)]
pub struct CriRuntime {
    runtime: RuntimeServiceClient<Channel>,
    creator: CreateClient,
    images: ImageServiceClient<Channel>,
    /// For what only containerd's own services tell, and do: of images, and of tasks.
    images_channel: Channel,
    runtime_channel: Channel,
    request_timeout: Duration,
}

/// Splits `unix:///run/containerd/containerd.sock` (or a bare path) into the socket's path.
///
/// # Errors
/// Endpoints that are no unix socket, in upstream's words.
pub fn socket_path(endpoint: &str) -> std::result::Result<PathBuf, String> {
    match endpoint.split_once("://") {
        Some(("unix", path)) => Ok(path.into()),
        Some((scheme, _)) => Err(format!("protocol {scheme:?} not supported")),
        None if endpoint.starts_with('/') => Ok(endpoint.into()),
        None => Err(format!("no container runtime endpoint in {endpoint:?}: wanted is unix:///path/of/the.sock")),
    }
}

/// A channel that opens the socket when first used.
pub fn channel(socket: PathBuf) -> Channel {
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    }))
}

impl CriRuntime {
    /// Over `channel`, and for images over a channel that may be another; `request_timeout` bounds every call but pulls,
    /// execs and stops.
    pub fn new(channel: Channel, images: Channel, request_timeout: Duration) -> Self {
        Self {
            creator: CreateClient::new(channel.clone(), MESSAGE_BYTES_MAX),
            runtime_channel: channel.clone(),
            runtime: RuntimeServiceClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(images.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            images_channel: images,
            request_timeout,
        }
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        Self::request_within(message, Some(self.request_timeout))
    }

    fn request_within<T>(message: T, timeout: Option<Duration>) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        request
    }
}

fn uid_selector(pod_uid: &str) -> HashMap<String, String> {
    HashMap::from([(labels::POD_UID.to_owned(), pod_uid.to_owned())])
}

fn image_spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.into(), user_specified_image: image.into(), ..Default::default() }
}

/// One unary call: `call!(self.runtime.method(request), "Operation", object)`.
macro_rules! call {
    ($self:ident . $service:ident . $method:ident ( $request:expr ), $operation:literal, $object:expr) => {{
        let operation = Operation::begin($operation);
        let result = $self.$service.clone().$method($request).await;
        operation.end(result.is_err());
        result.map(tonic::Response::into_inner).map_err(|status| Error::new($operation, $object, &status))
    }};
}

#[async_trait]
impl Runtime for CriRuntime {
    async fn version(&self) -> Result<v1::VersionResponse> {
        let request = self.request(v1::VersionRequest { version: "0.1.0".into() });
        call!(self.runtime.version(request), "Version", "")
    }

    async fn status(&self) -> Result<v1::StatusResponse> {
        call!(self.runtime.status(self.request(v1::StatusRequest { verbose: false })), "Status", "")
    }

    async fn cgroup_driver(&self) -> Result<Option<&'static str>> {
        let answer = call!(self.runtime.runtime_config(self.request(v1::RuntimeConfigRequest {})), "RuntimeConfig", "");
        let linux = match answer {
            Err(error) if error.code == tonic::Code::Unimplemented => return Ok(None),
            answer => answer?.linux,
        };
        let Some(linux) = linux else { return Ok(None) };
        match v1::CgroupDriver::try_from(linux.cgroup_driver) {
            Ok(v1::CgroupDriver::Systemd) => Ok(Some("systemd")),
            Ok(v1::CgroupDriver::Cgroupfs) => Ok(Some("cgroupfs")),
            Err(_) => {
                let problem = format!("runtime returned an unknown cgroup driver {}", linux.cgroup_driver);
                Err(Error::new("RuntimeConfig", "", &tonic::Status::internal(problem)))
            }
        }
    }

    async fn update_pod_range(&self, range: &str) -> Result<()> {
        let network_config = Some(v1::NetworkConfig { pod_cidr: range.to_owned() });
        let runtime_config = Some(v1::RuntimeConfig { network_config });
        let request = self.request(v1::UpdateRuntimeConfigRequest { runtime_config });
        call!(self.runtime.update_runtime_config(request), "UpdateRuntimeConfig", range).map(drop)
    }

    async fn list_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<v1::PodSandbox>> {
        let filter =
            pod_uid.map(|uid| v1::PodSandboxFilter { label_selector: uid_selector(uid), ..Default::default() });
        let request = self.request(v1::ListPodSandboxRequest { filter });
        call!(self.runtime.list_pod_sandbox(request), "ListPodSandbox", pod_uid.unwrap_or("")).map(|list| list.items)
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        let request = self.request(v1::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false });
        call!(self.runtime.pod_sandbox_status(request), "PodSandboxStatus", id)?
            .status
            .ok_or_else(|| Error::malformed("PodSandboxStatus", id))
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let object = config.metadata.as_ref().map(|it| format!("{}/{}", it.namespace, it.name)).unwrap_or_default();
        let message = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() };
        let request = Self::request_within(message, Some(self.request_timeout * 2));
        call!(self.runtime.run_pod_sandbox(request), "RunPodSandbox", object).map(|answer| answer.pod_sandbox_id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = self.request(v1::StopPodSandboxRequest { pod_sandbox_id: id.into() });
        call!(self.runtime.stop_pod_sandbox(request), "StopPodSandbox", id).map(drop)
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let request = self.request(v1::RemovePodSandboxRequest { pod_sandbox_id: id.into() });
        call!(self.runtime.remove_pod_sandbox(request), "RemovePodSandbox", id).map(drop)
    }

    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<v1::Container>> {
        let filter = pod_uid.map(|uid| v1::ContainerFilter { label_selector: uid_selector(uid), ..Default::default() });
        let request = self.request(v1::ListContainersRequest { filter });
        call!(self.runtime.list_containers(request), "ListContainers", pod_uid.unwrap_or(""))
            .map(|list| list.containers)
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        let request = self.request(v1::ContainerStatusRequest { container_id: id.into(), verbose: false });
        call!(self.runtime.container_status(request), "ContainerStatus", id)?
            .status
            .ok_or_else(|| Error::malformed("ContainerStatus", id))
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String> {
        let object = config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
        let request = self.request(CreateContainerRequest::new(sandbox_id, config, &sandbox_config));
        call!(self.creator.create_container(request), "CreateContainer", object).map(|answer| answer.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let request = self.request(v1::StartContainerRequest { container_id: id.into() });
        call!(self.runtime.start_container(request), "StartContainer", id).map(drop)
    }

    async fn stop_container(&self, id: &str, grace_period_seconds: i64) -> Result<()> {
        let grace_seconds = u64::try_from(grace_period_seconds).unwrap_or(0);
        let message = v1::StopContainerRequest { container_id: id.into(), timeout: grace_period_seconds };
        let request = Self::request_within(
            message,
            Some(self.request_timeout.saturating_add(Duration::from_secs(grace_seconds))),
        );
        call!(self.runtime.stop_container(request), "StopContainer", id).map(drop)
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let remove = async || {
            let request = self.request(v1::RemoveContainerRequest { container_id: id.into() });
            call!(self.runtime.remove_container(request), "RemoveContainer", id).map(drop)
        };
        let result = remove().await;
        if !result.as_ref().is_err_and(|error| error.code == tonic::Code::FailedPrecondition) {
            return result;
        }
        let ending = containerd::end_task(self.runtime_channel.clone(), id);
        match tokio::time::timeout(self.request_timeout, ending).await {
            Ok(Ok(())) => return remove().await,
            Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => {}
            Ok(Err(status)) => tracing::warn!(id, %status, "what a dead container left running cannot be ended"),
            Err(_) => tracing::warn!(id, "what a dead container left running does not end"),
        }
        result
    }

    async fn update_container_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()> {
        let request = self.request(v1::UpdateContainerResourcesRequest {
            container_id: id.into(),
            linux: Some(resources),
            ..Default::default()
        });
        call!(self.runtime.update_container_resources(request), "UpdateContainerResources", id).map(drop)
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        let request = self.request(v1::ReopenContainerLogRequest { container_id: id.into() });
        call!(self.runtime.reopen_container_log(request), "ReopenContainerLog", id).map(drop)
    }

    async fn checkpoint_container(&self, id: &str, location: &str, timeout: Duration) -> Result<()> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let message =
            v1::CheckpointContainerRequest { container_id: id.into(), location: location.into(), timeout: seconds };
        let limit = if timeout.is_zero() { self.request_timeout } else { timeout + self.request_timeout };
        let request = Self::request_within(message, Some(limit));
        call!(self.runtime.checkpoint_container(request), "CheckpointContainer", id).map(drop)
    }

    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> Result<ExecOutput> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let message = v1::ExecSyncRequest { container_id: id.into(), cmd: command, timeout: seconds };
        // The runtime ends the command at its own timeout; the call's is only a net behind it.
        let limit = (!timeout.is_zero()).then(|| timeout + self.request_timeout);
        let answer = call!(self.runtime.exec_sync(Self::request_within(message, limit)), "ExecSync", id)?;
        Ok(ExecOutput { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code })
    }

    async fn exec(&self, id: &str, command: Vec<String>, streams: Streams) -> Result<String> {
        let request = self.request(v1::ExecRequest {
            container_id: id.into(),
            cmd: command,
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        });
        call!(self.runtime.exec(request), "Exec", id).map(|answer| answer.url)
    }

    async fn attach(&self, id: &str, streams: Streams) -> Result<String> {
        let request = self.request(v1::AttachRequest {
            container_id: id.into(),
            stdin: streams.stdin,
            tty: streams.tty,
            stdout: streams.stdout,
            stderr: streams.stderr,
        });
        call!(self.runtime.attach(request), "Attach", id).map(|answer| answer.url)
    }

    async fn port_forward(&self, sandbox_id: &str, ports: Vec<i32>) -> Result<String> {
        let request = self.request(v1::PortForwardRequest { pod_sandbox_id: sandbox_id.into(), port: ports });
        call!(self.runtime.port_forward(request), "PortForward", sandbox_id).map(|answer| answer.url)
    }

    async fn list_container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        let request = self.request(v1::ListContainerStatsRequest { filter: None });
        call!(self.runtime.list_container_stats(request), "ListContainerStats", "").map(|answer| answer.stats)
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>> {
        let request = self.request(v1::ListImagesRequest { filter: None });
        call!(self.images.list_images(request), "ListImages", "").map(|answer| answer.images)
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>> {
        let request = self.request(v1::ImageStatusRequest { image: Some(image_spec(image)), verbose: false });
        call!(self.images.image_status(request), "ImageStatus", image).map(|answer| answer.image)
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String> {
        let message = v1::PullImageRequest { image: Some(image_spec(image)), auth, sandbox_config };
        call!(self.images.pull_image(Self::request_within(message, None)), "PullImage", image)
            .map(|answer| answer.image_ref)
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let request = self.request(v1::RemoveImageRequest { image: Some(image_spec(image)) });
        call!(self.images.remove_image(request), "RemoveImage", image).map(drop)
    }

    /// containerd tells its configuration as JSON in the details of its status; what others tell there is not looked at.
    async fn sandbox_image(&self) -> Result<Option<String>> {
        let answer =
            call!(self.runtime.status(self.request(v1::StatusRequest { verbose: true })), "Status", "details")?;
        let config = answer.info.get("config").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        Ok(config.and_then(|config| Some(config.get("sandboxImage")?.as_str()?.to_owned())))
    }

    async fn pinned_images(&self) -> Result<Vec<String>> {
        containerd::pinned_images(self.images_channel.clone()).await
    }

    async fn image_filesystems(&self) -> Result<Vec<v1::FilesystemUsage>> {
        let request = self.request(v1::ImageFsInfoRequest {});
        call!(self.images.image_fs_info(request), "ImageFsInfo", "").map(|answer| answer.image_filesystems)
    }
}
