//! The pause image: made here, imported once, never pulled.

use std::time::Duration;

use anyhow::{Context as _, Result};
use oci_archive::{Config, Image, Layer};

use super::config::PAUSE_IMAGE;
use super::{cri, ctr, own_endpoint};
use crate::layout::Layout;

/// containerd says that it is ready before its CRI part has looked through the containers that it knows.
const INITIALIZED_TIMEOUT: Duration = Duration::from_secs(60);

/// The label of images that garbage collection passes over.
pub(super) const PIN: &str = "io.cri-containerd.pinned=pinned";

pub(super) async fn ensure_pause(layout: &Layout) -> Result<()> {
    let mut runtime = cri::Runtime::connect(&own_endpoint(layout)).await?;
    runtime.wait_until_initialized(INITIALIZED_TIMEOUT).await?;
    if runtime.has_image(PAUSE_IMAGE).await? {
        return Ok(());
    }
    let path = layout.path("containerd/pause.tar");
    std::fs::write(&path, archive()?).with_context(|| format!("write {}", path.display()))?;
    let socket = layout.containerd_socket();
    ctr(&socket, &["images", "import", &path.display().to_string()]).await.context("import the pause image")?;
    ctr(&socket, &["images", "label", PAUSE_IMAGE, PIN]).await?;
    std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
}

/// The program alone: a sandbox needs no other file.
fn archive() -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    layer.file("pause", 0o755, pause::PROGRAM)?;
    let config = Config { entrypoint: vec!["/pause".into()], user: "65535:65535".into(), ..Config::default() };
    let image = Image { reference: PAUSE_IMAGE.to_owned(), config, layers: vec![layer] };
    image.to_archive().context("make the pause image")
}
