//! Names, as pods see them: Services, pods of a headless Service, and what is not there.

use anyhow::{Result, ensure};
use testbed::{Cluster, SOON, eventually, images};

use crate::support::{SKIFF, web};

const CLIENT: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": {
    "terminationGracePeriodSeconds": 0,
    "containers": [{"name": "client", "image": "tools", "command": ["sleep", "100000"]}]}}"#;

const PEERS: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peers"}, "spec": {
        "clusterIP": "None", "selector": {"app": "peer"}, "ports": [{"name": "web", "port": 80}]}},
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "elsewhere"}, "spec": {
        "type": "ExternalName", "externalName": "web.default.svc.cluster.local"}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "peer", "labels": {"app": "peer"}}, "spec": {
        "hostname": "first", "subdomain": "peers", "containers": [{"name": "web", "image": "nginx"}]}}]}"#;

#[test]
fn a_pod_reaches_services_by_name() -> Result<()> {
    let Some(cluster) = Cluster::prepare("names", SKIFF)? else { return Ok(()) };
    cluster.push(&images::tools("docker.io/library/tools:latest")?, "tools:latest")?;
    cluster.skiff_up(&[])?;
    cluster.create(CLIENT)?;
    cluster.create(PEERS)?;
    let address = web(&cluster)?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/client", "pod/peer", "--timeout=90s"])?;

    let service =
        cluster.kubectl(&["get", "service", "kube-dns", "-n", "kube-system", "-o", "jsonpath={.spec.clusterIP}"])?;
    let resolv_conf = in_client(&cluster, "cat /etc/resolv.conf")?;
    ensure!(resolv_conf.contains(&format!("nameserver {service}\n")), "{resolv_conf}");
    let searches = "search default.svc.cluster.local svc.cluster.local cluster.local";
    ensure!(resolv_conf.contains(searches) && resolv_conf.contains("ndots:5"), "{resolv_conf}");

    eventually("the node's names lead to pods", SOON, || in_client(&cluster, "curl -sS --max-time 5 http://web/"))?;
    for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local", "elsewhere"] {
        let page = in_client(&cluster, &format!("curl -sS --max-time 5 http://{name}/"));
        ensure!(page?.contains("Welcome to nginx"), "{name}");
        ensure!(in_client(&cluster, &format!("getent ahostsv4 {name}"))?.starts_with(&address), "{name} is {address}");
    }
    let peer = cluster.value("pod/peer", ".status.podIP")?;
    for name in ["peers", "first.peers", "first.peers.default.svc.cluster.local"] {
        eventually("the endpoint has its name", SOON, || {
            let found = in_client(&cluster, &format!("getent ahostsv4 {name}"))?;
            ensure!(found.starts_with(&peer), "{name} is {peer}: {found}");
            Ok(())
        })?;
    }
    ensure!(in_client(&cluster, "getent hosts nothing.default").is_err(), "no such Service");
    let reverse = in_client(&cluster, &format!("getent hosts {address}"))?;
    ensure!(reverse.contains("web.default.svc.cluster.local"), "{reverse}");
    Ok(())
}

fn in_client(cluster: &Cluster, line: &str) -> Result<String> {
    cluster.kubectl(&["exec", "client", "--", "sh", "-c", line])
}
