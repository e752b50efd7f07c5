//! One request's event, from its arrival to its end.
//!
//! Handed along with the request; a request that is not written has an empty one, which costs nothing.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use component::serve::PeerInfo;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use machinery::status::Status;
use serde_json::Value;

use super::Auditor;
use super::event::{self, Event, ObjectRef, UserInfo};
use super::policy::{Level, Stage, Verdict};
use crate::authz::Decision;
use crate::http_body::Response;
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
    pub fn begin(auditor: Option<&Arc<Auditor>>, request: &Request<()>, info: &RequestInfo, audit_id: &str) -> Self {
        let Some(auditor) = auditor else { return Self(None) };
        let now = auditor.now();
        let uri = request.uri().path_and_query().map_or_else(|| info.path.clone(), ToString::to_string);
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: Level::None,
            audit_id: audit_id.to_owned(),
            stage: Stage::RequestReceived,
            request_uri: uri,
            verb: info.verb.clone(),
            user: UserInfo::default(),
            impersonated_user: None,
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
    pub fn received(&self, user: &User, info: &RequestInfo) -> Result<(), Status> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let verdict = inner.auditor.policy.judge(info, user);
        super::level_counted(verdict.level);
        let mut state = inner.lock();
        state.event.level = verdict.level;
        state.event.user = user.into();
        state.verdict = Some(verdict);
        inner
            .tell(&mut state, Stage::RequestReceived)
            .map_err(|()| Status::internal_error("failed to store audit event"))
    }

    /// Nobody that is known: the refusal is written, by what the policy says of nobody.
    pub fn unauthenticated(&self, info: &RequestInfo, status: &Status) {
        let Some(inner) = &self.0 else { return };
        let verdict = inner.auditor.policy.judge(info, &User::default());
        super::level_counted(verdict.level);
        let mut state = inner.lock();
        state.event.level = verdict.level;
        state.event.response_status = Some(event::response_status(status.code, Some(&status.to_value())));
        state.event.response_status.iter_mut().for_each(|told| told["message"] = "Authentication failed".into());
        state.verdict = Some(verdict);
        // The answer is a refusal already.
        let _ = inner.tell(&mut state, Stage::ResponseStarted);
        state.verdict = None;
    }

    pub fn impersonated(&self, user: &User) {
        self.change(|event| event.impersonated_user = Some(user.into()));
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

    /// The object that came with the request.
    pub fn body(&self, headers: &HeaderMap, body: &[u8]) {
        let Some(verdict) = self.verdict().filter(|_| !body.is_empty()) else { return };
        let Some(mut object) = read(headers, body) else { return };
        if verdict.omits_managed_fields {
            event::drop_managed_fields(&mut object);
        }
        self.change(|event| {
            if let Some(own) = &mut event.object_ref {
                own.complete(&object);
            }
            event.request_object = (verdict.level >= Level::Request).then_some(object);
        });
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
    pub fn panicked(&self) {
        self.change(|event| {
            let status = Status::internal_error("APIServer panic'd");
            event.response_status = Some(event::response_status(500, Some(&status.to_value())));
        });
        let Some(inner) = &self.0 else { return };
        let mut state = inner.lock();
        // A client that is told of a panic needs no second word.
        let _ = inner.tell(&mut state, Stage::Panic);
        state.verdict = None;
    }

    /// The answer is made; it ends when its body does. `failure`: the Status that it tells.
    pub fn answered(&self, response: Response, failure: Option<&Status>, is_long_running: bool) -> Response {
        let Some(verdict) = self.verdict() else { return response };
        let code = response.status().as_u16();
        self.change(|event| {
            event.response_status = Some(event::response_status(code, failure.map(Status::to_value).as_ref()));
        });
        let end = Ending { trail: self.clone(), headers: response.headers().clone(), bytes: Vec::new(), code };
        if is_long_running {
            if let Some(inner) = &self.0 {
                // Too late to refuse.
                let _ = inner.tell(&mut inner.lock(), Stage::ResponseStarted);
            }
            return response.map(|body| crate::http_body::holding(body, end));
        }
        if verdict.level < Level::RequestResponse {
            drop(end);
            return response;
        }
        response.map(|body| recorded(body, end))
    }

    fn completed(&self, object: Option<Value>, code: u16) {
        let Some(inner) = &self.0 else { return };
        let mut state = inner.lock();
        let Some(verdict) = state.verdict.take() else { return };
        if let Some(mut object) = object {
            if verdict.omits_managed_fields {
                event::drop_managed_fields(&mut object);
            }
            state.event.response_status = Some(event::response_status(code, Some(&object)));
            state.event.response_object = Some(object);
        }
        state.verdict = Some(verdict);
        let _ = inner.tell(&mut state, Stage::ResponseComplete);
        state.verdict = None;
    }
}

impl Inner {
    // A panic while the lock is held cannot leave more than a word missing from the event.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &mut State, stage: Stage) -> Result<(), ()> {
        let Some(verdict) = &state.verdict else { return Ok(()) };
        if verdict.level == Level::None || verdict.omitted.contains(&stage) {
            return Ok(());
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

impl Drop for Ending {
    fn drop(&mut self) {
        let object = (!self.bytes.is_empty()).then(|| read(&self.headers, &self.bytes)).flatten();
        self.trail.completed(object, self.code);
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
    let remote = request.extensions().get::<PeerInfo>().map(|peer| peer.remote.ip().to_canonical());
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
