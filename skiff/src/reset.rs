//! `skiff reset`: stops the cluster and removes every trace of it. Tries everything and reports all that failed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use component::removal;

use crate::layout::Layout;
use crate::part::Part;
use crate::settings::Settings;
use crate::{block_on, cni, down, machine};

type Step<'a> = Box<dyn FnOnce() -> Result<()> + 'a>;

pub(crate) fn reset(layout: &Layout) -> Result<()> {
    let settings = Settings::load(layout)?;
    let Some(settings) = settings else {
        println!("There is no cluster in {}.", layout.root().display());
        return Ok(());
    };
    let cgroup_root = settings.cgroup_root.trim_matches('/').to_owned();
    let steps: [(&str, Step<'_>); 7] = [
        ("stop the cluster", Box::new(|| block_on(stop(layout, &settings)))),
        ("remove Service rules", Box::new(|| clean_up(Part::KubeProxy))),
        ("remove policies' rules", Box::new(|| clean_up(Part::SkiffRouter))),
        ("remove other rules", Box::new(remove_chains)),
        ("remove the bridge", Box::new(remove_bridge)),
        ("remove cgroups", Box::new(move || remove_cgroups(Path::new("/sys/fs/cgroup"), &cgroup_root))),
        // What is still mounted would lose its files.
        ("remove files", Box::new(|| remove_mounts(layout.root()).and_then(|()| remove_files(layout)))),
    ];
    let mut failures = Vec::new();
    for (what, step) in steps {
        if let Err(error) = step() {
            failures.push(format!("  {what}: {error:#}"));
        }
    }
    if !failures.is_empty() {
        bail!("not everything could be removed:\n{}", failures.join("\n"));
    }
    println!("Nothing of the cluster in {} is left.", layout.root().display());
    if settings.joined.is_some() {
        println!("Its Node is still in the cluster: kubectl delete node {}", settings.node_name);
    }
    Ok(())
}

/// Pods are removed over CRI, so that their network is given back by the plugins that made it; after a `down`, or a
/// crash of the machine, that needs containerd once more.
async fn stop(layout: &Layout, settings: &Settings) -> Result<()> {
    crate::daemon::stop(layout).await?;
    if settings.container_runtime_endpoint.is_none() && layout.path("containerd/root").exists() {
        crate::runtime::ensure(layout, settings).await?;
    }
    down::stop(layout, settings, true).await
}

/// Rules go by the part that made them: it knows them, and upstream's flag for this is `--cleanup`.
fn clean_up(part: Part) -> Result<()> {
    let executable = std::env::current_exe().context("find this program's own file")?;
    run(Command::new(executable).args([part.name(), "--cleanup"]))
}

/// What the parts before did not take with them: the kubelet's chain, and those of plugins whose pods are gone.
fn remove_chains() -> Result<()> {
    for (save, restore) in [("iptables-save", "iptables-restore"), ("ip6tables-save", "ip6tables-restore")] {
        let Some(program) = machine::find_program(save) else { continue };
        let saved = Command::new(program).output().with_context(|| format!("run {save}"))?;
        let deletions = deletions(&String::from_utf8_lossy(&saved.stdout));
        if deletions.is_empty() {
            continue;
        }
        let program = machine::find_program(restore).with_context(|| format!("{restore} is not installed"))?;
        let mut child = Command::new(program).args(["--noflush"]).stdin(Stdio::piped()).spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            std::io::Write::write_all(&mut pipe, deletions.as_bytes())?;
        }
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "{restore} refused to remove the cluster's chains");
    }
    Ok(())
}

/// Input for `iptables-restore --noflush` that removes, from every table, the chains of a cluster and the rules that
/// lead to them from elsewhere.
fn deletions(saved: &str) -> String {
    const PREFIXES: [&str; 2] = ["CNI-", "KUBE-"];
    let is_ours = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let mut text = String::new();
    for table in saved.split_inclusive("COMMIT\n") {
        let Some(name) = table.lines().find(|line| line.starts_with('*')) else { continue };
        let declared = table.lines().filter_map(|line| line.strip_prefix(':')?.split_whitespace().next());
        let chains: Vec<&str> = declared.filter(|chain| is_ours(chain)).collect();
        if chains.is_empty() {
            continue;
        }
        text += &format!("{name}\n");
        for rule in table.lines().filter_map(|line| line.strip_prefix("-A ")) {
            let target = rule.split_whitespace().skip_while(|word| *word != "-j").nth(1);
            if target.is_some_and(is_ours) {
                text += &format!("-D {rule}\n");
            }
        }
        for verb in ["-F", "-X"] {
            chains.iter().for_each(|chain| text += &format!("{verb} {chain}\n"));
        }
        text += "COMMIT\n";
    }
    text
}

