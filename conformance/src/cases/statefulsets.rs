//! StatefulSets: ordinals, order, partitions, revisions.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{STAY, template};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, Resource, Scope};
use crate::expect::{equal, same};

pub(super) const GROUP: Group = Group {
    name: "statefulsets",
    area: Area::Workloads,
    capability: "StatefulSets: stable names, order of start and stop, partitions, rollback",
    cases: &[
        case!(
            ordinals_start_in_order,
            "pods are made one after the other, with their ordinal as name and label",
            quick
        ),
        case!(they_stop_in_the_other_order, "scaling down goes from the highest ordinal"),
        case!(parallel_ones_do_not_wait, "Parallel makes all pods without waiting for any"),
        case!(an_unready_pod_halts, "scaling waits while a pod is not ready"),
        case!(unready_pods_halt_the_way_down, "scaling down, too, waits while pods are not ready"),
        case!(updates_go_from_the_highest, "an update replaces pods from the highest ordinal, to a new revision"),
        case!(partitions_hold_back, "a partition keeps lower ordinals at the revision before"),
        case!(rollbacks_reuse_the_revision, "going back to a template goes back to its revision"),
        case!(a_deleted_pod_has_its_name_again, "a deleted pod is made again under its name"),
        case!(a_rejected_pod_is_made_again, "a pod that its node rejects is made again until there is room"),
        case!(scale_and_status_are_subresources, "/scale and /status read and write their part"),
        case!(peers_have_names_and_addresses, "pods of a headless Service have host names of their own"),
    ],
};

fn sets(scope: &Scope) -> Resource {
    scope.resource("apps/v1", "statefulsets")
}

fn set(scope: &Scope, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": template("db", &scope.cluster.images.busybox, STAY)}})
}

fn change(value: &str) -> Patch {
    Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [
        {"name": "main", "env": [{"name": "CHANGE", "value": value}]}]}}}}))
}

async fn ready(scope: &Scope, count: u32) -> Result<Value> {
    let what = format!("{count} pods are ready");
    let holds = move |set: &Value| {
        let is = |field: &str| set["status"][field].as_u64().unwrap_or_default() == u64::from(count);
        set["status"]["observedGeneration"] == set["metadata"]["generation"] && is("replicas") && is("readyReplicas")
    };
    sets(scope).until_within(LATER, "db", &what, holds).await
}

