//! Images from archives into a containerd, pinned. CRI has no call for it, so other runtimes take none this way.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use containerd_client::services::v1::{Image, ListImagesRequest, images_client::ImagesClient};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use super::ctr;
use super::image::PIN;

/// An image's name and the time of its last change: what an import brings has a new time even where it was there before.
type Mark = (String, Option<(i64, i32)>);

/// Imports an archive and pins what it brought. Returns the names.
pub(crate) async fn load(endpoint: &str, archive: &Path) -> Result<Vec<String>> {
    let socket = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    let path = std::path::absolute(archive).with_context(|| format!("the path of {}", archive.display()))?;
    if !path.is_file() {
        bail!("there is no file {}", path.display());
    }
    let channel = Endpoint::from_shared(format!("unix://{socket}"))?.connect().await;
    let channel = channel.with_context(|| format!("connect to containerd at {socket}: does the cluster run?"))?;
    let before = marks(&channel).await?;
    ctr(Path::new(socket), &["images", "import", &path.display().to_string()]).await?;
    let after = marks(&channel).await?;
    // A pull that ends just now would be pinned as well, which does no harm.
    let names: Vec<String> = after.difference(&before).map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        bail!("{} names no image: save it by its name and tag", path.display());
    }
    for name in &names {
        ctr(Path::new(socket), &["images", "label", name, PIN]).await?;
    }
    Ok(names)
}

/// All images but CRI's own records of them, which have no names.
async fn marks(channel: &Channel) -> Result<BTreeSet<Mark>> {
    let mut request = Request::new(ListImagesRequest::default());
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static("k8s.io"));
    let answer = ImagesClient::new(channel.clone()).list(request).await.context("list the images of containerd")?;
    let mark = |image: Image| (image.name, image.updated_at.map(|at| (at.seconds, at.nanos)));
    Ok(answer.into_inner().images.into_iter().map(mark).filter(|(name, _)| !name.starts_with("sha256:")).collect())
}
