//! What removes objects: the garbage collector, the namespace controller, and eviction by taints.

use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::support::{Object, Place, condition, name, story, template};

async fn replica_set(place: &Place, name: &str) -> Object {
    let spec =
        json!({"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template(name, "Running")});
    let object = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": spec});
    let set = place.create(object).await;
    set.until("two ready", |set| set["status"]["readyReplicas"] == 2).await;
    set
}

fn propagated(policy: PropagationPolicy) -> DeleteParams {
    DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() }
}

#[test]
fn what_an_object_owns_goes_behind_it_before_it_or_not_at_all() {
    story("owners", async |place: &Place| {
        let behind = replica_set(place, "behind").await;
        let pods = place.pods("app=behind").await;
        behind.delete().await;
        behind.until_gone().await;
        for pod in &pods {
            place.pod(name(pod)).until_gone().await;
        }

        let before = replica_set(place, "before").await;
        let held = place.pods("app=before").await;
        let held = place.pod(name(&held[0]));
        held.merge(json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
        before.delete_with(&propagated(PropagationPolicy::Foreground)).await;
        before.until("it waits", |set| set["metadata"]["finalizers"] == json!(["foregroundDeletion"])).await;
        held.until("its pod is going", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
        assert!(before.exists().await, "the owner waits for what it owns");
        held.merge(json!({"metadata": {"finalizers": null}})).await;
        before.until_gone().await;
        assert!(!held.exists().await, "what is owned goes first");

        let not = replica_set(place, "not").await;
        not.delete_with(&propagated(PropagationPolicy::Orphan)).await;
        not.until_gone().await;
        let left = place.pods("app=not").await;
        assert_eq!(left.len(), 2);
        assert!(left.iter().all(|pod| pod["metadata"]["ownerReferences"].is_null()), "{left:?}");
    });
}

#[test]
fn an_object_whose_owner_never_was_is_collected() {
    story("absent", async |place: &Place| {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "11111111-2222-3333-4444-555555555555"});
        let object =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lost", "ownerReferences": [owner]}});
        place.create(object).await.until_gone().await;
    });
}

#[test]
fn a_namespace_goes_with_all_that_is_in_it() {
    story("doomed", async |place: &Place| {
        replica_set(place, "web").await;
        let pods = place.pods("app=web").await;
        let held = place.pod(name(&pods[0]));
        held.merge(json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
        place.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "data"}})).await;
        place
            .create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "selector": {"app": "web"}, "ports": [{"port": 80}]}}))
            .await;
        let namespace = place.object("v1", "Namespace", "doomed");
        namespace.delete().await;
        let told = namespace.until("what remains", |n| condition(n, "NamespaceFinalizersRemaining").is_some()).await;
        assert_eq!(told["status"]["phase"], "Terminating");
        assert_eq!(condition(&told, "NamespaceContentRemaining"), Some("SomeResourcesRemain"));
        let refused =
            place.refused(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}})).await;
        assert_eq!(refused.code, 403);
        held.merge(json!({"metadata": {"finalizers": null}})).await;
        namespace.until_gone().await;
    });
}

async fn extra_node(place: &Place, name: &str) -> Object {
    let ready = json!({"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "KubeletReady"});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"only": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}, "conditions": [ready]}});
    place.create(node).await
}

fn on_node(node: &str, pod: &str, tolerations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": {
        "terminationGracePeriodSeconds": 1, "nodeSelector": {"only": node}, "tolerations": tolerations,
        "containers": [{"name": "c", "image": "i"}]}})
}

#[test]
fn a_taint_drives_out_who_does_not_tolerate_it() {
    story("taints", async |place: &Place| {
        let node = extra_node(place, "tainted").await;
        let tolerates = |seconds: Option<i64>| {
            let mut toleration = json!({"key": "example.com/out", "operator": "Exists", "effect": "NoExecute"});
            if let Some(seconds) = seconds {
                toleration["tolerationSeconds"] = seconds.into();
            }
            json!([toleration])
        };
        let [never, shortly, always] = [json!([]), tolerates(Some(1)), tolerates(None)];
        let mut pods = Vec::new();
        for (name, tolerations) in [("never", never), ("shortly", shortly), ("always", always)] {
            pods.push(place.create(on_node("tainted", name, tolerations)).await);
        }
        for pod in &pods {
            pod.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        }
        node.merge(json!({"spec": {"taints": [{"key": "example.com/out", "effect": "NoExecute"}]}})).await;
        pods[0].until_gone().await;
        pods[1].until_gone().await;
        assert!(pods[2].get().await["metadata"]["deletionTimestamp"].is_null());
        place.until_told("never", "TaintManagerEviction").await;
        node.delete().await;
    });
}