/// The names of pods in the order of the events of one kind, without repetitions.
async fn order(watch: &mut crate::cluster::Watch, kind: &str, count: usize) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    while names.len() < count {
        let event = watch.next(LATER).await?;
        let name = event.object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if event.kind == kind && !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn named(ordinals: &[u32]) -> Vec<String> {
    ordinals.iter().map(|ordinal| format!("db-{ordinal}")).collect()
}

async fn ordinals_start_in_order(scope: &Scope) -> Result<()> {
    let mut watch = scope.pods().watch("labelSelector=app%3Ddb").await?;
    sets(scope).create(&set(scope, 2)).await?;
    let mut is_first_ready = false;
    loop {
        let event = watch.next(LATER).await?;
        let ready = crate::cluster::is_ready(&event.object);
        match event.object["metadata"]["name"].as_str() {
            Some("db-0") => is_first_ready |= ready,
            Some("db-1") => {
                ensure!(is_first_ready, "expected db-1 once db-0 is ready, saw it before");
                equal("index label", &event.object["metadata"]["labels"]["apps.kubernetes.io/pod-index"], &json!("1"))?;
                let label = &event.object["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"];
                equal("name label", label, &json!("db-1"))?;
                equal("hostname", &event.object["spec"]["hostname"], &json!("db-1"))?;
                break;
            }
            other => anyhow::bail!("expected db-0 and db-1, saw {other:?}"),
        }
    }
    ready(scope, 2).await.map(drop)
}

async fn they_stop_in_the_other_order(scope: &Scope) -> Result<()> {
    let mut object = set(scope, 3);
    object["spec"]["podManagementPolicy"] = "Parallel".into();
    sets(scope).create(&object).await?;
    ready(scope, 3).await?;
    sets(scope).delete_with("db", json!({"propagationPolicy": "Orphan"})).await?;
    sets(scope).until_gone("db").await?;
    sets(scope).create(&set(scope, 3)).await?;
    ready(scope, 3).await?;
    let mut watch = scope.pods().watch("labelSelector=app%3Ddb").await?;
    sets(scope).patch("db", Patch::Merge(json!({"spec": {"replicas": 0}}))).await?;
    same("deletions", order(&mut watch, "DELETED", 3).await?, named(&[2, 1, 0]))
}

async fn parallel_ones_do_not_wait(scope: &Scope) -> Result<()> {
    let mut object = set(scope, 3);
    object["spec"]["podManagementPolicy"] = "Parallel".into();
    object["spec"]["template"]["spec"]["schedulerName"] = "nobody".into();
    sets(scope).create(&object).await?;
    scope
        .pods()
        .until_all("labelSelector=app%3Ddb", "three pods that do not run", |pods| pods.len() == 3)
        .await
        .map(drop)
}

async fn an_unready_pod_halts(scope: &Scope) -> Result<()> {
    let mut object = set(scope, 1);
    object["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1});
    sets(scope).create(&object).await?;
    let started = |pod: &Value| pod["status"]["containerStatuses"][0]["started"] == true;
    scope.pods().until_within(LATER, "db-0", "its container runs", started).await?;
    sets(scope).patch("db", Patch::Merge(json!({"spec": {"replicas": 2}}))).await?;
    sets(scope).until("db", "the controller has seen it", |set| set["status"]["observedGeneration"] == 2).await?;
    let mut next = scope.pods().watch_one("db-1").await?;
    next.quiet(std::time::Duration::from_secs(10)).await.context("db-0 is not ready")?;
    scope.exec("db-0", "touch /tmp/ready").await?;
    next.expect("ADDED db-1", LATER).await.map(drop)
}

async fn unready_pods_halt_the_way_down(scope: &Scope) -> Result<()> {
    let mut object = set(scope, 2);
    object["spec"]["template"]["spec"]["containers"][0]["command"][2] = format!("touch /tmp/ready; {STAY}").into();
    object["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1});
    sets(scope).create(&object).await?;
    ready(scope, 2).await?;
    for name in ["db-0", "db-1"] {
        scope.exec(name, "rm /tmp/ready").await?;
    }
    let none = |set: &Value| set["status"]["readyReplicas"].as_u64().unwrap_or_default() == 0;
    sets(scope).until("db", "no pod is ready", none).await?;
    let patched = sets(scope).patch("db", Patch::Merge(json!({"spec": {"replicas": 0}}))).await?;
    let seen = |set: &Value| set["status"]["observedGeneration"] == patched["metadata"]["generation"];
    sets(scope).until("db", "the controller has seen it", seen).await?;
    let mut watch = scope.pods().watch("labelSelector=app%3Ddb").await?;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    while let Ok(event) = watch.next(deadline.saturating_duration_since(tokio::time::Instant::now())).await {
        same("deletionTimestamp", event.object["metadata"].get("deletionTimestamp"), None)?;
    }
    for name in ["db-1", "db-0"] {
        scope.exec(name, "touch /tmp/ready").await?;
    }
    same("deletions", order(&mut watch, "DELETED", 2).await?, named(&[1, 0]))
}

async fn updates_go_from_the_highest(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope, 3)).await?;
    let before = ready(scope, 3).await?;
    let mut watch = scope.pods().watch("labelSelector=app%3Ddb").await?;
    sets(scope).patch("db", change("1")).await?;
    same("deletions", order(&mut watch, "DELETED", 3).await?, named(&[2, 1, 0]))?;
    let done = |set: &Value| set["status"]["currentRevision"] == set["status"]["updateRevision"];
    let after = sets(scope).until_within(LATER, "db", "one revision", done).await?;
    ensure!(after["status"]["updateRevision"] != before["status"]["updateRevision"], "expected another revision");
    let revision = after["status"]["updateRevision"].as_str().unwrap_or_default();
    let query = format!("labelSelector=controller-revision-hash%3D{revision}");
    same("pods of the revision", scope.pods().names(&query).await?, named(&[0, 1, 2]))?;
    let revisions = scope.resource("apps/v1", "controllerrevisions").items("").await?;
    let mut numbers: Vec<i64> = revisions.iter().filter_map(|one| one["revision"].as_i64()).collect();
    numbers.sort_unstable();
    same("revisions", numbers, vec![1, 2])
}

fn revision_of(pods: &[Value], name: &str) -> Option<String> {
    let pod = pods.iter().find(|pod| pod["metadata"]["name"] == name)?;
    pod["metadata"]["labels"]["controller-revision-hash"].as_str().map(String::from)
}

async fn partitions_hold_back(scope: &Scope) -> Result<()> {
    let mut object = set(scope, 3);
    object["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 3}});
    object["spec"]["podManagementPolicy"] = "Parallel".into();
    sets(scope).create(&object).await?;
    let before = ready(scope, 3).await?["status"]["currentRevision"].as_str().map(String::from);
    let uids = async || -> Result<Vec<Value>> {
        let pods = scope.pods().items("labelSelector=app%3Ddb").await?;
        Ok(pods.iter().map(|pod| pod["metadata"]["uid"].clone()).collect())
    };
    let made = uids().await?;
    sets(scope).patch("db", change("1")).await?;
    let changed = |set: &Value| {
        set["status"]["observedGeneration"] == 2 && set["status"]["updateRevision"].as_str() != before.as_deref()
    };
    sets(scope).until("db", "another revision", changed).await?;
    same("pods while all are held back", uids().await?, made)?;
    let two = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}});
    sets(scope).patch("db", Patch::Merge(two)).await?;
    let updated = |set: &Value| set["status"]["updatedReplicas"] == 1 && set["status"]["readyReplicas"] == 3;
    let held = sets(scope).until_within(LATER, "db", "one pod is updated", updated).await?;
    let after = held["status"]["updateRevision"].as_str().map(String::from);
    ensure!(after != before, "expected another revision than {before:?}");
    let pods = scope.pods().items("labelSelector=app%3Ddb").await?;
    for (name, revision) in [("db-0", &before), ("db-1", &before), ("db-2", &after)] {
        same(name, &revision_of(&pods, name), revision)?;
    }
    let deleted = scope.pods().get("db-0").await?["metadata"]["uid"].clone();
    scope.pods().delete("db-0").await?;
    let is_new = |pod: &Value| pod["metadata"]["uid"] != deleted;
    let again = scope.pods().until_within(LATER, "db-0", "it is made again", is_new).await?;
    same("db-0 again", &revision_of(&[again], "db-0"), &before)?;
    ready(scope, 3).await?;
    let all = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}});
    sets(scope).patch("db", Patch::Merge(all)).await?;
    let done = |set: &Value| set["status"]["currentRevision"] == json!(after) && set["status"]["readyReplicas"] == 3;
    sets(scope).until_within(LATER, "db", "all are updated", done).await.map(drop)
}

