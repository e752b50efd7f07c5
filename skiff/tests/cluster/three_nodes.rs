//! Three nodes: every pod meets every other, a Service is all of their pods, or those that are near, and a node that leaves
//! is missed by nobody.

use anyhow::{Result, ensure};
use testbed::{Cluster, Machine, SOON, eventually, images};

use crate::support::SKIFF;

/// The first two are in one zone, the third in another.
const NODES: [(&str, &str); 3] = [("node", "west"), ("second", "west"), ("third", "east")];

/// On each node a server that says its own name, which asks others, too; Services of all of them, and of those near.
fn workloads() -> String {
    let pods = NODES.map(|(node, _)| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "pod-{node}", "labels": {{"app": "all"}}}}, "spec": {{
                "nodeName": "{node}", "terminationGracePeriodSeconds": 0, "containers": [{{"name": "main", "image": "tools",
                "command": ["nc", "-ll", "-p", "8080", "-e", "echo", "{node}"],
                "readinessProbe": {{"tcpSocket": {{"port": 8080}}, "periodSeconds": 1}}}}]}}}}"#
        )
    });
    let service = |name: &str, distribution: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}"}}, "spec": {{
                "selector": {{"app": "all"}}, "ports": [{{"port": 80, "targetPort": 8080}}]{distribution}}}}}"#
        )
    };
    let services = [
        service("all", ""),
        service("node", r#", "trafficDistribution": "PreferSameNode""#),
        service("zone", r#", "trafficDistribution": "PreferSameZone""#),
    ];
    format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{}, {}]}}"#, pods.join(", "), services.join(", "))
}

#[test]
fn three_nodes_meet_and_one_leaves() -> Result<()> {
    let Some(cluster) = Cluster::prepare("three", SKIFF)? else { return Ok(()) };
    cluster.push(&images::tools("docker.io/library/tools:latest")?, "tools:latest")?;
    cluster.skiff_up(&[])?;
    let _second = cluster.join("second")?;
    let third = cluster.join("third")?;
    for (node, zone) in NODES {
        cluster.kubectl(&["label", "node", node, &format!("topology.kubernetes.io/zone={zone}")])?;
    }
    cluster.create(&workloads())?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pods", "--all", "--timeout=120s"])?;
    pods_meet(&cluster, 3)?;
    services_are_near(&cluster, 3)?;
    the_third_leaves(&cluster, &third)?;
    pods_meet(&cluster, 2)?;
    services_are_near(&cluster, 2)
}

/// What a pod is answered at an address, so often.
fn ask(cluster: &Cluster, from: &str, address: &str, port: u16, times: usize) -> Result<Vec<String>> {
    let line = format!("for _ in $(seq {times}); do nc -w 3 {address} {port} </dev/null || echo nobody; done");
    let said = cluster.kubectl(&["exec", &format!("pod-{from}"), "--", "sh", "-c", &line])?;
    Ok(said.split_whitespace().map(String::from).collect())
}

/// On the first so many nodes.
fn pods_meet(cluster: &Cluster, nodes: usize) -> Result<()> {
    for (to, _) in &NODES[..nodes] {
        let address = cluster.value(&format!("pod/pod-{to}"), ".status.podIP")?;
        for (from, _) in &NODES[..nodes] {
            eventually("every pod reaches every pod", SOON, || {
                let seen = ask(cluster, from, &address, 8080, 1)?;
                ensure!(seen == [*to], "{from} asks {to}: {seen:?}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// From each node all that a Service prefers there answer, and nobody else.
fn services_are_near(cluster: &Cluster, nodes: usize) -> Result<()> {
    for service in ["all", "node", "zone"] {
        let address = cluster.value(&format!("service/{service}"), ".spec.clusterIP")?;
        for (from, from_zone) in &NODES[..nodes] {
            let is_near = |(node, zone): &&(&str, &str)| match service {
                "node" => node == from,
                "zone" => zone == from_zone,
                _ => true,
            };
            let mut near: Vec<&str> = NODES[..nodes].iter().filter(is_near).map(|(node, _)| *node).collect();
            near.sort_unstable();
            eventually("those that are near answer", SOON, || {
                // Each is missed by chance in one of two million tries at most.
                let mut seen = ask(cluster, from, &address, 80, 36)?;
                seen.sort_unstable();
                seen.dedup();
                ensure!(seen == near, "{from} asks {service}: {seen:?} instead of {near:?}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// What leads to it goes on the machine that stays.
fn the_third_leaves(cluster: &Cluster, third: &Machine) -> Result<()> {
    let routes = || cluster.bed.run(&["ip", "route", "show", "proto", "86"]);
    let gone = cluster.value("node/third", ".spec.podCIDR")?;
    ensure!(routes()?.lines().count() == 2 && routes()?.contains(&gone), "{}", routes()?);
    cluster.kubectl(&["drain", "third", "--force", "--ignore-daemonsets", "--timeout=60s"])?;
    third.skiff(&["reset"])?;
    cluster.kubectl(&["delete", "node", "third"])?;
    eventually("the way to it goes", SOON, || {
        ensure!(routes()?.lines().count() == 1 && !routes()?.contains(&gone), "{}", routes()?);
        Ok(())
    })
}
