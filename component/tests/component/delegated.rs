//! Who may ask a component, by what the API server says of tokens and rights.

use std::time::Duration;

use component::{
    clock::Clock,
    delegated::{Attributes, ClientAuthority, Decision, Delegated, Settings, User},
    informer::{Informers, Selection},
    random::Random,
    serve::PeerInfo,
    shutdown::Shutdown,
    testing::FakeApi,
    tls,
};
use http::{HeaderMap, header::AUTHORIZATION};
use k8s_openapi::api::core::v1::ConfigMap;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use serde_json::json;

use crate::support::{Authority, Pair, START, soon};

fn headers(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, authorization.parse().unwrap());
    headers
}

fn delegated(fake: &FakeApi, settings: Settings) -> std::sync::Arc<Delegated> {
    Delegated::new(Some(fake.client()), settings, Clock::simulated(START.parse().unwrap())).unwrap()
}

fn reviews(fake: &FakeApi, resource: &str) -> usize {
    fake.received().iter().filter(|request| request.resource == resource).count()
}

#[tokio::test(start_paused = true)]
async fn tokens_are_looked_up_and_remembered_for_a_while() {
    let fake = FakeApi::new();
    fake.react(|request| {
        let known = request.body["spec"]["token"] == "good";
        let status =
            if known { json!({"authenticated": true, "user": {"username": "u", "groups": ["g"]}}) } else { json!({}) };
        (request.resource == "tokenreviews").then(|| (201, json!({"spec": {"token": ""}, "status": status})))
    });
    let delegated = delegated(&fake, Settings::default());
    let user = delegated.authenticate(&headers("Bearer good"), None).await.unwrap();
    assert_eq!(user, Some(User::named("u", ["g", "system:authenticated"])));
    delegated.authenticate(&headers("bearer good"), None).await.unwrap();
    assert_eq!(reviews(&fake, "tokenreviews"), 1);
    tokio::time::advance(Duration::from_secs(11)).await;
    delegated.authenticate(&headers("Bearer good"), None).await.unwrap();
    assert_eq!(reviews(&fake, "tokenreviews"), 2);
    assert_eq!(delegated.authenticate(&headers("Bearer bad"), None).await.unwrap(), None);
    assert_eq!(delegated.authenticate(&HeaderMap::new(), None).await.unwrap(), Some(User::anonymous()));
}

#[tokio::test(start_paused = true)]
async fn access_is_asked_with_all_attributes() {
    let fake = FakeApi::new();
    fake.react(|request| {
        let allowed = request.body["spec"]["resourceAttributes"]["subresource"] == "log";
        let status = json!({"allowed": allowed, "reason": "because"});
        (request.resource == "subjectaccessreviews").then(|| (201, json!({"spec": {}, "status": status})))
    });
    let delegated = delegated(&fake, Settings::default());
    let attributes = |subresource: &str| Attributes::Resource {
        verb: "get".into(),
        group: String::new(),
        version: "v1".into(),
        resource: "nodes".into(),
        subresource: subresource.into(),
        namespace: String::new(),
        name: "node-1".into(),
    };
    let user = User::named("u", ["g"]);
    for _ in 0..2 {
        assert_eq!(delegated.authorize(&user, &attributes("log")).await.unwrap(), Decision::Allow);
        let denied = delegated.authorize(&user, &attributes("proxy")).await.unwrap();
        assert_eq!(denied, Decision::Deny("because".to_owned()));
    }
    assert_eq!(reviews(&fake, "subjectaccessreviews"), 2);
    let sent = &fake.received()[0].body["spec"];
    assert_eq!(sent["user"], "u");
    assert_eq!(sent["resourceAttributes"]["name"], "node-1");
    let masters = User::named("admin", ["system:masters"]);
    assert_eq!(delegated.authorize(&masters, &attributes("proxy")).await.unwrap(), Decision::Allow);
    let open = Attributes::NonResource { verb: "get".into(), path: "/healthz".into() };
    assert_eq!(delegated.authorize(&User::anonymous(), &open).await.unwrap(), Decision::Allow);
    assert_eq!(reviews(&fake, "subjectaccessreviews"), 2);
    // As long as whoever asks likes, answers would fill the memory.
    let long = Attributes::NonResource { verb: "get".into(), path: format!("/{}", "x".repeat(10_000)) };
    for _ in 0..2 {
        assert!(matches!(delegated.authorize(&user, &long).await.unwrap(), Decision::Deny(_)));
    }
    assert_eq!(reviews(&fake, "subjectaccessreviews"), 4);
}

