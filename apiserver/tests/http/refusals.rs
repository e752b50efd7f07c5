//! Bad input: upstream's code and reason in a Status, nothing stored, and the server goes on.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{CONFIG_MAPS, Reply, apply, call, config_map, get, get_as, post};
use crate::support::TestServer;

async fn send(server: &TestServer, media_type: &str, body: impl Into<Vec<u8>>) -> Reply {
    call(&server.client, Method::POST, CONFIG_MAPS, &[("content-type", media_type)], body).await
}

async fn nothing_is_stored(server: &TestServer) {
    let list = get(&server.client, CONFIG_MAPS).await.expect(200);
    assert_eq!(list["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_text_that_is_no_time_is_told() {
    let server = TestServer::start(&[]).await;
    let pods = "/api/v1/namespaces/default/pods";
    let time = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "deletionTimestamp": "x"}});
    let path = format!("{pods}/p?fieldManager=m");
    let refused = apply(&server.client, &path, &time).await.expect(500);
    let why = "failed to convert new object (/p; /v1, Kind=Pod) to proper version: unable to convert unstructured object to /v1, Kind=Pod: parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"";
    assert_eq!(refused["message"], why);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_told_what_is_wrong() {
    let server = TestServer::start(&[]).await;
    let json = "application/json";
    for body in ["{", "[]", "\"x\"", "", "{\"metadata\":", "\u{feff}{}", "{\"data\": {\"a\": \"\\ud800\"}"] {
        send(&server, json, body).await.refused(400, "BadRequest");
    }
    send(&server, json, vec![0xff, 0xfe, 0x00]).await.refused(400, "BadRequest");
    let wrong_type = json!({"metadata": {"name": "a"}, "data": [1]});
    send(&server, json, wrong_type.to_string()).await.refused(400, "BadRequest");
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    send(&server, json, other.to_string()).await.refused(400, "BadRequest");
    let long = config_map(&"a".repeat(254), &json!({}));
    send(&server, json, long.to_string()).await.refused(422, "Invalid");
    let shouted = config_map("UPPER", &json!({}));
    let refused = send(&server, json, shouted.to_string()).await;
    refused.refused(422, "Invalid");
    assert_eq!(refused.body["details"]["causes"][0]["field"], "metadata.name");
    send(&server, json, json!({"data": {}}).to_string()).await.refused(422, "Invalid");
    let elsewhere = json!({"metadata": {"name": "a", "namespace": "other"}});
    send(&server, json, elsewhere.to_string()).await.refused(400, "BadRequest");
    send(&server, "application/yaml", "a: [").await.refused(400, "BadRequest");
    send(&server, "application/vnd.kubernetes.protobuf", "k8s\0nonsense").await.refused(400, "BadRequest");
    send(&server, "text/plain", "x").await.refused(415, "UnsupportedMediaType");
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    send(&server, json, deep).await.refused(400, "BadRequest");
    nothing_is_stored(&server).await;
}

