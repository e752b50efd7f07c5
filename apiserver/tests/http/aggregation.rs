//! A group version that another server answers for: a small one in this process, behind an ExternalName Service.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Watch, delete, get, get_as, post};
use crate::support::TestServer;
use crate::tls_server;

const GROUP: &str = "things.example.com";
const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// A certificate of the authority, in PEM, with its key.
fn signed(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// Answers for the group until the test ends; returns its port. It wants a certificate of its clients.
async fn extension(authority: &CertifiedIssuer<'static, KeyPair>) -> u16 {
    let (certificate, key) = signed(authority, "things.default.svc");
    let chain = component::tls::certificates_from_pem(certificate.as_bytes(), "chain").expect("a chain");
    let key = component::tls::key_from_pem(key.as_bytes(), "key").expect("a key");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a root");
    let provider = component::tls::provider();
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients.build().expect("a verifier"))
        .with_single_cert(chain, key)
        .expect("a server");
    tls_server::start(config, |request| async { answer(request) }).await
}

fn answer(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let document = match request.uri().path() {
        "/apis/things.example.com/v1" => json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "things.example.com/v1",
            "resources": [{"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get"]}],
        }),
        "/openapi/v3" => json!({"paths": {"apis/things.example.com/v1": {
            "serverRelativeURL": "/openapi/v3/apis/things.example.com/v1?hash=ABC",
        }}}),
        "/openapi/v3/apis/things.example.com/v1" => json!({"openapi": "3.0.0", "paths": {"/mine": {}}}),
        "/openapi/v2" => json!({
            "swagger": "2.0", "paths": {"/apis/things.example.com/v1/": {}, "/apis/apps/v1/": {"stolen": {}}},
            "definitions": {"com.example.things.Thing": {"type": "object"}},
        }),
        "/apis/things.example.com/v1/stream" => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgraded.await.expect("an upgraded connection"));
                let mut bytes = [0; 4];
                stream.read_exact(&mut bytes).await.expect("four bytes");
                stream.write_all(&bytes).await.expect("to echo");
            });
            let switched = Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "echo");
            return switched.body(Full::default()).expect("an answer");
        }
        "/apis/things.example.com/v1/moved" => {
            let moved = Response::builder().status(302).header("location", "https://elsewhere.example.com/");
            return moved.body(Full::default()).expect("an answer");
        }
        _ => echo(request.headers(), request.uri().to_string()),
    };
    let body = Full::new(Bytes::from(document.to_string()));
    let answer = Response::builder().header("content-type", "application/json").header("audit-id", "another");
    let answer = answer.header("cache-control", "max-age=60").header("cache-control", "no-transform");
    answer.header("access-control-allow-origin", "*").body(body).expect("an answer")
}

fn echo(headers: &HeaderMap, uri: String) -> Value {
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let each = |names: &[&str]| names.iter().flat_map(|name| all(name)).collect::<Vec<String>>();
    json!({
        "uri": uri, "user": all("x-remote-user"), "groups": all("x-remote-group"),
        "authorization": all("authorization"), "senders": all("x-forwarded-for"), "audit_ids": all("audit-id"),
        "smuggled": each(&["x-user", "x-scope-a", "x-remote-extra-a", "impersonate-user"]),
        "forwarded": each(&["x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri"]),
    })
}