fn remove_bridge() -> Result<()> {
    if !Path::new("/sys/class/net").join(cni::BRIDGE).exists() {
        return Ok(());
    }
    run(Command::new("ip").args(["link", "delete", cni::BRIDGE]))
}

/// Everything mounted below the folder, the innermost first. Detached, so that a forgotten open file keeps nothing. One that
/// is gone by itself meanwhile is no failure; one that is left is.
fn remove_mounts(folder: &Path) -> Result<()> {
    for point in mounts_below(folder)?.iter().rev() {
        if let Err(error) = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH) {
            tracing::debug!(path = %point.display(), %error, "not unmounted");
        }
    }
    let left = mounts_below(folder)?;
    let left: Vec<_> = left.iter().map(|point| point.display().to_string()).collect();
    ensure!(left.is_empty(), "still mounted, so no files were removed: {}", left.join(", "));
    Ok(())
}

fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    Ok(points.filter(|point| point.starts_with(folder) && point != folder).collect())
}

/// proc(5): spaces, tabs, newlines and backslashes are written as octal.
fn unescape(point: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(point.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The pods' cgroups in every hierarchy: `kubepods` below the given parent.
fn remove_cgroups(mount: &Path, parent: &str) -> Result<()> {
    let hierarchies = std::fs::read_dir(mount).context("list the cgroup hierarchies")?;
    let mut tops: Vec<PathBuf> = hierarchies.flatten().map(|entry| entry.path()).collect();
    tops.push(mount.to_owned());
    for top in tops {
        for name in ["kubepods", "kubepods.slice"] {
            remove_cgroup(&top.join(parent).join(name))?;
        }
    }
    Ok(())
}

/// A cgroup can be removed once those inside it are; its files go with it.
fn remove_cgroup(path: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_cgroup(&entry.path())?;
    }
    std::fs::remove_dir(path).with_context(|| format!("remove the cgroup {}", path.display()))
}

fn remove_files(layout: &Layout) -> Result<()> {
    remove_log_links(Path::new("/var/log/containers"), layout.root());
    // Made by containerd and its shims at fixed places; removed only when nobody else has anything there.
    let shared = [
        "/run/containerd/runc/k8s.io",
        "/run/containerd/runc",
        "/run/containerd/s",
        "/run/containerd/fifo",
        "/run/containerd",
        "/var/lib/cni/results",
        "/var/lib/cni",
        "/var/log/containers",
    ];
    for folder in shared {
        let _ = std::fs::remove_dir(folder);
    }
    removal::clear(layout.root())?;
    match std::fs::remove_dir(layout.root()) {
        // A folder that something is mounted on is emptied, and stays.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(()),
        other => other.with_context(|| format!("remove {}", layout.root().display())),
    }
}

/// The kubelet's links to log files, which are below the data folder.
fn remove_log_links(folder: &Path, data: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if std::fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(data)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clusters_chains_are_removed() {
        let saved = "*filter\n:INPUT ACCEPT [0:0]\n:DOCKER - [0:0]\n-A INPUT -j DOCKER\nCOMMIT\n*nat\n\
            :PREROUTING ACCEPT [0:0]\n:CNI-abc - [0:0]\n:KUBE-A - [0:0]\n\
            -A POSTROUTING -s 10.1.0.2/32 -m comment --comment \"name: \\\"skiff\\\"\" -j CNI-abc\n\
            -A CNI-abc -d 10.1.0.0/24 -j ACCEPT\n-A KUBE-A -j MARK --set-xmark 0x1\nCOMMIT\n";
        let expected = "*nat\n-D POSTROUTING -s 10.1.0.2/32 -m comment --comment \"name: \\\"skiff\\\"\" -j CNI-abc\n\
            -F CNI-abc\n-F KUBE-A\n-X CNI-abc\n-X KUBE-A\nCOMMIT\n";
        assert_eq!(deletions(saved), expected);
        assert_eq!(deletions("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"), "");
    }

    #[test]
    fn cgroups_go_from_the_inside_out() {
        let mount = tempfile::tempdir().unwrap();
        let pod = mount.path().join("memory/test/kubepods/burstable/pod1");
        std::fs::create_dir_all(&pod).unwrap();
        remove_cgroups(mount.path(), "test").unwrap();
        assert!(mount.path().join("memory/test").exists() && !pod.exists());
        assert!(!mount.path().join("memory/test/kubepods").exists());
    }
}
