//! The client over real connections: one for all requests, credentials, limits, reconnecting.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use component::{
    client::{self, ClientConfig, ServiceAccountClients},
    delegated::ClientAuthority,
    serve::{self, PeerInfo},
    shutdown::Shutdown,
    testing::FakeApi,
    tls::{self, FixedKey, MinVersion},
};
use futures::{StreamExt, stream};
use http::{Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::Api;
use serde_json::{Value, json};

use crate::support::{Authority, Pair, soon};

/// A server that answers with what it saw of the request and its connection.
struct Mirror {
    address: SocketAddr,
    shutdown: Shutdown,
}

impl Mirror {
    fn start(certificate: Option<&Pair>, authority: Option<String>) -> Self {
        let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self::on(listener, certificate, authority)
    }

    fn on(listener: tokio::net::TcpListener, certificate: Option<&Pair>, authority: Option<String>) -> Self {
        let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
        let tls = certificate.map(|pair| {
            let config = tls::server_config(Arc::new(FixedKey(pair.certified())), MinVersion::Tls12);
            Arc::new(config.unwrap())
        });
        let authority =
            authority.map(|pem| ClientAuthority::new(tls::certificates_from_pem(pem.as_bytes(), "ca").unwrap()));
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let answer = mirror(&request, authority.as_ref());
            async move { Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(answer.to_string())))) }
        });
        tokio::spawn(serve::accept(listener, tls, service, shutdown.clone()));
        Self { address, shutdown }
    }
}

pub(crate) fn mirror(request: &Request<Incoming>, authority: Option<&ClientAuthority>) -> Value {
    let peer = request.extensions().get::<PeerInfo>().unwrap();
    let now = "2027-01-01T00:00:00Z".parse().unwrap();
    let user = authority.and_then(|authority| authority.user(&peer.certificates, now));
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "mirror"},
        "data": {
            "path": request.uri().path(),
            "port": peer.remote.port().to_string(),
            "h2": (request.version() == Version::HTTP_2).to_string(),
            "user": user.as_ref().map(|user| user.name.clone()).unwrap_or_default(),
            "groups": user.map(|user| user.groups.join(",")).unwrap_or_default(),
            "authorization": header("authorization").unwrap_or_default(),
            "user-agent": header("user-agent").unwrap_or_default(),
            "accept": header("accept").unwrap_or_default(),
        },
    })
}

pub(crate) fn kubeconfig(server: &str, cluster: Value, user: Value) -> tempfile::NamedTempFile {
    let mut cluster = cluster;
    cluster["server"] = json!(server);
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text.to_string()).unwrap();
    file
}

pub(crate) fn data(text: &str) -> Value {
    json!(BASE64_STANDARD.encode(text))
}

pub(crate) async fn ask(client: &kube::Client) -> kube::Result<std::collections::BTreeMap<String, String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "ns");
    Ok(soon(api.get("mirror")).await?.data.unwrap())
}

async fn ask_as(file: &tempfile::NamedTempFile) -> kube::Result<std::collections::BTreeMap<String, String>> {
    ask(&client::connect(ClientConfig::from_kubeconfig("test", file.path())).unwrap()).await
}

#[tokio::test]
async fn requests_share_one_http2_connection_and_show_the_certificate() {
    let authority = Authority::new("ca");
    let server = Mirror::start(Some(&authority.issue("server", "", &["127.0.0.1"])), Some(authority.pem()));
    let pair = authority.issue("system:kube-scheduler", "some:group", &[]);
    let file = kubeconfig(
        &format!("https://{}", server.address),
        json!({"certificate-authority-data": data(&authority.pem())}),
        json!({"client-certificate-data": data(&pair.certificate), "client-key-data": data(&pair.key)}),
    );
    let client = client::connect(ClientConfig::from_kubeconfig("test", file.path())).unwrap();
    // Also those that come while the connection is being made.
    let together = futures::future::join_all((0..20).map(|_| ask(&client))).await;
    let first = together[0].as_ref().unwrap();
    assert!(together.iter().all(|other| other.as_ref().unwrap()["port"] == first["port"]));
    assert_eq!(first["h2"], "true");
    assert_eq!((&*first["user"], &*first["groups"]), ("system:kube-scheduler", "some:group"));
    assert_eq!(first["accept"], "application/json");
    assert!(first["user-agent"].starts_with("test/v1."), "{}", first["user-agent"]);
    let others = futures::future::join_all((0..50).map(|_| ask(&client))).await;
    assert!(others.into_iter().all(|other| other.unwrap()["port"] == first["port"]));
}

