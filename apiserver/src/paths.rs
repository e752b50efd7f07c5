//! What is served beside the resources: discovery, OpenAPI, version, health, metrics, z-pages, the token keys, and the list
//! of all that at `/`.
//!
//! Enter at [`answer`]; [`unknown`] answers what nobody knows.

use bytes::Bytes;
use component::serve::zpages::{self, Page, ZPages};
use http::header::{CONNECTION, CONTENT_TYPE, WARNING, X_CONTENT_TYPE_OPTIONS};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use machinery::escapes::without_markup;
use machinery::field::quote;
use machinery::status::Status;

use crate::api::Api;
use crate::authn::openid;
use crate::catalogue::Catalogue;
use crate::discovery;
use crate::fairness::dump;
use crate::http_body::{Response, full};
use crate::metrics;
use crate::request::Query;
use crate::rest::negotiate::{Accept, Format};
use crate::rest::respond;
use crate::server::Server;

/// What the server tells of itself.
pub struct About {
    /// Host and port by which clients reach it.
    pub address: String,
    /// What `/flagz` and `/statusz` tell.
    pub zpages: ZPages,
}

/// Paths that are no resources: discovery, OpenAPI, version, health, metrics, z-pages, the token keys. As upstream has it,
/// what its router of APIs does not know is read by any method.
pub async fn answer(server: &Server, request: &Request<()>, path: &str) -> Result<Response, Status> {
    if let Some(page) = server.about.zpages.page(path, request.headers(), || paths(server)) {
        return zpage(page?);
    }
    if request.method() != Method::GET && is_for_get_alone(server, path) {
        return Err(Status::method_not_supported());
    }
    let (api, extensions) = (&server.api, server.api.aggregation.extensions());
    if let Some(answer) = discovery::answer(&api.catalogue, &extensions, &server.about.address, path, request) {
        return answer;
    }
    if let Some(below) = path.strip_prefix("/openapi/v3")
        && let Some(extension) = api.aggregation.find(below)
        && below == extension.path()
    {
        let document = extension
            .get(api, &format!("/openapi/v3{}", extension.path()))
            .await
            .map_err(Status::service_unavailable)?;
        return respond::encoded(Accept::default(), 200, &document);
    }
    if let Some(answer) = crate::openapi::answer(&api.catalogue, &extensions, path, request, api.clock.now()) {
        return answer;
    }
    if let Some(answer) = dumped(api, path, &Query::parse(request.uri().query().unwrap_or_default())) {
        return Ok(answer);
    }
    if let Some(answer) = server.openid.as_ref().and_then(|documents| documents.answer(path)) {
        return Ok(answer);
    }
    let query = request.uri().query().unwrap_or_default();
    if is_health(path) {
        server.health.look(api.store.as_ref()).await;
    }
    if path == "/metrics" {
        metrics::store::look(api.store.as_ref()).await;
    }
    if let Some(answer) = server.endpoints.answer(&Method::GET, path, query) {
        return Ok(answer.map(full_body));
    }
    let accept = Accept::of(request.headers(), Some(true))?;
    match path.trim_end_matches('/') {
        "" => respond::encoded(accept, 200, &serde_json::json!({"paths": paths(server)})),
        "/version" => {
            let info = serde_json::to_value(component::version::info()).map_err(Status::internal_error)?;
            respond::encoded(accept, 200, &info)
        }
        _ => unknown(&api.catalogue, path),
    }
}

/// Whether checks are asked for, all of a kind or one.
fn is_health(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    matches!(first, "healthz" | "livez" | "readyz")
}

/// What upstream's router of APIs knows.
fn is_for_get_alone(server: &Server, path: &str) -> bool {
    let catalogue = &server.api.catalogue;
    match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["api"] | ["version"] => true,
        ["api", version] => discovery::is_served(catalogue, "", version),
        ["apis", group, version] => discovery::is_served(catalogue, group, version),
        _ => server.openid.is_some() && [openid::CONFIGURATION_PATH, openid::KEYS_PATH].contains(&path),
    }
}

fn zpage(page: Page) -> Result<Response, Status> {
    match page {
        Page::Text(text) => Ok(respond::body_response(200, "text/plain; charset=utf-8", full(text))),
        Page::Object { object, is_yaml, warning } => {
            let format = if is_yaml { Format::Yaml } else { Format::Json };
            let mut response = respond::encoded(Accept { format, ..Accept::default() }, 200, &object)?;
            response.headers_mut().extend(warning.map(|warning| (WARNING, warning)));
            Ok(response)
        }
    }
}

/// What Go's server says, and then hangs up, where a path's escapes are none.
pub fn malformed(version: Version) -> Response {
    let mut response = Response::new(full("400 Bad Request"));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What is said of a path that nobody answers: a Status below the API's own paths, and else the plain words of a web
/// server, as upstream.
pub fn unknown(catalogue: &Catalogue, path: &str) -> Result<Response, Status> {
    let mut parts = path.trim_start_matches('/').split('/');
    let is_known_group = |group: &str| catalogue.offered().any(|served| served.row.group == group);
    let is_api = match (parts.next(), parts.next()) {
        (Some("api"), _) => true,
        (Some("apis"), group) => group.is_none_or(|group| group.is_empty() || is_known_group(group)),
        _ => false,
    };
    if is_api {
        return Err(Status::unknown_path());
    }
    Ok(not_found())
}

/// The words of a web server.
pub fn not_found() -> Response {
    plain(404, "404 page not found\n")
}

/// Said of a path that begins as the old ones of watches and proxies do, and ends there.
pub fn kindless(uri: &Uri) -> Response {
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let why = format!("failed to create RequestInfo: unable to determine kind and namespace from url, {path}");
    plain(500, format!("{}\n", without_markup(&format!("Internal Server Error: {}: {why}", quote(path)))))
}

fn plain(code: u16, words: impl Into<Bytes>) -> Response {
    let mut response = respond::body_response(code, "text/plain; charset=utf-8", full(words));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What priority and fairness has in hand.
fn dumped(api: &Api, path: &str, query: &Query) -> Option<Response> {
    let with_details = query.text("includeRequestDetails").is_some();
    let table = api.limits.fairness.as_ref()?.dump(path.strip_prefix(dump::PATH)?, with_details, api.clock.now())?;
    Some(respond::body_response(200, "text/plain; charset=utf-8", full(table)))
}

fn full_body(body: http_body_util::Full<Bytes>) -> crate::http_body::Body {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// The list of paths at `/`.
fn paths(server: &Server) -> Vec<String> {
    let fixed = [
        "/api",
        "/apis",
        "/apis/",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/version",
    ];
    let mut paths: Vec<String> = fixed.into_iter().chain(zpages::PATHS).map(str::to_owned).collect();
    if server.api.limits.fairness.is_some() {
        paths.extend(dump::TABLES.map(|table| format!("{}{table}", dump::PATH)));
    }
    for checks in [&server.endpoints.healthz, &server.endpoints.livez, &server.endpoints.readyz] {
        paths.extend(checks.paths());
    }
    if server.openid.is_some() {
        paths.extend([openid::CONFIGURATION_PATH, openid::KEYS_PATH].map(str::to_owned));
    }
    for served in server.api.catalogue.offered() {
        let row = &served.row;
        let below = match row.group.as_ref() {
            "" => format!("/api/{}", row.version),
            group => format!("/apis/{group}/{}", row.version),
        };
        if !row.group.is_empty() {
            paths.push(format!("/apis/{}", row.group));
        }
        paths.push(format!("/openapi/v3{below}"));
        paths.push(below);
    }
    paths.sort();
    paths.dedup();
    paths
}
