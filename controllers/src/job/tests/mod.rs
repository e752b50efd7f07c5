//! The Job's core as tables, and a simulation in which everything goes wrong.

mod simulation;
mod tables;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::backoff::Record;
use super::observe::Input;
use crate::common::pod::Pod;

pub(super) const NOW: i64 = 2_000_000_000;

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

pub(super) fn ago(seconds: i64) -> String {
    Timestamp::from_second(NOW - seconds).unwrap().to_string()
}

pub(super) fn job(spec: Value, status: Value) -> Job {
    let mut whole = json!({"parallelism": 2, "completions": 4, "backoffLimit": 6,
        "template": {"metadata": {"labels": {"job-name": "j"}}, "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}}});
    merge(&mut whole, spec);
    serde_json::from_value(json!({"metadata": {"name": "j", "namespace": "n", "uid": "job", "generation": 1,
        "resourceVersion": "1"}, "spec": whole, "status": status}))
    .unwrap()
}

/// Null takes a field out.
fn merge(into: &mut Value, from: Value) {
    for (key, value) in from.as_object().unwrap() {
        match value {
            Value::Null => drop(into.as_object_mut().unwrap().remove(key)),
            value => into[key] = value.clone(),
        }
    }
}

/// `what` is `phase`, with `ready`, `deleting`, `counted` (no finalizer), `#index`, `!failures`, `?ignored`, `=exit code`,
/// `@seconds since the end` and a condition's type as further words.
pub(super) fn pod(name: &str, what: &str) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "finalizers": ["batch.kubernetes.io/job-tracking"],
        "creationTimestamp": ago(1000), "annotations": {}}, "spec": {"containers": [], "nodeName": "n1"}, "status": {"conditions": []}});
    let mut ended = (1, 100);
    for word in what.split(' ') {
        let rest = word.get(1..).unwrap_or_default();
        match (word.chars().next(), word) {
            (_, "ready") => pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]),
            (_, "deleting") => pod["metadata"]["deletionTimestamp"] = json!(ago(5)),
            (_, "counted") => pod["metadata"]["finalizers"] = json!([]),
            (Some('#'), _) => pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] = json!(rest),
            (Some('!'), _) => {
                pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] = json!(rest)
            }
            (Some('?'), _) => {
                pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-ignored-failure-count"] = json!(rest);
            }
            (Some('='), _) => ended.0 = rest.parse().unwrap(),
            (Some('@'), _) => ended.1 = rest.parse().unwrap(),
            (_, "Pending" | "Running" | "Succeeded" | "Failed") => pod["status"]["phase"] = json!(word),
            _ => pod["status"]["conditions"] = json!([{"type": word, "status": "True"}]),
        }
    }
    let code = match pod["status"]["phase"].as_str() {
        Some("Failed") => ended.0,
        Some("Succeeded") => 0,
        _ => return Arc::new(serde_json::from_value(pod).unwrap()),
    };
    pod["status"]["containerStatuses"] = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "finishedAt": ago(ended.1)}}}]);
    Arc::new(serde_json::from_value(pod).unwrap())
}

pub(super) fn input(job: Job, pods: &[&str]) -> Input {
    let pods = pods.iter().enumerate().map(|(i, what)| pod(&format!("p{i}"), what)).collect();
    Input {
        job: Arc::new(job),
        pods,
        expected_removals: HashSet::new(),
        record: Record::default(),
        caught_up: true,
        now: now(),
    }
}
