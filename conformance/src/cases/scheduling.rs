//! Where pods go, where they do not, and who has to make room.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::STAY;
use super::preemption::{
    critical_pods_preempt, foreign_resources_are_counted, higher_priorities_preempt,
    preemption_goes_no_further_than_it_has_to,
};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, Scope, condition, pod};
use crate::expect::{contains, equal, matches, same};

pub(super) const GROUP: Group = Group {
    name: "scheduling",
    area: Area::Scheduling,
    capability: "Scheduling: resources, selectors, affinity, taints, host ports, gates, priorities, preemption",
    cases: &[
        case!(pods_that_do_not_fit_wait, "a pod that asks for too much is told why it waits", quick),
        case!(requests_fill_a_node, "where pods ask for all of a node's cpu, another that asks for some waits", serial),
        case!(selectors_choose_nodes, "a node selector and affinity choose by label, and none is told"),
        case!(host_ports_conflict, "two pods with one host port do not fit on one node"),
        case!(taints_repel, "a taint repels pods that do not tolerate it", serial),
        case!(taints_evict, "NoExecute evicts, after the time that a pod tolerates it", serial),
        case!(a_taint_taken_off_evicts_nobody, "a taint that goes before its time takes nobody with it", serial),
        case!(gates_hold_back, "a pod with a scheduling gate waits until it is removed", quick),
        case!(anti_affinity_spreads, "pods that repel each other do not share a node"),
        case!(spread_constraints_hold, "a spread constraint is kept"),
        case!(
            pods_go_to_all_nodes,
            "there are two nodes that take pods, and a constraint by host spreads over them",
            two_nodes
        ),
        case!(foreign_resources_are_counted, "a resource that somebody adds to a node is kept and counted", serial),
        case!(
            higher_priorities_preempt,
            "a pod of higher priority takes the place of one of lower, which is told why",
            serial
        ),
        case!(critical_pods_preempt, "a critical pod takes the place of one that is not", serial),
        case!(
            preemption_goes_no_further_than_it_has_to,
            "of several ReplicaSets those of lowest priority make room, and what they make anew waits",
            serial
        ),
        case!(other_schedulers_are_left_alone, "a pod of another scheduler's is left alone, and can be bound by hand"),
    ],
};

pub(super) async fn unschedulable(scope: &Scope, object: &Value, words: &str) -> Result<()> {
    let made = scope.create_pod(object).await?;
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    let waits = |pod: &Value| condition(pod, "PodScheduled")["reason"] == "Unschedulable";
    let pod = scope.pods().until(name, "it is unschedulable", waits).await?;
    contains("message", condition(&pod, "PodScheduled")["message"].as_str().unwrap_or_default(), words)?;
    let query = format!("fieldSelector=involvedObject.name%3D{name},reason%3DFailedScheduling");
    let told = |events: &[Value]| !events.is_empty();
    let events = scope.resource("v1", "events").until_all(&query, "an event FailedScheduling", told).await?;
    matches("event's name", events[0]["metadata"]["name"].as_str().unwrap_or_default(), &format!(r"^{name}\."))?;
    equal("event's type", &events[0]["type"], &json!("Warning"))
}

fn stays(scope: &Scope, name: &str) -> Value {
    pod(name, &scope.cluster.images.busybox, STAY)
}

async fn pods_that_do_not_fit_wait(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "large");
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "10000"}});
    unschedulable(scope, &object, "Insufficient cpu").await?;
    let mut small = stays(scope, "small");
    small["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1m"}});
    let running = scope.start(&small).await?;
    equal("PodScheduled", &condition(&running, "PodScheduled")["status"], &json!("True"))?;
    let query = "fieldSelector=involvedObject.name%3Dsmall,reason%3DScheduled";
    let told = |events: &[Value]| !events.is_empty();
    scope.resource("v1", "events").until_all(query, "an event Scheduled", told).await.map(drop)
}

/// A quantity of cpu in thousandths.
fn thousandths(cpu: &Value) -> Result<u64> {
    let text = cpu.as_str().unwrap_or("0");
    match text.strip_suffix('m') {
        Some(number) => Ok(number.parse()?),
        None => Ok(text.parse::<u64>()? * 1000),
    }
}

