//! Tokens and reviews.

use serde_json::json;

use crate::client::{get, post};
use crate::pods::account;
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_and_reviewed() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let made = post(client, path, &request).await.expect(201);
    let token = made["status"]["token"].as_str().expect("a token");
    assert!(made["status"]["expirationTimestamp"].is_string());
    let short = json!({"spec": {"expirationSeconds": 60}});
    post(client, path, &short).await.refused(422, "Invalid");
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = post(client, reviews, &json!({"spec": {"token": token}})).await.expect(201);
    assert_eq!(review["status"]["authenticated"], true);
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:default");
    let other = post(client, reviews, &json!({"spec": {"token": token, "audiences": ["vault"]}})).await.expect(201);
    assert_ne!(other["status"]["authenticated"], true);
    let broken = post(client, reviews, &json!({"spec": {"token": "x.y.z"}})).await.expect(201);
    assert!(broken["status"]["authenticated"] != true && broken["status"]["error"].is_string());
    get(client, reviews).await.refused(405, "MethodNotAllowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_reviewed() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let ask = json!({"spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    assert_eq!(post(client, reviews, &ask).await.expect(201)["status"]["allowed"], true);
    post(client, reviews, &json!({"spec": {"user": "bob"}})).await.refused(422, "Invalid");
    let own = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = server.post(own, &json!({})).await.body;
    assert_eq!(review["status"]["userInfo"]["username"], "system:unsecured");
}
