//! Deployments: rollouts, and going back.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{STAY, template};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, Resource, SOON, Scope};
use crate::expect::{contains, equal, same};

pub(super) const GROUP: Group = Group {
    name: "deployments",
    area: Area::Workloads,
    capability: "Deployments: rolling and recreating updates, rollover, undo, history, pause, proportions",
    cases: &[
        case!(a_rollout_completes, "a Deployment's pods come up, and its conditions say so", quick),
        case!(an_update_rolls, "an update replaces pods within its surge and unavailability", quick),
        case!(recreate_stops_before_it_starts, "Recreate never has pods of two templates at a time"),
        case!(undo_goes_back, "undo goes back to the template before, as a new revision"),
        case!(history_is_kept_as_long_as_asked, "ReplicaSets beyond revisionHistoryLimit go"),
        case!(
            sets_are_adopted_with_their_revision,
            "a ReplicaSet that matches is adopted, and revisions go on from its own"
        ),
        case!(a_new_rollout_replaces_one_that_is_stuck, "a rollout that cannot end is rolled over by the next"),
        case!(
            scaling_while_rolling_is_proportional,
            "replicas added in the middle of a rollout go to both sets by proportion"
        ),
        case!(a_paused_one_waits, "a paused Deployment takes changes and rolls when it is resumed"),
        case!(scale_and_status_are_subresources, "/scale and /status read and write their part"),
        case!(a_deadline_is_told, "a rollout past its deadline says ProgressDeadlineExceeded"),
    ],
};

fn sets(scope: &Scope) -> Resource {
    scope.resource("apps/v1", "replicasets")
}

fn deployment(scope: &Scope, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": template("web", &scope.cluster.images.busybox, STAY)}})
}

fn change(value: &str) -> Patch {
    Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [
        {"name": "main", "env": [{"name": "CHANGE", "value": value}]}]}}}}))
}

/// What `kubectl rollout status` waits for.
fn is_complete(object: &Value) -> bool {
    let (spec, status) = (&object["spec"], &object["status"]);
    let wanted = spec["replicas"].as_u64().unwrap_or(1);
    let is = |field: &str| status[field].as_u64().unwrap_or_default() == wanted;
    status["observedGeneration"] == object["metadata"]["generation"]
        && is("replicas")
        && is("updatedReplicas")
        && is("availableReplicas")
}

/// Whether the controller has seen an object as it was written then. A change of its annotations, too, counts as one.
fn has_seen(object: &Value, written: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    number(&object["status"]["observedGeneration"]) >= number(&written["metadata"]["generation"])
}

async fn complete(scope: &Scope) -> Result<Value> {
    scope.deployments().until_within(LATER, "web", "the rollout is complete", is_complete).await
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|one| one["type"] == kind)).unwrap_or(&Value::Null)
}

fn revision(object: &Value) -> &str {
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap_or_default()
}

async fn a_rollout_completes(scope: &Scope) -> Result<()> {
    scope.deployments().create(&deployment(scope, 2)).await?;
    complete(scope).await?;
    let what = "it says that it is available and has progressed";
    let says = |web: &Value| {
        condition(web, "Available")["status"] == "True"
            && condition(web, "Progressing")["reason"] == "NewReplicaSetAvailable"
    };
    let web = scope.deployments().until("web", what, says).await?;
    same("revision", revision(&web), "1")?;
    let sets = sets(scope).items("labelSelector=app%3Dweb").await?;
    same("ReplicaSets", sets.len(), 1)?;
    let hash = &sets[0]["metadata"]["labels"]["pod-template-hash"];
    ensure!(hash.is_string(), "expected a pod-template-hash, saw {}", sets[0]["metadata"]);
    equal("hash in the selector", &sets[0]["spec"]["selector"]["matchLabels"]["pod-template-hash"], hash)?;
    equal("hash of the pods", &sets[0]["spec"]["template"]["metadata"]["labels"]["pod-template-hash"], hash)?;
    contains(
        "rollout status",
        &scope.kubectl(&["rollout", "status", "deployment/web"]).await?,
        "successfully rolled out",
    )
}

