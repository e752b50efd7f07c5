//! What goes with what: owners and dependents, and namespaces with all that is in them.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::life::replace;
use super::{STAY, config_map, template};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, LATER, Patch, Resource, SOON, Scope, pod};
use crate::expect::{equal, refused, same};

pub(super) const GROUP: Group = Group {
    name: "garbage",
    area: Area::Deletion,
    capability: "Garbage collection: in the background, in the foreground, orphans, circles, several owners",
    cases: &[
        case!(dependents_go_in_the_background, "what an owner has made goes after it", quick),
        case!(
            dependents_go_first_in_the_foreground,
            "in the foreground the owner goes last, and waits for who blocks it"
        ),
        case!(orphans_stay, "orphans stay, without the owner's reference", quick),
        case!(a_second_owner_keeps, "what has another owner stays, and loses the first's reference only"),
        case!(a_circle_is_no_obstacle, "objects that own each other in a circle can be deleted"),
        case!(a_missing_owner_is_no_owner, "what names an owner that is not there goes", quick),
        case!(deployments_take_their_pods, "a Deployment takes its ReplicaSets and pods with it"),
        case!(orphaned_sets_keep_their_pods, "a ReplicaSet that its Deployment left keeps its pods, no more, no fewer"),
        case!(controllers_wait_for_their_pods, "in the foreground a controller goes once its last pod has"),
    ],
};

pub(super) const NAMESPACES: Group = Group {
    name: "namespaces",
    area: Area::Deletion,
    capability: "Namespaces: their life, finalizers, status, and the deletion of what is in them, pods first",
    cases: &[
        case!(namespaces_are_changed, "a namespace is patched, replaced, and has a status", quick),
        case!(everything_goes_with_its_namespace, "a namespace takes what is in it with it", quick),
        case!(nothing_is_made_in_one_that_ends, "nothing can be created in a namespace that ends"),
        case!(finalizers_are_set_at_finalize, "finalizers of the spec are added and removed at /finalize"),
        case!(pods_go_first, "a namespace's pods are gone before anything else in it goes"),
    ],
};

fn owned(name: &str, owners: &[(&Value, bool)]) -> Value {
    let mut object = config_map(name, "owned", "");
    let reference = |(owner, blocks): &(&Value, bool)| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocks})
    };
    object["metadata"]["ownerReferences"] = owners.iter().map(reference).collect();
    object
}

fn policy(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": name})
}

async fn dependents_go_in_the_background(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let owner = maps.create(&config_map("owner", "owner", "")).await?;
    let child = maps.create(&owned("child", &[(&owner, false)])).await?;
    maps.create(&owned("grandchild", &[(&child, false)])).await?;
    maps.delete_with("owner", policy("Background")).await?;
    ensure!(maps.is_absent("owner").await?, "expected the owner to be gone at once");
    maps.until_all("labelSelector=set%3Downed", "dependents are gone", <[Value]>::is_empty).await.map(drop)
}

