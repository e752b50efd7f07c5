//! Tokens and reviews.

use serde_json::{Value, json};

use crate::client::{get, post};
use crate::pods::{PODS, account, pod};
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
    let owned = json!({"f:spec": {"f:expirationSeconds": {}}});
    let told = (&made["metadata"]["managedFields"][0]["fieldsV1"], made["spec"].get("boundObjectRef"));
    assert_eq!(told, (&owned, Some(&Value::Null)));
    let short = json!({"spec": {"expirationSeconds": 60}});
    let short = post(client, path, &short).await.expect(422);
    let message = short["message"].as_str().expect("a message");
    assert!(message.starts_with("TokenRequest.authentication.k8s.io \"\" is invalid: spec."), "{message}");
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

/// A token that names no audience is for the API server's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_static_token_is_for_the_server_alone() {
    let tokens = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(tokens.path(), "s3cret,robot,1\n").expect("to write");
    let server = TestServer::start(&[&format!("--token-auth-file={}", tokens.path().display())]).await;
    let ask = async |audiences: Value| {
        let review = json!({"spec": {"token": "s3cret", "audiences": audiences}});
        post(&server.client, "/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201)["status"].clone()
    };
    let own = ask(json!([])).await["audiences"].clone();
    assert!(own.as_array().is_some_and(|own| own.len() == 1), "{own}");
    let both = ask(json!(["vault", own[0]])).await;
    assert_eq!((&both["authenticated"], &both["audiences"]), (&json!(true), &own));
    let other = ask(json!(["vault"])).await;
    assert!(other["authenticated"] != true && other["error"].is_string(), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_of_the_account_that_is_meant() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default";
    let uid = get(client, path).await.expect(200)["metadata"]["uid"].clone();
    let token = format!("{path}/token");
    for meant in [json!({}), json!({"uid": uid, "name": "default", "namespace": "default"})] {
        let made = post(client, &token, &json!({"metadata": meant})).await.expect(201);
        let told = &made["metadata"];
        assert_eq!((&told["uid"], &told["name"], &told["namespace"]), (&uid, &json!("default"), &json!("default")));
    }
    let earlier = post(client, &token, &json!({"metadata": {"uid": "earlier"}})).await;
    earlier.refused(409, "Conflict");
    let message = earlier.body["message"].as_str().unwrap_or_default();
    let why = "the UID in the token request (earlier) does not match the UID of the service account (";
    assert!(message.contains(why), "{message}");
    let other = post(client, &token, &json!({"metadata": {"name": "other"}})).await;
    other.refused(422, "Invalid");
    let why = "metadata.name: Invalid value: \"other\": must match the service account name if specified";
    assert!(other.body["message"].as_str().is_some_and(|told| told.ends_with(why)), "{}", other.body);
    post(client, &token, &json!({"metadata": {"namespace": "elsewhere"}})).await.refused(400, "BadRequest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_bound_to_what_there_is() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    post(client, PODS, &pod("p")).await.expect(201);
    for (bound, code, why) in [
        (json!({"kind": "Pod", "apiVersion": "apps/v1"}), 400, "cannot bind token to object of type apps/v1, Kind=Pod"),
        (json!({"kind": "Widget", "apiVersion": "v1"}), 400, "cannot bind token to object of type /v1, Kind=Widget"),
        (json!({}), 400, "cannot bind token to object of type /, Kind="),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "earlier"}),
            409,
            "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (earlier) does not match the UID in record. The object might have been deleted and then recreated",
        ),
    ] {
        let token = "/api/v1/namespaces/default/serviceaccounts/default/token";
        let refused = post(client, token, &json!({"spec": {"boundObjectRef": bound}})).await.expect(code);
        assert_eq!(refused["message"], why);
    }
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
    let review = server.post(own, &json!({"metadata": {"name": "a"}})).await.body;
    assert!(review["metadata"]["creationTimestamp"].is_string() && review["metadata"]["name"].is_null(), "{review}");
    assert_eq!(review["status"]["userInfo"]["username"], "system:unsecured");
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_that_ask_wrongly_are_refused() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let tokens = "/apis/authentication.k8s.io/v1/tokenreviews";
    let refused = post(client, tokens, &json!({"spec": {}})).await;
    refused.refused(400, "BadRequest");
    assert_eq!(refused.body["message"], "token is required for TokenReview in authentication");
    let rights = "/apis/authorization.k8s.io/v1";
    let rules = format!("{rights}/selfsubjectrulesreviews");
    let refused = post(client, &rules, &json!({"spec": {}})).await;
    refused.refused(400, "BadRequest");
    assert_eq!(refused.body["message"], "no namespace on request");
    let listed = post(client, &rules, &json!({"spec": {"namespace": "default"}})).await.expect(201);
    let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    assert_eq!((&listed["status"]["resourceRules"], &listed["spec"]), (&everything, &json!({})));
    let named = json!({"metadata": {"name": "a"}, "spec": {"user": "u", "nonResourceAttributes": {"path": "/"}}});
    let refused = post(client, &format!("{rights}/subjectaccessreviews"), &named).await;
    refused.refused(422, "Invalid");
    assert_eq!(
        refused.body["message"],
        ".authorization.k8s.io \"\" is invalid: metadata: Invalid value: {\"name\":\"a\"}: must be empty"
    );
    let local = format!("{rights}/namespaces/default/localsubjectaccessreviews");
    let asked = json!({"spec": {"user": "u", "resourceAttributes": {"namespace": "default", "verb": "get",
        "labelSelector": {"requirements": [{"key": "a", "operator": "Like"}]}}}});
    let review = post(client, &local, &asked).await.expect(201);
    assert_eq!(review["status"]["evaluationError"], "spec.resourceAttributes.labelSelector ignored due to parse error");
    let elsewhere = json!({"spec": {"user": "u", "resourceAttributes": {"namespace": "other"}}});
    post(client, &local, &elsewhere).await.refused(422, "Invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_issuer_leaves_old_tokens_good() {
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let server = TestServer::start(&[]).await;
    account(&server.client).await;
    let made = post(&server.client, path, &json!({"spec": {}})).await.expect(201);
    let token = made["status"]["token"].as_str().expect("a token").to_owned();
    let folder = server.stop().await;
    let issuers = ["--service-account-issuer=https://new", "--service-account-issuer=https://kubernetes"];
    let server = TestServer::start_in(folder, &issuers).await;
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = post(&server.client, reviews, &json!({"spec": {"token": token}})).await.expect(201);
    assert_eq!(review["status"]["authenticated"], true, "{review}");
    let made = post(&server.client, path, &json!({"spec": {}})).await.expect(201);
    assert_eq!(made["spec"]["audiences"], json!(["https://new", "https://kubernetes"]));
}
