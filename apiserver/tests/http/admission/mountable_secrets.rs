//! Pods of a ServiceAccount that lets them have its own secrets alone.

use serde_json::json;

use crate::client::{patch, post};
use crate::pods::{PODS, pod};
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_pods_have_its_secrets_alone() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let account = json!({
        "metadata": {"name": "default", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "mine"}],
    });
    post(client, "/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let with = |name: &str, secret: &str| {
        let mut pod = pod(name);
        pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": secret}}]);
        pod
    };
    post(client, PODS, &with("a", "mine")).await.expect(201);
    let refused = post(client, PODS, &with("b", "others")).await;
    refused.refused(403, "Forbidden");
    let why = "pods \"b\" is forbidden: volume with secret.secretName=\"others\" is not allowed because service account default does not reference that secret";
    assert_eq!(refused.body["message"], why);
    let env = |secret: &str| json!([{"name": "V", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k"}}}]);
    let look =
        |secret: &str| json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i", "env": env(secret)}]}});
    let path = format!("{PODS}/a/ephemeralcontainers");
    let refused = patch(client, &path, "strategic-merge", &look("others")).await;
    let why = "ephemeral container e with envVar V referencing secret.secretName=\"others\" is not allowed because service account default does not reference that secret";
    assert_eq!((refused.code, &refused.body["message"]), (500, &json!(why)));
    patch(client, &path, "strategic-merge", &look("mine")).await.expect(200);
}