async fn rollbacks_reuse_the_revision(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope, 1)).await?;
    let first = ready(scope, 1).await?["status"]["currentRevision"].clone();
    let settled = |set: &Value| {
        set["status"]["observedGeneration"] == set["metadata"]["generation"]
            && set["status"]["currentRevision"] == set["status"]["updateRevision"]
            && set["status"]["readyReplicas"] == 1
    };
    sets(scope).patch("db", change("1")).await?;
    let second = sets(scope).until_within(LATER, "db", "the update is done", settled).await?;
    ensure!(second["status"]["currentRevision"] != first, "expected another revision than {first}");
    scope.kubectl(&["rollout", "undo", "statefulset/db"]).await?;
    let is_back = |set: &Value| settled(set) && set["status"]["currentRevision"] == first;
    sets(scope).until_within(LATER, "db", "the first revision again", is_back).await.map(drop)
}

async fn a_deleted_pod_has_its_name_again(scope: &Scope) -> Result<()> {
    sets(scope).create(&set(scope, 1)).await?;
    ready(scope, 1).await?;
    let first = scope.pods().get("db-0").await?;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "db-0"}});
    scope.pods().post("db-0/eviction", &eviction).await?;
    let is_new = |pod: &Value| pod["metadata"]["uid"] != first["metadata"]["uid"] && crate::cluster::is_ready(pod);
    scope.pods().until_within(LATER, "db-0", "another of its name is ready", is_new).await.map(drop)
}

