//! Workloads whose order matters, with real containers: what `tests/controllers` shows with hollow nodes, a kubelet keeps.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{Cluster, SOON, eventually};

use crate::support::SKIFF;

/// Pods that run a shell script in busybox.
fn template(app: &str, script: &str, restart_policy: &str) -> Value {
    let container =
        json!({"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]});
    json!({"metadata": {"labels": {"app": app}}, "spec": {
        "restartPolicy": restart_policy, "terminationGracePeriodSeconds": 2, "containers": [container]}})
}

/// The shell is deaf to SIGTERM, so that stopping a pod takes its two seconds and can be seen.
const STAYS: &str = "trap '' TERM; while true; do sleep 1; done";

fn object(api_version: &str, kind: &str, name: &str, spec: Value) -> String {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}).to_string()
}

fn ready_count(cluster: &Cluster, set: &str, field: &str, wanted: &str) -> Result<()> {
    eventually("all are ready", SOON, || {
        let count = cluster.value(set, field)?;
        ensure!(count == wanted, "{set} {field}: {count}");
        Ok(())
    })
}

#[test]
fn workloads_keep_their_order() -> Result<()> {
    let Some(cluster) = Cluster::up("workloads", SKIFF, &[])? else { return Ok(()) };
    stateful_set(&cluster)?;
    daemon_set(&cluster)?;
    job(&cluster)?;
    cron_job(&cluster)
}

fn stateful_set(cluster: &Cluster) -> Result<()> {
    let spec = json!({"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": template("db", STAYS, "Always")});
    cluster.create(&object("apps/v1", "StatefulSet", "db", spec))?;
    ready_count(cluster, "statefulset/db", ".status.readyReplicas", "3")?;
    for (before, after) in [("db-0", "db-1"), ("db-1", "db-2")] {
        let ready = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime";
        let (ready, made) = (
            cluster.value(&format!("pod/{before}"), ready)?,
            cluster.value(&format!("pod/{after}"), ".metadata.creationTimestamp")?,
        );
        ensure!(ready <= made, "{after} was made at {made}, before {before} was ready at {ready}");
    }
    // Held, so that it can be looked at while it goes.
    let finalizers = |list: &str| format!(r#"{{"metadata": {{"finalizers": {list}}}}}"#);
    let patch = |list: &str| cluster.kubectl(&["patch", "pod/db-2", "--type=merge", "--patch", &finalizers(list)]);
    patch(r#"["example.com/hold"]"#)?;
    cluster.kubectl(&["scale", "statefulset/db", "--replicas=1"])?;
    let going = |pod: &str| anyhow::Ok(!cluster.value(pod, ".metadata.deletionTimestamp")?.is_empty());
    eventually("the last one goes first", SOON, || {
        ensure!(going("pod/db-2")?, "it does not go yet");
        Ok(())
    })?;
    ensure!(!going("pod/db-1")?, "db-1 waits for db-2");
    patch("null")?;
    eventually("one is left", SOON, || {
        let left = cluster.pods("app=db")?;
        ensure!(left == ["db-0"], "{left:?}");
        Ok(())
    })?;
    let before = cluster.value("pod/db-0", ".metadata.uid")?;
    let patch = r#"{"spec":{"template":{"metadata":{"annotations":{"round":"2"}}}}}"#;
    cluster.kubectl(&["patch", "statefulset/db", "--patch", patch])?;
    cluster.kubectl(&["rollout", "status", "statefulset/db", "--timeout=60s"])?;
    ensure!(cluster.value("pod/db-0", ".metadata.uid")? != before, "the pod was replaced");
    cluster.kubectl(&["delete", "statefulset/db"]).map(drop)
}

fn daemon_set(cluster: &Cluster) -> Result<()> {
    let spec = json!({"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", STAYS, "Always")});
    cluster.create(&object("apps/v1", "DaemonSet", "agent", spec))?;
    ready_count(cluster, "daemonset/agent", ".status.numberReady", "1")?;
    cluster.kubectl(&["delete", "daemonset/agent"]).map(drop)
}

fn job(cluster: &Cluster) -> Result<()> {
    let spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2,
        "template": template("indexed", "echo index $JOB_COMPLETION_INDEX", "Never")});
    cluster.create(&object("batch/v1", "Job", "indexed", spec))?;
    cluster.kubectl(&["wait", "--for=condition=Complete", "job/indexed", "--timeout=60s"])?;
    let mut said = Vec::new();
    for pod in cluster.pods("app=indexed")? {
        said.push(cluster.kubectl(&["logs", &pod])?.trim().to_owned());
    }
    said.sort();
    ensure!(said == ["index 0", "index 1", "index 2"], "{said:?}");
    Ok(())
}

fn cron_job(cluster: &Cluster) -> Result<()> {
    let job = json!({"spec": {"template": template("often", "true", "Never")}});
    cluster.create(&object("batch/v1", "CronJob", "often", json!({"schedule": "@every 1s", "jobTemplate": job})))?;
    eventually("it has succeeded once", SOON, || {
        let at = cluster.value("cronjob/often", ".status.lastSuccessfulTime")?;
        ensure!(!at.is_empty(), "not yet");
        Ok(())
    })
}
