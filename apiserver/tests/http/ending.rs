//! The end of a server: it takes nothing new, and what is under way is answered.

use std::sync::Arc;
use std::time::Duration;

use component::shutdown::Shutdown;
use serde_json::json;

use crate::client::{CONFIG_MAPS, config_map, get, post};
use crate::support::TestServer;
use crate::{etcd, in_process};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_to_end_says_so_while_it_still_serves() {
    let server = TestServer::start(&["--shutdown-delay-duration=1h"]).await;
    let client = &server.client;
    assert_eq!(get(client, "/readyz/shutdown").await.code, 200);
    server.shutdown.trigger();
    let told = async {
        while get(client, "/readyz").await.code == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is not ready any more");
    let report = get(client, "/readyz?verbose").await;
    assert!(
        report.body.as_str().is_some_and(|text| text.contains("[-]shutdown failed: reason withheld")),
        "{report:?}"
    );
    assert_eq!(get(client, "/livez").await.code, 200);
    post(client, CONFIG_MAPS, &config_map("late", &json!({}))).await.expect(201);
    assert_eq!(get(client, "/readyz?exclude=shutdown").await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_by_upstreams_names() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let report = get(client, "/readyz?verbose").await;
    let text = report.body.as_str().expect("a text");
    for check in [
        "ping",
        "log",
        "etcd",
        "etcd-readiness",
        "informer-sync",
        "shutdown",
        "poststarthook/rbac/bootstrap-roles",
        "poststarthook/start-system-namespaces-controller",
        "poststarthook/bootstrap-controller",
    ] {
        assert!(text.contains(&format!("[+]{check} ok\n")), "{check}: {text}");
        assert_eq!(get(client, &format!("/readyz/{check}")).await.code, 200, "{check}");
    }
    assert!(text.ends_with("readyz check passed\n"), "{text}");
    assert_eq!(get(client, "/livez/etcd").await.code, 200);
    assert_eq!(get(client, "/livez/shutdown").await.code, 404);
    let paths = get(client, "/").await.expect(200);
    let paths: Vec<&str> = paths["paths"].as_array().expect("paths").iter().filter_map(|path| path.as_str()).collect();
    assert!(paths.contains(&"/healthz/etcd") && paths.contains(&"/readyz/shutdown"), "{paths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_is_told() {
    let Some(etcd) = etcd::Server::start() else { return };
    drop(etcd.store().await);
    let server = TestServer::start(&[&format!("--etcd-servers={}", etcd.url())]).await;
    let client = &server.client;
    assert_eq!(get(client, "/livez").await.code, 200);
    drop(etcd);
    let told = async {
        while get(client, "/livez").await.code == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is not well");
    let report = get(client, "/readyz?verbose").await;
    let text = report.body.as_str().expect("a text");
    assert!(text.contains("[-]etcd failed") && text.contains("[-]etcd-readiness failed"), "{text}");
    assert_eq!(get(client, "/livez?exclude=etcd").await.code, 200);
}