/// Upstream knows versions that it serves no more.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_told_apart_from_one_that_never_was() {
    let server = TestServer::start(&[]).await;
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
    let other = |given: &str, expected: &str| {
        format!("the API version in the data ({given}) does not match the expected API version ({expected})")
    };
    let never = |kind: &str, version: &str| {
        let last = version.rsplit('/').next().unwrap_or_default();
        format!(
            "{kind} in version \"{last}\" cannot be handled as a Deployment: no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        )
    };
    let foreign = "ReplicaSet in version \"v1beta2\" cannot be handled as a Deployment: converting (v1beta2.ReplicaSet) to (apps.Deployment): unknown conversion";
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    for (path, version, kind, why) in [
        (DEPLOYMENTS, "apps/v1beta1", "Deployment", other("apps/v1beta1", "apps/v1")),
        (DEPLOYMENTS, "extensions/v1beta1", "Deployment", other("extensions/v1beta1", "apps/v1")),
        (DEPLOYMENTS, "apps/v2", "Deployment", never("Deployment", "apps/v2")),
        (DEPLOYMENTS, "apps/v1beta1", "Nothing", never("Nothing", "apps/v1beta1")),
        (DEPLOYMENTS, "apps/v1beta2", "ReplicaSet", foreign.to_owned()),
        (
            roles,
            "rbac.authorization.k8s.io/v1beta1",
            "ClusterRole",
            other("rbac.authorization.k8s.io/v1beta1", "rbac.authorization.k8s.io/v1"),
        ),
    ] {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
        let refused = post(&server.client, path, &object).await;
        refused.refused(400, "BadRequest");
        assert_eq!(refused.body["message"], why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_body_is_refused_and_read() {
    let server = TestServer::start(&[]).await;
    let large = config_map("a", &json!({"x": "y".repeat(10 * 1024 * 1024)})).to_string();
    send(&server, "application/json", large).await.refused(413, "RequestEntityTooLarge");
    let secret = config_map("a", &json!({"x": "y".repeat(1024 * 1024 + 1)})).to_string();
    send(&server, "application/json", secret).await.refused(422, "Invalid");
    nothing_is_stored(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_refused() {
    let server = TestServer::start(&[]).await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let whole = config_map("a", &json!({})).to_string();
    let head = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        whole.len() + 100
    );
    stream.write_all(head.as_bytes()).await.expect("to send");
    stream.write_all(whole.as_bytes()).await.expect("to send");
    stream.shutdown().await.expect("to end");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(r#""reason":"BadRequest""#), "{answer}");
    nothing_is_stored(&server).await;
}

/// As Go's server answers before it knows what is asked for: in plain words, and then it hangs up.
#[tokio::test(flavor = "multi_thread")]
async fn paths_with_broken_escapes_are_refused() {
    let server = TestServer::start(&[]).await;
    for path in ["/%zz", "/version/%", "/api/v1/pods/%4", "/livez/%%41", "/api/v1/nodes/n/proxy/a%+1"] {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("to send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer, and the end");
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("http/1.1 400 bad request\r\n") && body == "400 bad request", "{path}: {answer}");
        assert!(
            head.contains("content-type: text/plain; charset=utf-8") && head.contains("connection: close"),
            "{head}"
        );
    }
}

/// Go's server refuses no query: what cannot be read of it counts as not said.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_of_a_query_with_broken_escapes_count_as_not_said() {
    let server = TestServer::start(&[]).await;
    post(&server.client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let count = async |query: &str| {
        let list = get(&server.client, &format!("{CONFIG_MAPS}?{query}")).await.expect(200);
        list["items"].as_array().expect("items").iter().filter(|item| item["metadata"]["name"] == "a").count()
    };
    for query in ["labelSelector=x%3Dy%zz", "fieldSelector=metadata.name=b;c", "limit=%zz", "watch%=1"] {
        assert_eq!(count(query).await, 1, "{query}");
    }
    assert_eq!(count("labelSelector=x%3Dy").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_views_and_methods() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let unknown = [
        "/api/v2",
        "/api/v1/nothing",
        "/apis/apps/v9",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/pods/p/nothing",
        "/apis/apps/v9/deployments",
        "/api/v1/configmaps/a",
    ];
    for path in unknown {
        get(client, path).await.refused(404, "NotFound");
    }
    for path in ["/nothing", "/apis/none.example", "/apis/none.example/v1/things", "/livez/nothing"] {
        get(client, path).await.nowhere();
    }
    get_as(client, CONFIG_MAPS, "text/html").await.refused(406, "NotAcceptable");
    call(client, Method::PUT, CONFIG_MAPS, &[], "{}").await.refused(405, "MethodNotAllowed");
    let by_name = format!("{CONFIG_MAPS}/a");
    post(client, &by_name, &config_map("a", &json!({}))).await.refused(405, "MethodNotAllowed");
    call(client, Method::OPTIONS, CONFIG_MAPS, &[], "").await.refused(405, "MethodNotAllowed");
    get(client, &format!("{CONFIG_MAPS}/a%2Fb")).await.refused(404, "NotFound");
    let missing = "/api/v1/namespaces/missing/configmaps";
    post(client, missing, &config_map("a", &Value::Null)).await.refused(404, "NotFound");
    nothing_is_stored(&server).await;
}
