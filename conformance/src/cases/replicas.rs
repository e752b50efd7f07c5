//! ReplicaSets and ReplicationControllers: so many pods, no more, no fewer.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::life::replace;
use super::{STAY, template};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, LATER, Patch, Resource, SOON, Scope, container, pod};
use crate::expect::{contains, equal, eventually, same};

pub(super) const GROUP: Group = Group {
    name: "replicas",
    area: Area::Workloads,
    capability: "ReplicaSets and ReplicationControllers: count, scale, adopt, release, say why not",
    cases: &[
        case!(pods_are_kept_at_the_count, "a pod that is deleted is replaced, and counts are told", quick),
        case!(each_replica_answers, "each replica answers through the API server's proxy with its own name"),
        case!(scale_is_a_subresource, "/scale reads and sets the count, by PUT and by patch", quick),
        case!(
            orphans_are_adopted_and_released,
            "a pod that matches is adopted, one that does so no more is released",
            quick
        ),
        case!(a_quota_is_told_as_a_failure, "a quota in the way is a ReplicaFailure, which ends with its reason"),
        case!(
            patched_templates_are_for_new_pods,
            "a container that a strategic patch adds comes first, and pods that are there keep what they have"
        ),
        case!(foreign_conditions_stay, "a condition that somebody else set stays"),
        case!(false_counts_are_put_right, "counts that somebody else wrote are put right"),
        case!(controllers_of_old, "a ReplicationController does the same, by its own scale"),
        case!(
            controllers_of_old_adopt,
            "a ReplicationController adopts and releases, and says why not, as a ReplicaSet does"
        ),
        case!(collections_of_sets_go, "a collection of ReplicaSets goes with its pods"),
    ],
};

fn sets(scope: &Scope) -> Resource {
    scope.resource("apps/v1", "replicasets")
}

fn set(scope: &Scope, name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": template(name, &scope.cluster.images.busybox, STAY)}})
}

async fn until_ready(resource: &Resource, name: &str, count: u32) -> Result<Value> {
    let what = format!("{count} are ready and available");
    let holds = move |object: &Value| {
        let status = &object["status"];
        let is = |field: &str| status[field].as_u64().unwrap_or_default() == u64::from(count);
        is("replicas") && is("readyReplicas") && is("availableReplicas")
    };
    resource.until_within(LATER, name, &what, holds).await
}

async fn pods_are_kept_at_the_count(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope, "web", 2)).await?;
    let ready = until_ready(&sets(scope), "web", 2).await?;
    equal("observedGeneration", &ready["status"]["observedGeneration"], &json!(1))?;
    equal("fullyLabeledReplicas", &ready["status"]["fullyLabeledReplicas"], &json!(2))?;
    let first = scope.pods().names("labelSelector=app%3Dweb").await?;
    let owner = &scope.pods().get(&first[0]).await?["metadata"]["ownerReferences"][0];
    equal("owner", &json!([owner["kind"], owner["name"], owner["controller"]]), &json!(["ReplicaSet", "web", true]))?;
    scope.pods().delete_with(&first[0], json!({"gracePeriodSeconds": 0})).await?;
    let is_other = |pods: &[Value]| pods.len() == 2 && !pods.iter().any(|pod| pod["metadata"]["name"] == *first[0]);
    scope.pods().until_all("labelSelector=app%3Dweb", "another in its place", is_other).await?;
    until_ready(&sets(scope), "web", 2).await.map(drop)
}

async fn each_replica_answers(scope: &Scope) -> Result<()> {
    let serve = "hostname >/usr/share/nginx/html/name; exec nginx -g 'daemon off;'";
    let mut object = set(scope, "web", 2);
    object["spec"]["template"] = template("web", &scope.cluster.images.nginx, serve);
    object["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    sets(scope).create(&object).await?;
    until_ready(&sets(scope), "web", 2).await?;
    for name in scope.pods().names("labelSelector=app%3Dweb").await? {
        let path = scope.pods().of(&format!("{name}/proxy/name"));
        let answer = eventually("the replica answers", SOON, async || {
            Ok(scope.cluster.call(Call::get(&path).accept("*/*")).await?.ok()?.text())
        });
        same("body", answer.await?.trim().to_owned(), name)?;
    }
    Ok(())
}

async fn scale_is_a_subresource(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope, "web", 1)).await?;
    let mut scale = sets(scope).get("web/scale").await?;
    equal("kind", &json!([scale["apiVersion"], scale["kind"]]), &json!(["autoscaling/v1", "Scale"]))?;
    equal("selector", &scale["status"]["selector"], &json!("app=web"))?;
    scale["spec"]["replicas"] = 2.into();
    scale["metadata"]["resourceVersion"] = "".into();
    equal("after PUT", &sets(scope).put("web/scale", &scale).await?["spec"]["replicas"], &json!(2))?;
    equal("the set's", &sets(scope).get("web").await?["spec"]["replicas"], &json!(2))?;
    let patched = sets(scope).patch("web/scale", Patch::Strategic(json!({"spec": {"replicas": 3}}))).await?;
    equal("after the patch", &patched["spec"]["replicas"], &json!(3))?;
    scope.pods().until_all("labelSelector=app%3Dweb", "three pods", |pods| pods.len() == 3).await?;
    scope.kubectl(&["scale", "replicaset", "web", "--replicas=0", "--current-replicas=3"]).await?;
    scope.pods().until_all("labelSelector=app%3Dweb", "no pods", <[Value]>::is_empty).await.map(drop)
}

