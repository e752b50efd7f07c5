//! Requests for a group version of somebody else, passed on with the word of who asks; upgrades too.

use component::serve::PeerInfo;
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;

use super::extension::Extension;
use super::identity;
use crate::api::Api;
use crate::connect::kubelet::target;
use crate::connect::proxy::rewrite::{FORWARDED_URI, add_sender, joined, of_backend, without_connection};
use crate::connect::splice;
use crate::http_body::{Body, Response, full};
use crate::paths;
use crate::request::{User, escape_path, read_form, unescape, write_form};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The extension server's answer, or a word in plain text why there is none, as upstream has it.
pub async fn pass_on(
    api: &Api,
    extension: &Extension,
    user: &User,
    path: &str,
    parts: Parts,
    body: Body,
    upgrade: Option<OnUpgrade>,
) -> Response {
    if !extension.available {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
    }
    // The path that was authorized, however the client wrote it.
    let decoded = unescape(parts.uri.path()).filter(|decoded| String::from_utf8_lossy(decoded) == path);
    let Some(decoded) = decoded else { return paths::malformed(parts.version) };
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    // Written anew, as upstream does: nobody behind this server reads more in a query than was read here.
    let query = write_form(read_form(parts.uri.query().unwrap_or_default()));
    *request.uri_mut() = match target(&escape_path(&decoded), &query) {
        Ok(uri) => uri,
        Err(status) => return plain(StatusCode::URI_TOO_LONG, &status.message),
    };
    *request.headers_mut() = without_connection(&parts.headers, upgrade.is_some());
    request.headers_mut().remove(http::header::CONTENT_LENGTH);
    if let Err(error) = identity::set(request.headers_mut(), user) {
        return unreachable(&error);
    }
    let peer = parts.extensions.get::<PeerInfo>().map(PeerInfo::address);
    peer.into_iter().for_each(|peer| add_sender(request.headers_mut(), peer));
    let host = extension.endpoint(api).ok().and_then(|endpoint| HeaderValue::from_str(&endpoint.authority()).ok());
    // Never beside the one that was asked for: servers refuse two.
    if let Some(host) = host {
        if upgrade.is_none() {
            forward(&mut request, &host);
        }
        request.headers_mut().insert(HOST, host);
    }
    match extension.send(api, request).await {
        Err(error) => {
            tracing::warn!(%error, name = extension.name, "an extension server cannot be reached");
            unreachable(&error)
        }
        Ok(answer) => match (answer.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(client)) => splice::join(client, answer, api.shutdown.clone()),
            (status, Some(_)) if status.as_u16() < 400 => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("invalid upgrade response: status code {}", status.as_u16()),
            ),
            (status, _) if api.aggregation.rejects_redirects && status.is_redirection() && leads_away(&answer) => {
                words(
                    StatusCode::BAD_GATEWAY,
                    "the backend attempted to redirect this request, which is not permitted".to_owned(),
                )
            }
            _ => answered(answer),
        },
    }
}

/// What is asked for, and of whom, in the place of what the client says of it. Upstream does so for all but upgrades.
fn forward(request: &mut Request<Body>, host: &HeaderValue) {
    let uri = joined("", request.uri().path());
    let headers = request.headers_mut();
    if let Ok(uri) = HeaderValue::from_str(&uri) {
        headers.insert(FORWARDED_URI, uri);
    }
    headers.insert(FORWARDED_HOST, host.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
}

/// A client that follows would bring along there what it brought here.
fn leads_away(answer: &http::Response<hyper::body::Incoming>) -> bool {
    answer.headers().get(LOCATION).is_some_and(|location| !location.is_empty())
}

fn unreachable(error: &dyn std::fmt::Display) -> Response {
    plain(StatusCode::SERVICE_UNAVAILABLE, &format!("error trying to reach service: {error}"))
}

fn answered(answer: http::Response<hyper::body::Incoming>) -> Response {
    let (parts, body) = answer.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    *response.status_mut() = parts.status;
    *response.headers_mut() = of_backend(&parts.headers);
    response
}

fn plain(code: StatusCode, text: &str) -> Response {
    words(code, format!("{text}\n"))
}

fn words(code: StatusCode, text: String) -> Response {
    let mut response = Response::new(full(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
