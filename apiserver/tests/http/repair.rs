//! What is put right of Services' addresses and node ports.

use std::sync::Arc;

use apiserver::store::embedded::{Embedded, Options, disk::Folder};
use apiserver::store::{Commit, Store, Write};
use component::clock::Clock;
use serde_json::{Value, json};

use crate::client::{Watch, delete, get, post};
use crate::support::TestServer;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

/// Addresses here are of those that are given to nobody who asks for none: the first sixteen of the range.
fn service(name: &str, node_port: u16) -> Value {
    let ports = json!([{"port": 80, "nodePort": node_port}]);
    json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "clusterIP": "10.0.0.10", "ports": ports}})
}

fn address(name: &str, service: &str, created: &str) -> Value {
    let labels = json!({"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": name, "uid": name, "creationTimestamp": created, "labels": labels},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": service}},
    })
}

/// Waits for an event with these words.
async fn told(client: &kube::Client, reason: &str, note: &str) {
    let mut watch = Watch::open(client, &format!("{EVENTS}?watch=1&fieldSelector=reason%3D{reason}")).await;
    while let Some((_, event)) = watch.next().await {
        if event["note"] == note {
            assert_eq!((&event["type"], event["regarding"]["uid"].is_string()), (&json!("Warning"), true), "{event}");
            return;
        }
    }
    panic!("nothing is told: {note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_no_range_is_refused_in_upstreams_words() {
    let server = TestServer::start(&[]).await;
    let mut elsewhere = service("a", 30_100);
    elsewhere["spec"]["clusterIP"] = "192.0.2.1".into();
    let refused = post(&server.client, SERVICES, &elsewhere).await.expect(422);
    let why = "spec.clusterIPs: Invalid value: [\"192.0.2.1\"]: failed to allocate IP 192.0.2.1: the provided network does not match the current range";
    assert_eq!(refused["message"], format!("Service \"a\" is invalid: {why}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_people_delete_is_written_down_again() {
    let server = TestServer::start(&[]).await;
    let made = post(&server.client, SERVICES, &service("a", 30100)).await.expect(201);
    let held = made["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let path = format!("{ADDRESSES}/{held}");
    let before = get(&server.client, &path).await.expect(200);
    let mut watch =
        Watch::open(&server.client, &format!("{ADDRESSES}?watch=1&fieldSelector=metadata.name%3D{held}")).await;
    assert_eq!(watch.told().await, format!("ADDED {held}"));
    delete(&server.client, &path, &Value::Null).await.expect(200);
    assert_eq!(watch.told().await, format!("DELETED {held}"));
    assert_eq!(watch.told().await, format!("ADDED {held}"));
    assert_eq!(get(&server.client, &path).await.expect(200)["spec"], before["spec"]);
    let note = format!("Cluster IP [IPv4]: {held} is not allocated; repairing");
    told(&server.client, "ClusterIPNotAllocated", &note).await;
    // With its Service it goes.
    delete(&server.client, &format!("{SERVICES}/a"), &Value::Null).await.expect(200);
    assert_eq!(watch.told().await, format!("DELETED {held}"));
    get(&server.client, &path).await.refused(404, "NotFound");
}

/// Writes beside the server, which is not running.
async fn written(folder: &tempfile::TempDir, writes: Vec<Write>) {
    let disk = Arc::new(Folder::open(&folder.path().join("store")).expect("the store's folder"));
    let store = Embedded::start(disk, Clock::system(), Options::default()).await.expect("the store");
    store.commit(Commit { conditions: Vec::new(), writes }).await.expect("to write");
    store.close().await;
}

/// Fails unless somebody has the node port already.
async fn is_taken(client: &kube::Client, node_port: u16) {
    let mut claimant = service("claimant", node_port);
    claimant["spec"]["clusterIP"] = Value::Null;
    let refused = post(client, SERVICES, &claimant).await;
    refused.refused(422, "Invalid");
    let words = refused.body["message"].as_str().unwrap_or_default();
    assert!(words.contains("provided port is already allocated"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_brings_is_put_right_at_the_start() {
    let server = TestServer::start(&[]).await;
    let made = post(&server.client, SERVICES, &service("a", 30100)).await.expect(201);
    let held = made["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let mut other = service("c", 30101);
    other["spec"]["clusterIP"] = "10.0.0.11".into();
    post(&server.client, SERVICES, &other).await.expect(201);
    let folder = server.stop().await;
    let put = |object: Value| Write::Put {
        key: format!("/registry/ipaddresses/{}", object["metadata"]["name"].as_str().expect("a name")),
        value: object.to_string().into(),
        ttl: None,
    };
    let writes = vec![
        Write::Delete { key: "/registry/ranges/servicenodeports".to_owned() },
        Write::Delete { key: format!("/registry/ipaddresses/{held}") },
        put(address("10.0.0.11", "a", "2020-01-01T00:00:00Z")),
        put(address("10.0.0.201", "gone", "2020-01-01T00:00:00Z")),
        put(address("10.0.0.202", "a", "2020-01-01T00:00:00Z")),
        put(address("10.0.0.203", "gone", "2120-01-01T00:00:00Z")),
    ];
    written(&folder, writes).await;
    let server = TestServer::start_in(folder, &[]).await;
    let client = &server.client;
    get(client, &format!("{ADDRESSES}/{held}")).await.expect(200);
    get(client, &format!("{ADDRESSES}/10.0.0.201")).await.refused(404, "NotFound");
    get(client, &format!("{ADDRESSES}/10.0.0.202")).await.refused(404, "NotFound");
    // Of two Services, it belongs to the one that holds it.
    let moved = get(client, &format!("{ADDRESSES}/10.0.0.11")).await.expect(200);
    assert_eq!(moved["spec"]["parentRef"]["name"], "c");
    // Its Service may still be on its way.
    get(client, &format!("{ADDRESSES}/10.0.0.203")).await.expect(200);
    is_taken(client, 30100).await;
    told(client, "PortNotAllocated", "Port 30100 is not allocated; repairing").await;
    let leaked = "IPAddress: 10.0.0.201 for Service default/gone appears to have leaked: cleaning up";
    told(client, "IPAddressNotAllocated", leaked).await;
    let strange = "IPAddress: 10.0.0.202 for Service default/a has a wrong reference; cleaning up";
    told(client, "IPAddressWrongReference", strange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_outside_the_range_gives_back_none_within() {
    let server = TestServer::start(&["--service-node-port-range=29000-32767"]).await;
    let mut low = service("low", 29500);
    low["spec"]["clusterIP"] = Value::Null;
    post(&server.client, SERVICES, &low).await.expect(201);
    post(&server.client, SERVICES, &service("first", 30000)).await.expect(201);
    let folder = server.stop().await;
    // A bitmap that cannot be read keeps no server from starting.
    let put = Write::Put { key: "/registry/ranges/servicenodeports".to_owned(), value: "{".into(), ttl: None };
    written(&folder, vec![put]).await;
    let server = TestServer::start_in(folder, &[]).await;
    is_taken(&server.client, 30000).await;
    delete(&server.client, &format!("{SERVICES}/low"), &Value::Null).await.expect(200);
    is_taken(&server.client, 30000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_nobody_has_outlives_looks_at_addresses() {
    let server = TestServer::start(&[]).await;
    let mut gone = service("gone", 30200);
    gone["spec"]["clusterIP"] = "10.0.0.11".into();
    post(&server.client, SERVICES, &gone).await.expect(201);
    post(&server.client, SERVICES, &service("a", 30100)).await.expect(201);
    let folder = server.stop().await;
    written(&folder, vec![Write::Delete { key: "/registry/services/specs/default/gone".to_owned() }]).await;
    let server = TestServer::start_in(folder, &[]).await;
    let client = &server.client;
    let (path, field) = (format!("{ADDRESSES}/10.0.0.10"), "fieldSelector=metadata.name%3D10.0.0.10");
    let mut watch = Watch::open(client, &format!("{ADDRESSES}?watch=1&{field}")).await;
    assert_eq!(watch.told().await, "ADDED 10.0.0.10");
    for _ in 0..4 {
        delete(client, &path, &Value::Null).await.expect(200);
        assert_eq!(watch.told().await, "DELETED 10.0.0.10");
        assert_eq!(watch.told().await, "ADDED 10.0.0.10");
    }
    is_taken(client, 30200).await;
}
