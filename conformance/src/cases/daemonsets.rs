//! DaemonSets and their revisions.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::objects::PROTOBUF;
use super::{STAY, template};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, LATER, Patch, Resource, Scope};
use crate::expect::{equal, matches, same, short};

pub(super) const GROUP: Group = Group {
    name: "daemonsets",
    area: Area::Workloads,
    capability: "DaemonSets: a pod on each node that fits, updates, rollback, revisions",
    cases: &[
        case!(every_node_has_a_pod, "each node that takes pods has one, and counts are told", quick),
        case!(labels_choose_nodes, "a node selector chooses, also when labels change", serial),
        case!(failed_pods_are_replaced, "a pod that failed is replaced"),
        case!(updates_replace_pods, "an update replaces pods, and revisions are counted"),
        case!(rollbacks_restart_nothing_in_vain, "undo leaves a pod that has the old template already", two_nodes),
        case!(revisions_are_patches, "a revision holds the template as a patch that replaces"),
        case!(taken_names_are_left_alone, "a revision whose name is taken gets another, and that is counted"),
        case!(revisions_are_numbered_on, "a change after a revision of somebody else's has the number after it"),
        case!(status_is_a_subresource, "/status takes conditions, and a collection can be deleted"),
    ],
};

fn sets(scope: &Scope) -> Resource {
    scope.resource("apps/v1", "daemonsets")
}

fn set(scope: &Scope) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": {
        "selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", &scope.cluster.images.busybox, STAY)}})
}

async fn ready(scope: &Scope, count: usize) -> Result<Value> {
    let what = format!("{count} nodes have their pod");
    let holds = move |set: &Value| {
        let fields = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled"];
        set["status"]["observedGeneration"] == set["metadata"]["generation"]
            && fields.iter().all(|field| set["status"][field].as_u64().unwrap_or_default() == count as u64)
    };
    sets(scope).until_within(LATER, "agent", &what, holds).await
}

fn change(value: &str) -> Patch {
    Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [
        {"name": "main", "env": [{"name": "CHANGE", "value": value}]}]}}}}))
}

async fn every_node_has_a_pod(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope)).await?;
    let nodes = &scope.cluster.nodes;
    let done = ready(scope, nodes.len()).await?;
    equal("numberAvailable", &done["status"]["numberAvailable"], &json!(nodes.len()))?;
    equal("numberMisscheduled", &done["status"]["numberMisscheduled"], &json!(0))?;
    let pods = scope.pods().items("labelSelector=app%3Dagent").await?;
    let mut of: Vec<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    of.sort_unstable();
    let mut expected: Vec<&str> = nodes.iter().map(String::as_str).collect();
    expected.sort_unstable();
    same("nodes with a pod", of, expected)?;
    scope.pods().delete(pods[0]["metadata"]["name"].as_str().unwrap_or_default()).await?;
    let is_other = |now: &[Value]| {
        now.len() == nodes.len() && now.iter().all(|pod| pod["metadata"]["uid"] != pods[0]["metadata"]["uid"])
    };
    scope.pods().until_all_within(LATER, "labelSelector=app%3Dagent", "another in its place", is_other).await.map(drop)
}

async fn labels_choose_nodes(scope: &Scope) -> Result<()> {
    let node = scope.cluster.nodes.first().context("no node")?;
    let nodes = scope.global("v1", "nodes");
    let label = |value: Value| Patch::Merge(json!({"metadata": {"labels": {"conformance-colour": value}}}));
    let mut object = set(scope);
    object["spec"]["template"]["spec"]["nodeSelector"] = json!({"conformance-colour": "blue"});
    sets(scope).create(&object).await?;
    ready(scope, 0).await?;
    nodes.patch(node, label(json!("blue"))).await?;
    let labelled = ready(scope, 1).await;
    nodes.patch(node, label(json!("green"))).await?;
    let left = scope.pods().until_all_within(LATER, "labelSelector=app%3Dagent", "no pod", <[Value]>::is_empty).await;
    nodes.patch(node, label(Value::Null)).await?;
    labelled.and(left.map(|_| Value::Null)).map(drop)
}