async fn orphans_are_adopted_and_released(scope: &Scope) -> Result<()> {
    adopts_and_releases(scope, &sets(scope), &set(scope, "web", 1)).await
}

async fn adopts_and_releases(scope: &Scope, resource: &Resource, object: &Value) -> Result<()> {
    // A controller that has not heard of the pod yet may rightly make another.
    scope.start(&pod_that_stays(scope, "web")).await?;
    let made = resource.create(object).await?;
    let owner = |pod: &Value| pod["metadata"]["ownerReferences"][0].clone();
    let is_owned = |pod: &Value| owner(pod)["kind"] == object["kind"] && owner(pod)["controller"] == true;
    let adopted = scope.pods().until("web", "it is adopted", is_owned).await?;
    same("pods", scope.pods().names("labelSelector=app%3Dweb").await?, vec!["web".to_owned()])?;
    equal("owner's uid", &owner(&adopted)["uid"], &made["metadata"]["uid"])?;
    scope.pods().patch("web", Patch::Merge(json!({"metadata": {"labels": {"app": "other"}}}))).await?;
    let is_free = |pod: &Value| pod["metadata"]["ownerReferences"].is_null();
    scope.pods().until("web", "it is released", is_free).await?;
    scope.pods().until_all("labelSelector=app%3Dweb", "one in its place", |pods| pods.len() == 1).await.map(drop)
}

fn pod_that_stays(scope: &Scope, name: &str) -> Value {
    let mut object = pod(name, &scope.cluster.images.busybox, STAY);
    object["spec"]["restartPolicy"] = "Always".into();
    object
}

fn failure(object: &Value) -> Option<&Value> {
    object["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == "ReplicaFailure")
}

async fn a_quota_is_told_as_a_failure(scope: &Scope) -> Result<()> {
    tells_why_not(scope, &sets(scope), &set(scope, "web", 3)).await
}

/// Of something that wants three pods.
async fn tells_why_not(scope: &Scope, resource: &Resource, object: &Value) -> Result<()> {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "two"}, "spec": {"hard": {"pods": "2"}}});
    scope.resource("v1", "resourcequotas").create(&quota).await?;
    let counted = |quota: &Value| quota["status"]["hard"]["pods"] == "2";
    scope.resource("v1", "resourcequotas").until("two", "it is in force", counted).await?;
    resource.create(object).await?;
    let failed = resource.until("web", "a ReplicaFailure", |object| failure(object).is_some()).await?;
    let why = failure(&failed).context("no condition")?;
    equal("status and reason", &json!([why["status"], why["reason"]]), &json!(["True", "FailedCreate"]))?;
    contains("message", why["message"].as_str().unwrap_or_default(), "exceeded quota: two")?;
    resource.patch("web", Patch::Merge(json!({"spec": {"replicas": 2}}))).await?;
    resource.until("web", "no ReplicaFailure", |object| failure(object).is_none()).await.map(drop)
}

