//! What users ask for: rollouts, rollbacks, other sizes, Jobs in all forms, and pods deleted by hand.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::dice::Dice;

const DEPLOYMENTS: [&str; 2] = ["web", "api"];
pub(crate) const NODES: [&str; 3] = ["first", "second", "third"];
/// Together hardly more than all that is ever asked for: pods have to wait at times.
pub(crate) const PODS_PER_NODE: usize = 11;
const JOBS: [&str; 3] = ["plain", "indexed", "late"];
const STATEFUL_SET: &str = "row";
const DAEMON_SET: &str = "daemon";

fn template(name: &str, restart_policy: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}},
        "spec": {"restartPolicy": restart_policy, "containers": [{"name": "c", "image": "image:0"}]}})
}

fn deployment(name: &str, dice: &Dice) -> Value {
    let (surge, unavailable) = dice.pick(&[(1, 0), (0, 1), (1, 1), (2, 1), (3, 0)]).unwrap();
    let strategy = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 1 + dice.below(5), "selector": {"matchLabels": {"app": name}}, "strategy": strategy,
        "revisionHistoryLimit": 2, "template": template(name, "Always")}})
}

fn job(name: &str, dice: &Dice) -> Value {
    let mode = if name == "indexed" { "Indexed" } else { "NonIndexed" };
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
        "completionMode": mode, "completions": 2 + dice.below(6), "parallelism": 1 + dice.below(4),
        "backoffLimit": 100_000, "suspend": name == "late", "template": template(name, "Never")}})
}

fn stateful_set(dice: &Dice) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": STATEFUL_SET}, "spec": {
        "replicas": 1 + dice.below(4), "selector": {"matchLabels": {"app": STATEFUL_SET}},
        "revisionHistoryLimit": 2, "template": template(STATEFUL_SET, "Always")}})
}

fn daemon_set(dice: &Dice) -> Value {
    let (surge, unavailable) = dice.pick(&[(1, 0), (2, 0), (0, 1), (0, 2)]).unwrap();
    let strategy = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": DAEMON_SET}, "spec": {
        "selector": {"matchLabels": {"app": DAEMON_SET}}, "updateStrategy": strategy,
        "revisionHistoryLimit": 2, "template": template(DAEMON_SET, "Always")}})
}

/// Asks until the server has it: it may be down.
async fn create<K>(api: Api<K>, object: Value)
where
    K: DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    while let Err(error) = api.create(&PostParams::default(), &object).await {
        if matches!(&error, kube::Error::Api(status) if status.code == 409) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn node(name: &str) -> Value {
    let amounts = json!({"cpu": "8", "memory": "8Gi", "ephemeral-storage": "8Gi", "pods": PODS_PER_NODE.to_string()});
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}})
}

pub(crate) async fn begin(client: &Client, dice: &Dice) {
    for name in NODES {
        create(Api::<Node>::all(client.clone()), node(name)).await;
    }
    for name in DEPLOYMENTS {
        create(Api::<Deployment>::namespaced(client.clone(), "default"), deployment(name, dice)).await;
    }
    for name in JOBS {
        create(Api::<Job>::namespaced(client.clone(), "default"), job(name, dice)).await;
    }
    create(Api::<StatefulSet>::namespaced(client.clone(), "default"), stateful_set(dice)).await;
    create(Api::<DaemonSet>::namespaced(client.clone(), "default"), daemon_set(dice)).await;
}

/// One wish; not again when the server is down.
pub(crate) async fn wish(client: &Client, dice: &Dice, running_job_pods: &[String], settled: &[(&str, String)]) {
    if let Some((resource, name)) = dice.pick(settled).filter(|_| dice.below(2) == 0) {
        return change_set(client, dice, resource, &name).await;
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let jobs: Api<Job> = Api::namespaced(client.clone(), "default");
    let (deployment, job) = (dice.pick(&DEPLOYMENTS).unwrap(), dice.pick(&JOBS).unwrap());
    let merge = |patch: Value| Patch::Merge(patch);
    let parameters = PatchParams::default();
    let _ = match dice.below(6) {
        // Few images, so that some rollouts are rollbacks.
        0 | 1 => {
            let containers = json!([{"name": "c", "image": format!("image:{}", dice.below(4))}]);
            let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
            deployments.patch(deployment, &parameters, &merge(patch)).await.map(drop)
        }
        2 => {
            let patch = json!({"spec": {"replicas": dice.below(7)}});
            deployments.patch(deployment, &parameters, &merge(patch)).await.map(drop)
        }
        3 => {
            let patch = json!({"spec": {"parallelism": dice.below(5)}});
            jobs.patch(job, &parameters, &merge(patch)).await.map(drop)
        }
        4 => {
            let patch = json!({"spec": {"suspend": dice.below(2) == 0}});
            jobs.patch(job, &parameters, &merge(patch)).await.map(drop)
        }
        _ => match dice.pick(running_job_pods) {
            Some(pod) => {
                let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
                pods.delete(&pod, &DeleteParams::default()).await.map(drop)
            }
            None => Ok(()),
        },
    };
}

/// Another image, or another size.
async fn change_set(client: &Client, dice: &Dice, resource: &str, name: &str) {
    let containers = json!([{"name": "c", "image": format!("image:{}", dice.below(4))}]);
    let patch = match dice.below(2) {
        0 if resource == "statefulsets" => json!({"spec": {"replicas": dice.below(6)}}),
        _ => json!({"spec": {"template": {"spec": {"containers": containers}}}}),
    };
    let request = http::Request::patch(format!("/apis/apps/v1/namespaces/default/{resource}/{name}"))
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())
        .unwrap();
    let _ = client.request::<Value>(request).await;
}

/// Everything is asked for that has an end.
pub(crate) async fn finally(client: &Client) {
    let jobs: Api<Job> = Api::namespaced(client.clone(), "default");
    for name in JOBS {
        let patch = json!({"spec": {"suspend": false, "parallelism": 2}});
        jobs.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("nothing goes wrong any more");
    }
}
