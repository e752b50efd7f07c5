//! What classes give to what names none: storage, ingresses, runtimes.

use serde_json::{Value, json};

use crate::client::{get, patch, post};
use crate::pods::{PODS, account, pod};
use crate::support::TestServer;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const STORAGE_CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
const INGRESS_CLASSES: &str = "/apis/networking.k8s.io/v1/ingressclasses";
const RUNTIME_CLASSES: &str = "/apis/node.k8s.io/v1/runtimeclasses";

fn claim(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_get_the_default_class_and_grow_only_where_they_can() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    assert!(post(client, CLAIMS, &claim("early")).await.expect(201)["spec"]["storageClassName"].is_null());
    let annotations = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    let class = json!({"metadata": {"name": "fast", "annotations": annotations}, "provisioner": "example.com/p"});
    post(client, STORAGE_CLASSES, &class).await.expect(201);
    get(client, STORAGE_CLASSES).await.expect(200);
    let made = post(client, CLAIMS, &claim("late")).await.expect(201);
    assert_eq!(made["spec"]["storageClassName"], "fast");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let path = format!("{CLAIMS}/late");
    let unbound = patch(client, &path, "merge", &larger).await;
    assert!(matches!(unbound.code, 403 | 422), "{}", unbound.body);
    patch(client, &format!("{path}/status"), "merge", &json!({"status": {"phase": "Bound"}})).await.expect(200);
    let stiff = patch(client, &path, "merge", &larger).await;
    assert!(matches!(stiff.code, 403 | 422), "{}", stiff.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn ingresses_get_the_default_class() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let annotations = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    let class =
        json!({"metadata": {"name": "web", "annotations": annotations}, "spec": {"controller": "example.com/c"}});
    post(client, INGRESS_CLASSES, &class).await.expect(201);
    get(client, INGRESS_CLASSES).await.expect(200);
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}});
    assert_eq!(post(client, INGRESSES, &ingress).await.expect(201)["spec"]["ingressClassName"], "web");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_brings_its_overhead_and_its_nodes() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    let class = json!({
        "metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
    });
    post(client, RUNTIME_CLASSES, &class).await.expect(201);
    let mut inside = pod("a");
    inside["spec"]["runtimeClassName"] = json!("vm");
    let made = post(client, PODS, &inside).await.expect(201);
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "250m"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"vm": "yes"}));
    assert!(made["spec"]["tolerations"].as_array().is_some_and(|list| list.iter().any(|one| one["key"] == "vm")));
    inside["metadata"]["name"] = json!("b");
    inside["spec"]["overhead"] = json!({"cpu": "1"});
    let refused = post(client, PODS, &inside).await;
    refused.refused(403, "Forbidden");
    assert_eq!(
        refused.body["message"],
        "pods \"b\" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
    );
    inside["spec"]["runtimeClassName"] = json!("none");
    let refused = post(client, PODS, &inside).await;
    assert_eq!(refused.body["message"], "pods \"b\" is forbidden: pod rejected: RuntimeClass \"none\" not found");
    inside["spec"]["runtimeClassName"] = json!("");
    let refused = post(client, PODS, &inside).await;
    assert_eq!((refused.code, &refused.body["message"]), (500, &json!("resource name may not be empty")));
}
