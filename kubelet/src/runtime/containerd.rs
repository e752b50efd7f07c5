//! What containerd tells beside CRI. Other runtimes answer none of it, and that is no error.

use containerd_client::services::v1::{ListImagesRequest, images_client::ImagesClient};
use tonic::{Code, Request, metadata::MetadataValue, transport::Channel};

use super::{Error, Result};

/// The namespace that containerd's CRI part works in.
const NAMESPACE: &str = "k8s.io";
/// The mark of images that garbage collection passes over.
const PINNED: &str = "labels.\"io.cri-containerd.pinned\"==\"pinned\"";

/// A request about what CRI's part of containerd keeps.
pub(crate) fn in_namespace<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}

/// The names of pinned images.
pub(super) async fn pinned_images(channel: Channel) -> Result<Vec<String>> {
    let request = in_namespace(ListImagesRequest { filters: vec![PINNED.to_owned()] });
    match ImagesClient::new(channel).list(request).await {
        Ok(answer) => Ok(answer.into_inner().images.into_iter().map(|image| image.name).collect()),
        Err(status) if status.code() == Code::Unimplemented => Ok(Vec::new()),
        Err(status) => Err(Error::new("List", "pinned images", &status)),
    }
}