/// The dependent that blocks is held by a finalizer, so the owner has to be there until it is let go.
async fn dependents_go_first_in_the_foreground(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let owner = maps.create(&config_map("owner", "owner", "")).await?;
    let mut child = owned("child", &[(&owner, true)]);
    child["metadata"]["finalizers"] = json!(["example.com/hold"]);
    maps.create(&child).await?;
    maps.delete_with("owner", policy("Foreground")).await?;
    maps.until("child", "it is being deleted", |child| child["metadata"]["deletionTimestamp"].is_string()).await?;
    let waiting = maps.get("owner").await?;
    equal("finalizers", &waiting["metadata"]["finalizers"], &json!(["foregroundDeletion"]))?;
    ensure!(waiting["metadata"]["deletionTimestamp"].is_string(), "expected a deletionTimestamp, saw {waiting}");
    maps.patch("child", Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    maps.until_gone("child").await?;
    maps.until_gone("owner").await
}

async fn orphans_stay(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let owner = maps.create(&config_map("owner", "owner", "")).await?;
    let child = maps.create(&owned("child", &[(&owner, true)])).await?;
    maps.delete_with("owner", policy("Orphan")).await?;
    maps.until_gone("owner").await?;
    let left = maps.until("child", "it has no owner", |child| child["metadata"]["ownerReferences"].is_null()).await?;
    equal("uid", &left["metadata"]["uid"], &child["metadata"]["uid"])?;
    same("deletionTimestamp", left["metadata"].get("deletionTimestamp"), None)
}

async fn a_second_owner_keeps(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let first = maps.create(&config_map("first", "owner", "")).await?;
    let second = maps.create(&config_map("second", "owner", "")).await?;
    maps.create(&owned("child", &[(&first, true), (&second, true)])).await?;
    maps.delete_with("first", policy("Foreground")).await?;
    maps.until_gone("first").await?;
    let has_one = |child: &Value| child["metadata"]["ownerReferences"].as_array().is_some_and(|all| all.len() == 1);
    let child = maps.until("child", "it has one owner", has_one).await?;
    equal("owner", &child["metadata"]["ownerReferences"][0]["name"], &json!("second"))?;
    same("deletionTimestamp", child["metadata"].get("deletionTimestamp"), None)
}

async fn a_circle_is_no_obstacle(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let one = maps.create(&config_map("one", "owned", "")).await?;
    let two = maps.create(&owned("two", &[(&one, true)])).await?;
    let three = maps.create(&owned("three", &[(&two, true)])).await?;
    let references = owned("one", &[(&three, true)])["metadata"]["ownerReferences"].clone();
    maps.patch("one", Patch::Merge(json!({"metadata": {"ownerReferences": references}}))).await?;
    maps.delete_with("one", policy("Foreground")).await?;
    maps.until_all_within(LATER, "labelSelector=set%3Downed", "the circle is gone", <[Value]>::is_empty).await.map(drop)
}

async fn a_missing_owner_is_no_owner(scope: &Scope) -> Result<()> {
    let gone = json!({"metadata": {"name": "gone", "uid": "33333333-3333-3333-3333-333333333333"}});
    scope.config_maps().create(&owned("child", &[(&gone, false)])).await?;
    scope.config_maps().until_gone("child").await
}

async fn deployments_take_their_pods(scope: &Scope) -> Result<()> {
    scope.kubectl(&["create", "deployment", "web", "--image", &scope.cluster.images.nginx, "--replicas=2"]).await?;
    let sets = scope.resource("apps/v1", "replicasets");
    scope.pods().until_all("labelSelector=app%3Dweb", "two pods", |pods| pods.len() == 2).await?;
    scope.deployments().delete_with("web", policy("Background")).await?;
    sets.until_all("", "no ReplicaSet is left", <[Value]>::is_empty).await?;
    scope.pods().until_all_within(LATER, "", "no pod is left", <[Value]>::is_empty).await.map(drop)
}

/// Of pods that never run: only who owns them matters.
fn idle(scope: &Scope) -> Value {
    let mut template = template("web", &scope.cluster.images.busybox, STAY);
    template["spec"]["schedulerName"] = "nobody".into();
    template
}

async fn orphaned_sets_keep_their_pods(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": idle(scope)}});
    scope.deployments().create(&object).await?;
    let sets = scope.resource("apps/v1", "replicasets");
    let full = |sets: &[Value]| sets.len() == 1 && sets[0]["status"]["replicas"] == 2;
    sets.until_all("", "a ReplicaSet with two pods", full).await?;
    let before = scope.pods().names("labelSelector=app%3Dweb").await?;
    scope.deployments().delete_with("web", policy("Orphan")).await?;
    scope.deployments().until_gone("web").await?;
    let left = sets.items("").await?;
    same("ReplicaSets", left.len(), 1)?;
    same("its owners", left[0]["metadata"].get("ownerReferences"), None)?;
    let version = sets.list("").await?["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    sets.watch(&format!("resourceVersion={version}")).await?.quiet(Duration::from_secs(3)).await?;
    same("pods", scope.pods().names("labelSelector=app%3Dweb").await?, before)
}

async fn controllers_wait_for_their_pods(scope: &Scope) -> Result<()> {
    const COUNT: usize = 20;
    let controllers = scope.resource("v1", "replicationcontrollers");
    let object = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"}, "spec": {
        "replicas": COUNT, "selector": {"app": "web"}, "template": idle(scope)}});
    controllers.create(&object).await?;
    let pods = scope.pods().until_all("labelSelector=app%3Dweb", "all pods", |pods| pods.len() == COUNT).await?;
    let held = pods[0]["metadata"]["name"].as_str().unwrap_or_default();
    scope.pods().patch(held, Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold"]}}))).await?;
    controllers.delete_with("old", policy("Foreground")).await?;
    scope.pods().until_all("labelSelector=app%3Dweb", "the one that is held", |pods| pods.len() == 1).await?;
    let waiting = controllers.get("old").await?;
    equal("finalizers", &waiting["metadata"]["finalizers"], &json!(["foregroundDeletion"]))?;
    scope.pods().patch(held, Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    controllers.until_gone("old").await?;
    same("pods", scope.pods().items("labelSelector=app%3Dweb").await?.len(), 0)
}

fn namespaces(scope: &Scope) -> Resource {
    scope.global("v1", "namespaces")
}

async fn make(scope: &Scope) -> Result<(String, Scope)> {
    let name = scope.unique("inner");
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    scope.create_global(&namespaces(scope), &object).await?;
    Ok((name.clone(), scope.at(&name)))
}

async fn namespaces_are_changed(scope: &Scope) -> Result<()> {
    let (name, _) = make(scope).await?;
    let made = namespaces(scope).get(&name).await?;
    equal("label of the name", &made["metadata"]["labels"]["kubernetes.io/metadata.name"], &json!(name))?;
    equal("finalizers", &made["spec"]["finalizers"], &json!(["kubernetes"]))?;
    equal("phase", &made["status"]["phase"], &json!("Active"))?;
    let patched = namespaces(scope).patch(&name, Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}))).await?;
    equal("label", &patched["metadata"]["labels"]["a"], &json!("b"))?;
    let mut object = namespaces(scope).get(&name).await?;
    object["metadata"]["labels"]["a"] = "c".into();
    equal("label", &namespaces(scope).replace(&object).await?["metadata"]["labels"]["a"], &json!("c"))?;
    let condition = json!({"type": "StatusPatch", "status": "True", "reason": "Test", "message": "words"});
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    let at = format!("{name}/status");
    let status = namespaces(scope).patch(&at, patch).await?;
    equal("condition", &status["status"]["conditions"][0]["type"], &json!("StatusPatch"))?;
    let mut more = condition;
    more["type"] = "StatusUpdate".into();
    let put = replace(&namespaces(scope), &at, |object| {
        if let Some(all) = object["status"]["conditions"].as_array_mut() {
            all.push(more.clone());
        }
    })
    .await?;
    equal("the last condition", &put["status"]["conditions"][1]["type"], &json!("StatusUpdate"))
}

