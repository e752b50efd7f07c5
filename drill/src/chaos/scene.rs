//! What runs in the cluster that is struck, whether it has converged, and what is left when it is gone.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::{Cluster, Machine, SOON, eventually};

use super::cut;
use super::plan::SECOND;
use super::workload::Services;

/// The Deployments whose pods never end, on the first node and on the other, and the one that is rolled out again and
/// again, on both.
pub(super) const STEADY: &str = "steady";
pub(super) const REMOTE: &str = "remote";
pub(super) const ROLLING: &str = "rolling";
const ALL: [(&str, u32, Option<&str>); 3] = [(STEADY, 2, Some("node")), (REMOTE, 2, Some(SECOND)), (ROLLING, 3, None)];

/// Makes the Deployments and their Services, and waits until they answer.
pub(super) fn set(cluster: &Cluster) -> Result<Services> {
    let objects: Vec<Value> = ALL.map(|(name, replicas, node)| objects(name, replicas, node)).concat();
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())?;
    let address = |name: &'static str| -> Result<(&'static str, IpAddr)> {
        cluster.kubectl(&["rollout", "status", &format!("deployment/{name}"), "--timeout=90s"])?;
        let address = cluster.value(&format!("service/{name}"), ".spec.clusterIP")?;
        eventually("the Service answers", SOON, || cluster.curl(&format!("http://{address}")))?;
        Ok((name, address.parse().with_context(|| format!("the address of {name}"))?))
    };
    ALL.into_iter().map(|(name, ..)| address(name)).collect()
}

/// Pods that end as an operator would have them end: they answer until everybody has heard that they go.
fn objects(name: &str, replicas: u32, node: Option<&str>) -> Vec<Value> {
    let labels = json!({"app": name});
    let container = json!({
        "name": "web", "image": "nginx", "imagePullPolicy": "IfNotPresent", "ports": [{"containerPort": 80}],
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1, "timeoutSeconds": 3},
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    });
    let mut template = json!({
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 15, "containers": [container]},
    });
    if let Some(node) = node {
        template["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    }
    let strategy = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    vec![
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "strategy": strategy, "template": template},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 80}]},
        }),
    ]
}

/// Until every Deployment is as it was last asked to be, and no more pods are there than that.
pub(super) fn wait_until_converged(cluster: &Cluster) -> Result<()> {
    let get = |what: &str| -> Result<Value> {
        let text = cluster.kubectl(&["get", what, "-o", "json"])?;
        serde_json::from_str(&text).with_context(|| format!("read {what}"))
    };
    eventually("every Deployment has converged", SOON, || {
        let pods = get("pods")?;
        let deployments = get("deployments")?;
        let items = deployments["items"].as_array().context("a list")?;
        ensure!(items.len() == ALL.len(), "{} Deployments", items.len());
        items.iter().try_for_each(|deployment| converged(deployment, &pods))
    })
}

/// Until a whole rollout was seen that began after all faults had ended.
pub(super) fn wait_until_settled(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["rollout", "restart", &format!("deployment/{ROLLING}")])?;
    cluster.kubectl(&["rollout", "status", &format!("deployment/{ROLLING}"), "--timeout=90s"]).map(drop)
}

/// Pure: whether a Deployment has what it asks for.
fn converged(deployment: &Value, pods: &Value) -> Result<()> {
    let (metadata, status) = (&deployment["metadata"], &deployment["status"]);
    let name = metadata["name"].as_str().unwrap_or_default();
    let replicas = &deployment["spec"]["replicas"];
    ensure!(status["observedGeneration"] == metadata["generation"], "{name}: not observed: {status}");
    for count in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        ensure!(&status[count] == replicas, "{name}: {count} is {}, and {replicas} are asked for", status[count]);
    }
    let pods = pods["items"].as_array().into_iter().flatten();
    let own: Vec<&Value> = pods.filter(|pod| pod["metadata"]["labels"]["app"] == name).collect();
    ensure!(replicas.as_u64() == Some(own.len() as u64), "{name}: {} pods are there", own.len());
    for pod in own {
        ensure!(pod["metadata"]["deletionTimestamp"].is_null(), "{name}: a pod is still ending");
        ensure!(pod["status"]["phase"] == "Running", "{name}: a pod is {}", pod["status"]["phase"]);
    }
    Ok(())
}

/// Pods whose containers had to be started again: nothing of what is done to a cluster is to touch them.
pub(super) fn restarts(cluster: &Cluster) -> Result<String> {
    cluster.kubectl(&[
        "get",
        "pods",
        "-o",
        "jsonpath={.items[?(@.status.containerStatuses[0].restartCount>0)].metadata.name}",
    ])
}

/// Deletes everything and waits until the machines are as they were before.
pub(super) fn clear(cluster: &Cluster, second: &Machine) -> Result<()> {
    cluster.kubectl(&["delete", "deployments,services", STEADY, REMOTE, ROLLING, "--timeout=60s"])?;
    cluster.kubectl(&["delete", "configmaps", "--selector=drill=chaos", "--timeout=60s"])?;
    let machines: [&Machine; 2] = [cluster, second];
    for machine in machines {
        eventually("nothing is left", SOON, || leftovers(machine)).with_context(|| machine.bed.name())?;
    }
    Ok(())
}

/// Nothing of pods, and no rules of the drill's own.
fn leftovers(machine: &Machine) -> Result<()> {
    machine.has_no_leftovers()?;
    machine.finds_nothing(&[
        (
            "endpoints' rules",
            "iptables-save -t nat | grep -E '^-A KUBE-SEP-.*default/(steady|remote|rolling)'".to_owned(),
        ),
        ("rules that cut the network", cut::LOOK.to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_has_converged_when_everything_says_so() {
        let deployment = json!({
            "metadata": {"name": "web", "generation": 3}, "spec": {"replicas": 1},
            "status": {"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1},
        });
        let pod = json!({"metadata": {"labels": {"app": "web"}}, "status": {"phase": "Running"}});
        let pods = |items: &[&Value]| json!({"items": items});
        assert!(converged(&deployment, &pods(&[&pod])).is_ok());
        assert!(converged(&deployment, &pods(&[&pod, &pod])).is_err(), "one pod too many");
        for (path, value) in [("/status/observedGeneration", 2), ("/status/updatedReplicas", 0), ("/spec/replicas", 2)]
        {
            let mut other = deployment.clone();
            *other.pointer_mut(path).unwrap() = value.into();
            assert!(converged(&other, &pods(&[&pod])).is_err(), "{path}");
        }
        let mut ending = pod.clone();
        ending["metadata"]["deletionTimestamp"] = "now".into();
        assert!(converged(&deployment, &pods(&[&ending])).is_err());
    }
}