/// Pods of earlier cases that are still on their way out only make it wait.
async fn requests_fill_a_node(scope: &Scope) -> Result<()> {
    let name = &scope.cluster.nodes[0];
    let node = scope.global("v1", "nodes").get(name).await?;
    let mut free = thousandths(&node["status"]["allocatable"]["cpu"])?;
    for pod in scope.global("v1", "pods").items(&format!("fieldSelector=spec.nodeName%3D{name}")).await? {
        let phase = &pod["status"]["phase"];
        if *phase == "Succeeded" || *phase == "Failed" || pod["metadata"]["deletionTimestamp"].is_string() {
            continue;
        }
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let asked = thousandths(&container["resources"]["requests"]["cpu"])?;
            free = free.checked_sub(asked).context("the node's pods ask for more than it has")?;
        }
    }
    let asks = |name: &str, cpu: u64| {
        let mut object = on_first_node(scope, name);
        object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": format!("{cpu}m")}});
        object
    };
    scope.start(&asks("all", free)).await?;
    unschedulable(scope, &asks("more", 1), "Insufficient cpu").await?;
    scope.pods().delete("all").await?;
    scope.ready("more").await.map(drop)
}

async fn selectors_choose_nodes(scope: &Scope) -> Result<()> {
    let node = scope.cluster.nodes.last().context("no node")?;
    let mut chosen = stays(scope, "chosen");
    chosen["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    equal("node", &scope.start(&chosen).await?["spec"]["nodeName"], &json!(node))?;
    let mut none = stays(scope, "none");
    none["spec"]["nodeSelector"] = json!({"no-such-label": "x"});
    unschedulable(scope, &none, "didn't match Pod's node affinity/selector").await?;
    let affinity = |operator: &str| {
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "kubernetes.io/hostname", "operator": operator, "values": [node]}]}]}}})
    };
    let mut near = stays(scope, "near");
    near["spec"]["affinity"] = affinity("In");
    equal("node", &scope.start(&near).await?["spec"]["nodeName"], &json!(node))?;
    let mut named = stays(scope, "named");
    named["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}});
    equal("node", &scope.start(&named).await?["spec"]["nodeName"], &json!(node))?;
    if scope.cluster.nodes.len() == 1 {
        let mut far = stays(scope, "far");
        far["spec"]["affinity"] = affinity("NotIn");
        unschedulable(scope, &far, "didn't match Pod's node affinity/selector").await?;
    }
    Ok(())
}

async fn host_ports_conflict(scope: &Scope) -> Result<()> {
    let node = &scope.cluster.nodes[0];
    let object = |name: &str, ip: &str| {
        let mut object = stays(scope, name);
        object["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        object["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 54322, "hostIP": ip}]);
        object
    };
    scope.start(&object("one", "0.0.0.0")).await?;
    unschedulable(scope, &object("two", "127.0.0.1"), "didn't have free ports").await
}

/// Taints the first node while work is done, and takes the taint off however it ends.
async fn with_taint<T>(scope: &Scope, effect: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let node = &scope.cluster.nodes[0];
    let taint = format!("conformance=yes:{effect}");
    scope.kubectl(&["taint", "node", node, &taint]).await?;
    let result = work.await;
    scope.kubectl(&["taint", "node", node, &format!("{taint}-")]).await?;
    result
}

pub(super) fn on_first_node(scope: &Scope, name: &str) -> Value {
    let mut object = stays(scope, name);
    object["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": scope.cluster.nodes[0]});
    object
}