#[tokio::test]
async fn a_version_1_certificate_serves_as_client_certificate_and_as_authority() {
    let version_1 = Pair::version_1();
    let authority = Authority::new("ca");
    let server =
        Mirror::start(Some(&authority.issue("server", "", &["127.0.0.1"])), Some(version_1.certificate.clone()));
    let user = json!({
        "client-certificate-data": data(&version_1.certificate), "client-key-data": data(&version_1.key),
    });
    let address = format!("https://{}", server.address);
    let skipping = kubeconfig(&address, json!({"insecure-skip-tls-verify": true}), user.clone());
    let seen = ask_as(&skipping).await.unwrap();
    assert_eq!((&*seen["user"], &*seen["groups"]), ("kubernetes", "system:masters"));

    // Beside other authorities in the bundle it does not spoil the rest.
    let bundle = format!("{}{}", version_1.certificate, authority.pem());
    let bundled = kubeconfig(&address, json!({"certificate-authority-data": data(&bundle)}), user);
    assert_eq!(ask_as(&bundled).await.unwrap()["user"], "kubernetes");
}

#[tokio::test]
async fn a_serving_certificate_signed_by_a_version_1_authority_is_taken() {
    let version_1 = Pair::version_1();
    let key = rcgen::KeyPair::from_pem(&version_1.key).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&version_1.certificate, key);
    // rcgen reads extensions that a version 1 certificate has not: name the issuer by hand where it refuses.
    let issuer = issuer.unwrap_or_else(|_| version_1_issuer(&version_1));
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let server = Mirror::start(Some(&Pair { certificate: certificate.pem(), key: key.serialize_pem() }), None);
    let cluster = json!({"certificate-authority-data": data(&version_1.certificate)});
    let file = kubeconfig(&format!("https://{}", server.address), cluster, json!({"token": "secret"}));
    assert_eq!(ask_as(&file).await.unwrap()["authorization"], "Bearer secret");
}

fn version_1_issuer(pair: &Pair) -> rcgen::Issuer<'static, rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "kubernetes");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    rcgen::Issuer::new(params, rcgen::KeyPair::from_pem(&pair.key).unwrap())
}

#[tokio::test]
async fn a_server_of_another_authority_or_name_is_refused() {
    let (ours, theirs) = (Authority::new("ca"), Authority::new("ca"));
    let server = Mirror::start(Some(&theirs.issue("server", "", &["127.0.0.1"])), None);
    let cluster = json!({"certificate-authority-data": data(&ours.pem())});
    let address = format!("https://{}", server.address);
    let error = ask_as(&kubeconfig(&address, cluster, json!({}))).await.unwrap_err();
    assert!(format!("{error:?}").contains("invalid peer certificate"), "{error:?}");

    let named = Mirror::start(Some(&ours.issue("server", "", &["kubernetes"])), None);
    let address = format!("https://{}", named.address);
    let cluster = json!({"certificate-authority-data": data(&ours.pem())});
    assert!(ask_as(&kubeconfig(&address, cluster.clone(), json!({}))).await.is_err());
    let mut cluster = cluster;
    cluster["tls-server-name"] = json!("kubernetes");
    assert!(ask_as(&kubeconfig(&address, cluster, json!({}))).await.is_ok());
}