async fn patched_templates_are_for_new_pods(scope: &Scope) -> Result<()> {
    let containers = |object: &Value| -> Vec<String> {
        let all = object["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    sets(scope).create(&set(scope, "web", 1)).await?;
    until_ready(&sets(scope), "web", 1).await?;
    let more = container("more", &scope.cluster.images.busybox, STAY);
    let patch = json!({"spec": {"replicas": 3, "template": {"spec": {"containers": [more]}}}});
    let patched = sets(scope).patch("web", Patch::Strategic(patch)).await?;
    same("containers of the template", containers(&patched["spec"]["template"]), vec!["more", "main"])?;
    until_ready(&sets(scope), "web", 3).await?;
    let mut pods: Vec<_> = scope.pods().items("labelSelector=app%3Dweb").await?.iter().map(containers).collect();
    pods.sort();
    same("containers of the pods", pods, vec![vec!["main"], vec!["more", "main"], vec!["more", "main"]])
}

async fn foreign_conditions_stay(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope, "web", 1)).await?;
    until_ready(&sets(scope), "web", 1).await?;
    let condition = json!({"type": "Foreign", "status": "True", "reason": "Test", "message": "words"});
    let has = |object: &Value| {
        object["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["type"] == "Foreign"))
    };
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    ensure!(has(&sets(scope).patch("web/status", patch).await?), "expected the condition in the answer");
    let put =
        replace(&sets(scope), "web/status", |set| set["status"]["conditions"][0]["reason"] = "Put".into()).await?;
    equal("reason", &put["status"]["conditions"][0]["reason"], &json!("Put"))?;
    sets(scope).patch("web", Patch::Merge(json!({"spec": {"replicas": 2}}))).await?;
    let scaled = until_ready(&sets(scope), "web", 2).await?;
    ensure!(has(&scaled), "expected the condition after a change by the controller, saw {}", scaled["status"]);
    Ok(())
}

async fn false_counts_are_put_right(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope, "web", 1)).await?;
    until_ready(&sets(scope), "web", 1).await?;
    let patch = Patch::Merge(json!({"status": {"readyReplicas": 0, "availableReplicas": 0}}));
    let patched = sets(scope).patch("web/status", patch).await?;
    ensure!(
        patched["status"].get("readyReplicas").is_none_or(|count| count == 0),
        "expected 0, saw {}",
        patched["status"]
    );
    until_ready(&sets(scope), "web", 1).await.map(drop)
}

fn controllers(scope: &Scope) -> Resource {
    scope.resource("v1", "replicationcontrollers")
}

fn controller(scope: &Scope, name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"app": name},
        "template": template(name, &scope.cluster.images.busybox, STAY)}})
}

async fn controllers_of_old(scope: &Scope) -> Result<()> {
    let controllers = controllers(scope);
    controllers.create(&controller(scope, "old", 1)).await?;
    until_ready(&controllers, "old", 1).await?;
    let mut scale = controllers.get("old/scale").await?;
    equal("scale", &scale["spec"]["replicas"], &json!(1))?;
    scale["spec"]["replicas"] = 2.into();
    controllers.put("old/scale", &scale).await?;
    until_ready(&controllers, "old", 2).await?;
    let zero = Patch::Merge(json!({"status": {"readyReplicas": 0, "availableReplicas": 0}}));
    let patched = controllers.patch("old/status", zero).await?;
    ensure!(patched["status"]["readyReplicas"].as_u64().unwrap_or_default() == 0, "saw {}", patched["status"]);
    until_ready(&controllers, "old", 2).await?;
    controllers.patch("old/scale", Patch::Strategic(json!({"spec": {"replicas": 0}}))).await?;
    scope.pods().until_all("labelSelector=app%3Dold", "no pods", <[Value]>::is_empty).await?;
    controllers.delete_collection("").await?;
    controllers.until_gone("old").await
}

async fn controllers_of_old_adopt(scope: &Scope) -> Result<()> {
    adopts_and_releases(scope, &controllers(scope), &controller(scope, "web", 1)).await?;
    controllers(scope).delete_with("web", json!({"propagationPolicy": "Foreground"})).await?;
    controllers(scope).until_gone_within(LATER, "web").await?;
    scope.pods().delete_with("web", json!({"gracePeriodSeconds": 0})).await?;
    tells_why_not(scope, &controllers(scope), &controller(scope, "web", 3)).await
}

async fn collections_of_sets_go(scope: &Scope) -> Result<()> {
    for name in ["one", "two"] {
        let mut object = set(scope, name, 1);
        object["metadata"]["labels"]["kept"] = "no".into();
        sets(scope).create(&object).await?;
    }
    scope.pods().until_all("", "two pods", |pods| pods.len() == 2).await?;
    sets(scope).delete_collection("labelSelector=kept%3Dno&propagationPolicy=Background").await?;
    sets(scope).until_all("", "no set is left", <[Value]>::is_empty).await?;
    scope.pods().until_all_within(LATER, "", "no pod is left", <[Value]>::is_empty).await.map(drop)
}
