//! One request's event, from its arrival to its end.
//!
//! Handed along with the request; a request that is not written has an empty one, which costs nothing.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use component::serve::PeerInfo;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Collected};
use hyper::body::Body as _;
use machinery::status::Status;
use serde_json::Value;

use super::Auditor;
use super::backend::Receipt;
use super::event::{self, AuthenticationMetadata, Event, ObjectRef, UserInfo};
use super::policy::{Level, Stage, Verdict};
use crate::authn::impersonation::Acting;
use crate::authz::Decision;
use crate::http_body::{Response, full};
use crate::request::{RequestInfo, User};

const USER_AGENT_MAX: usize = 1024;

#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Inner>>);

struct Inner {
    auditor: Arc<Auditor>,
    state: Mutex<State>,
}

struct State {
    event: Event,
    /// None until it is known who asks.
    verdict: Option<Verdict>,
}

impl Trail {
    /// Of a request that has just come.
    pub fn begin(
        auditor: Option<&Arc<Auditor>>,
        request: &Request<()>,
        info: &RequestInfo,
        audit_id: Option<Cow<'_, str>>,
    ) -> Self {
        let Some(auditor) = auditor else { return Self(None) };
        let now = auditor.now();
        let uri = request.uri().path_and_query().map_or_else(|| info.path.clone(), ToString::to_string);
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: Level::None,
            audit_id: audit_id.unwrap_or_default().into_owned(),
            stage: Stage::RequestReceived,
            request_uri: uri,
            verb: info.verb.clone(),
            user: UserInfo::default(),
            impersonated_user: None,
            authentication_metadata: None,
            source_ips: source_ips(request),
            user_agent: user_agent(request.headers()),
            object_ref: ObjectRef::of(info),
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: now.clone(),
            stage_timestamp: now,
            annotations: Default::default(),
        };
        let state = Mutex::new(State { event, verdict: None });
        Self(Some(Arc::new(Inner { auditor: auditor.clone(), state })))
    }

    /// The requester is known: what the policy says of the request holds from now on.
    pub async fn received(&self, user: &User, info: &RequestInfo) -> Result<(), Status> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let verdict = inner.auditor.policy.judge(info, user);
        super::level_counted(verdict.level);
        let receipt = {
            let mut state = inner.lock();
            state.event.level = verdict.level;
            state.event.user = user.into();
            state.verdict = Some(verdict);
            inner.tell(&mut state, Stage::RequestReceived)
        };
        receipt.settled().await.map_err(|()| Status::internal_error("failed to store audit event"))
    }

    /// Refused before it is known who asks: that is written, by what the policy says of nobody.
    pub async fn turned_away(&self, info: &RequestInfo, status: &Status) {
        let Some(inner) = &self.0 else { return };
        let verdict = inner.auditor.policy.judge(info, &User::default());
        super::level_counted(verdict.level);
        let receipt = {
            let mut state = inner.lock();
            state.event.level = verdict.level;
            let object = status.to_value();
            state.event.response_status = Some(event::response_status(status.code, Some(&object)));
            state.event.response_object = (verdict.level >= Level::RequestResponse).then_some(object);
            state.verdict = Some(verdict);
            let receipt = inner.tell(&mut state, Stage::ResponseStarted);
            state.verdict = None;
            receipt
        };
        // The answer is a refusal already.
        let _ = receipt.settled().await;
    }

    pub fn impersonated(&self, acting: &Acting) {
        self.change(|event| {
            event.impersonated_user = Some((&acting.user).into());
            let constraint = acting.constraint.clone();
            event.authentication_metadata =
                constraint.map(|impersonation_constraint| AuthenticationMetadata { impersonation_constraint });
        });
    }

    pub fn decided(&self, decision: &Decision) {
        let (word, reason) = match decision {
            Decision::Allow(reason) => ("allow", reason),
            Decision::NoOpinion(reason) => ("forbid", reason),
        };
        self.annotate("authorization.k8s.io/decision", word);
        self.annotate("authorization.k8s.io/reason", reason);
    }

    /// A word of a part of the server; the first one of a key stays.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        self.change(|event| {
            event.annotations.entry(key.to_owned()).or_insert_with(|| value.into());
        });
    }

    /// The object that came with the request, as it was read; `complete` fills in what is written down and not sent.
    pub fn sent(&self, object: &Value, complete: impl FnOnce(&mut Value)) {
        let Some(verdict) = self.verdict() else { return };
        let written = (verdict.level >= Level::Request).then(|| {
            let mut written = object.clone();
            complete(&mut written);
            if verdict.omits_managed_fields {
                event::drop_managed_fields(&mut written);
            }
            written
        });
        self.change(|event| {
            if let Some(own) = &mut event.object_ref {
                own.complete(object);
            }
            event.request_object = written;
        });
    }

    /// The patch that came with the request, as it is.
    pub fn patched(&self, headers: &HeaderMap, patch: &[u8]) {
        if self.verdict().is_some_and(|verdict| verdict.level >= Level::Request) {
            let patch = read(headers, patch);
            self.change(|event| event.request_object = patch);
        }
    }

    /// The Status that the answer will be.
    pub fn told(&self, status: &Value) {
        self.change(|event| event.response_status = Some(event::response_status(0, Some(status))));
    }

    fn verdict(&self) -> Option<Verdict> {
        self.0.as_ref()?.lock().verdict.clone().filter(|verdict| verdict.level > Level::None)
    }

    fn change(&self, change: impl FnOnce(&mut Event)) {
        let Some(inner) = &self.0 else { return };
        let mut state = inner.lock();
        if state.verdict.as_ref().is_some_and(|verdict| verdict.level > Level::None) {
            change(&mut state.event);
        }
    }

    /// A handler panicked.
    pub async fn panicked(&self) {
        self.change(|event| {
            let status = Status::internal_error("APIServer panic'd");
            event.response_status = Some(event::response_status(500, Some(&status.to_value())));
        });
        let Some(inner) = &self.0 else { return };
        let receipt = {
            let mut state = inner.lock();
            let receipt = inner.tell(&mut state, Stage::Panic);
            state.verdict = None;
            receipt
        };
        // A client that is told of a panic needs no second word.
        let _ = receipt.settled().await;
    }

    /// The answer is made; it ends when its body does. `failure`: the Status that it tells. What waits for its event is
    /// an answer whose body is there: one that is a stream has reached its client when its end is written.
    pub async fn answered(&self, response: Response, failure: Option<&Status>, is_long_running: bool) -> Response {
        let Some(verdict) = self.verdict() else { return response };
        let code = response.status().as_u16();
        self.change(|event| match (failure, &mut event.response_status) {
            (None, Some(told)) => told["code"] = code.into(),
            _ => event.response_status = Some(event::response_status(code, failure.map(Status::to_value).as_ref())),
        });
        let mut end = Ending { trail: self.clone(), headers: response.headers().clone(), bytes: Vec::new(), code };
        if is_long_running {
            self.started().await;
            return response.map(|body| crate::http_body::holding(body, end));
        }
        if verdict.level < Level::RequestResponse {
            end.settled().await;
            return response;
        }
        if response.body().size_hint().exact().is_none() {
            return response.map(|body| recorded(body, end));
        }
        let (parts, body) = response.into_parts();
        let body = match body.collect().await.map(Collected::to_bytes) {
            Ok(bytes) => {
                end.bytes = bytes.to_vec();
                end.settled().await;
                full(bytes)
            }
            Err(error) => crate::http_body::broken(error),
        };
        Response::from_parts(parts, body)
    }

    async fn started(&self) {
        let Some(inner) = &self.0 else { return };
        let receipt = inner.tell(&mut inner.lock(), Stage::ResponseStarted);
        // Too late to refuse.
        let _ = receipt.settled().await;
    }

    fn completed(&self, object: Option<Value>, code: u16) -> Receipt {
        let Some(inner) = &self.0 else { return Receipt::default() };
        let mut state = inner.lock();
        let Some(verdict) = state.verdict.take() else { return Receipt::default() };
        if let Some(mut object) = object {
            if verdict.omits_managed_fields {
                event::drop_managed_fields(&mut object);
            }
            state.event.response_status = Some(event::response_status(code, Some(&object)));
            state.event.response_object = Some(object);
        }
        state.verdict = Some(verdict);
        let receipt = inner.tell(&mut state, Stage::ResponseComplete);
        state.verdict = None;
        receipt
    }
}

