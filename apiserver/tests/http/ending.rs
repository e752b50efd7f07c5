//! The end of a server: it takes nothing new, and what is under way is answered.

use std::sync::Arc;

use component::shutdown::Shutdown;
use serde_json::json;

use crate::client::{CONFIG_MAPS, config_map, get, post};
use crate::in_process;

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_while_the_server_ends_still_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let shutdown = Shutdown::new();
    let server = in_process::start(&folder, Arc::new(in_process::store(&folder).await), shutdown.clone());
    let client = kube::Client::new(server.service(), "default");
    // The server makes it, too, and one of the two is first.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    post(&client, "/api/v1/namespaces", &namespace).await;

    shutdown.trigger();
    post(&client, CONFIG_MAPS, &config_map("late", &json!({}))).await.expect(201);
    let list = get(&client, CONFIG_MAPS).await.expect(200);
    let items = list["items"].as_array().expect("items");
    assert!(items.iter().any(|item| item["metadata"]["name"] == "late"), "{list}");
}
