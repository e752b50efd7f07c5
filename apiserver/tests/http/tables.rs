//! The columns of every kind's table, as upstream's server has them: `tables.txt` holds a resource a line, and a column's
//! name with its type where that is not `string`, `wide` where it is shown only then, and a `*` where it is the name.

use serde_json::{Value, json};

use crate::client::{get_as, post};
use crate::support::TestServer;

fn written(column: &Value) -> String {
    let text = |field: &str| column[field].as_str().expect("a text");
    let mut written = text("name").to_owned();
    if text("type") != "string" {
        written += &format!(" {}", text("type"));
    }
    match column["priority"].as_i64() {
        Some(0) => {}
        Some(1) => written += " wide",
        other => panic!("a priority of {other:?}"),
    }
    match text("format") {
        "" => {}
        "name" => written += " *",
        other => panic!("a format {other}"),
    }
    assert!(!text("description").is_empty(), "{column}");
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_upstreams() {
    let server = TestServer::start(&[]).await;
    let mut wrong = Vec::new();
    let lines: Vec<&str> = include_str!("tables.txt").lines().collect();
    assert!(lines.len() > 50, "the list is whole");
    for line in lines {
        let (path, expected) = line.split_once(": ").expect("a path and columns");
        let table = get_as(&server.client, path, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
        let columns = table["columnDefinitions"].as_array().expect("columns");
        let found = columns.iter().map(written).collect::<Vec<_>>().join(", ");
        if found != expected {
            wrong.push(format!("{path}\n  here     {found}\n  upstream {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_shows_accounts_with_their_namespace_and_nobody_else() {
    let server = TestServer::start(&[]).await;
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [
            {"kind": "User", "name": "anna", "apiGroup": "rbac.authorization.k8s.io", "namespace": "n"},
            {"kind": "ServiceAccount", "name": "a", "namespace": "n"},
        ],
    });
    post(&server.client, path, &binding).await.expect(201);
    let kind = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = get_as(&server.client, &format!("{path}/b"), kind).await.expect(200);
    let cells = table["rows"][0]["cells"].as_array().expect("cells");
    assert_eq!(cells[3..], [json!("anna"), json!(""), json!("n/a")]);
}
