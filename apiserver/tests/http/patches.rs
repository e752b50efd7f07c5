//! The four kinds of patch.

use serde_json::json;

use crate::client::{CONFIG_MAPS, apply, call, config_map, patch, post};
use crate::support::TestServer;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test(flavor = "multi_thread")]
async fn json_merge_and_strategic_patches() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({"x": "1", "y": "2"}))).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let ops =
        json!([{"op": "test", "path": "/data/x", "value": "1"}, {"op": "replace", "path": "/data/x", "value": "3"}]);
    assert_eq!(patch(client, &path, "json", &ops).await.expect(200)["data"]["x"], "3");
    patch(client, &path, "json", &ops).await.refused(422, "Invalid");
    let merged = patch(client, &path, "merge", &json!({"data": {"y": null, "z": "4"}})).await.expect(200);
    assert_eq!(merged["data"], json!({"x": "3", "z": "4"}));
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {}});
    patch(client, &path, "merge", &stale).await.refused(409, "Conflict");
    patch(client, &path, "strange", &json!({})).await.refused(415, "UnsupportedMediaType");

    let container = |name: &str, image: &str| json!({"name": name, "image": image});
    let deployment = json!({
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [container("one", "x"), container("two", "y")]},
            },
        },
    });
    post(client, DEPLOYMENTS, &deployment).await.expect(201);
    let change = json!({"spec": {"template": {"spec": {"containers": [container("two", "z")]}}}});
    let path = format!("{DEPLOYMENTS}/d");
    let changed = patch(client, &path, "strategic-merge", &change).await.expect(200);
    let containers = changed["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 2);
    assert!(containers.iter().any(|container| container["name"] == "two" && container["image"] == "z"));
    assert_eq!(changed["metadata"]["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn appliers_own_fields_and_conflict() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let by = |manager: &str| format!("{CONFIG_MAPS}/a?fieldManager={manager}");
    apply(client, &by("one"), &config_map("a", &json!({"x": "1", "y": "1"}))).await.expect(201);
    apply(client, &by("one"), &config_map("a", &json!({"x": "1", "y": "1"}))).await.expect(200);
    let conflict = apply(client, &by("two"), &config_map("a", &json!({"x": "2"}))).await;
    conflict.refused(409, "Conflict");
    let cause = &conflict.body["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldManagerConflict"), &json!(".data.x")));
    let forced = apply(client, &format!("{}&force=true", by("two")), &config_map("a", &json!({"x": "2"}))).await;
    assert_eq!(forced.expect(200)["data"], json!({"x": "2", "y": "1"}));
    let dropped = apply(client, &by("one"), &config_map("a", &json!({}))).await.expect(200);
    assert_eq!(dropped["data"], json!({"x": "2"}), "what one owned alone is gone, what two took is not");
    let unnamed = apply(client, &format!("{CONFIG_MAPS}/a"), &config_map("a", &json!({}))).await;
    unnamed.refused(422, "Invalid");
    let headers = [("content-type", "application/apply-patch+yaml")];
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v}\n";
    let path = format!("{CONFIG_MAPS}/b?fieldManager=one");
    call(client, http::Method::PATCH, &path, &headers, yaml).await.expect(201);
}