async fn an_update_rolls(scope: &Scope) -> Result<()> {
    let mut object = deployment(scope, 3);
    object["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
    scope.deployments().create(&object).await?;
    let first = complete(scope).await?;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let mut watch = scope.deployments().watch(&format!("resourceVersion={version}")).await?;
    let old = sets(scope).names("").await?.pop().context("a ReplicaSet")?;
    let mut sets = sets(scope).watch("").await?;
    scope.deployments().patch("web", change("1")).await?;
    loop {
        let web = watch.next(LATER).await?.object;
        let available = web["status"]["availableReplicas"].as_u64().unwrap_or_default();
        ensure!(available >= 2, "expected at least 2 available, saw {}", web["status"]);
        if is_complete(&web) {
            same("revision", revision(&web), "2")?;
            break;
        }
    }
    // Not the Deployment's own count: that adds up what its sets have said at different times.
    let mut wanted = BTreeMap::new();
    while wanted.get(&old) != Some(&0) || wanted.values().sum::<u64>() != 3 {
        let set = sets.next(SOON).await.with_context(|| format!("until {old} is empty, saw {wanted:?}"))?.object;
        let name = set["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        wanted.insert(name, set["spec"]["replicas"].as_u64().unwrap_or_default());
        ensure!(wanted.values().sum::<u64>() <= 4, "expected that at most 4 pods are asked for, saw {wanted:?}");
    }
    Ok(())
}

async fn recreate_stops_before_it_starts(scope: &Scope) -> Result<()> {
    let mut object = deployment(scope, 2);
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    scope.deployments().create(&object).await?;
    let first = complete(scope).await?;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let mut watch = scope.deployments().watch(&format!("resourceVersion={version}")).await?;
    let patched = scope.deployments().patch("web", change("1")).await?;
    loop {
        let web = watch.next(LATER).await?.object;
        let count = |field: &str| web["status"][field].as_u64().unwrap_or_default();
        let is_of_now = has_seen(&web, &patched);
        let is_mixed = is_of_now && count("updatedReplicas") > 0 && count("updatedReplicas") != count("replicas");
        ensure!(!is_mixed, "expected pods of one template at a time, saw {}", web["status"]);
        if is_complete(&web) && is_of_now {
            return Ok(());
        }
    }
}

async fn undo_goes_back(scope: &Scope) -> Result<()> {
    scope.deployments().create(&deployment(scope, 1)).await?;
    let first = complete(scope).await?;
    scope.deployments().patch("web", change("1")).await?;
    complete(scope).await?;
    contains("history", &scope.kubectl(&["rollout", "history", "deployment/web"]).await?, "2 ")?;
    scope.kubectl(&["rollout", "undo", "deployment/web"]).await?;
    let back = complete(scope).await?;
    equal("template", &back["spec"]["template"], &first["spec"]["template"])?;
    same("revision", revision(&back), "3")?;
    same("ReplicaSets", sets(scope).names("").await?.len(), 2)
}

async fn history_is_kept_as_long_as_asked(scope: &Scope) -> Result<()> {
    let mut object = deployment(scope, 1);
    object["spec"]["revisionHistoryLimit"] = 0.into();
    scope.deployments().create(&object).await?;
    complete(scope).await?;
    scope.deployments().patch("web", change("1")).await?;
    complete(scope).await?;
    let is_one = |sets: &[Value]| sets.len() == 1 && revision(&sets[0]) == "2";
    sets(scope).until_all("", "the new ReplicaSet alone", is_one).await.map(drop)
}

async fn sets_are_adopted_with_their_revision(scope: &Scope) -> Result<()> {
    let object = deployment(scope, 1);
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": object["spec"]["template"]},
        "metadata": {"name": "before", "labels": {"app": "web"},
            "annotations": {"deployment.kubernetes.io/revision": "3546343826724305832"}}});
    sets(scope).create(&set).await?;
    scope.deployments().create(&object).await?;
    let is_owned = |set: &Value| set["metadata"]["ownerReferences"][0]["kind"] == "Deployment";
    sets(scope).until("before", "it is adopted", is_owned).await?;
    complete(scope).await?;
    scope.deployments().patch("web", change("1")).await?;
    let next = complete(scope).await?;
    same("revision", revision(&next), "3546343826724305833")
}

async fn a_new_rollout_replaces_one_that_is_stuck(scope: &Scope) -> Result<()> {
    scope.deployments().create(&deployment(scope, 2)).await?;
    complete(scope).await?;
    let image = |image: &str| {
        Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}))
    };
    let patched = scope.deployments().patch("web", image("example.invalid/no/such:image")).await?;
    let is_stuck = |web: &Value| has_seen(web, &patched) && web["status"]["updatedReplicas"] == 1;
    scope.deployments().until("web", "the bad rollout has begun", is_stuck).await?;
    scope.deployments().patch("web", change("good")).await?;
    scope.deployments().patch("web", image(&scope.cluster.images.busybox)).await?;
    complete(scope).await?;
    let only_one = |sets: &[Value]| {
        sets.iter().filter(|set| set["spec"]["replicas"] != 0).count() == 1
            && sets.iter().filter(|set| set["status"]["replicas"].as_u64().unwrap_or_default() > 0).count() == 1
    };
    sets(scope).until_all("", "all sets but one are empty", only_one).await.map(drop)
}

