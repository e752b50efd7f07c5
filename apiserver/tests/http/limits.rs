//! What the server takes at a time and how long it waits; and its endpoints about itself.

use std::sync::Arc;
use std::time::Duration;

use component::tls::{Trust, client_config};
use http::Method;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{CONFIG_MAPS, call, config_map, get, post};
use crate::secure::Secure;
use crate::support::TestServer;

/// A server that knows three users by their tokens, who are nobody's masters.
pub async fn with_users(more_flags: &[&str]) -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.csv");
    std::fs::write(&path, "one-token,one,1\ntwo-token,two,2\nthree-token,three,3\n").expect("to write");
    let file = format!("--token-auth-file={}", path.display());
    let flags = [more_flags, &[file.as_str()]].concat();
    (TestServer::start(&flags).await, folder)
}

async fn connect(server: &TestServer) -> TlsStream<TcpStream> {
    let mut config = client_config(&Trust::Anyone, None).expect("a configuration");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(server.secure).await.expect("a connection");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS")
}

/// Sends the head of a write whose body is still to come.
pub async fn begin_write(server: &TestServer, token: &str, length: usize) -> TlsStream<TcpStream> {
    let mut stream = connect(server).await;
    let head = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("to send");
    stream.flush().await.expect("to send");
    stream
}

/// The answer as text. Its connection may stay open for as long as the server waits for the rest of a body.
pub async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let (mut text, mut chunk) = (String::new(), [0; 4096]);
    while !is_whole(&text) {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut chunk)).await;
        // A close without a word of TLS is an end as well.
        match read.expect("an answer in time") {
            Ok(length @ 1..) => text.push_str(&String::from_utf8_lossy(&chunk[..length])),
            Ok(0) | Err(_) => break,
        }
    }
    text
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| body.len() >= length)
}