/// Past the scheduler, which would not have sent it there.
async fn a_rejected_pod_is_made_again(scope: &Scope) -> Result<()> {
    let node = scope.cluster.nodes[0].as_str();
    let ports = json!([{"containerPort": 21017, "hostPort": 21017}]);
    let mut first = crate::cluster::pod("first", &scope.cluster.images.busybox, STAY);
    first["spec"]["nodeName"] = node.into();
    first["spec"]["containers"][0]["ports"] = ports.clone();
    scope.start(&first).await?;
    let mut watch = scope.pods().watch("labelSelector=app%3Ddb").await?;
    let mut object = set(scope, 1);
    object["spec"]["template"]["spec"]["nodeName"] = node.into();
    object["spec"]["template"]["spec"]["containers"][0]["ports"] = ports;
    sets(scope).create(&object).await?;
    let mut is_rejected = false;
    loop {
        let event = watch.next(LATER).await.context("expected db-0 to be rejected and deleted")?;
        is_rejected |= event.object["status"]["phase"] == "Failed";
        if event.kind == "DELETED" {
            break;
        }
    }
    ensure!(is_rejected, "expected the phase Failed before db-0 is deleted");
    scope.pods().delete("first").await?;
    ready(scope, 1).await.map(drop)
}

async fn scale_and_status_are_subresources(scope: &Scope) -> Result<()> {
    let mut object = set(scope, 1);
    object["spec"]["podManagementPolicy"] = "Parallel".into();
    sets(scope).create(&object).await?;
    ready(scope, 1).await?;
    let mut scale = sets(scope).get("db/scale").await?;
    scale["spec"]["replicas"] = 2.into();
    sets(scope).put("db/scale", &scale).await?;
    ready(scope, 2).await?;
    let patched = sets(scope).patch("db/scale", Patch::Strategic(json!({"spec": {"replicas": 1}}))).await?;
    equal("replicas at /scale", &patched["spec"]["replicas"], &json!(1))?;
    ready(scope, 1).await?;
    let condition = json!({"type": "Foreign", "status": "True", "reason": "Test", "message": "words"});
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    let patched = sets(scope).patch("db/status", patch).await?;
    equal("condition", &patched["status"]["conditions"][0]["type"], &json!("Foreign"))?;
    sets(scope).delete_collection("").await?;
    sets(scope).until_gone("db").await
}

async fn peers_have_names_and_addresses(scope: &Scope) -> Result<()> {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"},
        "spec": {"clusterIP": "None", "selector": {"app": "db"}}});
    scope.services().create(&service).await?;
    let mut object = set(scope, 2);
    object["spec"]["template"] = template("db", &scope.cluster.images.tools, STAY);
    object["spec"]["podManagementPolicy"] = "Parallel".into();
    sets(scope).create(&object).await?;
    ready(scope, 2).await?;
    let address = scope.pods().get("db-1").await?["status"]["podIP"].as_str().context("no address")?.to_owned();
    same("hostname", scope.exec("db-0", "hostname").await?.trim(), "db-0")?;
    let script = "for i in $(seq 50); do getent ahostsv4 db-1.db && exit 0; sleep 0.2; done; exit 1";
    crate::expect::contains("name of a peer", &scope.exec("db-0", script).await?, &address)
}