async fn scaling_while_rolling_is_proportional(scope: &Scope) -> Result<()> {
    let mut object = deployment(scope, 10);
    // Pods that never run, for thirty of them would need their time: that the first ten are ready is said for them.
    object["spec"]["template"]["spec"]["schedulerName"] = "nobody".into();
    object["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    scope.deployments().create(&object).await?;
    let pods = scope.pods().until_all("labelSelector=app%3Dweb", "ten pods", |pods| pods.len() == 10).await?;
    for name in pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()) {
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        scope.pods().patch(&format!("{name}/status"), Patch::Strategic(ready)).await?;
    }
    scope.deployments().until("web", "all are available", |web| web["status"]["availableReplicas"] == 10).await?;
    let shares = |expected: [u64; 2]| {
        move |sets: &[Value]| {
            let mut counts: Vec<u64> = sets.iter().filter_map(|set| set["spec"]["replicas"].as_u64()).collect();
            counts.sort_unstable();
            counts == expected
        }
    };
    scope.deployments().patch("web", change("1")).await?;
    sets(scope).until_all("", "8 of the old and 5 of the new", shares([5, 8])).await?;
    scope.deployments().patch("web", Patch::Merge(json!({"spec": {"replicas": 30}}))).await?;
    sets(scope).until_all("", "20 and 13", shares([13, 20])).await.map(drop)
}

async fn a_paused_one_waits(scope: &Scope) -> Result<()> {
    scope.deployments().create(&deployment(scope, 1)).await?;
    complete(scope).await?;
    scope.kubectl(&["rollout", "pause", "deployment/web"]).await?;
    let patched = scope.deployments().patch("web", change("1")).await?;
    let observed = |web: &Value| has_seen(web, &patched);
    let paused = scope.deployments().until("web", "the controller has seen the change", observed).await?;
    equal("reason", &condition(&paused, "Progressing")["reason"], &json!("DeploymentPaused"))?;
    same("ReplicaSets", sets(scope).names("").await?.len(), 1)?;
    scope.kubectl(&["rollout", "resume", "deployment/web"]).await?;
    complete(scope).await?;
    same("ReplicaSets", sets(scope).names("").await?.len(), 2)
}

async fn scale_and_status_are_subresources(scope: &Scope) -> Result<()> {
    let start = scope.deployments().list("").await?["metadata"]["resourceVersion"].clone();
    scope.deployments().create(&deployment(scope, 1)).await?;
    complete(scope).await?;
    let mut scale = scope.deployments().get("web/scale").await?;
    equal("selector", &scale["status"]["selector"], &json!("app=web"))?;
    scale["spec"]["replicas"] = 2.into();
    scope.deployments().put("web/scale", &scale).await?;
    complete(scope).await?;
    let zero = Patch::Merge(json!({"status": {"availableReplicas": 0, "readyReplicas": 0},
        "metadata": {"annotations": {"x": "y"}}}));
    let patched = scope.deployments().patch("web/status", zero).await?;
    equal("annotation", &patched["metadata"]["annotations"]["x"], &json!("y"))?;
    scope.deployments().until("web", "counts are put right", |web| web["status"]["readyReplicas"] == 2).await?;
    let whole = scope.deployments().get("web/status").await?;
    ensure!(whole["spec"]["template"].is_object(), "expected the whole object at /status, saw {whole}");
    scope.deployments().delete_collection("").await?;
    scope.deployments().until_gone("web").await?;
    let query = format!("resourceVersion={}", start.as_str().unwrap_or_default());
    let mut watch = scope.deployments().watch(&query).await.context("a watch from before it all began")?;
    watch.expect("ADDED web", SOON).await?;
    while watch.next(SOON).await?.kind != "DELETED" {}
    Ok(())
}

async fn a_deadline_is_told(scope: &Scope) -> Result<()> {
    let mut object = deployment(scope, 1);
    object["spec"]["progressDeadlineSeconds"] = 2.into();
    object["spec"]["minReadySeconds"] = 1.into();
    object["spec"]["template"]["spec"]["schedulerName"] = "nobody".into();
    scope.deployments().create(&object).await?;
    let is_late = |web: &Value| condition(web, "Progressing")["reason"] == "ProgressDeadlineExceeded";
    let late = scope.deployments().until("web", "it says that it is late", is_late).await?;
    equal("status", &condition(&late, "Progressing")["status"], &json!("False"))?;
    let status = scope.kubectl_output(&["rollout", "status", "deployment/web"]).await?;
    same("kubectl's exit code", status.code, 1)?;
    Some(()).filter(|()| status.stderr.contains("exceeded its progress deadline")).context(status.stderr)
}
