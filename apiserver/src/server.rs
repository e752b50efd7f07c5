//! A request's way: request info, authentication, authorization, route (see ARCHITECTURE.md, "A request's way").
//!
//! Enter at [`handle`]. It ends in an answer whatever happens: a failure is a Status, a panic in a handler too.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use component::serve::{Endpoints, PeerInfo, is_upgrade};
use futures::FutureExt;
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use machinery::catalogue::Resource;
use machinery::status::Status;

use crate::aggregation;
use crate::api::Api;
use crate::audit::Trail;
use crate::authn::Remarks;
use crate::authn::openid::Documents;
use crate::authz::{self, Decision};
use crate::browsers::Browsers;
use crate::compress;
use crate::end::End;
use crate::health::Health;
use crate::http_body::{PRIVATE, RequestBody, Response, full, holding};
use crate::limits::{Place, TooMany, is_long_running, objects_read, too_many};
use crate::metrics::Observed;
use crate::paths::{self, About};
use crate::request::{Query, RequestInfo, User, header_text, is_well_escaped};
use crate::rest::body::BYTES_MAX;
use crate::rest::negotiate::{self, Accept};
use crate::rest::params::ListOptions;
use crate::rest::warnings::Warnings;
use crate::rest::{self, Call};

/// How long a client may take to send its body.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// The most that is read, and thrown away, of the body of a refused request, in bytes.
const DRAINED_MAX: usize = 64 * 1024 * 1024;

/// What answers requests: the API and the endpoints about the server itself.
pub struct Server {
    pub api: Arc<Api>,
    pub endpoints: Endpoints,
    pub health: Arc<Health>,
    pub about: Arc<About>,
    /// The ServiceAccount issuer's documents, where its name allows them.
    pub openid: Option<Arc<Documents>>,
    /// The insecure port takes everyone as a master.
    pub insecure: bool,
}

/// What goes along with a request, to be told beside its answer.
struct Notes {
    warnings: Warnings,
    observed: Observed,
    trail: Trail,
    audit_id: Option<HeaderValue>,
    /// The requester has no right to make the request.
    is_forbidden: AtomicBool,
}

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The number that the request is written down, passed on and answered with: its own, as it is, if it brought one.
fn audit_id(api: &Api, headers: &HeaderMap) -> Option<HeaderValue> {
    let given = headers.get(AUDIT_ID).filter(|id| !id.is_empty()).cloned();
    given.or_else(|| HeaderValue::try_from(api.new_uid()).ok())
}

