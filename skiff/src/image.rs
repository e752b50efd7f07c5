//! `skiff image`: images for machines that reach no registry.

use anyhow::{Context as _, Result};

use crate::settings::Settings;
use crate::{block_on, cli, layout, runtime};

pub(crate) fn image(command: cli::Image) -> Result<()> {
    let cli::Image::Load(options) = command;
    let layout = layout(options.data_dir)?;
    let settings = Settings::load(&layout)?;
    let settings = settings.with_context(|| format!("there is no cluster in {}", layout.root().display()))?;
    let endpoint = settings.container_runtime_endpoint.unwrap_or_else(|| runtime::own_endpoint(&layout));
    block_on(async {
        for file in &options.files {
            let loaded = runtime::load(&endpoint, file).await.with_context(|| format!("load {}", file.display()))?;
            loaded.iter().for_each(|name| println!("{name}"));
        }
        Ok(())
    })
}
