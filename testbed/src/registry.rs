//! Debian's `docker-registry` at a bed's address, with a containerd mirror that leads docker.io to it.
//!
//! Images are pushed with `skopeo`, so a pull from it is a real one. It knows nothing of who pulls.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{Bed, eventually};

/// A running registry; it ends with its bed at the latest.
pub struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    pub fn start(bed: &Bed, port: u16) -> Result<Self> {
        let address = format!("{}:{port}", bed.address());
        let folder = bed.folder().join("registry");
        std::fs::create_dir_all(&folder)?;
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: \"{address}\"}}\n",
            folder.display()
        );
        let path = bed.folder().join("registry.yml");
        std::fs::write(&path, config)?;
        let mut command = bed.command("docker-registry");
        let process = bed.start("registry", command.arg("serve").arg(&path))?;
        let registry = Self { process, address };
        eventually("the registry answers", Duration::from_secs(20), || {
            bed.run(&["curl", "-sSf", &format!("http://{}/v2/", registry.address)])
        })?;
        Ok(registry)
    }

    /// Pushes an OCI archive under `library/<name>`, as docker.io would hold it.
    pub fn push(&self, bed: &Bed, archive: &[u8], name: &str) -> Result<()> {
        let path = bed.folder().join("push.tar");
        std::fs::write(&path, archive)?;
        let from = format!("oci-archive:{}", path.display());
        let to = format!("docker://{}/library/{name}", self.address);
        bed.run(&["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", &from, &to])?;
        std::fs::remove_file(&path).context("remove the pushed archive")
    }

    /// Writes the file that makes containerd look here first for docker.io's images, below its `config_path`.
    pub fn write_mirror(&self, config_path: &Path) -> Result<()> {
        let folder = config_path.join("docker.io");
        std::fs::create_dir_all(&folder)?;
        let text = format!(
            "server = \"https://registry-1.docker.io\"\n\n[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
            self.address
        );
        std::fs::write(folder.join("hosts.toml"), text).context("write hosts.toml")
    }

    pub fn stop(mut self) -> Result<()> {
        self.process.kill().context("end the registry")?;
        if self.process.wait()?.success() { Ok(()) } else { bail!("the registry ended before it was told to") }
    }
}
