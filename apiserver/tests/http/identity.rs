//! The Leases by which servers tell that they are there.

use std::sync::Arc;

use apiserver::store::embedded::{Embedded, Options, disk::Folder};
use apiserver::store::{RangeRequest, Store};
use component::clock::Clock;
use serde_json::{Value, json};

use crate::client::{Watch, delete, get, post};
use crate::support::TestServer;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const SELECTED: &str = "labelSelector=apiserver.kubernetes.io/identity%3Dkube-apiserver";

async fn leases(client: &kube::Client) -> Vec<Value> {
    let list = get(client, &format!("{LEASES}?{SELECTED}")).await.expect(200);
    list["items"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_that_it_is_there_as_long_as_it_is() {
    let server = TestServer::start(&[]).await;
    let told = leases(&server.client).await;
    let [lease] = &told[..] else { panic!("{told:?}") };
    let name = lease["metadata"]["name"].as_str().expect("a name");
    let hash = name.strip_prefix("apiserver-").expect("upstream's name");
    assert!(hash.len() == 26 && hash.chars().all(|letter| matches!(letter, 'a'..='z' | '2'..='7')), "{name}");
    assert_eq!(
        lease["metadata"]["annotations"]["kubernetes.io/peer-advertise-address"].as_str().map(str::is_empty),
        Some(false)
    );
    assert!(lease["metadata"]["labels"]["kubernetes.io/hostname"].is_string());
    let spec = &lease["spec"];
    assert_eq!(spec["leaseDurationSeconds"], 3600);
    assert!(spec["holderIdentity"].as_str().is_some_and(|holder| holder.starts_with(&format!("{name}_"))));
    // Taken away by somebody, it is made anew, and renewed.
    let mut watch = Watch::open(&server.client, &format!("{LEASES}?watch=1&{SELECTED}")).await;
    assert_eq!(watch.told().await, format!("ADDED {name}"));
    delete(&server.client, &format!("{LEASES}/{name}"), &Value::Null).await.expect(200);
    assert_eq!(watch.told().await, format!("DELETED {name}"));
    let (kind, made) = watch.next().await.expect("a new Lease");
    assert_eq!((kind.as_str(), &made["spec"]["holderIdentity"]), ("ADDED", &spec["holderIdentity"]));
    let folder = server.stop().await;
    let disk = Arc::new(Folder::open(&folder.path().join("store")).expect("the store's folder"));
    let store = Embedded::start(disk, Clock::system(), Options::default()).await.expect("the store");
    let left = store.range(RangeRequest::prefix("/registry/leases/kube-system/apiserver-")).await.expect("keys");
    assert_eq!(left.entries.len(), 0, "a server that ends takes its Lease along");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_servers_that_died_have_left_is_cleared_away() {
    let server = TestServer::start(&[]).await;
    let lease = |name: &str, renewed: &str, label: &str| {
        json!({
            "metadata": {"name": name, "labels": {"apiserver.kubernetes.io/identity": label}},
            "spec": {"holderIdentity": "x", "leaseDurationSeconds": 3600, "renewTime": renewed},
        })
    };
    let (long_ago, far_away) = ("2020-01-01T00:00:00.000000Z", "2120-01-01T00:00:00.000000Z");
    for (name, renewed, label) in [
        ("apiserver-dead", long_ago, "kube-apiserver"),
        ("apiserver-alive", far_away, "kube-apiserver"),
        ("apiserver-others", long_ago, "another"),
    ] {
        post(&server.client, LEASES, &lease(name, renewed, label)).await.expect(201);
    }
    let server = TestServer::start_in(server.stop().await, &[]).await;
    let mut watch =
        Watch::open(&server.client, &format!("{LEASES}?watch=1&fieldSelector=metadata.name%3Dapiserver-dead")).await;
    while get(&server.client, &format!("{LEASES}/apiserver-dead")).await.code == 200 {
        // It was there when the watch began, or is gone.
        watch.next().await.expect("its end");
    }
    for name in ["apiserver-alive", "apiserver-others"] {
        get(&server.client, &format!("{LEASES}/{name}")).await.expect(200);
    }
}