impl Inner {
    // A panic while the lock is held cannot leave more than a word missing from the event.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &mut State, stage: Stage) -> Receipt {
        let Some(verdict) = &state.verdict else { return Receipt::default() };
        if verdict.level == Level::None || verdict.omitted.contains(&stage) {
            return Receipt::default();
        }
        state.event.stage = stage;
        state.event.stage_timestamp = self.auditor.now();
        self.auditor.write(&state.event)
    }
}

/// Lives as long as an answer's body; its end is the end of the request.
struct Ending {
    trail: Trail,
    headers: HeaderMap,
    /// The body so far, where it is to be written.
    bytes: Vec<u8>,
    code: u16,
}

impl Ending {
    fn complete(&mut self) -> Receipt {
        let bytes = std::mem::take(&mut self.bytes);
        let object = (!bytes.is_empty()).then(|| read(&self.headers, &bytes)).flatten();
        self.trail.completed(object, self.code)
    }

    /// Returns when its event has been written wherever a request waits for that.
    async fn settled(mut self) {
        // Too late to refuse.
        let _ = self.complete().settled().await;
    }
}

/// Its event is written once: nothing is left to tell of one that has settled.
impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.complete());
    }
}

fn recorded(body: crate::http_body::Body, mut end: Ending) -> crate::http_body::Body {
    body.map_frame(move |frame| {
        if let Some(data) = frame.data_ref() {
            end.bytes.extend_from_slice(data);
        }
        frame
    })
    .boxed_unsync()
}

/// An object in any of the encodings; none where it is not one.
fn read(headers: &HeaderMap, bytes: &[u8]) -> Option<Value> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match media_type.split(';').next().unwrap_or_default() {
        "application/yaml" | "application/apply-patch+yaml" => serde_yaml_ng::from_slice(bytes).ok(),
        _ => crate::stored::decode(bytes).ok(),
    }
}

/// Who is said to have asked, and last who is on the other end of the connection.
fn source_ips(request: &Request<()>) -> Vec<String> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok();
    let mut addresses: Vec<IpAddr> = header("x-forwarded-for").split(',').filter_map(parse).collect();
    if let Some(real) = parse(header("x-real-ip")).filter(|real| !addresses.contains(real)) {
        addresses.push(real);
    }
    let remote = request.extensions().get::<PeerInfo>().map(PeerInfo::address);
    if let Some(remote) = remote.filter(|remote| addresses.last() != Some(remote)) {
        addresses.push(remote);
    }
    addresses.iter().map(IpAddr::to_string).collect()
}

fn user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match agent.char_indices().nth(USER_AGENT_MAX) {
        Some((end, _)) => format!("{}...TRUNCATED", &agent[..end]),
        None => agent.to_owned(),
    }
}
