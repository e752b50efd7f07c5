//! The API as far as a scheduler needs it, in memory: lists once, watches, and says yes to all that is written.
//!
//! Nothing is stored but the specs of pods that wait for their binding.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tower::Service;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A tower service for [`kube::Client`]. Clones are the same API.
#[derive(Clone)]
pub struct Seam(Arc<Inner>);

struct Inner {
    /// Lists by plural, encoded.
    lists: HashMap<&'static str, Bytes>,
    pods: Mutex<Pods>,
    version: AtomicUsize,
    bound: watch::Sender<usize>,
    watched: watch::Sender<bool>,
}

#[derive(Default)]
struct Pods {
    waiting: HashMap<String, Value>,
    watchers: Vec<UnboundedSender<Bytes>>,
}

fn list(kind: &str, items: &[Value]) -> Bytes {
    let (version, kind) = (json!({"resourceVersion": "1"}), format!("{kind}List"));
    json!({"apiVersion": "v1", "kind": kind, "metadata": version, "items": items}).to_string().into()
}

impl Seam {
    pub fn new(nodes: &[Value], services: &[Value]) -> Self {
        let lists = HashMap::from([("nodes", list("Node", nodes)), ("services", list("Service", services))]);
        Self(Arc::new(Inner {
            lists,
            pods: Mutex::default(),
            version: AtomicUsize::new(2),
            bound: watch::Sender::new(0),
            watched: watch::Sender::new(false),
        }))
    }

    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once somebody watches pods.
    pub async fn watched(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.watched.subscribe().wait_for(|watched| *watched).await;
    }

    /// Returns once so many pods are bound.
    pub async fn bound(&self, count: usize) {
        let _ = self.0.bound.subscribe().wait_for(|bound| *bound >= count).await;
    }

    pub fn add(&self, pod: Value) {
        self.tell("ADDED", pod.clone());
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.pods().waiting.insert(name, pod);
    }

    fn tell(&self, what: &str, mut pod: Value) {
        let version = self.0.version.fetch_add(1, Ordering::Relaxed);
        pod["metadata"]["resourceVersion"] = version.to_string().into();
        // The type comes first, as every API server writes it; a map may have an order of its own.
        let event = Bytes::from(format!("{{\"type\":\"{what}\",\"object\":{pod}}}\n"));
        self.pods().watchers.retain(|watcher| watcher.send(event.clone()).is_ok());
    }

    fn bind(&self, name: &str, node: &Value) {
        let waiting = self.pods().waiting.remove(name);
        if let Some(mut pod) = waiting {
            pod["spec"]["nodeName"] = node.clone();
            self.tell("MODIFIED", pod);
            self.0.bound.send_modify(|bound| *bound += 1);
        }
    }

    fn watch(&self, plural: &str) -> Answer {
        if plural != "pods" {
            return answer(200, StreamBody::new(stream::pending()).boxed_unsync());
        }
        let (sender, mut events) = unbounded_channel();
        self.pods().watchers.push(sender);
        self.0.watched.send_replace(true);
        let frames = stream::poll_fn(move |context| events.poll_recv(context));
        answer(200, StreamBody::new(frames.map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync())
    }

    async fn handle(self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
        match (&parts.method, path.as_slice()) {
            (&Method::POST, [.., "pods", name, "binding"]) => {
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let binding: Value = serde_json::from_slice(&body).unwrap_or_default();
                self.bind(name, &binding["target"]["name"]);
                full(
                    201,
                    Bytes::from_static(br#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}"#),
                )
            }
            // Events and conditions: whoever writes gets back what was written.
            (&Method::POST | &Method::PATCH | &Method::PUT, _) => {
                full(201, body.collect().await.map(|body| body.to_bytes()).unwrap_or_default())
            }
            (_, ["api", "v1"]) => full(200, resources(&["services", "namespaces"])),
            (_, ["apis", _, _]) => full(200, resources(&[])),
            (_, [.., plural]) if is_watch => self.watch(plural),
            (_, [.., plural]) => full(200, self.0.lists.get(plural).cloned().unwrap_or_else(|| list("Empty", &[]))),
            _ => full(404, Bytes::new()),
        }
    }
}

/// What discovery says of a group version.
fn resources(plurals: &[&str]) -> Bytes {
    let resource =
        |name: &&str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "", "verbs": ["list"]});
    let resources: Vec<Value> = plurals.iter().map(resource).collect();
    json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": resources}).to_string().into()
}

fn full(code: u16, bytes: Bytes) -> Answer {
    answer(code, Full::new(bytes).boxed_unsync())
}

fn answer(code: u16, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    answer
}

impl Service<Request<Body>> for Seam {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let seam = self.clone();
        Box::pin(async move { Ok(seam.handle(request).await) })
    }
}
