//! LimitRanges and ResourceQuotas of a namespace.

use serde_json::{Value, json};

use crate::client::{delete, get, patch, post};
use crate::pods::{PODS, account, pod};
use crate::support::TestServer;

const CORE: &str = "/api/v1/namespaces/default";

/// A quota whose controller has counted nothing yet.
async fn quota(client: &kube::Client, spec: Value) {
    let hard = spec["hard"].clone();
    let path = format!("{CORE}/resourcequotas");
    post(client, &path, &json!({"metadata": {"name": "q"}, "spec": spec})).await.expect(201);
    let used: serde_json::Map<String, Value> =
        hard.as_object().into_iter().flatten().map(|(name, _)| (name.clone(), json!("0"))).collect();
    let status = json!({"status": {"hard": hard, "used": used}});
    patch(client, &format!("{path}/q/status"), "merge", &status).await.expect(200);
    used_of(client).await;
}

/// A consistent read: what it saw, the cache has.
async fn used_of(client: &kube::Client) -> Value {
    get(client, &format!("{CORE}/resourcequotas/q")).await.expect(200)["status"]["used"].clone()
}

fn asking(name: &str, cpu: &str) -> Value {
    let mut asking = pod(name);
    asking["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    asking
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_filled_in_and_held() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    let limit = json!({
        "type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}, "max": {"cpu": "2"},
    });
    let path = format!("{CORE}/limitranges");
    post(client, &path, &json!({"metadata": {"name": "l"}, "spec": {"limits": [limit]}})).await.expect(201);
    get(client, &path).await.expect(200);
    let made = post(client, PODS, &pod("a")).await.expect(201);
    let resources = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}});
    assert_eq!(made["spec"]["containers"][0]["resources"], resources);
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    // What the container was given counts for a pod that asks for a part as a whole.
    let mut whole = pod("w");
    whole["spec"]["resources"] = json!({"limits": {"memory": "1Gi"}});
    let asked = json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}});
    assert_eq!(post(client, PODS, &whole).await.expect(201)["spec"]["resources"], asked);
    let mut greedy = pod("b");
    greedy["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "3"}});
    let refused = post(client, PODS, &greedy).await;
    refused.refused(403, "Forbidden");
    assert_eq!(
        refused.body["message"],
        "pods \"b\" is forbidden: maximum cpu usage per Container is 2, but limit is 3"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_charged_with_what_is_stored() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    quota(client, json!({"hard": {"pods": "2", "requests.cpu": "1"}})).await;
    let silent = post(client, PODS, &pod("a")).await;
    silent.refused(403, "Forbidden");
    assert_eq!(silent.body["message"], "pods \"a\" is forbidden: failed quota: q: must specify requests.cpu for: c");
    post(client, PODS, &asking("a", "700m")).await.expect(201);
    assert_eq!(used_of(client).await, json!({"pods": "1", "requests.cpu": "700m"}));
    let refused = post(client, PODS, &asking("b", "400m")).await;
    refused.refused(403, "Forbidden");
    assert_eq!(
        refused.body["message"],
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=400m, used: requests.cpu=700m, limited: requests.cpu=1"
    );
    let dry = format!("{PODS}?dryRun=All");
    post(client, &dry, &asking("b", "100m")).await.expect(201);
    // What is not stored is not charged.
    post(client, PODS, &asking("a", "100m")).await.refused(409, "AlreadyExists");
    assert_eq!(used_of(client).await, json!({"pods": "1", "requests.cpu": "700m"}));
    let manager = get(client, &format!("{CORE}/resourcequotas/q")).await.expect(200);
    let managers = manager["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    assert!(managers.iter().any(|entry| entry["manager"] == "kube-apiserver" && entry["subresource"] == "status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_side_by_side_spend_no_more_than_there_is() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    quota(client, json!({"hard": {"count/configmaps": "5"}})).await;
    let path = format!("{CORE}/configmaps");
    let made = futures::future::join_all((0..20).map(|number| {
        let path = &path;
        async move { post(client, path, &json!({"metadata": {"name": format!("c{number}")}})).await.code }
    }));
    let made = made.await;
    assert_eq!(made.iter().filter(|code| **code == 201).count(), 5, "{made:?}");
    assert_eq!(used_of(client).await, json!({"count/configmaps": "5"}));
    assert!(made.iter().all(|code| matches!(code, 201 | 403)), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_choose_what_is_counted_and_an_uncounted_quota_refuses() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    quota(client, json!({"hard": {"pods": "1"}, "scopes": ["NotBestEffort"]})).await;
    for name in ["a", "b"] {
        post(client, PODS, &pod(name)).await.expect(201);
    }
    post(client, PODS, &asking("c", "1m")).await.expect(201);
    post(client, PODS, &asking("d", "1m")).await.refused(403, "Forbidden");
    delete(client, &format!("{CORE}/resourcequotas/q"), &Value::Null).await.expect(200);
    get(client, &format!("{CORE}/resourcequotas")).await.expect(200);
    post(client, PODS, &asking("d", "1m")).await.expect(201);
    let path = format!("{CORE}/resourcequotas");
    post(client, &path, &json!({"metadata": {"name": "q"}, "spec": {"hard": {"services": "1"}}})).await.expect(201);
    let status = json!({"status": {"hard": {"services": "1"}}});
    patch(client, &format!("{path}/q/status"), "merge", &status).await.expect(200);
    used_of(client).await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let refused = post(client, &format!("{CORE}/services"), &service).await;
    assert_eq!(
        refused.body["message"],
        "services \"s\" is forbidden: status unknown for quota: q, resources: services"
    );
}