/// Waits until the APIService's condition has this reason.
async fn until(client: &kube::Client, reason: &str) {
    let path = format!("{API_SERVICES}?watch=1&fieldSelector=metadata.name%3Dv1.{GROUP}");
    let mut watch = Watch::open(client, &path).await;
    while let Some((_, object)) = watch.next().await {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|condition| condition["type"] == "Available" && condition["reason"] == reason) {
            return;
        }
    }
    panic!("the APIService never becomes {reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_answers_for_its_group() {
    let authority = authority();
    let port = extension(&authority).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (certificate, key) = signed(&authority, "front-proxy-client");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("to write a file");
        path.display().to_string()
    };
    let flags = [
        format!("--proxy-client-cert-file={}", file("proxy.crt", &certificate)),
        format!("--proxy-client-key-file={}", file("proxy.key", &key)),
        format!("--requestheader-client-ca-file={}", file("ca.crt", &authority.pem())),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-username-headers=X-User".to_owned(),
        "--requestheader-extra-headers-prefix=X-Scope-".to_owned(),
    ];
    let server = TestServer::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let client = &server.client;
    let api_service = json!({"metadata": {"name": format!("v1.{GROUP}")}, "spec": {
        "group": GROUP, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "service": {"namespace": "default", "name": "things", "port": port},
        "caBundle": STANDARD.encode(authority.pem()),
    }});
    post(client, API_SERVICES, &api_service).await.expect(201);
    until(client, "ServiceNotFound").await;
    let path = format!("/apis/{GROUP}/v1/namespaces/default/things?limit=5");
    let unavailable = get(client, &path).await;
    assert_eq!((unavailable.code, &unavailable.body), (503, &json!("service unavailable\n")));
    let service =
        json!({"metadata": {"name": "things"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    post(client, "/api/v1/namespaces/default/services", &service).await.expect(201);
    until(client, "Passed").await;

    let headers = [("x-remote-user", "root"), ("authorization", "Basic x"), ("x-forwarded-for", "192.0.2.9")];
    let answered = crate::client::call(client, http::Method::GET, &path, &headers, "").await;
    assert!(answered.headers.get("access-control-allow-origin").is_none(), "{:?}", answered.headers);
    let caching: Vec<_> = answered.headers.get_all("cache-control").iter().collect();
    assert_eq!(caching, ["no-cache, private", "max-age=60", "no-transform"]);
    let audit_ids: Vec<_> = answered.headers.get_all("audit-id").iter().map(|id| json!(id.to_str().ok())).collect();
    let answered = answered.expect(200);
    assert_eq!((answered["audit_ids"].as_array(), audit_ids.len()), (Some(&audit_ids), 1));
    assert_eq!(answered["senders"], json!(["192.0.2.9, 127.0.0.1"]));
    assert_eq!(answered["uri"], path);
    assert_eq!(answered["user"], json!(["system:unsecured"]));
    assert_eq!(answered["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(answered["authorization"], json!([]));
    clients_do_not_speak_for_themselves(client, port).await;
    is_discovered(client).await;
    is_described(client).await;
    is_streamed(&server).await;
    paths_stay_whole(client).await;
    nobody_is_led_away(client).await;
    let trusted = get(client, "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await;
    assert_eq!(trusted.expect(200)["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");

    delete(client, "/api/v1/namespaces/default/services/things", &Value::Null).await.expect(200);
    until(client, "ServiceNotFound").await;
    assert_eq!(get(client, &path).await.code, 503);
    let series = format!("aggregator_unavailable_apiservice_total{{name=\"v1.{GROUP}\",reason=\"ServiceNotFound\"}} 1");
    let told = async {
        // Once: that it was not available at first is no turn.
        while !get(client, "/metrics").await.expect(200).as_str().expect("text").lines().any(|line| line == series) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("the turn is counted");
}

/// Neither of who they are, nor of where they came in.
async fn clients_do_not_speak_for_themselves(client: &kube::Client, port: u16) {
    let path = format!("/apis/{GROUP}/v1/namespaces/default/things/");
    let headers = [
        ("x-user", "root"),
        ("x-scope-a", "b"),
        ("x-remote-extra-a", "b"),
        ("x-forwarded-uri", "/other"),
        ("x-forwarded-host", "other"),
        ("x-forwarded-proto", "http"),
        ("audit-id", "own-number"),
    ];
    let answered = crate::client::call(client, http::Method::GET, &path, &headers, "").await.expect(200);
    assert_eq!((&answered["smuggled"], &answered["audit_ids"]), (&json!([]), &json!(["own-number"])));
    assert_eq!(answered["forwarded"], json!(["https", format!("localhost:{port}"), path]));
    let named = crate::client::call(client, http::Method::GET, &path, &[("upgrade", "echo")], "").await;
    assert_eq!(named.expect(200)["forwarded"][0], "https", "who only names a protocol asks for no upgrade");
    let switch = [("connection", "Upgrade"), ("upgrade", "echo")];
    let refused = crate::client::call(client, http::Method::GET, &path, &switch, "").await;
    assert_eq!((refused.code, &refused.body), (503, &json!("invalid upgrade response: status code 200\n")));
}

/// Bytes that are no text come through, and no request is sent where it was not meant to go.
async fn paths_stay_whole(client: &kube::Client) {
    let below = format!("/apis/{GROUP}/v1/namespaces/default/things");
    let answered = get(client, &format!("{below}/a%ff%2Fb?q=%ff+&a=%zz&watch&c=1;d=2&a=%7E*")).await.expect(200);
    assert_eq!(answered["uri"], format!("{below}/a%FF/b?a=~%2A&q=%FF+&watch="));
    let broken = get(client, &format!("{below}/a%zz")).await;
    assert_eq!((broken.code, &broken.body), (400, &json!("400 Bad Request")));
    let long = get(client, &format!("{below}/{}", "!".repeat(30_000))).await;
    assert_eq!((long.code, &long.body), (414, &json!("the path that is to be passed on: uri too long\n")));
}

/// Unless it may, an extension server sends nobody elsewhere.
async fn nobody_is_led_away(client: &kube::Client) {
    let moved = get(client, &format!("/apis/{GROUP}/v1/moved")).await;
    let why = "the backend attempted to redirect this request, which is not permitted";
    assert_eq!((moved.code, &moved.body), (502, &json!(why)));
    assert!(moved.headers.get("location").is_none());
}

async fn is_discovered(client: &kube::Client) {
    let groups = get(client, "/apis").await.expect(200);
    let named = |list: &Value| list.as_array().is_some_and(|list| list.iter().any(|group| group["name"] == GROUP));
    assert!(named(&groups["groups"]), "{groups}");
    assert_eq!(get(client, &format!("/apis/{GROUP}")).await.expect(200)["preferredVersion"]["version"], "v1");
    let list = get(client, &format!("/apis/{GROUP}/v1")).await.expect(200);
    assert_eq!(list["resources"][0]["name"], "things");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = get_as(client, "/apis", accept).await.expect(200);
    let items = aggregated["items"].as_array().cloned().unwrap_or_default();
    let own = items.iter().find(|item| item["metadata"]["name"] == GROUP).expect("the group");
    assert_eq!(own["versions"][0]["resources"][0]["resource"], "things");
    assert_eq!(own["versions"][0]["freshness"], "Current");
}

async fn is_described(client: &kube::Client) {
    let index = get(client, "/openapi/v3").await.expect(200);
    let url = format!("/openapi/v3/apis/{GROUP}/v1?hash=ABC");
    assert_eq!(index["paths"][format!("apis/{GROUP}/v1")]["serverRelativeURL"], url);
    assert_eq!(get(client, &url).await.expect(200)["paths"], json!({"/mine": {}}));
    // What is asked of an extension server there is asked in this server's own name.
    for path in ["things", "../../../apis", ""] {
        get(client, &format!("/openapi/v3/apis/{GROUP}/v1/{path}")).await.nowhere();
    }
    let whole = get(client, "/openapi/v2").await.expect(200);
    assert!(whole["paths"][format!("/apis/{GROUP}/v1/")].is_object());
    assert!(whole["paths"]["/apis/apps/v1/"]["stolen"].is_null(), "another's paths are not theirs to describe");
    assert!(whole["definitions"]["com.example.things.Thing"].is_object());
}

async fn is_streamed(server: &TestServer) {
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let head =
        format!("GET /apis/{GROUP}/v1/stream HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("to send");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("an answer"));
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101") && !answer.contains("audit-id"), "{answer}");
    stream.write_all(b"ping").await.expect("to send");
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).await.expect("the echo");
    assert_eq!(&echoed, b"ping");
}