async fn taints_repel(scope: &Scope) -> Result<()> {
    let node = &scope.cluster.nodes[0];
    with_taint(scope, "NoSchedule", async {
        unschedulable(scope, &on_first_node(scope, "one"), "had untolerated taint").await?;
        let mut tolerant = on_first_node(scope, "two");
        tolerant["spec"]["tolerations"] =
            json!([{"key": "conformance", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]);
        equal("node", &scope.start(&tolerant).await?["spec"]["nodeName"], &json!(node))
    })
    .await?;
    scope.ready("one").await.map(drop)
}

async fn taints_evict(scope: &Scope) -> Result<()> {
    let tolerant = |name: &str, seconds: Value| {
        let mut object = on_first_node(scope, name);
        object["spec"]["tolerations"] = json!([{"key": "conformance", "operator": "Exists", "effect": "NoExecute"}]);
        if !seconds.is_null() {
            object["spec"]["tolerations"][0]["tolerationSeconds"] = seconds;
        }
        object
    };
    scope.start(&on_first_node(scope, "none")).await?;
    scope.start(&tolerant("some", json!(3))).await?;
    scope.start(&tolerant("long", json!(600))).await?;
    scope.start(&tolerant("all", Value::Null)).await?;
    with_taint(scope, "NoExecute", async {
        scope.pods().until_gone("none").await?;
        scope.pods().until_gone("some").await?;
        for name in ["long", "all"] {
            same(name, scope.pods().get(name).await?["metadata"].get("deletionTimestamp"), None)?;
        }
        Ok(())
    })
    .await
}

async fn a_taint_taken_off_evicts_nobody(scope: &Scope) -> Result<()> {
    let mut object = on_first_node(scope, "one");
    object["spec"]["tolerations"] =
        json!([{"key": "conformance", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]);
    scope.start(&object).await?;
    with_taint(scope, "NoExecute", async { Ok(()) }).await?;
    let mut watch = scope.pods().watch_one("one").await?;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(12);
    while let Ok(event) = watch.next(deadline.saturating_duration_since(tokio::time::Instant::now())).await {
        same("deletionTimestamp", event.object["metadata"].get("deletionTimestamp"), None)?;
    }
    scope.ready("one").await.map(drop)
}

async fn gates_hold_back(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    object["spec"]["schedulingGates"] = json!([{"name": "example.com/gate"}]);
    scope.create_pod(&object).await?;
    let gated = |pod: &Value| condition(pod, "PodScheduled")["reason"] == "SchedulingGated";
    scope.pods().until("one", "it is gated", gated).await?;
    let status = scope.kubectl(&["get", "pod", "one", "--no-headers"]).await?;
    contains("get", &status, "SchedulingGated")?;
    scope.pods().patch("one", Patch::Merge(json!({"spec": {"schedulingGates": []}}))).await?;
    scope.ready("one").await.map(drop)
}

async fn anti_affinity_spreads(scope: &Scope) -> Result<()> {
    let count = scope.cluster.nodes.len();
    let object = |number: usize| {
        let mut object = stays(scope, &format!("p-{number}"));
        object["metadata"]["labels"] = json!({"set": "apart"});
        object["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"set": "apart"}}, "topologyKey": "kubernetes.io/hostname"}]}});
        object
    };
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(scope.start(&object(number)).await?["spec"]["nodeName"].to_string());
    }
    nodes.sort();
    nodes.dedup();
    same("different nodes", nodes.len(), count)?;
    unschedulable(scope, &object(count), "didn't match pod anti-affinity rules").await
}

async fn spread_constraints_hold(scope: &Scope) -> Result<()> {
    let object = |name: &str, key: &str| {
        let mut object = stays(scope, name);
        object["metadata"]["labels"] = json!({"set": "spread"});
        object["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": key,
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"set": "spread"}}}]);
        object
    };
    for number in 0..scope.cluster.nodes.len() {
        scope.start(&object(&format!("p-{number}"), "kubernetes.io/hostname")).await?;
    }
    let pods = scope.pods().items("labelSelector=set%3Dspread").await?;
    let mut nodes: Vec<String> = pods.iter().map(|pod| pod["spec"]["nodeName"].to_string()).collect();
    nodes.sort();
    nodes.dedup();
    same("nodes", nodes.len(), scope.cluster.nodes.len())?;
    unschedulable(scope, &object("none", "no-such-topology"), "didn't match pod topology spread constraints").await
}

async fn pods_go_to_all_nodes(scope: &Scope) -> Result<()> {
    let mut template = super::template("spread", &scope.cluster.images.busybox, STAY);
    template["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "Honor",
        "labelSelector": {"matchLabels": {"app": "spread"}}}]);
    let count = scope.cluster.nodes.len() * 2;
    scope
        .deployments()
        .create(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "spread"}, "spec": {
            "replicas": count, "selector": {"matchLabels": {"app": "spread"}}, "template": template}}))
        .await?;
    let all_run = |pods: &[Value]| pods.len() == count && pods.iter().all(|pod| pod["status"]["phase"] == "Running");
    let pods = scope.pods().until_all_within(LATER, "labelSelector=app%3Dspread", "all run", all_run).await?;
    for node in &scope.cluster.nodes {
        same(node, pods.iter().filter(|pod| pod["spec"]["nodeName"] == node.as_str()).count(), 2)?;
    }
    Ok(())
}

async fn other_schedulers_are_left_alone(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    object["spec"]["schedulerName"] = "nobody".into();
    scope.create_pod(&object).await?;
    scope.start(&stays(scope, "two")).await?;
    let waiting = scope.pods().get("one").await?;
    same("node", waiting["spec"].get("nodeName"), None)?;
    same("condition", condition(&waiting, "PodScheduled").is_null(), true)?;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "one"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": scope.cluster.nodes[0]}});
    scope.pods().post("one/binding", &binding).await?;
    scope.ready("one").await.map(drop)
}
