//! The pages of commands, run as they stand: the README and what lies in docs/.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use testbed::{Bed, Registry, images};

use crate::page::{Block, Shell, blocks, steps, tell};

const README: &str = "README.md";
const WALKTHROUGH: &str = "docs/walkthrough.md";
const DRILLS: &str = "docs/drills.md";
const NODES: &str = "docs/nodes.md";
const CONFORMANCE: &str = "docs/conformance.md";

/// Blocks of commands that no test can run, by page and how they begin, and why. All others are run.
const CANNOT_RUN: &[(&str, &str, &str)] = &[
    (README, "make test", "is what runs this test"),
    (README, "cargo build --release", "takes minutes, and has been done: the page is told with what it makes"),
    (README, "sudo target/release/skiff token create", "the cluster is gone by then; the page of nodes tells the same"),
    ("docs/bench.md", "cargo bench", "measures for minutes, and wants a machine at rest"),
    (DRILLS, "make chaos SEED=7 MINUTES=10", "takes ten minutes; one of a minute is a stage of `make test`"),
    (DRILLS, "make swap SWAP=\"--swap cni=/usr/lib/cni\"", "is a stage of `make test`"),
    (
        DRILLS,
        "make swap SWAP=\"--all-from ~/kubernetes/server/bin --ours kube-scheduler\"",
        "needs upstream's programs; with ours in their places it is a stage of `make test`",
    ),
];

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")
}

fn programs() -> Result<&'static Path> {
    Path::new(env!("CARGO_BIN_EXE_skiff")).parent().context("the programs' folder")
}

/// A page's blocks without those that cannot be run.
fn runnable(page: &str) -> Result<Vec<Block>> {
    let text = std::fs::read_to_string(root()?.join(page)).with_context(|| format!("read {page}"))?;
    let cannot = |block: &Block| CANNOT_RUN.iter().any(|(name, line, _)| *name == page && block.begins(line));
    Ok(blocks(&text).into_iter().filter(|block| !block.is_commands() || !cannot(block)).collect())
}

#[test]
fn every_page_of_commands_is_run() -> Result<()> {
    let mut pages = vec![README.to_owned()];
    for entry in std::fs::read_dir(root()?.join("docs"))? {
        pages.push(format!("docs/{}", entry?.file_name().to_string_lossy()));
    }
    let mut left: BTreeSet<_> = CANNOT_RUN.iter().map(|(page, line, _)| (*page, *line)).collect();
    for page in &pages {
        let text = std::fs::read_to_string(root()?.join(page))?;
        let commands: Vec<Block> = blocks(&text).into_iter().filter(Block::is_commands).collect();
        left.retain(|(name, line)| name != page || !commands.iter().any(|block| block.begins(line)));
        let runs = !runnable(page)?.iter().any(Block::is_commands)
            || [README, WALKTHROUGH, DRILLS, NODES, CONFORMANCE].contains(&page.as_str());
        ensure!(runs, "{page} has commands: run it here, or say in CANNOT_RUN why that cannot be");
    }
    ensure!(left.is_empty(), "these blocks are not there any more: {left:?}");
    Ok(())
}

/// The repository as it is once everything is built, and a cargo that therefore has nothing to build.
fn built(folder: &Path) -> Result<()> {
    for name in ["target", "bin"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    symlink(programs()?, folder.join("target/release"))?;
    for name in ["Makefile", "Cargo.toml", "rust-toolchain.toml", "scripts"] {
        symlink(root()?.join(name), folder.join(name))?;
    }
    let cargo = folder.join("bin/cargo");
    std::fs::write(&cargo, format!("#!/bin/sh\n[ \"$1\" = build ] || exec '{}' \"$@\"\n", std::env::var("CARGO")?))?;
    Ok(std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755))?)
}

/// In a machine where everything is built and no package is missing.
#[test]
fn the_readme_says_what_happens() -> Result<()> {
    let Some(bed) = Bed::new("readme")? else { return Ok(()) };
    let folder = bed.folder().join("skiff");
    built(&folder)?;
    let mut command = bed.command("env");
    command.args(["--unset=CARGO_TARGET_DIR", &format!("HOME={}", folder.display())]);
    command.arg(format!("PATH={}:{}", folder.join("bin").display(), path()?));
    // Root needs no sudo, and need not have it.
    command.args([
        "bash",
        "-c",
        &format!("cd {} && sudo() {{ \"$@\"; }} && export -f sudo && exec bash", folder.display()),
    ]);
    tell(&mut command, &steps(&runnable(README)?)?)
}

#[test]
fn the_page_of_drills_says_what_happens() -> Result<()> {
    let mut command = std::process::Command::new("env");
    command.arg(format!("PATH={}", path()?)).arg("bash");
    tell(&mut command, &steps(&runnable(DRILLS)?)?)
}

/// Where a cluster and its administrator's kubeconfig are.
pub(crate) fn the_page_of_conformance_says_what_happens(bed: &Bed, folder: &Path) -> Result<()> {
    let mut command = bed.command("env");
    command.arg(format!("PATH={}", path()?)).args(["sh", "-c", &format!("cd {} && exec bash", folder.display())]);
    tell(&mut command, &steps(&runnable(CONFORMANCE)?)?)
}

/// Two machines side by side, as the page has them.
#[test]
fn the_page_of_nodes_says_what_happens() -> Result<()> {
    let Some(bed) = Bed::new("first")? else { return Ok(()) };
    let other = bed.neighbour("second")?;
    other.run(&["hostname", "second"])?;
    let shell = |bed: &Bed| -> Result<Shell> {
        let mut command = bed.command("env");
        command.arg(format!("PATH={}", path()?)).arg(format!("HOME={}", bed.folder().display()));
        command.arg("KUBECONFIG=/var/lib/skiff/admin.kubeconfig");
        command.args(["bash", "-c", "sudo() { \"$@\"; } && export -f sudo && exec bash"]);
        Shell::start(&mut command)
    };
    bed.run(&[env!("CARGO_BIN_EXE_skiff"), "up"])?;
    let (mut first, mut second) = (shell(&bed)?, shell(&other)?);
    let mut printed = String::new();
    for step in steps(&runnable(NODES)?)? {
        let step = step.filled(&printed)?;
        printed = if step.is_elsewhere { &mut second } else { &mut first }.step(&step)?;
    }
    let nodes =
        bed.run(&["env", "KUBECONFIG=/var/lib/skiff/admin.kubeconfig", "kubectl", "get", "nodes", "-o", "name"])?;
    ensure!(nodes.lines().count() == 1, "the node that left is gone: {nodes}");
    Ok(())
}

/// Where programs are found, those of this workspace too.
fn path() -> Result<String> {
    Ok(format!("{}:{}", std::env::var("PATH").unwrap_or_default(), programs()?.display()))
}

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
fn the_walkthrough_says_what_happens() -> Result<()> {
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

    let mut command = bed.command("env");
    command.arg(format!("SKIFF={}", programs()?.display())).arg(format!("HOME={}", folder.display()));
    command.args(["bash", "-c", &format!("cd {} && exec bash", folder.display())]);
    tell(&mut command, &steps(&runnable(WALKTHROUGH)?)?)
}
