//! What machines that join come with: bootstrap tokens, and tokens that are bound to a Node.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::{delete, get, post};
use crate::secure::Secure;

const TOKEN: &str = "abcdef.0123456789abcdef";
const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

fn secret(name: &str) -> Value {
    let data = [
        ("token-id", "abcdef"),
        ("token-secret", "0123456789abcdef"),
        ("usage-bootstrap-authentication", "true"),
        ("auth-extra-groups", GROUP),
    ];
    let data: serde_json::Map<_, _> =
        data.iter().map(|(key, value)| (String::from(*key), STANDARD.encode(value).into())).collect();
    json!({"metadata": {"name": name}, "type": "bootstrap.kubernetes.io/token", "data": data})
}

/// Who the server thinks a client is, or the code of its refusal.
async fn who(client: &kube::Client) -> Result<Value, u16> {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = post(client, path, &json!({})).await;
    if review.code == 201 { Ok(review.body["status"]["userInfo"].clone()) } else { Err(review.code) }
}

/// Until the client is refused: caches follow a moment later.
async fn refused(client: &kube::Client) {
    let refused = async {
        while who(client).await != Err(401) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.expect("the token does not hold any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_token_is_taken_as_long_as_its_secret_is_there() {
    let server = Secure::start(&["--authorization-mode=Node,RBAC", "--enable-bootstrap-token-auth"]).await;
    let (master, client) = (server.master(), server.bearer(TOKEN));
    assert_eq!(who(&client).await, Err(401));
    post(&master, SECRETS, &secret("bootstrap-token-abcdef")).await.expect(201);
    let user = who(&client).await.expect("authenticated");
    assert_eq!(user["username"], "system:bootstrap:abcdef");
    assert_eq!(user["groups"], json!(["system:bootstrappers", GROUP, "system:authenticated"]));
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = post(&master, reviews, &json!({"spec": {"token": TOKEN}})).await.expect(201);
    assert_eq!(review["status"]["user"]["username"], "system:bootstrap:abcdef");
    get(&client, SECRETS).await.refused(403, "Forbidden");
    assert_eq!(who(&server.bearer("abcdef.0123456789abcdee")).await, Err(401), "another secret");
    delete(&master, &format!("{SECRETS}/bootstrap-token-abcdef"), &Value::Null).await.expect(200);
    refused(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_nobody_looks_at_such_secrets() {
    let server = Secure::with_roles().await;
    post(&server.master(), SECRETS, &secret("bootstrap-token-abcdef")).await.expect(201);
    assert_eq!(who(&server.bearer(TOKEN)).await, Err(401));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_bound_to_a_node_ends_with_it() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let accounts = "/api/v1/namespaces/kube-system/serviceaccounts";
    post(&master, accounts, &json!({"metadata": {"name": "part"}})).await.expect(201);
    post(&master, "/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await.expect(201);
    let bound = json!({"apiVersion": "v1", "kind": "Node", "name": "n1"});
    let request = json!({"spec": {"audiences": [], "boundObjectRef": bound}});
    let made = post(&master, &format!("{accounts}/part/token"), &request).await.expect(201);
    let client = server.bearer(made["status"]["token"].as_str().expect("a token"));
    let user = who(&client).await.expect("authenticated");
    assert_eq!(user["extra"]["authentication.kubernetes.io/node-name"], json!(["n1"]));
    delete(&master, "/api/v1/nodes/n1", &Value::Null).await.expect(200);
    refused(&client).await;
}
