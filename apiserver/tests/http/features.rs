//! What flags switch: groups, versions and resources that are served, and features.

use std::sync::Arc;

use component::tls::{Trust, client_config};
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{get, post};
use crate::support::TestServer;

const SCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_is_not_there() {
    // What an earlier start has offered is not told any more.
    let folder = TestServer::start(&[]).await.stop().await;
    let flag = "--runtime-config=autoscaling/v1=false,batch/v1/cronjobs=false,networking.k8s.io/v1";
    let server = TestServer::start_in(folder, &[flag]).await;
    let client = &server.client;
    get(client, "/apis/apiregistration.k8s.io/v1/apiservices/v2.autoscaling").await.expect(200);
    for path in ["/apis/autoscaling/v1", "/apis/autoscaling/v1/horizontalpodautoscalers", "/apis/batch/v1/cronjobs"] {
        get(client, path).await.refused(404, "NotFound");
    }
    assert_eq!(get(client, "/openapi/v3/apis/autoscaling/v1").await.code, 404);
    let group = get(client, "/apis/autoscaling").await.expect(200);
    assert_eq!(group["versions"].as_array().map(Vec::len), Some(1), "{group}");
    assert_eq!(group["preferredVersion"]["version"], "v2");
    let resources = get(client, "/apis/batch/v1").await.expect(200);
    let names: Vec<&str> =
        resources["resources"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["jobs", "jobs/status"]);
    let index = get(client, "/openapi/v3").await.expect(200);
    assert!(index["paths"]["apis/autoscaling/v1"].is_null() && index["paths"]["apis/autoscaling/v2"].is_object());
    let swagger = get(client, "/openapi/v2").await.expect(200);
    assert!(
        swagger["paths"]["/apis/batch/v1/cronjobs"].is_null() && swagger["paths"]["/apis/batch/v1/jobs"].is_object()
    );
    get(client, "/apis/apiregistration.k8s.io/v1/apiservices/v1.autoscaling").await.refused(404, "NotFound");
    // The other version shows the same objects, and one that is named as on is on.
    get(client, SCALERS).await.expect(200);
    get(client, "/apis/networking.k8s.io/v1/ingresses").await.expect(200);
}

fn scaler() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {
        "minReplicas": 0, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "metrics": [{"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "1"}}}],
    }})
}

fn set(name: &str, rolling: &Value) -> Value {
    let labels = json!({"a": "b"});
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    json!({"metadata": {"name": name}, "spec": {
        "serviceName": "s", "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec}, "updateStrategy": {"rollingUpdate": rolling},
    }})
}

async fn rolling(server: &TestServer, name: &str, rolling: &Value) -> Value {
    post(&server.client, SETS, &set(name, rolling)).await.expect(201)["spec"]["updateStrategy"]["rollingUpdate"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn features_are_switched() {
    let leases = "/apis/coordination.k8s.io/v1/leases?labelSelector=apiserver.kubernetes.io/identity";
    let count =
        async |server: &TestServer| get(&server.client, leases).await.expect(200)["items"].as_array().map(Vec::len);
    let plain = TestServer::start(&[]).await;
    let refused = post(&plain.client, SCALERS, &scaler()).await;
    refused.refused(422, "Invalid");
    assert!(refused.body["message"].as_str().is_some_and(|words| words.contains("must be greater than or equal to 1")));
    assert_eq!(rolling(&plain, "a", &json!({"maxUnavailable": 2})).await, json!({"partition": 0}));
    assert_eq!(count(&plain).await, Some(1));
    let features = "--feature-gates=HPAScaleToZero=true,MaxUnavailableStatefulSet=true,APIServerIdentity=false";
    let server = TestServer::start(&[features]).await;
    let made = post(&server.client, SCALERS, &scaler()).await.expect(201);
    assert_eq!(made["spec"]["minReplicas"], 0);
    let of_cpu = json!({"metadata": {"name": "b"}, "spec": {
        "minReplicas": 0, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
    }});
    let old = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    post(&server.client, old, &of_cpu).await.refused(422, "Invalid");
    assert_eq!(
        rolling(&server, "a", &json!({"maxUnavailable": 2})).await,
        json!({"maxUnavailable": 2, "partition": 0})
    );
    assert_eq!(rolling(&server, "b", &json!({})).await, json!({"maxUnavailable": 1, "partition": 0}));
    assert_eq!(count(&server).await, Some(0));
    let metrics = get(&server.client, "/metrics").await.expect(200);
    let told = |line: &str| metrics.as_str().expect("text").lines().any(|known| known.starts_with(line));
    assert!(told("kubernetes_feature_enabled{name=\"SidecarContainers\",stage=\"\"} 1"));
    assert!(told("kubernetes_feature_enabled{name=\"ClusterTrustBundle\",stage=\"BETA\"} 0"));
}

/// How many requests one connection over HTTP/2 takes before the server sends its client away; at most `most`.
async fn taken(server: &TestServer, most: usize) -> usize {
    let mut config = client_config(&Trust::Anyone, None).expect("a configuration");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(server.secure).await.expect("a connection");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    for request in 0..most {
        if sender.ready().await.is_err() {
            return request;
        }
        let url = format!("https://{}/livez", server.secure);
        let answer = sender.send_request(Request::get(url).body(String::new()).expect("a request")).await;
        // Also the last one is answered, be it by a refusal, and only one that comes after the word to leave is not.
        match answer {
            Ok(answer) => assert_eq!(answer.status().as_u16(), 401),
            Err(_) => return request,
        }
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_sent_away_by_chance() {
    let server = TestServer::start(&["--goaway-chance=0.02"]).await;
    // That all of so many stay happens once in 10^17.
    let taken_by_one = taken(&server, 2000).await;
    assert!((1..2000).contains(&taken_by_one), "{taken_by_one}");
    let server = TestServer::start(&[]).await;
    assert_eq!(taken(&server, 500).await, 500);
}

#[test]
fn what_cannot_be_had_is_refused_at_the_start() {
    let error = |flag: &str| {
        let flags = [
            "--storage-backend=embedded",
            "--data-dir=/d",
            "--service-account-issuer=https://k",
            "--service-account-signing-key-file=/k",
            flag,
        ];
        let values = apiserver::flags().parse(flags).expect("flags of the table");
        apiserver::Options::from_flags(&values).err().map(|error| error.to_string())
    };
    assert_eq!(error("--runtime-config=a.example/v1=true").as_deref(), Some("unknown api groups a.example/v1"));
    assert_eq!(
        error("--runtime-config=api/all=false").as_deref(),
        Some("invalid runtime-config with only api/all=false")
    );
    assert_eq!(error("--feature-gates=Nothing=true").as_deref(), Some("unrecognized feature gate: Nothing"));
    assert!(error("--feature-gates=ClusterTrustBundle=true").is_some_and(|error| error.contains("cannot be switched")));
    assert_eq!(error("--feature-gates=SidecarContainers=true,HPAScaleToZero=true"), None);
    assert_eq!(error("--profiling=false"), None);
    let chance = "--goaway-chance can not be less than 0 or greater than 0.02";
    assert_eq!(error("--goaway-chance=0.5").as_deref(), Some(chance));
}