#[tokio::test]
async fn plain_http_needs_no_kubeconfig_and_keeps_a_path() {
    let server = Mirror::start(None, None);
    let master = format!("http://{}/prefix/", server.address);
    let client = client::connect(ClientConfig::from_master("test", master)).unwrap();
    let seen = ask(&client).await.unwrap();
    assert_eq!(seen["path"], "/prefix/api/v1/namespaces/ns/configmaps/mirror");
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again() {
    let authority = Authority::new("ca");
    let pair = authority.issue("server", "", &["127.0.0.1"]);
    let server = Mirror::start(Some(&pair), None);
    let cluster = json!({"certificate-authority-data": data(&authority.pem())});
    let file = kubeconfig(&format!("https://{}", server.address), cluster, json!({}));
    let client = client::connect(ClientConfig::from_kubeconfig("test", file.path())).unwrap();
    let before = ask(&client).await.unwrap();
    server.shutdown.trigger();
    let listener = soon(async {
        loop {
            // The old listener closes with the accept loop.
            match serve::bind(server.address) {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let _again = Mirror::on(listener, Some(&pair), None);
    let after = soon(async {
        loop {
            if let Ok(after) = ask(&client).await {
                return after;
            }
        }
    })
    .await;
    assert_ne!(before["port"], after["port"]);
}

#[tokio::test]
async fn what_cannot_work_is_said_at_once() {
    let error = |file: &tempfile::NamedTempFile| {
        client::connect(ClientConfig::from_kubeconfig("test", file.path())).err().unwrap().to_string()
    };
    assert!(client::connect(ClientConfig::default()).err().unwrap().to_string().starts_with("invalid configuration"));
    let half =
        kubeconfig("https://x", json!({"insecure-skip-tls-verify": true}), json!({"client-key-data": data("x")}));
    assert!(error(&half).contains("must be given together"));
    let open = kubeconfig("https://x", json!({}), json!({}));
    assert!(error(&open).contains("needs certificate-authority"));
    let bad = kubeconfig("ftp://x", json!({}), json!({}));
    assert!(error(&bad).contains("must be http or https"));
    std::fs::write(bad.path(), "current-context: none").unwrap();
    assert!(error(&bad).contains("context \"none\" does not exist"));
}

#[tokio::test]
async fn files_that_change_are_read_again() {
    let authority = Authority::new("ca");
    let server = Mirror::start(Some(&authority.issue("server", "", &["127.0.0.1"])), Some(authority.pem()));
    let folder = tempfile::tempdir().unwrap();
    let write = |user: &str| {
        let pair = authority.issue(user, "", &[]);
        std::fs::write(folder.path().join("crt"), &pair.certificate).unwrap();
        std::fs::write(folder.path().join("key"), &pair.key).unwrap();
        std::fs::write(folder.path().join("token"), format!("token-of-{user}\n")).unwrap();
    };
    write("a");
    let file = |name: &str| json!(folder.path().join(name));
    let user = json!({"client-certificate": file("crt"), "client-key": file("key"), "tokenFile": file("token")});
    let cluster = json!({"certificate-authority-data": data(&authority.pem())});
    let kubeconfig = kubeconfig(&format!("https://{}", server.address), cluster, user);
    let client = client::connect(ClientConfig::from_kubeconfig("test", kubeconfig.path())).unwrap();
    let first = ask(&client).await.unwrap();
    assert_eq!((&*first["user"], &*first["authorization"]), ("a", "Bearer token-of-a"));

    write("second-user");
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    tokio::time::resume();
    let second = ask(&client).await.unwrap();
    assert_eq!((&*second["user"], &*second["authorization"]), ("second-user", "Bearer token-of-second-user"));
    assert_ne!(first["port"], second["port"], "a connection shows one certificate only");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says() {
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let busy = count.fetch_add(1, Ordering::SeqCst) < 2;
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let answer = Response::builder().status(if busy { 429 } else { 200 }).header("retry-after", "0");
            Ok::<_, std::convert::Infallible>(answer.body(Full::new(body)).unwrap())
        }
    });
    tokio::spawn(serve::accept(listener, None, service, Shutdown::new()));
    let client = client::connect(ClientConfig::from_master("test", format!("http://{address}"))).unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client, "ns");
    let mut sent = ConfigMap::default();
    sent.metadata.name = Some("a".to_owned());
    let echoed = soon(api.create(&kube::api::PostParams::default(), &sent)).await.unwrap();
    assert_eq!((echoed, asked.load(Ordering::SeqCst)), (sent, 3));
}

#[tokio::test]
async fn many_watches_share_the_connection_and_do_not_hold_each_other_up() {
    let authority = Authority::new("ca");
    let pair = authority.issue("server", "", &["127.0.0.1"]);
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let tls = tls::server_config(Arc::new(FixedKey(pair.certified())), MinVersion::Tls13).unwrap();
    let ports: Arc<std::sync::Mutex<std::collections::BTreeSet<u16>>> = Arc::default();
    let seen = ports.clone();
    // Each watch gets one event of 100 KB, then stays open.
    let service = tower::service_fn(move |request: Request<Incoming>| {
        seen.lock().unwrap().insert(request.extensions().get::<PeerInfo>().unwrap().remote.port());
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"},
            "data": {"k": "x".repeat(100_000)},
        });
        let line = format!("{}\n", json!({"type": "ADDED", "object": object}));
        let first = stream::once(async move { Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(line))) });
        let body = StreamBody::new(first.chain(stream::pending()));
        async move { Ok::<_, std::convert::Infallible>(Response::new(body)) }
    });
    tokio::spawn(serve::accept(listener, Some(Arc::new(tls)), service, Shutdown::new()));
    let cluster = json!({"certificate-authority-data": data(&authority.pem())});
    let file = kubeconfig(&format!("https://{address}"), cluster, json!({}));
    let client = client::connect(ClientConfig::from_kubeconfig("test", file.path())).unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client, "ns");
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut watch = Box::pin(soon(api.watch(&kube::api::WatchParams::default(), "0")).await.unwrap());
        assert!(matches!(soon(watch.next()).await, Some(Ok(kube::api::WatchEvent::Added(_)))));
        open.push(watch);
    }
    assert_eq!(ports.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_without_http2_is_spoken_to_as_it_can() {
    let authority = Authority::new("ca");
    let pair = authority.issue("server", "", &["127.0.0.1"]);
    let mut tls = tls::server_config(Arc::new(FixedKey(pair.certified())), MinVersion::Tls12).unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let service = tower::service_fn(|request: Request<Incoming>| {
        let answer = mirror(&request, None).to_string();
        async move { Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(answer)))) }
    });
    tokio::spawn(serve::accept(listener, Some(Arc::new(tls)), service, Shutdown::new()));
    let cluster = json!({"certificate-authority-data": data(&authority.pem())});
    let file = kubeconfig(&format!("https://{address}"), cluster, json!({}));
    let client = client::connect(ClientConfig::from_kubeconfig("test", file.path())).unwrap();
    for answer in futures::future::join_all((0..5).map(|_| ask(&client))).await {
        assert_eq!(answer.unwrap()["h2"], "false");
    }
}

