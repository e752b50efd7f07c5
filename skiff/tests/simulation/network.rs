//! A process's way to the API server: late, lossy, and cut off when the process dies.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use component::shutdown::Shutdown;
use futures::future::BoxFuture;
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::server::Server;
use crate::trace::Trace;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// One life of a process. Clones are the same life.
#[derive(Clone)]
pub(crate) struct Process(Arc<Mutex<Life>>);

struct Life {
    shutdown: Shutdown,
    /// How many writes it still does; `None`: as many as it likes.
    writes: Option<u64>,
}

impl Process {
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self(Arc::new(Mutex::new(Life { shutdown, writes: None })))
    }

    /// Lets it die at its `writes`th write from now, before or after the write is done.
    pub(crate) fn die_after(&self, writes: u64) {
        self.0.lock().unwrap().writes.get_or_insert(writes);
    }

    pub(crate) fn kill(&self) {
        self.0.lock().unwrap().shutdown.trigger();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.lock().unwrap().shutdown.is_triggered()
    }

    /// Counts a write; whether it was the last.
    fn writes_its_last(&self) -> bool {
        let mut life = self.0.lock().unwrap();
        let Some(left) = &mut life.writes else { return false };
        *left = left.saturating_sub(1);
        *left == 0
    }
}

/// The transport of a process's client.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) server: Server,
    pub(crate) process: Process,
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
}

impl tower::Service<Request<kube::client::Body>> for Line {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let line = self.clone();
        Box::pin(async move {
            let what = format!("{} {}", request.method(), request.uri());
            let answer = line.carry(request).await;
            line.trace.tell(match &answer {
                Ok(response) => format!("{what}: {}", response.status().as_u16()),
                Err(error) => format!("{what}: {error}"),
            });
            answer
        })
    }
}

impl Line {
    async fn carry(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        sleep(self.dice.latency()).await;
        self.alive()?;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let dies = method != Method::GET && self.process.writes_its_last();
        if dies && self.dice.below(2) == 0 {
            self.process.kill();
            return Err("the process died before it wrote".into());
        }
        if self.dice.strikes("request lost", 40) {
            return Err("the request is lost".into());
        }
        if let Some(refusal) = self.refusal() {
            return Ok(refusal);
        }
        if method == Method::PUT && self.dice.strikes("conflict", 25) {
            self.contend(uri.path()).await?;
        }
        // Until an answer says otherwise, the pod may or may not have been made, or bound.
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let is_post = method == Method::POST;
        let doubt = is_post.then(|| self.server.doubts().begin(uri.path(), &body, &self.process)).flatten();
        let response = self.ask(Request::from_parts(head, body)).await?;
        if dies {
            self.process.kill();
        }
        self.alive()?;
        if self.dice.strikes("answer lost", 40) {
            return Err("the answer is lost".into());
        }
        sleep(self.dice.latency()).await;
        self.alive()?;
        let status = response.status();
        if let Some(doubt) = doubt.filter(|_| status.is_success() || status.is_client_error()) {
            doubt.resolve(status.is_success());
        }
        match uri.query().is_some_and(|query| query.contains("watch=true")) {
            true => Ok(response.map(|body| self.clone().disturb(body))),
            false => Ok(response),
        }
    }

    /// Of the server, unless something is broken on purpose on the way to it.
    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Body>, BoxError> {
        let Some(fault) = self.server.fault() else { return self.server.call(request.map(Into::into)).await };
        if fault.refuses(&request) {
            return Ok(failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"));
        }
        let request = fault.asked(request);
        if fault.repeats(&request) {
            self.server.call(request.clone().map(Into::into)).await?;
        }
        let asked = request.uri().to_string();
        let response = self.server.call(request.map(Into::into)).await?;
        fault.told(&asked, response).await
    }

    fn alive(&self) -> Result<(), BoxError> {
        if self.process.is_dead() { Err("the process is dead".into()) } else { Ok(()) }
    }

    /// Somebody else writes the object just before.
    async fn contend(&self, path: &str) -> Result<(), BoxError> {
        let touched = json!({"metadata": {"annotations": {"touched": self.dice.below(1000).to_string()}}});
        let request = Request::patch(path.trim_end_matches("/status"))
            .header("content-type", "application/merge-patch+json")
            .body(kube::client::Body::from(touched.to_string().into_bytes()))?;
        self.server.call(request).await.map(drop)
    }

    /// What an overloaded server answers without doing anything.
    fn refusal(&self) -> Option<Response<Body>> {
        match () {
            () if self.dice.strikes("refusal", 80) => Some(failure(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")),
            () if self.dice.strikes("failure", 80) => Some(failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            () => None,
        }
    }

    /// A watch whose events are late and told twice, and that breaks off. Events never change their order: each
    /// connection keeps it.
    fn disturb(self, body: Body) -> Body {
        let frames =
            stream::unfold((self, body, None), async |(line, mut body, again): (Line, Body, Option<Bytes>)| {
                if let Some(again) = again {
                    return Some((Ok(Frame::data(again)), (line, body, None)));
                }
                let frame = line.process_lives_during(body.frame()).await?;
                sleep(line.dice.latency()).await;
                if line.process.is_dead() || line.dice.strikes("watch broken off", 30) {
                    return None;
                }
                let again = match &frame {
                    Ok(frame) => frame.data_ref().filter(|_| line.dice.strikes("event repeated", 30)).cloned(),
                    Err(_) => None,
                };
                Some((frame, (line, body, again)))
            });
        StreamBody::new(Box::pin(frames)).boxed_unsync()
    }

    async fn process_lives_during<T>(&self, future: impl Future<Output = Option<T>>) -> Option<T> {
        let shutdown = self.process.0.lock().unwrap().shutdown.clone();
        shutdown.run_until(future).await.flatten()
    }
}

fn failure(code: StatusCode, reason: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "an accident", "reason": reason, "code": code.as_u16()});
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}
