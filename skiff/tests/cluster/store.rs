//! The same cluster over a real etcd.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{Cluster, eventually};

use crate::support::{SKIFF, all_answer, web};

#[test]
fn a_cluster_keeps_its_objects_in_etcd() -> Result<()> {
    let Some(cluster) = Cluster::prepare("etcd", SKIFF)? else { return Ok(()) };
    let folder = cluster.bed.folder().join("etcd");
    let mut command = cluster.bed.command("etcd");
    let mut etcd = cluster.bed.start("etcd", command.arg("--data-dir").arg(&folder))?;
    eventually("etcd answers", Duration::from_secs(30), || cluster.curl("http://127.0.0.1:2379/health"))?;

    cluster.skiff_up(&["--store", "etcd", "--etcd-servers", "http://127.0.0.1:2379"])?;
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=key=value"])?;
    let keys = cluster.bed.run(&[
        "curl",
        "--silent",
        "http://127.0.0.1:2379/v3/kv/range",
        "-d",
        // base64 of /registry/configmaps/default/kept
        r#"{"key":"L3JlZ2lzdHJ5L2NvbmZpZ21hcHMvZGVmYXVsdC9rZXB0","keys_only":true}"#,
    ])?;
    ensure!(keys.contains("\"count\":\"1\""), "the object lies under upstream's key: {keys}");
    let address = web(&cluster)?;
    all_answer(&cluster, &address, "app=web")?;
    cluster.skiff(&["reset"])?;
    etcd.kill()?;
    etcd.wait()?;
    Ok(())
}