/// Answers one request.
pub async fn handle(server: Arc<Server>, request: Request<RequestBody>) -> Response {
    if !is_well_escaped(request.uri().path()) {
        return paths::malformed(request.version());
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let accept = Accept::of_failure(request.headers(), negotiate::pretty(&query));
    let is_head = request.method() == Method::HEAD;
    let origin = server.api.browsers.allowed(request.headers()).cloned();
    let (parts, mut body) = request.into_parts();
    let head = Request::from_parts(parts, ());
    let info = RequestInfo::parse(head.method(), head.uri().path(), &query);
    let audit_id = audit_id(&server.api, head.headers());
    if info.lacks_kind {
        return marked(paths::kindless(head.uri()), audit_id);
    }
    let notes = Notes {
        warnings: Warnings::default(),
        observed: Observed::of(head.method(), head.headers(), &query, &info, is_known(&server, &info)),
        trail: Trail::begin(server.api.auditor.as_ref(), &head, &info, audit_id.as_ref().map(header_text)),
        audit_id,
        is_forbidden: AtomicBool::default(),
    };
    let zips = compress::is_accepted(head.headers());
    let is_long = is_long_running(&info);
    let end = within(&server, head, &mut body, query, info, &notes);
    let end = AssertUnwindSafe(end).catch_unwind().await.unwrap_or(End::Panicked);
    let is_stream = is_long && matches!(end, End::Answered(_));
    if !is_stream && !body.is_end_stream() {
        tokio::spawn(drain(body));
    }
    let Notes { warnings, observed, trail, audit_id, is_forbidden } = notes;
    let is_late = matches!(end, End::TooLate);
    let mut response = end.told(&trail, accept, is_long).await;
    // Who switches protocols is told what the other side says, and nothing more.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().entry(CACHE_CONTROL).or_insert(PRIVATE);
        // Upstream's handlers have these headers from what did not come in time.
        if !is_late {
            warnings.tell(&mut response);
            server.api.browsers.mark(&mut response, origin);
            observed.mark(&mut response);
        }
        response = marked(response, audit_id);
        if is_forbidden.into_inner() {
            response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
    }
    observed.answered(&response);
    if let Some(running) = observed.running() {
        response = response.map(|body| holding(body, running));
    } else if zips {
        response = compress::answer(response);
    }
    if is_head {
        *response.body_mut() = full(Bytes::new());
    }
    response
}

fn marked(mut response: Response, audit_id: Option<HeaderValue>) -> Response {
    if let Some(id) = audit_id {
        response.headers_mut().insert(AUDIT_ID, id);
    }
    response
}

/// Answers in the time that the request has.
async fn within(
    server: &Server,
    request: Request<()>,
    body: &mut RequestBody,
    query: Query,
    info: RequestInfo,
    notes: &Notes,
) -> End {
    let deadline = match server.api.limits.deadline(&info, &query) {
        Ok(deadline) => deadline,
        Err(status) => {
            notes.trail.turned_away(&info, &status).await;
            return End::Refused(status);
        }
    };
    let is_long = is_long_running(&info);
    // On the heap: it is large, and what waits for it is moved several times.
    let answer = Box::pin(route(server, request, body, query, info, notes));
    if is_long {
        return answer.await.into();
    }
    let Ok(outcome) = tokio::time::timeout(deadline, answer).await else {
        notes.observed.terminated("504");
        return End::TooLate;
    };
    outcome.into()
}

async fn route(
    server: &Server,
    mut request: Request<()>,
    body: &mut RequestBody,
    query: Query,
    info: RequestInfo,
    notes: &Notes,
) -> Result<Response, Status> {
    let (api, Notes { warnings, observed, trail, audit_id, is_forbidden }) = (&server.api, notes);
    if request.method() == Method::OPTIONS && api.browsers.allowed(request.headers()).is_some() {
        return Ok(Browsers::preflight());
    }
    let user = identify(server, &request, &info, &query, notes).await?;
    // Held until the answer is made; of a watch, until it has begun.
    let _place = match place(api, &info, &user, &query, observed).await? {
        Ok(place) => place,
        Err(TooMany { retry_after_seconds }) => {
            observed.terminated("429");
            return Ok(too_many(retry_after_seconds));
        }
    };
    api.authenticator.strip(request.headers_mut());
    authorize(server, &user, &info, &query, trail).inspect_err(|_| is_forbidden.store(true, Ordering::Relaxed))?;
    if info.path.starts_with("//") {
        return Ok(paths::not_found());
    }
    if let Some(extension) = api.aggregation.find(&info.path) {
        let upgrade = is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
        if let Some(id) = audit_id {
            request.headers_mut().insert(AUDIT_ID, id.clone());
        }
        let (parts, ()) = request.into_parts();
        let body = if takes_body(&info) { read_body(body).await? } else { Bytes::new() };
        let path = &info.path;
        return Ok(aggregation::proxy::pass_on(api, &extension, &user, path, parts, full(body), upgrade).await);
    }
    if !info.is_resource {
        return paths::answer(server, &request, &info.path).await;
    }
    let Some(served) = api.catalogue.find_offered(&info.group, &info.version, &info.resource) else {
        return paths::unknown(&api.catalogue, &info.path);
    };
    if info.verb == "proxy" {
        return Err(Status::unknown_path());
    }
    if is_list_of_all(&info, &served.row) {
        return Err(Status::method_not_supported());
    }
    check_scope(&info, served.row.namespaced)?;
    let upgrade = is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (parts, ()) = request.into_parts();
    let body = if takes_body(&info) { read_body(body).await? } else { Bytes::new() };
    let (served, warnings, trail) = (served.clone(), warnings.clone(), trail.clone());
    let peer = parts.extensions.get::<PeerInfo>().map(PeerInfo::address);
    let (method, uri, headers) = (parts.method, parts.uri, parts.headers);
    let call = Call { method, uri, peer, query, headers, user, served, body, upgrade, info, warnings, trail };
    // On the heap: what a verb keeps while it waits is large, and the request is moved several times before it runs.
    Box::pin(rest::dispatch(api, call)).await
}

/// A place among the requests that run. Streams need none.
async fn place(
    api: &Api,
    info: &RequestInfo,
    user: &User,
    query: &Query,
    observed: &Observed,
) -> Result<Result<Option<Place>, TooMany>, Status> {
    if is_long_running(info) && info.verb != "watch" {
        return Ok(Ok(None));
    }
    let deadline = api.limits.deadline(info, query)?;
    let (marks, place) = api.limits.enter(info, user, objects_read(api, info, query), deadline).await;
    if let Some(marks) = marks {
        observed.sorted(marks);
    }
    Ok(place)
}

/// Whether metrics may name what a request asks for.
fn is_known(server: &Server, info: &RequestInfo) -> bool {
    const PATHS: [&str; 10] = [
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ];
    match info.is_resource {
        true => server.api.catalogue.find_offered(&info.group, &info.version, &info.resource).is_some(),
        false => PATHS.contains(&info.path.as_str()),
    }
}

/// What is created where all namespaces' objects are listed: there is such a path, but for no other method.
fn is_list_of_all(info: &RequestInfo, row: &Resource) -> bool {
    let is_nowhere = info.namespace.is_empty() && info.name.is_empty();
    info.verb == "create" && is_nowhere && row.namespaced && row.allows("list")
}

/// A namespaced resource is written in its namespace, a cluster's never inside one. A namespace is in itself only: else
/// whoever has rights in one would have them over all.
fn check_scope(info: &RequestInfo, namespaced: bool) -> Result<(), Status> {
    let is_itself = info.resource == "namespaces" && info.name == info.namespace;
    let in_namespace = !info.namespace.is_empty() && !is_itself;
    let needs_namespace = namespaced && (info.names_object() || info.verb == "create" || info.is_watch_of_one());
    let wrong = (in_namespace && !namespaced) || (needs_namespace && !in_namespace);
    // Reviews of the caller's own rights name a namespace in their body.
    if wrong { Err(Status::unknown_path()) } else { Ok(()) }
}

fn takes_body(info: &RequestInfo) -> bool {
    matches!(info.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
        && !matches!(info.subresource.as_str(), "exec" | "attach" | "portforward")
}

async fn read_body(body: &mut RequestBody) -> Result<Bytes, Status> {
    let collected = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BYTES_MAX).collect()).await;
    let collected = collected.map_err(|_| Status::timeout("the request's body did not arrive in time"))?;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            Status::request_entity_too_large(format!("Request entity too large: limit is {BYTES_MAX}"))
        } else {
            Status::bad_request(format!("unable to read the request's body: {error}"))
        }
    })
}