async fn everything_goes_with_its_namespace(scope: &Scope) -> Result<()> {
    let (name, inner) = make(scope).await?;
    inner.config_maps().create(&config_map("one", "a", "")).await?;
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one"}, "spec": {"ports": [{"port": 80}]}});
    inner.services().create(&service).await?;
    inner.create_pod(&pod("one", &scope.cluster.images.busybox, "sleep 3600")).await?;
    namespaces(scope).delete(&name).await?;
    namespaces(scope).until_gone_within(LATER, &name).await?;
    for resource in [inner.config_maps(), inner.services(), inner.pods()] {
        same(&resource.path, resource.items("").await?.len(), 0)?;
    }
    Ok(())
}

async fn held(scope: &Scope) -> Result<(String, Scope)> {
    let (name, inner) = make(scope).await?;
    let mut object = config_map("held", "a", "");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    inner.config_maps().create(&object).await?;
    Ok((name, inner))
}

async fn nothing_is_made_in_one_that_ends(scope: &Scope) -> Result<()> {
    let (name, inner) = held(scope).await?;
    namespaces(scope).delete(&name).await?;
    let refusal = refused(inner.config_maps().create(&config_map("two", "a", "")).await, 403, "Forbidden");
    inner
        .config_maps()
        .until("held", "it is being deleted", |map| map["metadata"]["deletionTimestamp"].is_string())
        .await?;
    inner.config_maps().patch("held", Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    crate::expect::contains("message", &refusal?.message, "because it is being terminated")?;
    namespaces(scope).until_gone(&name).await
}

async fn finalizers_are_set_at_finalize(scope: &Scope) -> Result<()> {
    let (name, _) = make(scope).await?;
    let mut object = namespaces(scope).get(&name).await?;
    object["spec"]["finalizers"] = json!(["kubernetes", "example.com/fake"]);
    let path = format!("{name}/finalize");
    let set = namespaces(scope).put(&path, &object).await?;
    equal("finalizers", &set["spec"]["finalizers"], &json!(["kubernetes", "example.com/fake"]))?;
    namespaces(scope).delete(&name).await?;
    let only_ours = |object: &Value| object["spec"]["finalizers"] == json!(["example.com/fake"]);
    let mut waiting = namespaces(scope).until(&name, "Kubernetes' own finalizer is gone", only_ours).await?;
    equal("phase", &waiting["status"]["phase"], &json!("Terminating"))?;
    waiting["spec"]["finalizers"] = json!([]);
    namespaces(scope).put(&path, &waiting).await?;
    namespaces(scope).until_gone(&name).await
}

async fn pods_go_first(scope: &Scope) -> Result<()> {
    let (name, inner) = make(scope).await?;
    let mut object = pod("held", &scope.cluster.images.busybox, "sleep 3600");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    inner.create_pod(&object).await?;
    inner.config_maps().create(&config_map("one", "a", "")).await?;
    namespaces(scope).delete(&name).await?;
    let conditions = |object: &Value| object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let has = |object: &Value| conditions(object).iter().any(|one| one["type"] == "NamespaceDeletionContentFailure");
    let seen = namespaces(scope).until_within(SOON, &name, "a condition says that content is left", has).await;
    let map = inner.config_maps().get("one").await;
    let state = inner.pods().get("held").await;
    inner.pods().patch("held", Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    equal("phase", &seen?["status"]["phase"], &json!("Terminating"))?;
    same("the ConfigMap's deletionTimestamp", map?["metadata"].get("deletionTimestamp"), None)?;
    ensure!(state?["metadata"]["deletionTimestamp"].is_string(), "expected the pod to be deleted");
    namespaces(scope).until_gone_within(LATER, &name).await?;
    same("after it", scope.cluster.call(Call::get(namespaces(scope).of(&name))).await?.status, 404)
}
