//! Extenders that answer over real connections: a small server on loopback that writes down what it is asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use component::client::{Endpoint, Identity, Pem};
use component::serve;
use component::tls;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::extender::{Concern, Verbs};

/// What the server answers to a verb, with a code.
type Answers = fn(verb: &str, asked: &Value) -> (u16, Value);

struct Server {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    shutdown: Shutdown,
    certificate: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

impl Server {
    async fn start(answers: Answers) -> Self {
        Self::start_with(answers, None).await
    }

    async fn with_tls(answers: Answers) -> Self {
        let own = tls::self_signed(vec!["localhost".to_owned()]).unwrap();
        Self::start_with(answers, Some(own)).await
    }

    async fn start_with(answers: Answers, own: Option<tls::SelfSigned>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, shutdown) = (Arc::new(Mutex::new(Vec::new())), Shutdown::new());
        let log = asked.clone();
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let log = log.clone();
            async move {
                let verb = request.uri().path().trim_start_matches("/scheduler/").to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let (code, answer) = answers(&verb, &body);
                log.lock().unwrap().push((verb, body));
                let answer = Full::new(Bytes::from(answer.to_string()));
                Ok::<_, Infallible>(Response::builder().status(code).body(answer).unwrap())
            }
        });
        let certificate = own.as_ref().map(|own| own.certificate_pem.clone());
        let config = own.map(|own| Arc::new(tls::server_config(Arc::new(own.key), tls::MinVersion::Tls12).unwrap()));
        let scheme = if config.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        tokio::spawn(serve::accept(listener, config, service, shutdown.clone()));
        Self { url: format!("{scheme}:{port}/scheduler/"), asked, shutdown, certificate }
    }

    fn extender(&self, verbs: [&str; 4]) -> Extender {
        let verb = |verb: &str| Some(verb.to_owned()).filter(|verb| !verb.is_empty());
        let [filter, prioritize, preempt, bind] = verbs.map(verb);
        Extender {
            endpoint: Endpoint {
                server: self.url.clone(),
                authority: self.certificate.clone().map(|pem| Pem::Inline(pem.into_bytes())),
                insecure_skip_tls_verify: false,
                tls_server_name: None,
                namespace: None,
                identity: Identity::default(),
            },
            verbs: Verbs { filter, prioritize, preempt, bind },
            weight: 5,
            timeout: Duration::from_secs(5),
            node_cache_capable: true,
            ignorable: false,
            concern: Concern::default(),
        }
    }

    fn asked(&self, verb: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(asked, _)| asked == verb).map(|(_, body)| body.clone()).collect()
    }
}

fn only_b(verb: &str, _: &Value) -> (u16, Value) {
    match verb {
        "filter" => (200, json!({"NodeNames": ["b"], "FailedNodes": {"a": "too green"}})),
        _ => (404, json!({})),
    }
}

