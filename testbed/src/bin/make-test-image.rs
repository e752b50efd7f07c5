//! Writes a test image as an OCI archive: `make-test-image nginx|busybox|tools REFERENCE FILE`. For scripts.

use anyhow::{Context as _, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, reference, file] = &arguments[..] else {
        bail!("usage: make-test-image nginx|busybox|tools REFERENCE FILE")
    };
    let archive = match kind.as_str() {
        "nginx" => testbed::images::nginx(reference)?,
        "busybox" => testbed::images::busybox(reference)?,
        "tools" => testbed::images::tools(reference)?,
        other => bail!("no image is made for {other}"),
    };
    std::fs::write(file, archive).with_context(|| format!("write {file}"))
}
