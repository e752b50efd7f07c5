//! CRI's CreateContainer, with the field of its request that the CRI library does not have: `Mount.image_sub_path`.
//!
//! Enter at [`CreateClient`]. In the library's mounts the path in an image stands in `host_path`, which CRI leaves empty
//! where there is an image. A message in another is its bytes: the field is appended to those that the library writes.

use http::uri::PathAndQuery;
use k8s_cri::v1;
use prost::Message;
use tonic::{Request, Response, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    /// Of `ContainerConfig`.
    #[prost(bytes = "vec", tag = "2")]
    config: Vec<u8>,
    /// Of `PodSandboxConfig`.
    #[prost(bytes = "vec", tag = "3")]
    sandbox_config: Vec<u8>,
}

/// The part of `ContainerConfig` that is written here.
#[derive(Clone, PartialEq, Message)]
struct Mounts {
    #[prost(bytes = "vec", repeated, tag = "7")]
    mounts: Vec<Vec<u8>>,
}

/// The part of `Mount` that the library lacks.
#[derive(Clone, PartialEq, Message)]
struct InImage {
    #[prost(string, tag = "10")]
    image_sub_path: String,
}

impl CreateContainerRequest {
    pub(super) fn new(sandbox_id: &str, mut config: v1::ContainerConfig, sandbox: &v1::PodSandboxConfig) -> Self {
        let mounts = Mounts { mounts: std::mem::take(&mut config.mounts).into_iter().map(mount).collect() };
        let mut bytes = config.encode_to_vec();
        bytes.extend(mounts.encode_to_vec());
        Self { pod_sandbox_id: sandbox_id.to_owned(), config: bytes, sandbox_config: sandbox.encode_to_vec() }
    }
}

fn mount(mut mount: v1::Mount) -> Vec<u8> {
    let image_sub_path = if mount.image.is_some() { std::mem::take(&mut mount.host_path) } else { String::new() };
    let mut bytes = mount.encode_to_vec();
    bytes.extend(InImage { image_sub_path }.encode_to_vec());
    bytes
}

/// A client of this one method.
#[derive(Clone)]
pub(super) struct CreateClient(Grpc<Channel>);

impl CreateClient {
    pub(super) fn new(channel: Channel, message_bytes_max: usize) -> Self {
        let grpc = Grpc::new(channel).max_decoding_message_size(message_bytes_max);
        Self(grpc.max_encoding_message_size(message_bytes_max))
    }

    pub(super) async fn create_container(
        &mut self,
        request: Request<CreateContainerRequest>,
    ) -> Result<Response<v1::CreateContainerResponse>, Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unknown(format!("Service was not ready: {error}")))?;
        let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/CreateContainer");
        self.0.unary(request, path, ProstCodec::default()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::runtime::{Runtime as _, cri::CriRuntime, fake_grpc::Answers};

    fn config() -> v1::ContainerConfig {
        let image = Some(v1::ImageSpec { image: "i".into(), ..Default::default() });
        let mounts = vec![
            v1::Mount { container_path: "/a".into(), host_path: "/host".into(), readonly: true, ..Default::default() },
            v1::Mount { container_path: "/b".into(), host_path: "etc/x".into(), image, ..Default::default() },
        ];
        v1::ContainerConfig { command: vec!["c".into()], log_path: "l".into(), mounts, tty: true, ..Default::default() }
    }

    #[test]
    fn only_the_path_in_an_image_is_told_otherwise_than_by_the_library() {
        let sandbox = v1::PodSandboxConfig { hostname: "h".into(), ..Default::default() };
        let request = CreateContainerRequest::new("s", config(), &sandbox);
        let mounts = Mounts::decode(&request.config[..]).expect("mounts").mounts;
        let paths = mounts.iter().map(|bytes| InImage::decode(&bytes[..]).expect("a mount").image_sub_path);
        assert_eq!(paths.collect::<Vec<_>>(), ["", "etc/x"]);
        let told = v1::CreateContainerRequest::decode(&request.encode_to_vec()[..]).expect("a request");
        let mut wanted = config();
        wanted.mounts[1].host_path.clear();
        let (config, sandbox_config) = (Some(wanted), Some(sandbox));
        assert_eq!(told, v1::CreateContainerRequest { pod_sandbox_id: "s".into(), config, sandbox_config });
    }

    #[tokio::test]
    async fn the_runtime_is_asked_by_its_method() {
        let (sender, messages) = mpsc::unbounded_channel();
        let answer = v1::CreateContainerResponse { container_id: "made".into() };
        sender.send(answer.encode_to_vec()).expect("sent");
        drop(sender);
        let answers = Answers::new("/runtime.v1.RuntimeService/CreateContainer", vec![messages]);
        let runtime = CriRuntime::new(answers.channel(), answers.channel(), Duration::from_secs(10));
        let made = runtime.create_container("s", config(), v1::PodSandboxConfig::default()).await;
        assert_eq!(made.expect("a container"), "made");
    }
}