#[tokio::test]
async fn an_extender_filters_by_name() {
    let server = Server::start(only_b).await;
    let objects = [node("a", "2"), node("b", "2"), pod("p", "1", json!({}))];
    let cluster = Cluster::start_with(&objects, vec![server.extender(["filter", "", "", ""])]);
    cluster.until_bound("p").await;
    assert_eq!(cluster.node_of("p").as_deref(), Some("b"));
    let asked = server.asked("filter").remove(0);
    assert_eq!((&asked["Pod"]["metadata"]["name"], &asked["Nodes"]), (&json!("p"), &Value::Null));
    assert_eq!(asked["NodeNames"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_extender_that_keeps_no_nodes_is_sent_them_whole_over_tls() {
    let answers: Answers = |_, asked| {
        let nodes = asked["Nodes"]["items"].as_array().cloned().unwrap_or_default();
        let large: Vec<_> = nodes.into_iter().filter(|node| node["status"]["allocatable"]["cpu"] == "8").collect();
        (200, json!({"Nodes": {"items": large}}))
    };
    let server = Server::with_tls(answers).await;
    let objects = [node("a", "2"), node("b", "8"), pod("p", "1", json!({}))];
    let extender = Extender { node_cache_capable: false, ..server.extender(["filter", "", "", ""]) };
    let cluster = Cluster::start_with(&objects, vec![extender]);
    cluster.until_bound("p").await;
    assert_eq!(cluster.node_of("p").as_deref(), Some("b"));
}

#[tokio::test]
async fn what_an_extender_says_is_the_reason() {
    let answers: Answers = |_, _| (200, json!({"nodenames": [], "failedNodes": {"a": "too green"}}));
    let server = Server::start(answers).await;
    let objects = [node("a", "2"), pod("p", "1", json!({}))];
    let cluster = Cluster::start_with(&objects, vec![server.extender(["filter", "", "", ""])]);
    let message = cluster.until_event("FailedScheduling").await;
    assert!(message.starts_with("0/1 nodes are available: 1 too green."), "{message}");
    // Any event may change an extender's mind.
    cluster.fake.put(&node("b", "2"));
    cluster.until(|_| server.asked("filter").len() > 1).await;
}

#[tokio::test]
async fn priorities_of_an_extender_outweigh_those_of_plugins() {
    let answers: Answers = |_, _| (200, json!([{"Host": "a", "Score": 1}, {"Host": "full", "Score": 10}]));
    let server = Server::start(answers).await;
    let running = pod("old", "1500m", json!({"spec": {"nodeName": "full"}}));
    let objects = [node("a", "2"), node("full", "2"), running, pod("p", "100m", json!({}))];
    let cluster = Cluster::start_with(&objects, vec![server.extender(["", "prioritize", "", ""])]);
    cluster.until_bound("p").await;
    assert_eq!(cluster.node_of("p").as_deref(), Some("full"));
}

#[tokio::test]
async fn an_extender_may_fail_if_it_is_ignorable() {
    let server = Server::start(|_, _| (500, json!({}))).await;
    let objects = [node("a", "2"), pod("p", "1", json!({}))];
    let extender = server.extender(["filter", "prioritize", "", ""]);
    let cluster = Cluster::start_with(&objects, vec![Extender { ignorable: true, ..extender.clone() }]);
    cluster.until_bound("p").await;

    let strict = Cluster::start_with(&objects, vec![extender]);
    let message = strict.until_event("FailedScheduling").await;
    assert_eq!(message, format!("failed filter with extender at URL {}filter, code 500", server.url));
    strict.until(|all| all.iter().any(|r| r.verb == "patch" && r.body.to_string().contains("SchedulerError"))).await;
    assert_eq!(strict.node_of("p"), None);
}

#[tokio::test]
async fn an_extender_is_asked_only_about_the_resources_it_manages() {
    let server = Server::start(|_, _| (200, json!({"NodeNames": []}))).await;
    let objects = [node("a", "2"), pod("plain", "1", json!({}))];
    let concern = Concern::new(["example.com/gpu"].into_iter());
    let cluster = Cluster::start_with(&objects, vec![Extender { concern, ..server.extender(["filter", "", "", ""]) }]);
    cluster.until_bound("plain").await;
    assert!(server.asked("filter").is_empty());
}

#[tokio::test]
async fn an_extender_binds() {
    let server = Server::start(|_, _| (200, json!({"Error": ""}))).await;
    let objects = [node("a", "2"), pod("p", "1", json!({}))];
    let cluster = Cluster::start_with(&objects, vec![server.extender(["", "", "", "bind"])]);
    assert_eq!(cluster.until_event("Scheduled").await, "Successfully assigned default/p to a");
    let wanted = json!({"PodName": "p", "PodNamespace": "default", "PodUID": "p", "Node": "a"});
    assert_eq!(server.asked("bind"), [wanted]);
    assert_eq!(cluster.node_of("p"), None, "the API is the extender's to tell");
}

#[tokio::test]
async fn an_extender_chooses_whose_room_a_pod_gets() {
    let answers: Answers = |_, asked| {
        let rooms = &asked["NodeNameToMetaVictims"];
        (200, json!({"NodeNameToMetaVictims": {"b": rooms["b"]}}))
    };
    let server = Server::start(answers).await;
    let low =
        |name: &str, node: &str| pod(name, "2", json!({"spec": {"nodeName": node}, "status": {"phase": "Running"}}));
    let high = pod("high", "1", json!({"spec": {"priority": 10}}));
    let objects = [node("a", "2"), node("b", "2"), low("on-a", "a"), low("on-b", "b"), high];
    let cluster = Cluster::start_with(&objects, vec![server.extender(["", "", "preempt", ""])]);
    assert_eq!(cluster.until_event("Preempted").await, "Preempted by pod high on node b");
    let asked = server.asked("preempt").remove(0);
    assert_eq!(asked["NodeNameToMetaVictims"]["a"], json!({"Pods": [{"UID": "on-a"}], "NumPDBViolations": 0}));
}

#[tokio::test]
async fn pods_that_are_asked_about_together_spread() {
    let answers: Answers = |verb, asked| match verb {
        "filter" => (200, json!({"NodeNames": asked["NodeNames"]})),
        _ => (200, json!([])),
    };
    let server = Server::start(answers).await;
    let nodes = (0..10).map(|i| node(&format!("n{i}"), "8"));
    let pods = (0..20).map(|i| pod(&format!("p{i}"), "100m", json!({})));
    let objects: Vec<Value> = nodes.chain(pods).collect();
    let cluster = Cluster::start_with(&objects, vec![server.extender(["filter", "prioritize", "", ""])]);
    cluster.until(|all| all.iter().filter(|r| r.subresource == "binding").count() == 20).await;
    let mut on: Vec<String> = (0..20).filter_map(|i| cluster.node_of(&format!("p{i}"))).collect();
    on.sort_unstable();
    let twice: Vec<String> = (0..10).flat_map(|i| [format!("n{i}"), format!("n{i}")]).collect();
    assert_eq!(on, twice, "two on each node");
}
