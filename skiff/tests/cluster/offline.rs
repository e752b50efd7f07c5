//! A machine that reaches no registry: images come from files, and stay.

use anyhow::{Result, ensure};
use testbed::{Cluster, images};

use crate::support::SKIFF;

const NAME: &str = "docker.io/library/offline:1";
const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "offline"}, "spec": {
    "containers": [{"name": "c", "image": "offline:1", "imagePullPolicy": "Never", "command": ["sleep", "3600"]}]}}"#;

#[test]
fn images_are_loaded_from_files_and_kept() -> Result<()> {
    let Some(cluster) = Cluster::up("offline", SKIFF, &[])? else { return Ok(()) };
    let file = cluster.bed.folder().join("offline.tar");
    std::fs::write(&file, images::busybox(NAME)?)?;
    let path = file.display().to_string();
    let load = ["image", "load", &path];
    ensure!(cluster.skiff(&load)?.trim() == NAME, "the name is printed");
    ensure!(cluster.skiff(&load)?.trim() == NAME, "once more is no mistake");
    cluster.create(POD)?;
    cluster.kubectl(&["wait", "pod/offline", "--for=condition=Ready", "--timeout=90s"])?;
    // As the kubelet asks before it clears images away.
    let socket = cluster.data().join("containerd/containerd.sock").display().to_string();
    let filter = r#"labels."io.cri-containerd.pinned"=="pinned""#;
    let kept = cluster.bed.run(&[
        "ctr",
        "--address",
        &socket,
        "--namespace",
        "k8s.io",
        "images",
        "list",
        "--quiet",
        filter,
    ])?;
    ensure!(kept.lines().any(|line| line == NAME), "it is pinned: {kept}");
    let missing = cluster.skiff(&["image", "load", "/nowhere.tar"]).expect_err("there is no such file");
    ensure!(format!("{missing:?}").contains("there is no file /nowhere.tar"), "{missing:?}");
    Ok(())
}
