//! What containerd tells, and does, beside CRI. Other runtimes answer none of it, and that is no error.

use containerd_client::services::v1::{
    DeleteTaskRequest, KillRequest, ListImagesRequest, WaitRequest, images_client::ImagesClient,
    tasks_client::TasksClient,
};
use nix::sys::signal::Signal;
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel};

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

/// Ends what runs of a container that has ended by CRI's account.
///
/// When nobody waits for a container's start any more, containerd gives it up and undoes it. In between its process may have
/// been made and not been started: CRI then calls the container dead, and neither stops nor removes it.
/// A process that has ended by itself, or was killed by a kubelet that died then, is still to be deleted.
pub(super) async fn end_task(channel: Channel, container_id: &str) -> std::result::Result<(), Status> {
    let (mut tasks, container_id) = (TasksClient::new(channel), container_id.to_owned());
    let signal = Signal::SIGKILL as u32;
    let kill = KillRequest { container_id: container_id.clone(), signal, ..KillRequest::default() };
    unless_gone(tasks.kill(in_namespace(kill)).await)?;
    let wait = WaitRequest { container_id: container_id.clone(), ..WaitRequest::default() };
    unless_gone(tasks.wait(in_namespace(wait)).await)?;
    unless_gone(tasks.delete(in_namespace(DeleteTaskRequest { container_id })).await)
}

fn unless_gone<T>(answer: std::result::Result<T, Status>) -> std::result::Result<(), Status> {
    match answer {
        Err(status) if status.code() != Code::NotFound => Err(status),
        _ => Ok(()),
    }
}
