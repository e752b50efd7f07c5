//! What the kubelet finds when it starts: the runtime, the API server, and what kubelets before it have noted.

use std::sync::Arc;

use component::{
    client::{self, ClientConfig},
    clock::Clock,
    recorder::{Recorder, Source},
};
use k8s_cri::v1::{StatusResponse, VersionResponse};

use crate::{
    Error, Options, Seams,
    config::KubeletConfiguration,
    images::records::Records,
    node::object::Identity,
    runtime::{
        Runtime as _, SharedRuntime,
        cri::{self, CriRuntime},
    },
};

/// The runtime with what it said of itself at first.
pub(crate) struct Connected {
    pub(crate) runtime: SharedRuntime,
    pub(crate) channel: tonic::transport::Channel,
    pub(crate) version: VersionResponse,
    pub(crate) status: StatusResponse,
}

pub(crate) async fn to_runtime(configuration: &KubeletConfiguration) -> Result<Connected, Error> {
    let endpoint = &configuration.container_runtime_endpoint;
    let failed = |problem: String| Error::Runtime { endpoint: endpoint.clone(), problem };
    let channel = connect(endpoint).await.map_err(failed)?;
    let images = match configuration.image_service_endpoint.as_str() {
        "" => channel.clone(),
        own => {
            let failed = |problem| Error::Runtime { endpoint: own.to_owned(), problem };
            connect(own).await.map_err(failed)?
        }
    };
    let runtime = CriRuntime::new(channel.clone(), images, configuration.runtime_request_timeout.0);
    let version = runtime.version().await.map_err(|error| failed(error.rpc()))?;
    let status = runtime.status().await.map_err(|error| failed(error.rpc()))?;
    Ok(Connected { runtime: Arc::new(runtime), channel, version, status })
}

/// The socket is looked at by hand first: its error says which of the two ends is missing.
async fn connect(endpoint: &str) -> Result<tonic::transport::Channel, String> {
    let socket = cri::socket_path(endpoint)?;
    let there = tokio::net::UnixStream::connect(&socket).await;
    there.map_err(|error| format!("dial unix {}: connect: {error}", socket.display()))?;
    Ok(cri::channel(socket))
}

pub(crate) fn to_api(config: &ClientConfig) -> Result<Option<kube::Client>, Error> {
    if config.is_empty() {
        return Ok(None);
    }
    Ok(Some(client::connect(config.clone())?))
}

/// Which images this kubelet pulled, and those before it.
pub(crate) async fn pull_records(options: &Options, runtime: &SharedRuntime, clock: Clock) -> Arc<Records> {
    let records = Arc::new(Records::new(&options.root_dir, clock));
    match runtime.list_images().await {
        Ok(images) => {
            if let Err(error) = records.recover(&images) {
                tracing::warn!(%error, "the records of images' pulls cannot be brought up to date");
            }
        }
        Err(error) => tracing::warn!(%error, "images cannot be listed to bring the records of pulls up to date"),
    }
    records
}

/// Events go nowhere without an API server, and have a client of their own where there may be only so many of them.
pub(crate) fn recorder(
    options: &Options,
    client: Option<&kube::Client>,
    identity: &Identity,
    seams: &Seams,
) -> Result<Recorder, Error> {
    let Some(client) = client else { return Ok(Recorder::silent()) };
    let c = &options.configuration;
    let client = match c.event_record_qps.filter(|qps| *qps > 0) {
        None => client.clone(),
        Some(qps) => client::connect(ClientConfig {
            qps: Some(qps as f64),
            burst: u32::try_from(c.event_burst).ok(),
            ..options.client.clone()
        })?,
    };
    let source = Source::new("kubelet").on_host(&identity.name);
    Ok(Recorder::start(client, source, seams.clock, seams.random.clone(), seams.shutdown.clone()))
}
