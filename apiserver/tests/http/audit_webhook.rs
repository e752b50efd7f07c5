//! Audit events as a webhook gets them: in batches, whole or cut, and all before the server is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};

use crate::client::{CONFIG_MAPS, config_map, get, post};
use crate::support::TestServer;

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Request
  resources: [{group: '', resources: [configmaps]}]
- level: None
";

/// A server that keeps what it is sent, and refuses the first so many times.
struct Receiver {
    port: u16,
    lists: Arc<Mutex<Vec<Value>>>,
    /// Who gets no permit gets no answer.
    gate: Arc<Semaphore>,
}

impl Receiver {
    async fn start(refusals: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let lists = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2));
        let (kept, left, opens) = (lists.clone(), Arc::new(Mutex::new(refusals)), gate.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, left, opens) = (kept.clone(), left.clone(), opens.clone());
                let service = hyper::service::service_fn(move |request| {
                    let (kept, left, opens) = (kept.clone(), left.clone(), opens.clone());
                    async move {
                        drop(opens.acquire().await);
                        take(request, kept, left).await
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { port, lists, gate }
    }

    /// The names of what was created in the events so far, batch by batch, and whether each event is whole.
    async fn created(&self) -> Vec<Vec<(String, bool)>> {
        let of_event = |event: &Value| {
            let name = event["objectRef"]["name"].as_str()?.to_owned();
            (event["stage"] == "ResponseComplete").then(|| (name, event.get("requestObject").is_some()))
        };
        let lists = self.lists.lock().await;
        lists
            .iter()
            .map(|list| list["items"].as_array().expect("items").iter().filter_map(of_event).collect())
            .collect()
    }
}

async fn take(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<Value>>>,
    left: Arc<Mutex<usize>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/events/of/it"));
    let body = request.into_body().collect().await?.to_bytes();
    let mut left = left.lock().await;
    let mut response = Response::new(Full::default());
    if *left > 0 {
        *left -= 1;
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(response);
    }
    let list: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
    kept.lock().await.push(list);
    Ok(response)
}

async fn audited(receiver: &Receiver, folder: &tempfile::TempDir, more: &[&str]) -> TestServer {
    let path = |file: &str| folder.path().join(file);
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x", "users": [{"name": "x", "user": {}}],
        "clusters": [{"name": "x", "cluster": {"server": format!("http://127.0.0.1:{}/events/of/it", receiver.port)}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    });
    std::fs::write(path("policy.yaml"), POLICY).expect("to write");
    std::fs::write(path("webhook"), config.to_string()).expect("to write");
    let own = [
        format!("--audit-policy-file={}", path("policy.yaml").display()),
        format!("--audit-webhook-config-file={}", path("webhook").display()),
        "--audit-webhook-initial-backoff=10ms".to_owned(),
    ];
    let flags: Vec<&str> = own.iter().map(String::as_str).chain(more.iter().copied()).collect();
    TestServer::start(&flags).await
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_arrive_after_refusals_and_before_the_end() {
    let (receiver, folder) = (Receiver::start(2).await, tempfile::tempdir().expect("a folder"));
    let flags = [
        "--audit-webhook-batch-max-size=4",
        "--audit-webhook-batch-max-wait=1h",
        "--audit-webhook-truncate-enabled=true",
        "--audit-webhook-truncate-max-event-size=1500",
    ];
    let server = audited(&receiver, &folder, &flags).await;
    for (name, text) in [("a", "short".to_owned()), ("b", "long".repeat(1000)), ("c", "short".to_owned())] {
        post(&server.client, CONFIG_MAPS, &config_map(name, &json!({"k": text}))).await.expect(201);
    }
    // Two events a request: what does not fill a batch waits for an hour, or for the end.
    let first = async {
        while receiver.created().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), first).await.expect("a batch");
    let event = |name: &str, is_whole| (name.to_owned(), is_whole);
    assert_eq!(receiver.created().await, [vec![event("a", true), event("b", false)]]);
    server.stop().await;
    assert_eq!(receiver.created().await[1..], [vec![event("c", true)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_webhook_holds_the_request() {
    let (receiver, folder) = (Receiver::start(5).await, tempfile::tempdir().expect("a folder"));
    let server = audited(&receiver, &folder, &["--audit-webhook-mode=blocking-strict"]).await;
    // The first event is tried five times and then given up, and the request with it.
    post(&server.client, CONFIG_MAPS, &config_map("a", &json!({}))).await.refused(500, "InternalError");
    post(&server.client, CONFIG_MAPS, &config_map("b", &json!({}))).await.expect(201);
    assert!(receiver.created().await.iter().flatten().any(|(name, _)| name == "b"));
}

/// On a runtime of one thread, where a thread that waits would be the end of everything: requests of one connection.
#[tokio::test]
async fn a_slow_webhook_holds_nobody_else() {
    const HELD: usize = 20;
    let (receiver, folder) = (Receiver::start(0).await, tempfile::tempdir().expect("a folder"));
    let server = audited(&receiver, &folder, &["--audit-webhook-mode=blocking"]).await;
    let closed = receiver.gate.forget_permits(Semaphore::MAX_PERMITS);
    let held: Vec<_> = (0..HELD)
        .map(|number| {
            let client = server.client.clone();
            tokio::spawn(
                async move { post(&client, CONFIG_MAPS, &config_map(&format!("a{number}"), &json!({}))).await },
            )
        })
        .collect();
    // Nobody writes these requests down.
    for _ in 0..HELD {
        get(&server.client, "/api/v1/namespaces/default").await.expect(200);
    }
    assert!(held.iter().all(|request| !request.is_finished()), "their events have not arrived");
    receiver.gate.add_permits(closed);
    for request in held {
        request.await.expect("an answer").expect(201);
    }
    assert_eq!(receiver.created().await.iter().flatten().count(), HELD);
}