#[tokio::test]
async fn controllers_act_as_their_service_accounts_over_one_connection() {
    let authority = Authority::new("ca");
    let server = Mirror::start(Some(&authority.issue("server", "", &["127.0.0.1"])), None);
    let cluster = json!({"certificate-authority-data": data(&authority.pem())});
    let file = kubeconfig(&format!("https://{}", server.address), cluster, json!({}));
    let config = ClientConfig::from_kubeconfig("test", file.path());
    let fake = FakeApi::new();
    let made = fake.clone();
    fake.react(move |request| {
        let asked = request.resource == "serviceaccounts" && request.subresource == "token";
        let status = json!({"token": format!("token-of-{}", request.name), "expirationTimestamp": null});
        let known =
            made.list::<ServiceAccount>().iter().any(|account| account.metadata.name.as_ref() == Some(&request.name));
        let status = match known {
            true => (201, json!({"spec": {"audiences": []}, "status": status})),
            false => (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})),
        };
        asked.then_some(status)
    });
    let accounts = ServiceAccountClients::new(&config, fake.client()).unwrap();
    let (one, other) = (accounts.client("kube-system", "a").unwrap(), accounts.client("kube-system", "b").unwrap());
    let (first, second, again) = (ask(&one).await.unwrap(), ask(&other).await.unwrap(), ask(&one).await.unwrap());
    assert_eq!(first["authorization"], "Bearer token-of-a");
    assert_eq!(second["authorization"], "Bearer token-of-b");
    assert!(first["user-agent"].ends_with("/a") && first["port"] == second["port"] && first == again);
    assert_eq!(fake.list::<ServiceAccount>().len(), 2, "missing accounts are made");
    assert_eq!(fake.received().iter().filter(|request| request.subresource == "token").count(), 4);
}
