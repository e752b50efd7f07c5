//! `kill -9` of every part: what ran goes on, what is asked afterwards happens, nothing is done twice.

use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::eventually;

use crate::support::{Cluster, PARTS, SKIFF, SOON};

/// Every part a process of its own, started with the arguments that `skiff up` leaves for that.
struct Apart<'a> {
    cluster: &'a Cluster,
    running: Vec<(&'static str, Child)>,
}

impl Apart<'_> {
    fn start(&mut self, part: &'static str) -> Result<()> {
        let flags = std::fs::read_to_string(self.cluster.data().join("flags").join(part))?;
        let mut command = self.cluster.bed.command(SKIFF);
        command.arg(part).args(flags.lines());
        self.running.push((part, self.cluster.bed.start(part, &mut command)?));
        Ok(())
    }

    /// Ends the program itself, not the `nsenter` around it: nothing it could do comes after.
    fn kill(&mut self, part: &'static str) -> Result<()> {
        let index = self.running.iter().position(|(name, _)| *name == part).context("the part runs")?;
        let (_, mut child) = self.running.remove(index);
        self.cluster.bed.run(&["pkill", "--signal", "KILL", "--full", &format!("skiff {part} --")])?;
        child.wait()?;
        Ok(())
    }
}

#[test]
fn a_part_killed_and_started_again_goes_on() -> Result<()> {
    let Some(cluster) = Cluster::prepare("restart")? else { return Ok(()) };
    let without: Vec<String> = PARTS.iter().map(|part| format!("--without={part}")).collect();
    let options: Vec<&str> = without.iter().map(String::as_str).collect();
    cluster.skiff_up(&options)?;
    let mut apart = Apart { cluster: &cluster, running: Vec::new() };
    for part in PARTS {
        apart.start(part)?;
    }
    eventually("the node is Ready", SOON, || {
        let nodes = cluster.kubectl(&["get", "nodes", "--no-headers"])?;
        ensure!(nodes.contains(" Ready "), "{nodes}");
        Ok(())
    })?;
    let address = cluster.web()?;
    cluster.all_answer(&address, "app=web")?;

    for (index, part) in PARTS.into_iter().enumerate() {
        let before = containers(&cluster)?;
        apart.kill(part)?;
        ensure!(cluster.curl(&format!("http://{address}")).is_ok(), "traffic flows without the {part}");
        apart.start(part)?;
        eventually("the API server answers", Duration::from_secs(20), || cluster.kubectl(&["get", "namespaces"]))?;
        let replicas = 4 + index % 2;
        cluster.kubectl(&["scale", "deployment", "web", &format!("--replicas={replicas}")])?;
        cluster.rolled_out("web").with_context(|| format!("after the {part} was killed"))?;
        cluster.all_answer(&address, "app=web")?;
        let kept = containers(&cluster)?;
        ensure!(before.iter().filter(|id| kept.contains(id)).count() >= 3, "the {part}'s end touched no container");
    }
    the_runtime_comes_back(&cluster, &address)?;
    nothing_is_left_over(&cluster, &address)
}

/// containerd is no part; `skiff up` has started it, and does so again.
fn the_runtime_comes_back(cluster: &Cluster, address: &str) -> Result<()> {
    let before = containers(cluster)?;
    cluster.bed.run(&["pkill", "--signal", "KILL", "--exact", "containerd"])?;
    ensure!(cluster.curl(&format!("http://{address}")).is_ok(), "traffic flows without containerd");
    let kept = eventually("containerd answers again", SOON, || containers(cluster))?;
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let (before, kept) = (sorted(before), sorted(kept));
    ensure!(kept == before, "no container ended with it: {before:?} and {kept:?}");
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=6"])?;
    cluster.rolled_out("web")
}

/// The running containers, pause ones too, by the runtime's own account.
fn containers(cluster: &Cluster) -> Result<Vec<String>> {
    let socket = cluster.data().join("containerd/containerd.sock").display().to_string();
    let list = cluster.bed.run(&["ctr", "--address", &socket, "--namespace", "k8s.io", "tasks", "list", "--quiet"])?;
    Ok(list.lines().map(String::from).collect())
}

/// Two containers a pod, one address and one network namespace each, and none of what was scaled away.
fn nothing_is_left_over(cluster: &Cluster, address: &str) -> Result<()> {
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=1"])?;
    let count = |command: &str| -> Result<usize> { Ok(cluster.bed.run(&["sh", "-c", command])?.trim().parse()?) };
    let networks = cluster.data().join("cni/networks/skiff").display().to_string();
    eventually("one pod's worth is left", SOON, || {
        let containers = containers(cluster)?.len();
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
