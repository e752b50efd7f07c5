//! The flow of the README, the life of a cluster around it, and that nothing stays when it is reset.

use anyhow::{Result, ensure};
use testbed::{Cluster, SOON, eventually};

use crate::support::{SKIFF, all_answer, web};

#[test]
fn create_scale_expose_and_all_pods_answer() -> Result<()> {
    let Some(cluster) = Cluster::prepare("flow", SKIFF)? else { return Ok(()) };
    what_is_missing_is_named(&cluster)?;
    cluster.skiff_up(&[])?;
    let address = web(&cluster)?;
    parts_reach_the_api_server_without_sockets(&cluster)?;
    all_answer(&cluster, &address, "app=web")?;
    ensure!(cluster.pods("app=web")?.len() == 3, "three pods");

    talk_to_a_pod(&cluster)?;
    update_and_undo(&cluster)?;
    all_answer(&cluster, &address, "app=web")?;

    stop_and_start_keeps_the_data(&cluster, &address)?;
    deletion_cascades(&cluster, &address)?;
    reset_leaves_nothing(&cluster)
}

fn what_is_missing_is_named(cluster: &Cluster) -> Result<()> {
    let data = cluster.bed.folder().join("elsewhere").display().to_string();
    let refused = cluster.bed.output(&["env", "PATH=/nowhere", SKIFF, "up", "--data-dir", &data])?;
    ensure!(!refused.success, "no containerd, no cluster");
    ensure!(refused.stderr.contains("the program containerd: apt-get install containerd"), "{}", refused.stderr);
    Ok(())
}

/// No connection of anybody's leads to port 6443, while every part watches and writes.
fn parts_reach_the_api_server_without_sockets(cluster: &Cluster) -> Result<()> {
    const ESTABLISHED: &str = "01";
    let sockets = cluster.bed.run(&["cat", "/proc/net/tcp", "/proc/net/tcp6"])?;
    let mut rows = sockets.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let to_it = |row: &Vec<&str>| row[2].ends_with(&format!(":{:04X}", 6443)) && row[3] == ESTABLISHED;
    ensure!(!rows.any(|row| to_it(&row)), "{sockets}");
    Ok(())
}

fn talk_to_a_pod(cluster: &Cluster) -> Result<()> {
    let pods = cluster.pods("app=web")?;
    let output = cluster.kubectl(&["exec", &pods[0], "--", "sh", "-c", "echo out; hostname"])?;
    ensure!(output == format!("out\n{}\n", pods[0]), "{output}");
    let failed = cluster.kubectl_output(&["exec", &pods[0], "--", "sh", "-c", "exit 7"])?;
    ensure!(failed.stderr.contains("exit code 7"), "{failed:?}");
    let wide = cluster.kubectl(&["get", "pods", "-o", "wide"])?;
    ensure!(wide.starts_with("NAME ") && wide.contains("Running") && wide.contains(" node "), "{wide}");
    Ok(())
}

fn update_and_undo(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["set", "env", "deployment/web", "COLOUR=blue"])?;
    cluster.rolled_out("web")?;
    let history = cluster.kubectl(&["rollout", "history", "deployment/web"])?;
    ensure!(history.contains("2 "), "a second revision: {history}");
    cluster.kubectl(&["rollout", "undo", "deployment/web"])?;
    cluster.rolled_out("web")?;
    let environment = cluster.value("deployment/web", ".spec.template.spec.containers[0].env")?;
    ensure!(environment.is_empty(), "back to the first: {environment}");
    eventually("old pods are gone", SOON, || {
        let count = cluster.pods("app=web")?.len();
        ensure!(count == 3, "{count} pods");
        Ok(())
    })
}

fn stop_and_start_keeps_the_data(cluster: &Cluster, address: &str) -> Result<()> {
    let before = cluster.value("deployment/web", ".metadata.uid")?;
    cluster.skiff(&["down"])?;
    let processes = cluster.processes()?;
    for program in ["containerd", "nginx: ", "/pause", "skiff up"] {
        ensure!(
            !processes.lines().any(|line| line.contains(program) && !line.contains("ps -e")),
            "{program}:\n{processes}"
        );
    }
    cluster.skiff_up(&[])?;
    ensure!(cluster.value("deployment/web", ".metadata.uid")? == before, "the same object");
    all_answer(cluster, address, "app=web")
}

fn deletion_cascades(cluster: &Cluster, address: &str) -> Result<()> {
    cluster.kubectl(&["delete", "deployment,service", "web"])?;
    eventually("pods go with their Deployment", SOON, || {
        let left = cluster.kubectl(&["get", "pods,replicasets,endpointslices", "-l", "app=web", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    eventually("the Service's rules go", SOON, || {
        ensure!(cluster.curl(&format!("http://{address}")).is_err(), "{address} still answers");
        Ok(())
    })
}

fn reset_leaves_nothing(cluster: &Cluster) -> Result<()> {
    web(cluster)?;
    cluster.skiff(&["reset"])?;
    ensure!(!cluster.data().exists(), "the data folder is gone");
    let links = cluster.bed.run(&["ip", "-br", "link"])?;
    ensure!(links.lines().count() == 3, "lo, eth0, uplink: {links}");
    let rules = cluster.bed.run(&["iptables-save"])?;
    ensure!(!rules.contains("KUBE-") && !rules.contains("CNI-"), "{rules}");
    let mounts = cluster.bed.run(&["cat", "/proc/mounts"])?;
    ensure!(!mounts.contains("/data/"), "{mounts}");
    let namespaces = cluster.bed.run(&["sh", "-c", "ls /run/netns 2>/dev/null || true"])?;
    ensure!(namespaces.is_empty(), "{namespaces}");
    let processes = cluster.processes()?;
    ensure!(!processes.contains("containerd") && !processes.contains("nginx: "), "{processes}");
    let cgroups = cluster.bed.run(&["find", "/sys/fs/cgroup", "-type", "d", "-name", "kubepods*"])?;
    ensure!(cgroups.is_empty(), "{cgroups}");
    for folder in ["/var/lib/cni", "/run/containerd", "/var/log/containers"] {
        let files = cluster.bed.run(&["sh", "-c", &format!("find {folder} -mindepth 1 2>/dev/null || true")])?;
        ensure!(files.is_empty(), "{files}");
    }
    Ok(())
}
