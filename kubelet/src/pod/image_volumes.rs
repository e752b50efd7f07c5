//! The images that a container mounts as volumes: pulled by their own policy, then mounted, or left to the runtime.

use std::collections::BTreeMap;

use component::shutdown::Shutdown;
use k8s_cri::v1::ImageSpec;
use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod};

use super::{memory::ImageState, node::Node, spec, steps::StartError};
use crate::volumes::VolumeManager;

/// Makes them ready; answers, by volume, those that the runtime is to mount by itself.
///
/// # Errors
/// The waiting reason and message of an image that cannot be had, as for a container's own.
pub(super) async fn make_ready(
    node: &Node,
    pod: &Pod,
    container: &Container,
    stopping: &Shutdown,
) -> Result<BTreeMap<String, ImageSpec>, StartError> {
    let mut by_runtime = BTreeMap::new();
    for (name, source) in of_container(pod, container) {
        let reference = source.reference.clone().unwrap_or_default();
        let pulled = stopping.run_until(pull(node, pod, source)).await;
        let image_ref = pulled.unwrap_or_else(|| Err(still_pulling()))?;
        let images = node.volumes.images();
        if images.is_native() {
            let image = ImageSpec { image: image_ref, user_specified_image: reference, ..ImageSpec::default() };
            by_runtime.insert(name.to_owned(), image);
            continue;
        }
        let Some(folder) = node.volumes.host_path(pod, name) else { continue };
        let key = VolumeManager::image_key(spec::uid(pod), name);
        images.ensure(&image_ref, &key, &folder).await.map_err(|error| StartError {
            reason: "CreateContainerError".into(),
            message: format!("failed to mount image volume {name:?} ({reference}): {error}"),
        })?;
    }
    Ok(by_runtime)
}

fn of_container<'a>(pod: &'a Pod, container: &'a Container) -> impl Iterator<Item = (&'a str, &'a ImageVolumeSource)> {
    spec::spec(pod).volumes.iter().flatten().filter_map(|volume| {
        let source = volume.image.as_ref()?;
        let is_mounted = container.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name);
        is_mounted.then_some((volume.name.as_str(), source))
    })
}

/// By the puller that containers' images have, with the same secrets and back-off; events are about the pod.
async fn pull(node: &Node, pod: &Pod, source: &ImageVolumeSource) -> Result<String, StartError> {
    let stand_in = Container {
        image: source.reference.clone(),
        image_pull_policy: source.pull_policy.clone(),
        ..Container::default()
    };
    match node.puller.ensure(pod, &stand_in).await {
        ImageState::Ready(image) => Ok(image.id),
        ImageState::Failed { reason, message, .. } => Err(StartError { reason, message }),
        ImageState::Pulling => Err(still_pulling()),
    }
}

fn still_pulling() -> StartError {
    StartError { reason: "ContainerCreating".into(), message: String::new() }
}
