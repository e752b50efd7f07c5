//! `kill -9` of every part: what ran goes on, what is asked afterwards happens, nothing is done twice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::{Apart, Cluster, PARTS, SOON, eventually};

use crate::support::{SKIFF, all_answer, web};

#[test]
fn a_part_killed_and_started_again_goes_on() -> Result<()> {
    let Some(cluster) = Cluster::prepare("restart", SKIFF)? else { return Ok(()) };
    let without: Vec<String> = PARTS.iter().map(|part| format!("--without={part}")).collect();
    let options: Vec<&str> = without.iter().map(String::as_str).collect();
    cluster.skiff_up(&options)?;
    let mut apart = Apart::new(&cluster);
    for part in PARTS {
        apart.define(part, apart.line(part, &[SKIFF, part])?);
        apart.start(part)?;
    }
    eventually("the node is Ready", SOON, || {
        let nodes = cluster.kubectl(&["get", "nodes", "--no-headers"])?;
        ensure!(nodes.contains(" Ready "), "{nodes}");
        Ok(())
    })?;
    let address = web(&cluster)?;
    all_answer(&cluster, &address, "app=web")?;

    for (index, part) in PARTS.into_iter().enumerate() {
        let before = cluster.containers()?;
        apart.kill(part)?;
        ensure!(cluster.curl(&format!("http://{address}")).is_ok(), "traffic flows without the {part}");
        apart.start(part)?;
        eventually("the API server answers", Duration::from_secs(20), || cluster.kubectl(&["get", "namespaces"]))?;
        let replicas = 4 + index % 2;
        cluster.kubectl(&["scale", "deployment", "web", &format!("--replicas={replicas}")])?;
        cluster.rolled_out("web").with_context(|| format!("after the {part} was killed"))?;
        all_answer(&cluster, &address, "app=web")?;
        let kept = cluster.containers()?;
        ensure!(before.iter().filter(|id| kept.contains(id)).count() >= 3, "the {part}'s end touched no container");
    }
    the_runtime_comes_back(&cluster, &address)?;
    nothing_is_left_over(&cluster, &address)
}

/// containerd is no part; `skiff up` has started it, and does so again.
fn the_runtime_comes_back(cluster: &Cluster, address: &str) -> Result<()> {
    let before = eventually("what was scaled away has ended", SOON, || {
        let containers = cluster.containers()?;
        ensure!(containers.len() == 2 * 4, "{containers:?}");
        Ok(containers)
    })?;
    cluster.bed.run(&["pkill", "--signal", "KILL", "--exact", "containerd"])?;
    ensure!(cluster.curl(&format!("http://{address}")).is_ok(), "traffic flows without containerd");
    let kept = eventually("containerd answers again", SOON, || cluster.containers())?;
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let (before, kept) = (sorted(before), sorted(kept));
    ensure!(kept == before, "no container ended with it: {before:?} and {kept:?}");
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=6"])?;
    cluster.rolled_out("web")
}

/// Two containers a pod, one address and one network namespace each, and none of what was scaled away.
fn nothing_is_left_over(cluster: &Cluster, address: &str) -> Result<()> {
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=1"])?;
    let count = |command: &str| -> Result<usize> { Ok(cluster.bed.run(&["sh", "-c", command])?.trim().parse()?) };
    let networks = cluster.data().join("cni/networks/skiff").display().to_string();
    eventually("one pod's worth is left", SOON, || {
        let containers = cluster.containers()?.len();
        ensure!(containers == 2, "{containers} containers");
        let addresses = count(&format!("ls {networks} | grep -c '^10\\.'"))?;
        ensure!(addresses == 1, "{addresses} addresses");
        let links = count("ip -br link | grep -c '^veth'")?;
        ensure!(links == 1, "{links} links");
        let endpoints = count("iptables-save -t nat | grep -c '^:KUBE-SEP-'")?;
        ensure!(endpoints == 2, "{endpoints} endpoints: the API server's and the pod's");
        Ok(())
    })?;
    cluster.curl(&format!("http://{address}")).map(|_| ())
}
