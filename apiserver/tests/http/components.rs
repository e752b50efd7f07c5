//! Component statuses: what is asked when it is read.

use serde_json::{Value, json};

use crate::client::{get, get_as};
use crate::support::TestServer;

const PATH: &str = "/api/v1/componentstatuses";

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_are_asked_and_the_client_is_warned() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let reply = get(client, PATH).await;
    assert_eq!(reply.warnings(), [r#"299 - "v1 ComponentStatus is deprecated in v1.19+""#]);
    let list = reply.expect(200);
    assert_eq!((&list["kind"], &list["metadata"]), (&json!("ComponentStatusList"), &json!({})));
    let names: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["controller-manager", "scheduler", "etcd-0"]);
    assert_eq!(list["items"][2]["conditions"], json!([{"type": "Healthy", "status": "True", "message": "ok"}]));

    let one = get(client, &format!("{PATH}/etcd-0")).await.expect(200);
    assert_eq!((&one["kind"], &one["apiVersion"]), (&json!("ComponentStatus"), &json!("v1")));
    let missing = get(client, &format!("{PATH}/none")).await;
    missing.refused(404, "NotFound");
    assert_eq!(missing.body["message"], "componentstatus \"none\" not found");

    let table = get_as(client, &format!("{PATH}/etcd-0"), "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let table = table.expect(200);
    let columns: Vec<&Value> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(columns, ["Name", "Status", "Message", "Error"]);
    assert_eq!(table["rows"][0]["cells"], json!(["etcd-0", "Healthy", "ok", ""]));
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_hold_and_nothing_is_written() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let count = async |query: &str| {
        let list = get(client, &format!("{PATH}?{query}")).await.expect(200);
        list["items"].as_array().map(Vec::len)
    };
    assert_eq!(count("fieldSelector=metadata.name%3Detcd-0").await, Some(1));
    assert_eq!(count("labelSelector=a%3Db").await, Some(0));
    assert_eq!(count("labelSelector=!a").await, Some(3));
    get(client, &format!("{PATH}?fieldSelector=status%3Dx")).await.refused(400, "BadRequest");
    get(client, &format!("{PATH}?watch=true")).await.refused(405, "MethodNotAllowed");
    let body = json!({"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": "x"}});
    crate::client::post(client, PATH, &body).await.refused(405, "MethodNotAllowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_is_deprecated_says_so() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let words = r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#;
    let path = "/api/v1/namespaces/default/endpoints";
    assert_eq!(get(client, path).await.warnings(), [words]);
    assert_eq!(get(client, &format!("{path}/none")).await.warnings(), [words]);
    assert!(get(client, "/api/v1/namespaces/default/pods").await.warnings().is_empty());
    let metrics = get(client, "/metrics").await.expect(200);
    let series = "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"} 1";
    assert!(metrics.as_str().unwrap_or_default().contains(series), "{metrics}");
}
