//! A resource that is nobody else's, added to a node: that it is counted, and who has to give it back to whom.

use anyhow::Result;
use serde_json::{Value, json};

use super::scheduling::{on_first_node, unschedulable};
use crate::cluster::{LATER, Patch, Scope, condition};
use crate::expect::{equal, same};

const RESOURCE: &str = "example.com~1conformance";

/// Adds a resource to the first node while work is done.
async fn with_resource<T>(scope: &Scope, amount: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let nodes = scope.global("v1", "nodes");
    let at = format!("{}/status", scope.cluster.nodes[0]);
    let places = ["capacity", "allocatable"].map(|field| format!("/status/{field}/{RESOURCE}"));
    let add: Value = places.iter().map(|path| json!({"op": "add", "path": path, "value": amount})).collect();
    nodes.patch(&at, Patch::Json(add)).await?;
    let result = work.await;
    let kept = nodes.get(&scope.cluster.nodes[0]).await?["status"]["allocatable"]["example.com/conformance"].clone();
    let remove: Value = places.iter().map(|path| json!({"op": "remove", "path": path})).collect();
    let removed = nodes.patch(&at, Patch::Json(remove)).await;
    let result = result?;
    equal("the resource is kept", &kept, &json!(amount))?;
    removed.map(|_| result)
}

fn asks(scope: &Scope, name: &str, amount: &str) -> Value {
    let mut object = on_first_node(scope, name);
    object["spec"]["containers"][0]["resources"] =
        json!({"requests": {"example.com/conformance": amount}, "limits": {"example.com/conformance": amount}});
    object
}

pub(super) async fn foreign_resources_are_counted(scope: &Scope) -> Result<()> {
    with_resource(scope, "5", async {
        scope.start(&asks(scope, "one", "3")).await?;
        unschedulable(scope, &asks(scope, "two", "3"), "Insufficient example.com/conformance").await?;
        scope.pods().delete("one").await?;
        scope.ready("two").await.map(drop)
    })
    .await
}

/// Makes a priority class that goes with the case; its name.
async fn priority(scope: &Scope, name: &str, value: i32) -> Result<String> {
    let (classes, name) = (scope.global("scheduling.k8s.io/v1", "priorityclasses"), scope.unique(name));
    let object = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value});
    scope.create_global(&classes, &object).await?;
    Ok(name)
}

pub(super) async fn higher_priorities_preempt(scope: &Scope) -> Result<()> {
    let (low, high) = (priority(scope, "low", 1).await?, priority(scope, "high", 1000).await?);
    let object = |name: &str, class: &str, amount: &str| {
        let mut object = asks(scope, name, amount);
        object["spec"]["priorityClassName"] = class.into();
        object
    };
    with_resource(scope, "5", async {
        let mut victim = object("victim", &low, "3");
        victim["metadata"]["finalizers"] = json!(["example.com/hold"]);
        scope.start(&victim).await?;
        scope.start(&object("spared", &high, "2")).await?;
        scope.create_pod(&object("winner", &high, "3")).await?;
        let told = |pod: &Value| {
            condition(pod, "DisruptionTarget")["reason"] == "PreemptionByScheduler"
                && pod["metadata"]["deletionTimestamp"].is_string()
        };
        let told = scope.pods().until("victim", "it is told why it goes", told).await;
        scope.pods().patch("victim", Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
        told?;
        scope.ready("winner").await?;
        same("the other", scope.pods().get("spared").await?["metadata"].get("deletionTimestamp"), None)
    })
    .await
}

pub(super) async fn critical_pods_preempt(scope: &Scope) -> Result<()> {
    with_resource(scope, "3", async {
        scope.start(&asks(scope, "victim", "2")).await?;
        let mut critical = asks(scope, "critical", "3");
        critical["spec"]["priorityClassName"] = "system-cluster-critical".into();
        scope.create_pod(&critical).await?;
        scope.pods().until_gone_within(LATER, "victim").await?;
        let running = scope.ready("critical").await?;
        equal("priority", &running["spec"]["priority"], &json!(2_000_000_000))
    })
    .await
}

/// Two, two and one of five are taken, and four are wanted.
pub(super) async fn preemption_goes_no_further_than_it_has_to(scope: &Scope) -> Result<()> {
    let sets = scope.resource("apps/v1", "replicasets");
    let mut watch = scope.pods().watch("").await?;
    with_resource(scope, "5", async {
        for (name, value, count) in [("low", 1, 2), ("middle", 2, 2), ("high", 3, 1)] {
            let mut pod = asks(scope, name, "1");
            pod["spec"]["priorityClassName"] = priority(scope, name, value).await?.into();
            pod["spec"]["restartPolicy"] = "Always".into();
            let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
            let object = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": {
                "replicas": count, "selector": {"matchLabels": {"app": name}}, "template": template}});
            sets.create(&object).await?;
            let ready = |set: &Value| set["status"]["readyReplicas"] == count;
            sets.until_within(LATER, name, "all of them run", ready).await?;
        }
        let mut winner = asks(scope, "winner", "4");
        winner["spec"]["priorityClassName"] = priority(scope, "highest", 4).await?.into();
        scope.create_pod(&winner).await?;
        scope.ready("winner").await?;
        for name in ["low", "middle"] {
            let wait = |pods: &[Value]| {
                pods.len() == 2 && pods.iter().all(|pod| condition(pod, "PodScheduled")["reason"] == "Unschedulable")
            };
            let query = format!("labelSelector=app%3D{name}");
            scope.pods().until_all_within(LATER, &query, "two pods that wait", wait).await?;
        }
        let spared = scope.pods().items("labelSelector=app%3Dhigh").await?;
        same("pods of the highest set", spared.len(), 1)?;
        same("its end", spared[0]["metadata"].get("deletionTimestamp"), None)?;
        // As many again as had to go.
        let mut made = std::collections::BTreeMap::<String, u32>::new();
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
        while let Ok(event) = watch.next(deadline.saturating_duration_since(tokio::time::Instant::now())).await {
            let app = event.object["metadata"]["labels"]["app"].as_str().unwrap_or_default();
            *made.entry(app.to_owned()).or_default() += u32::from(event.kind == "ADDED");
        }
        let made: Vec<(&str, u32)> = made.iter().map(|(app, count)| (app.as_str(), *count)).collect();
        same("pods made", made, vec![("high", 1), ("low", 4), ("middle", 4), ("winner", 1)])
    })
    .await
}
