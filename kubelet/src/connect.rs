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
    metrics,
    node::object::Identity,
    runtime::{
        Runtime, SharedRuntime,
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

/// How cgroups are named is the runtime's word where it has one; then the configuration's does not count.
///
/// # Errors
/// A runtime that cannot be asked, or that names a driver that nobody knows.
pub(crate) async fn settle_cgroup_driver(runtime: &dyn Runtime, c: &mut KubeletConfiguration) -> Result<(), Error> {
    let told = runtime.cgroup_driver().await;
    let told =
        told.map_err(|error| Error::Runtime { endpoint: c.container_runtime_endpoint.clone(), problem: error.rpc() })?;
    if told.is_none() {
        metrics::runtime_is_too_old();
    }
    if let Some(driver) = told.filter(|driver| *driver != c.cgroup_driver) {
        tracing::info!(driver, "the cgroup driver is the one that the runtime tells");
        c.cgroup_driver = driver.to_owned();
    }
    Ok(())
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

#[tokio::test]
async fn a_runtime_that_tells_decides_how_cgroups_are_named() {
    use k8s_cri::v1::{CgroupDriver, LinuxRuntimeConfiguration, RuntimeConfigResponse};
    use prost::Message as _;

    use crate::runtime::fake_grpc;

    let settled = async |path: &'static str, linux: Option<i32>| {
        let linux = linux.map(|cgroup_driver| LinuxRuntimeConfiguration { cgroup_driver });
        let (sender, answer) = tokio::sync::mpsc::unbounded_channel();
        sender.send(RuntimeConfigResponse { linux }.encode_to_vec()).expect("is sent");
        drop(sender);
        let channel = fake_grpc::Answers::new(path, vec![answer]).channel();
        let runtime = CriRuntime::new(channel.clone(), channel, std::time::Duration::from_secs(10));
        let mut c = KubeletConfiguration { cgroup_driver: "systemd".into(), ..KubeletConfiguration::default() };
        settle_cgroup_driver(&runtime, &mut c).await.map(|()| c.cgroup_driver).map_err(|error| error.to_string())
    };
    let path = "/runtime.v1.RuntimeService/RuntimeConfig";
    assert_eq!(settled(path, Some(CgroupDriver::Cgroupfs.into())).await.as_deref(), Ok("cgroupfs"));
    assert_eq!(settled(path, Some(CgroupDriver::Systemd.into())).await.as_deref(), Ok("systemd"));
    assert_eq!(settled(path, None).await.as_deref(), Ok("systemd"), "the configuration's");
    assert_eq!(settled("/other", None).await.as_deref(), Ok("systemd"), "a runtime that knows no such call");
    let metrics = String::from_utf8(component::metrics::text()).expect("text");
    assert!(metrics.contains("kubelet_cri_losing_support{version=\"1.37.0\"} 1\n"), "{metrics}");
    let unknown = settled(path, Some(7)).await.expect_err("no driver");
    assert!(unknown.contains("runtime returned an unknown cgroup driver 7"), "{unknown}");
}