async fn failed_pods_are_replaced(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope)).await?;
    ready(scope, scope.cluster.nodes.len()).await?;
    let pods = scope.pods().items("labelSelector=app%3Dagent").await?;
    let name = pods[0]["metadata"]["name"].as_str().context("no name")?;
    let failed = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    scope.pods().patch(&format!("{name}/status"), failed).await?;
    scope.pods().until_gone_within(LATER, name).await?;
    ready(scope, scope.cluster.nodes.len()).await.map(drop)
}

async fn updates_replace_pods(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope)).await?;
    let count = scope.cluster.nodes.len();
    ready(scope, count).await?;
    let hash = async |scope: &Scope| -> Result<String> {
        let pods = scope.pods().items("labelSelector=app%3Dagent").await?;
        Ok(pods[0]["metadata"]["labels"]["controller-revision-hash"].as_str().context("no hash")?.to_owned())
    };
    let first = hash(scope).await?;
    let changed = sets(scope).patch("agent", change("1")).await?;
    one_at_a_time(scope, &changed, count).await?;
    ensure!(hash(scope).await? != first, "expected another hash than {first}");
    let revisions = scope.resource("apps/v1", "controllerrevisions").items("labelSelector=app%3Dagent").await?;
    let mut numbers: Vec<i64> = revisions.iter().filter_map(|one| one["revision"].as_i64()).collect();
    numbers.sort_unstable();
    same("revisions", numbers, vec![1, 2])?;
    scope.kubectl(&["rollout", "undo", "daemonset/agent"]).await?;
    ready(scope, count).await?;
    same("hash after undo", hash(scope).await?, first)
}

/// The update of a set on so many nodes, to its end.
async fn one_at_a_time(scope: &Scope, changed: &Value, count: usize) -> Result<()> {
    let version = changed["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let mut watch = sets(scope).watch(&format!("resourceVersion={version}")).await?;
    loop {
        let status = watch.next(LATER).await?.object["status"].clone();
        let number = |field: &str| status[field].as_u64().unwrap_or_default();
        ensure!(number("numberUnavailable") <= 1, "expected one pod at most to be away, saw {status}");
        if number("updatedNumberScheduled") == count as u64 && number("numberAvailable") == count as u64 {
            return Ok(());
        }
    }
}

/// One pod cannot be updated, as its image is nowhere; the others never are, and must live on.
async fn rollbacks_restart_nothing_in_vain(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope)).await?;
    let count = scope.cluster.nodes.len();
    ready(scope, count).await?;
    let before = scope.pods().items("labelSelector=app%3Dagent").await?;
    let bad = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "example.invalid/no/such:image"}]}}}});
    sets(scope).patch("agent", Patch::Strategic(bad)).await?;
    let begun = |set: &Value| set["status"]["updatedNumberScheduled"] == 1 && set["status"]["observedGeneration"] == 2;
    sets(scope).until_within(LATER, "agent", "the bad rollout has begun", begun).await?;
    scope.kubectl(&["rollout", "undo", "daemonset/agent"]).await?;
    ready(scope, count).await?;
    let after = scope.pods().items("labelSelector=app%3Dagent").await?;
    let kept =
        before.iter().filter(|old| after.iter().any(|new| new["metadata"]["uid"] == old["metadata"]["uid"])).count();
    ensure!(kept >= count - 1, "expected {} pods to live on, saw {kept}", count - 1);
    let is_untouched = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 0;
    ensure!(after.iter().all(is_untouched), "expected no restarts");
    Ok(())
}

async fn revisions_are_patches(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope)).await?;
    let done = ready(scope, scope.cluster.nodes.len()).await?;
    let of = scope.resource("apps/v1", "controllerrevisions");
    let revisions = of.items("labelSelector=app%3Dagent").await?;
    same("revisions", revisions.len(), 1)?;
    let mut template = done["spec"]["template"].clone();
    template["$patch"] = "replace".into();
    let data = json!({"spec": {"template": template}});
    equal("data", &revisions[0]["data"], &data)?;
    // Clients compare its bytes with those of Go's encoder: sorted names, and three characters by their numbers.
    let call = Call::get(format!("{}?labelSelector=app%3Dagent", of.path)).accept(PROTOBUF);
    let body = scope.cluster.call(call).await?.ok()?.body;
    let escaped = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")];
    let bytes = escaped.iter().fold(data.to_string(), |text, (from, to)| text.replace(*from, to));
    ensure!(bytes.contains("\\u0026"), "expected a character to be escaped in {bytes}");
    let is_there = body.windows(bytes.len()).any(|part| part == bytes.as_bytes());
    ensure!(is_there, "expected the bytes {bytes}, saw {}", short(&String::from_utf8_lossy(&body)));
    equal("owner", &revisions[0]["metadata"]["ownerReferences"][0]["uid"], &done["metadata"]["uid"])
}

