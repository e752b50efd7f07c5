//! PodDisruptionBudgets and evictions.

use anyhow::Result;
use serde_json::{Value, json};

use super::life::{Kind, life, replace};
use super::{STAY, template};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, Resource, Scope};
use crate::expect::{contains, equal, refused, same};

pub(super) const GROUP: Group = Group {
    name: "disruption",
    area: Area::Workloads,
    capability: "PodDisruptionBudgets: counts, and evictions that wait for them",
    cases: &[
        case!(budgets_are_counted, "a budget tells what is healthy, wanted, and allowed to go", quick),
        case!(evictions_are_refused, "an eviction beyond the budget is a 429 with its cause", quick),
        case!(a_larger_budget_lets_go, "an eviction goes on once the budget allows it"),
        case!(percentages_are_of_the_whole, "a percentage is of the pods that the workload wants"),
        case!(status_is_a_subresource, "/status takes the pods that are being disrupted, and lets them go"),
        case!(budgets_live, "PodDisruptionBudgets live as every kind does"),
    ],
};

fn budgets(scope: &Scope) -> Resource {
    scope.resource("policy/v1", "poddisruptionbudgets")
}

async fn web(scope: &Scope, replicas: u32, budget: Value) -> Result<Vec<String>> {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": template("web", &scope.cluster.images.busybox, STAY)}});
    scope.deployments().create(&object).await?;
    let mut spec = budget;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    let budget =
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec});
    budgets(scope).create(&budget).await?;
    let healthy = move |budget: &Value| {
        budget["status"]["currentHealthy"] == replicas
            && budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
    };
    budgets(scope).until_within(LATER, "web", &format!("{replicas} are healthy"), healthy).await?;
    scope.pods().names("labelSelector=app%3Dweb").await
}

async fn evict(scope: &Scope, pod: &str) -> Result<Value> {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    scope.pods().post(&format!("{pod}/eviction"), &eviction).await
}

async fn budgets_are_counted(scope: &Scope) -> Result<()> {
    web(scope, 3, json!({"minAvailable": 2})).await?;
    let status = budgets(scope).get("web").await?["status"].clone();
    for (field, count) in [("currentHealthy", 3), ("desiredHealthy", 2), ("disruptionsAllowed", 1), ("expectedPods", 3)]
    {
        equal(field, &status[field], &json!(count))?;
    }
    budgets(scope).patch("web", Patch::Merge(json!({"spec": {"minAvailable": null, "maxUnavailable": 0}}))).await?;
    let none = |budget: &Value| budget["status"]["disruptionsAllowed"] == 0 && budget["status"]["desiredHealthy"] == 3;
    budgets(scope).until("web", "none may go", none).await.map(drop)
}

async fn evictions_are_refused(scope: &Scope) -> Result<()> {
    let pods = web(scope, 1, json!({"minAvailable": 1})).await?;
    let error = refused(evict(scope, &pods[0]).await, 429, "TooManyRequests")?;
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    contains("message", &error.message, message)?;
    equal("cause", &error.status["details"]["causes"][0]["reason"], &json!("DisruptionBudget"))?;
    equal(
        "the pod's deletionTimestamp",
        &scope.pods().get(&pods[0]).await?["metadata"]["deletionTimestamp"],
        &Value::Null,
    )
}

async fn a_larger_budget_lets_go(scope: &Scope) -> Result<()> {
    let pods = web(scope, 1, json!({"minAvailable": 1})).await?;
    refused(evict(scope, &pods[0]).await, 429, "TooManyRequests")?;
    budgets(scope).patch("web", Patch::Merge(json!({"spec": {"minAvailable": 0}}))).await?;
    let allowed = |budget: &Value| budget["status"]["disruptionsAllowed"] == 1;
    budgets(scope).until("web", "one may go", allowed).await?;
    evict(scope, &pods[0]).await?;
    scope.pods().until_gone_within(LATER, &pods[0]).await
}

async fn percentages_are_of_the_whole(scope: &Scope) -> Result<()> {
    web(scope, 3, json!({"maxUnavailable": "34%"})).await?;
    // 34 % of three, rounded up, is two.
    let two = |budget: &Value| budget["status"]["disruptionsAllowed"] == 2 && budget["status"]["desiredHealthy"] == 1;
    budgets(scope).until("web", "two may go", two).await.map(drop)
}

async fn status_is_a_subresource(scope: &Scope) -> Result<()> {
    let pods = web(scope, 1, json!({"minAvailable": 0})).await?;
    let mut disrupted = json!({});
    disrupted[&pods[0]] = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    let set = |budget: &mut Value| budget["status"]["disruptedPods"] = disrupted.clone();
    let put = replace(&budgets(scope), "web/status", set).await?;
    equal("disruptedPods", &put["status"]["disruptedPods"], &disrupted)?;
    let none = Patch::Merge(json!({"status": {"disruptedPods": null}}));
    let patched = budgets(scope).patch("web/status", none).await?;
    let left = patched["status"]["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    same("disruptedPods that are left", left, 0)?;
    same("the object's own path", patched["spec"]["minAvailable"].as_u64(), Some(0))
}

async fn budgets_live(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "none"}}}});
    life(scope, Kind::new("poddisruptionbudgets", object)).await
}
