//! docs/walkthrough.md, run as it stands.

use std::path::Path;

use anyhow::{Context as _, Result};
use testbed::{Bed, Registry, images};

use crate::page::{Shell, steps};

/// What a machine with access to registries would not need: mirrors on loopback, and a runtime without the right to
/// lower OOM scores where this machine lacks it.
fn containerd_configuration(mirrors: &Path) -> Result<String> {
    let may_lower_oom_score = std::fs::read_to_string("/proc/self/status")?
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|bits| bits >> 24 & 1 == 1);
    Ok(format!(
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"docker.io/library/pause:latest\"\n\
         restrict_oom_score_adj = {}\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"{}\"\n",
        !may_lower_oom_score,
        mirrors.display()
    ))
}

#[test]
fn the_page_says_what_happens() -> Result<()> {
    let Some(bed) = Bed::new("walk")? else { return Ok(()) };
    let registry = Registry::start(&bed, 5000)?;
    registry.push(&bed, &images::nginx("docker.io/library/nginx:latest")?, "nginx:latest")?;
    registry.push(&bed, &images::pause("docker.io/library/pause:latest")?, "pause:latest")?;
    let mirrors = bed.folder().join("certs.d");
    registry.write_mirror(&mirrors)?;
    let folder = bed.folder().join("walk");
    std::fs::create_dir_all(&folder)?;
    let configuration = bed.folder().join("containerd.toml");
    std::fs::write(&configuration, containerd_configuration(&mirrors)?)?;
    bed.run(&["mkdir", "-p", "/etc/containerd"])?;
    bed.run(&["cp", &configuration.display().to_string(), "/etc/containerd/config.toml"])?;

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let page = std::fs::read_to_string(root.join("docs/walkthrough.md"))?;
    let programs = Path::new(env!("CARGO_BIN_EXE_skiff")).parent().context("the programs' folder")?;
    let mut command = bed.command("env");
    command.arg(format!("SKIFF={}", programs.display())).arg(format!("HOME={}", folder.display()));
    command.args(["bash", "-c", &format!("cd {} && exec bash", folder.display())]);
    let mut shell = Shell::start(&mut command)?;
    for step in steps(&page)? {
        shell.step(&step)?;
    }
    Ok(())
}
