//! In which form objects are stored, on both stores, and that either form is read whatever is written.

use std::io::Write as _;

use apiserver::store::Store;
use apiserver::store::embedded::disk::Folder;
use apiserver::store::embedded::{self, Embedded};
use component::clock::Clock;
use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, config_map, get, patch, post};
use crate::etcd;
use crate::support::TestServer;

const KEY: &str = "/registry/configmaps/default/";
const PROTOBUF: &str = "--storage-media-type=application/vnd.kubernetes.protobuf";
const JSON: &str = "--storage-media-type=application/json";

async fn is_protobuf(store: &dyn Store, name: &str) -> bool {
    let (entry, _) = store.get(&format!("{KEY}{name}"), None).await.expect("an answer");
    entry.expect("it is stored").value.starts_with(b"k8s\0")
}

async fn make(server: &TestServer, name: &str) -> Value {
    post(&server.client, CONFIG_MAPS, &config_map(name, &json!({"k": "v"}))).await.expect(201)
}

/// What was stored before reads back as it was answered, and takes a change.
async fn holds(server: &TestServer, made: &Value) {
    let name = made["metadata"]["name"].as_str().expect("a name");
    let path = format!("{CONFIG_MAPS}/{name}");
    assert_eq!(get(&server.client, &path).await.expect(200), *made);
    let changed = patch(&server.client, &path, "merge", &json!({"data": {"more": "x"}})).await.expect(200);
    assert_eq!(changed["data"], json!({"k": "v", "more": "x"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_holds_either_form() {
    let server = TestServer::start(&[]).await;
    let plain = make(&server, "plain").await;
    let folder = server.stop().await;
    let server = TestServer::start_in(folder, &[PROTOBUF]).await;
    let packed = make(&server, "packed").await;
    let folder = server.stop().await;
    let disk = std::sync::Arc::new(Folder::open(&folder.path().join("store")).expect("the store's folder"));
    let store = Embedded::start(disk, Clock::system(), embedded::Options::default()).await.expect("the store");
    assert!(!is_protobuf(&store, "plain").await && is_protobuf(&store, "packed").await);
    store.close().await;
    drop(store);
    let server = TestServer::start_in(folder, &[PROTOBUF]).await;
    holds(&server, &plain).await;
    let server = TestServer::start_in(server.stop().await, &[]).await;
    holds(&server, &packed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_holds_protobuf_unless_told_otherwise() {
    let Some(etcd) = etcd::Server::start() else {
        let _ = writeln!(std::io::stderr(), "NOTICE: no etcd here; test skipped");
        return;
    };
    let store = etcd.store().await;
    let url = format!("--etcd-servers={}", etcd.url());
    let server = TestServer::start(&[&url]).await;
    let packed = make(&server, "packed").await;
    assert!(is_protobuf(&*store, "packed").await);
    let folder = server.stop().await;
    let server = TestServer::start_in(folder, &[&url, JSON]).await;
    let plain = make(&server, "plain").await;
    assert!(!is_protobuf(&*store, "plain").await);
    holds(&server, &packed).await;
    let server = TestServer::start_in(server.stop().await, &[&url]).await;
    holds(&server, &plain).await;
}
