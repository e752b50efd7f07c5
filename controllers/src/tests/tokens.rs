//! Bootstrap tokens, legacy tokens and load balancer addresses.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde_json::{Value, json};

use super::World;
use crate::{bootstrap, legacytokens, servicelb};

fn token(id: &str, expiration: &str) -> Value {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "data": {"token-id": encode(id), "token-secret": encode("0123456789abcdef"),
            "usage-bootstrap-signing": encode("true"), "expiration": encode(expiration)}})
}

#[tokio::test]
async fn tokens_sign_until_they_expire() {
    let world = World::new();
    world.fake.put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"kubeconfig": "x"},
        "metadata": {"name": "cluster-info", "namespace": "kube-public"}}));
    world.fake.put(&token("abcdef", "2099-01-01T00:00:00Z"));
    world.fake.put(&token("ghijkl", "2020-01-01T00:00:00Z"));
    tokio::spawn(bootstrap::signer::run(world.ctx.clone()));
    tokio::spawn(bootstrap::cleaner::run(world.ctx.clone()));
    world.until("the old one goes", |f| f.get::<Secret>("kube-system", "bootstrap-token-ghijkl").is_none()).await;
    let keys = || {
        let map = world.fake.get::<ConfigMap>("kube-public", "cluster-info").unwrap();
        map.data.unwrap().into_keys().collect::<Vec<_>>()
    };
    world.until("a signature", |_| keys() == ["jws-kubeconfig-abcdef", "kubeconfig"]).await;
    world.fake.remove::<Secret>("kube-system", "bootstrap-token-abcdef");
    world.until("no signature", |_| keys() == ["kubeconfig"]).await;
}

#[tokio::test]
async fn unused_legacy_tokens_are_marked() {
    let world = World::new();
    world.fake.put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"since": "2020-01-01"},
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"}}));
    world.fake.put(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "secrets": [{"name": "t"}],
        "metadata": {"name": "a", "namespace": "n", "uid": "a"}}));
    world.fake.put(&json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "t", "namespace": "n", "creationTimestamp": "2020-01-01T00:00:00Z",
            "annotations": {"kubernetes.io/service-account.name": "a", "kubernetes.io/service-account.uid": "a"}}}));
    tokio::spawn(legacytokens::run(world.ctx.clone(), Duration::from_secs(3600)));
    let marked = |f: &component::testing::FakeApi| {
        let labels = f.get::<Secret>("n", "t").unwrap().metadata.labels.unwrap_or_default();
        labels.contains_key("kubernetes.io/legacy-token-invalid-since")
    };
    world.until("a mark", marked).await;
}

#[tokio::test]
async fn services_get_addresses_of_the_pool() {
    let world = World::new();
    let service = |name: &str, kind: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"type": kind, "ipFamilies": ["IPv4"]}})
    };
    ["a", "b", "c"].iter().for_each(|name| world.fake.put(&service(name, "LoadBalancer")));
    let pool = servicelb::Pool::parse(&["192.0.2.1-192.0.2.2".into()]).unwrap();
    tokio::spawn(servicelb::run(world.ctx.clone(), pool));
    let of = |name: &str| {
        let status = world.fake.get::<Service>("n", name)?.status?.load_balancer?;
        status.ingress?.first()?.ip.clone()
    };
    let all = || ["a", "b", "c"].map(of);
    world.until("two of three", |_| all().iter().flatten().count() == 2).await;
    let mut given: Vec<_> = all().into_iter().flatten().collect();
    given.sort();
    assert_eq!(given, ["192.0.2.1", "192.0.2.2"]);
    let served = ["a", "b", "c"].into_iter().find(|name| of(name).is_some()).unwrap();
    world.fake.remove::<Service>("n", served);
    world.until("the third", |_| all().iter().flatten().count() == 2).await;
}