/// Takes what still comes of a refused request's body, within limits. Dropping the body would reset the stream, and a
/// client that is still sending would see that and not the answer.
async fn drain(mut body: RequestBody) {
    let rest = async {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > DRAINED_MAX {
                return;
            }
        }
    };
    // The answer is on its way whether or not all of it came.
    let _ = tokio::time::timeout(BODY_DEADLINE, rest).await;
}

async fn identify(
    server: &Server,
    request: &Request<()>,
    info: &RequestInfo,
    query: &Query,
    notes: &Notes,
) -> Result<User, Status> {
    let trail = &notes.trail;
    let (user, remarks) = match authenticate(server, request).await {
        Ok(known) => known,
        Err(status) => {
            trail.turned_away(info, &status).await;
            return Err(status);
        }
    };
    trail.received(&user, info).await?;
    remarks.tell(&notes.warnings, trail);
    let impersonation = &server.api.authenticator.impersonation;
    let acting = impersonation.impersonated(&server.api, &user, request.headers(), || attributes(info, query));
    Ok(match acting.inspect_err(|_| notes.is_forbidden.store(true, Ordering::Relaxed))? {
        None => user,
        Some(acting) => {
            trail.impersonated(&acting);
            acting.user
        }
    })
}

async fn authenticate(server: &Server, request: &Request<()>) -> Result<(User, Remarks), Status> {
    if server.insecure {
        let groups = vec![crate::request::MASTERS.to_owned(), crate::request::AUTHENTICATED.to_owned()];
        let user = User { name: "system:unsecured".to_owned(), groups, ..User::default() };
        return Ok((user, Remarks::default()));
    }
    let peer = request.extensions().get::<PeerInfo>();
    let certificates = peer.map(|peer| peer.certificates.as_ref()).unwrap_or_default();
    server.api.authenticator.authenticate(&server.api, request.headers(), certificates).await
}

fn authorize(server: &Server, user: &User, info: &RequestInfo, query: &Query, trail: &Trail) -> Result<(), Status> {
    let decision = server.api.authorizer.authorize(&server.api, user, &attributes(info, query));
    trail.decided(&decision);
    match decision {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(reason) => Err(authz::refusal(user, info, &reason)),
    }
}

fn attributes(info: &RequestInfo, query: &Query) -> authz::Attributes {
    let fields = match info.verb.as_str() {
        // One that cannot be read asks for everything here, and is refused where it is used.
        "list" | "watch" | "deletecollection" => ListOptions::parse_fields(query).unwrap_or_default(),
        _ => Default::default(),
    };
    authz::Attributes { info: info.clone(), fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_in_itself_only() {
        let is_there = |method: &Method, path: &str| {
            check_scope(&RequestInfo::parse(method, path, &Query::default()), false).is_ok()
        };
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            for path in ["/api/v1/namespaces", "/api/v1/namespaces/a", "/api/v1/namespaces/a/status"] {
                assert!(is_there(&method, path), "{method} {path}");
            }
            for path in
                ["/api/v1/namespaces/a/namespaces", "/api/v1/namespaces/a/namespaces/b", "/api/v1/namespaces/a/nodes"]
            {
                assert!(!is_there(&method, path), "{method} {path}");
            }
        }
    }
}