/// Writes until the server refuses or takes it; what it said.
pub async fn write_whole(server: &TestServer, token: &str, name: &str) -> String {
    let body = config_map(name, &json!({})).to_string();
    let mut stream = begin_write(server, token, body.len()).await;
    // A refused request's connection may be closed before its body is there.
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.flush().await;
    answer(&mut stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_comes_again() {
    let flags =
        ["--enable-priority-and-fairness=false", "--max-mutating-requests-inflight=2", "--max-requests-inflight=0"];
    let (server, _folder) = with_users(&flags).await;
    let body = config_map("slow", &json!({})).to_string();
    let mut slow = vec![begin_write(&server, "one-token", body.len()).await];
    let refused = async |token: &'static str| {
        loop {
            let text = write_whole(&server, token, "x").await;
            if text.starts_with("HTTP/1.1 429") {
                return text;
            }
        }
    };
    // Of two places one user may have both (three quarters, rounded up), and then nobody finds one.
    slow.push(begin_write(&server, "one-token", body.len()).await);
    let text = tokio::time::timeout(Duration::from_secs(20), refused("two-token")).await.expect("it is refused");
    assert!(
        text.contains("retry-after: 1") && text.ends_with("Too many requests, please try again later.\n"),
        "{text}"
    );
    // Reads have places of their own, and the insecure port's client is a master.
    get(&server.client, CONFIG_MAPS).await.expect(200);
    post(&server.client, CONFIG_MAPS, &config_map("m", &json!({}))).await.expect(201);
    for stream in &mut slow {
        stream.write_all(body.as_bytes()).await.expect("to send");
        stream.flush().await.expect("to send");
        let text = answer(stream).await;
        assert!(text.starts_with("HTTP/1.1 201") || text.starts_with("HTTP/1.1 409"), "{text}");
    }
    let text = write_whole(&server, "three-token", "later").await;
    assert!(text.starts_with("HTTP/1.1 201"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_in_its_time() {
    let (server, _folder) = with_users(&["--request-timeout=1s"]).await;
    let mut slow = begin_write(&server, "one-token", 1000).await;
    let text = answer(&mut slow).await;
    assert!(text.starts_with("HTTP/1.1 504"), "{text}");
    assert!(text.contains("content-type: text/plain; charset=utf-8\r\n"), "{text}");
    let body = r#"{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}"#;
    assert!(text.ends_with(&format!("\r\n\r\n{body}\n")), "{text}");
    for header in ["x-kubernetes-pf", "nosniff"] {
        assert!(!text.contains(header), "{text}");
    }
    // More than the server's own is no mistake.
    let patient = TestServer::start(&["--request-timeout=60s"]).await;
    get(&patient.client, &format!("{CONFIG_MAPS}?timeout=90s")).await.expect(200);
    for (given, why) in [
        ("soon", "invalid duration \"soon\""),
        ("-1x", "unknown unit \"x\" in duration \"-1x\""),
        ("5", "missing unit in duration \"5\""),
    ] {
        let refused = get(&patient.client, &format!("{CONFIG_MAPS}?timeout={given}")).await;
        refused.refused(400, "BadRequest");
        let why = format!("invalid timeout specified in the request URL - time: {why}");
        assert_eq!((&refused.body["message"], refused.body.get("details")), (&json!(why), None));
    }
    // Watches have their own.
    let begun = std::time::Instant::now();
    get(&server.client, &format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=2&timeout=soon")).await.expect(200);
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_three_mebibytes() {
    let server = TestServer::start(&[]).await;
    let json = [("content-type", "application/json")];
    let body = |bytes: usize| {
        let empty = config_map("a", &json!({"x": ""})).to_string().len();
        config_map("a", &json!({"x": "y".repeat(bytes - empty)})).to_string()
    };
    let limit = 3 * 1024 * 1024;
    let refused = call(&server.client, Method::POST, CONFIG_MAPS, &json, body(limit + 1)).await;
    refused.refused(413, "RequestEntityTooLarge");
    assert_eq!(refused.body["message"], format!("Request entity too large: limit is {limit}"));
    // This one is read, and too large for a ConfigMap.
    call(&server.client, Method::POST, CONFIG_MAPS, &json, body(limit)).await.refused(422, "Invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_under_upstreams_names() {
    let server = TestServer::start(&[]).await;
    post(&server.client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    get(&server.client, CONFIG_MAPS).await.expect(200);
    get(&server.client, &format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1")).await.expect(200);
    get(&server.client, "/apis/none.example/v1/things").await.nowhere();
    let text = get(&server.client, "/metrics").await.expect(200);
    let text = text.as_str().expect("text");
    let configmaps = "group=\"\",resource=\"configmaps\"";
    let series = [
        format!(
            "apiserver_request_total{{code=\"201\",component=\"apiserver\",dry_run=\"\",{configmaps},scope=\"resource\""
        ),
        format!(
            "apiserver_request_total{{code=\"200\",component=\"apiserver\",dry_run=\"\",{configmaps},scope=\"namespace\""
        ),
        format!("apiserver_request_duration_seconds_bucket{{component=\"apiserver\",dry_run=\"\",{configmaps}"),
        format!("apiserver_request_sli_duration_seconds_bucket{{component=\"apiserver\",{configmaps}"),
        format!("apiserver_response_sizes_sum{{component=\"apiserver\",{configmaps}"),
        "apiserver_current_inflight_requests{request_kind=\"mutating\"}".to_owned(),
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"}".to_owned(),
        "apiserver_longrunning_requests{".to_owned(),
        format!("apiserver_watch_events_total{{{configmaps},version=\"v1\"}}"),
        format!("apiserver_watch_events_sizes_count{{{configmaps},version=\"v1\"}}"),
        "apiserver_storage_objects{resource=\"configmaps\"}".to_owned(),
        "apiserver_resource_objects{group=\"apps\",resource=\"deployments\"}".to_owned(),
        format!("etcd_request_duration_seconds_bucket{{{configmaps},operation=\"create\""),
        format!("etcd_requests_total{{{configmaps},operation=\"create\"}}").replace("group", "group"),
        "process_cpu_seconds_total".to_owned(),
        "process_resident_memory_bytes".to_owned(),
        "kubernetes_build_info{".to_owned(),
    ];
    for start in series {
        let parts: Vec<&str> = start.trim_end_matches(['{', '}']).split(['{', ',']).collect();
        let has = |line: &str| parts.iter().all(|part| line.contains(part)) && line.starts_with(parts[0]);
        assert!(text.lines().any(has), "no {start}");
    }
    assert!(!text.contains("none.example"), "nobody makes series of names that are none");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_keys_are_published() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let configuration = get(&master, "/.well-known/openid-configuration").await;
    assert_eq!(configuration.headers["cache-control"], "public, max-age=3600");
    let configuration = configuration.expect(200);
    assert_eq!(configuration["issuer"], "https://kubernetes");
    assert!(configuration["jwks_uri"].as_str().is_some_and(|url| url.ends_with("/openid/v1/jwks")));
    assert_eq!(configuration["response_types_supported"], json!(["id_token"]));
    assert_eq!(configuration["subject_types_supported"], json!(["public"]));
    assert_eq!(configuration["id_token_signing_alg_values_supported"], json!(["ES256"]));
    let keys = get(&master, "/openid/v1/jwks").await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    let keys = keys.expect(200);
    let key = &keys["keys"][0];
    assert_eq!(
        (&key["kty"], &key["use"], &key["alg"], &key["crv"]),
        (&json!("EC"), &json!("sig"), &json!("ES256"), &json!("P-256"))
    );
    // A token of this server verifies by what is published.
    let account = json!({"metadata": {"name": "sa"}});
    post(&master, "/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let path = "/api/v1/namespaces/default/serviceaccounts/sa/token";
    let token = post(&master, path, &json!({"spec": {"audiences": ["x"]}})).await.expect(201);
    let token = token["status"]["token"].as_str().expect("a token").to_owned();
    let head = jsonwebtoken::decode_header(&token).expect("a header");
    assert_eq!(head.kid.as_deref(), key["kid"].as_str());
    let text = |name: &str| key[name].as_str().expect("a coordinate");
    let public = jsonwebtoken::DecodingKey::from_ec_components(text("x"), text("y")).expect("a key");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&["x"]);
    let claims = jsonwebtoken::decode::<Value>(&token, &public, &validation).expect("it verifies");
    assert_eq!(claims.claims["sub"], "system:serviceaccount:default:sa");
    // Nobody without a right reads them.
    get(&server.anonymous(), "/openid/v1/jwks").await.refused(403, "Forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_are_published_for_extension_servers() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let published = get(&master, path).await.expect(200);
    assert!(published["data"]["client-ca-file"].as_str().is_some_and(|pem| pem.contains("BEGIN CERTIFICATE")));
    assert!(published["data"].get("requestheader-client-ca-file").is_none());
    crate::client::delete(&master, path, &Value::Null).await.expect(200);
    let again = async {
        while get(&master, path).await.code != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("it is published again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_logs_are_nobodys() {
    let server = TestServer::start(&[]).await;
    for path in ["/logs", "/logs/", "/logs/syslog", "/logs/../etc/passwd"] {
        get(&server.client, path).await.nowhere();
    }
}