#[tokio::test(start_paused = true)]
async fn client_authorities_that_the_cluster_publishes_are_taken() {
    let (fake, ca) = (FakeApi::new(), Authority::new("ca"));
    let delegated = delegated(&fake, Settings::default());
    let certificate = chain(&ca.issue("admin", "system:masters", &[]).certificate);
    let local = "127.0.0.1:1".parse().unwrap();
    let peer = PeerInfo { remote: local, local, tls: true, certificates: certificate.into() };
    let nobody = HeaderMap::new();
    let before = delegated.authenticate(&nobody, Some(&peer)).await.unwrap();
    assert_eq!(before, Some(User::anonymous()), "no authority is known yet");

    let informers = Informers::new(fake.client(), Random::seeded(1), Shutdown::new());
    delegated.follow_cluster(&informers);
    let name = "extension-apiserver-authentication";
    fake.put(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kube-system"},
        "data": {"client-ca-file": ca.pem()},
    }));
    let selection = Selection::fields(format!("metadata.name={name}"));
    let map = informers.namespaced::<ConfigMap>("kube-system", selection);
    soon(map.synced()).await;
    while map.is_empty() {
        tokio::task::yield_now().await;
    }
    let user = delegated.authenticate(&nobody, Some(&peer)).await.unwrap();
    assert_eq!(user, Some(User::named("admin", ["system:masters", "system:authenticated"])));
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    tls::certificates_from_pem(pem.as_bytes(), "test").unwrap()
}

#[test]
fn a_client_certificate_says_who_and_only_of_a_known_authority() {
    let (ours, theirs) = (Authority::new("ca"), Authority::new("ca"));
    let authority = ClientAuthority::new(chain(&ours.pem()));
    let now = START.parse().unwrap();
    let node = ours.issue("system:node:a", "system:nodes", &[]);
    let user = authority.user(&chain(&node.certificate), now).unwrap();
    assert_eq!(user, User::named("system:node:a", ["system:nodes"]));
    assert_eq!(authority.user(&chain(&theirs.issue("system:node:a", "", &[]).certificate), now), None);
    assert_eq!(authority.user(&[], now), None);
    // What was found once is asked for again, and holds no longer than the certificate, in both directions.
    assert_eq!(authority.user(&chain(&node.certificate), now), Some(user));
    for other_time in ["1960-01-01T00:00:00Z", "4500-01-01T00:00:00Z"] {
        assert_eq!(authority.user(&chain(&node.certificate), other_time.parse().unwrap()), None, "{other_time}");
    }
}

/// As with Go, whose programs may be shown the same certificate.
#[test]
fn of_two_common_names_the_last_counts() {
    let authority = Authority::new("ca");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "first");
    params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "last");
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), &authority.0).unwrap();
    let user = ClientAuthority::new(chain(&authority.pem())).user(&chain(&certificate.pem()), START.parse().unwrap());
    assert_eq!(user, Some(User::named("last", [])));
}

#[test]
fn a_version_1_authority_vouches_for_itself() {
    let certificate = chain(&Pair::version_1().certificate);
    let user = ClientAuthority::new(certificate.clone()).user(&certificate, "2027-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(user, Some(User::named("kubernetes", ["system:masters"])));
    let other = ClientAuthority::new(chain(&Authority::new("other").pem()));
    assert_eq!(other.user(&certificate, "2027-01-01T00:00:00Z".parse().unwrap()), None);
}