async fn taken_names_are_left_alone(scope: &Scope) -> Result<()> {
    const OF_AGENT: &str = "labelSelector=app%3Dagent";
    let revisions = scope.resource("apps/v1", "controllerrevisions");
    let mut object = set(scope);
    // No node fits: its revision is all that is made.
    object["spec"]["template"]["spec"]["nodeSelector"] = json!({"conformance-colour": "none"});
    sets(scope).create(&object).await?;
    let one = |all: &[Value]| all.len() == 1;
    let own = revisions.until_all(OF_AGENT, "a revision", one).await?.remove(0);
    let name = own["metadata"]["name"].as_str().context("no name")?;
    sets(scope).delete("agent").await?;
    revisions.until_gone_within(LATER, name).await?;
    let stranger = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": name},
        "data": {"spec": {"template": {}}}, "revision": 1});
    revisions.create(&stranger).await?;
    sets(scope).create(&object).await?;
    let other = revisions.until_all_within(LATER, OF_AGENT, "a revision of another name", one).await?.remove(0);
    ensure!(other["metadata"]["name"] != name, "{name} was taken");
    equal("what it records", &other["data"], &own["data"])?;
    let set = sets(scope).until("agent", "it has a status", |set| set["status"]["collisionCount"].is_u64()).await?;
    equal("collisionCount", &set["status"]["collisionCount"], &json!(1))?;
    equal("what the stranger records", &revisions.get(name).await?["data"], &stranger["data"])?;
    matches("history", &scope.kubectl(&["rollout", "history", "daemonset/agent"]).await?, r"(?m)^1\s")
}

async fn revisions_are_numbered_on(scope: &Scope) -> Result<()> {
    const OF_AGENT: &str = "labelSelector=app%3Dagent";
    let revisions = scope.resource("apps/v1", "controllerrevisions");
    let mut object = set(scope);
    // No node fits: its revisions are all that is made.
    object["spec"]["template"]["spec"]["nodeSelector"] = json!({"conformance-colour": "none"});
    sets(scope).create(&object).await?;
    let first = revisions.until_all(OF_AGENT, "a revision", |all| all.len() == 1).await?.remove(0);
    equal("revision", &first["revision"], &json!(1))?;
    let mut second = first.clone();
    second["metadata"] = json!({"name": "by-hand", "labels": first["metadata"]["labels"],
        "ownerReferences": first["metadata"]["ownerReferences"]});
    second["metadata"]["labels"]["by-hand"] = "yes".into();
    second["revision"] = 2.into();
    revisions.create(&second).await?;
    // Of two that are equal the controller keeps the newer one, and may be sooner than this.
    revisions.delete_collection("labelSelector=app%3Dagent,!by-hand").await?;
    same("revisions", revisions.names(OF_AGENT).await?, vec!["by-hand".to_owned()])?;
    let patch = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}});
    sets(scope).patch("agent", Patch::Strategic(patch)).await?;
    revisions.until_all(OF_AGENT, "another revision", |all| all.len() == 2).await?;
    revisions.delete_collection("labelSelector=by-hand%3Dyes").await?;
    let left = revisions.items(OF_AGENT).await?;
    same("revisions that are left", left.len(), 1)?;
    equal("revision", &left[0]["revision"], &json!(3))
}

async fn status_is_a_subresource(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope)).await?;
    ready(scope, scope.cluster.nodes.len()).await?;
    let condition = json!({"type": "Foreign", "status": "True", "reason": "Test", "message": "words"});
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    let patched = sets(scope).patch("agent/status", patch).await?;
    equal("condition", &patched["status"]["conditions"][0]["type"], &json!("Foreign"))?;
    sets(scope).delete_collection("").await?;
    sets(scope).until_gone("agent").await?;
    scope
        .pods()
        .until_all_within(LATER, "labelSelector=app%3Dagent", "no pod is left", <[Value]>::is_empty)
        .await
        .map(drop)
}
