//! Requests for a group version of somebody else, passed on with the word of who asks; upgrades too.

use http::header::{CONTENT_TYPE, HOST, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;

use super::extension::Extension;
use super::identity;
use crate::api::Api;
use crate::connect::kubelet::escape_path;
use crate::connect::proxy::rewrite::without_connection;
use crate::connect::splice;
use crate::http_body::{Body, Response, full};
use crate::request::User;

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
        return plain("service unavailable");
    }
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    // The path that was authorized, however the client wrote it.
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    *request.uri_mut() = format!("{}{query}", escape_path(path)).parse().unwrap_or_default();
    *request.headers_mut() =
        without_connection(&parts.headers, upgrade.is_some() && parts.headers.contains_key(UPGRADE));
    request.headers_mut().remove(http::header::CONTENT_LENGTH);
    identity::set(request.headers_mut(), user);
    let host = extension.endpoint(api).ok().and_then(|endpoint| HeaderValue::from_str(&endpoint.authority()).ok());
    // Never beside the one that was asked for: servers refuse two.
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    match extension.send(api, request).await {
        Err(error) => {
            tracing::warn!(%error, name = extension.name, "an extension server cannot be reached");
            plain(&format!("error trying to reach service: {error}"))
        }
        Ok(answer) => match (answer.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(client)) => splice::join(client, answer, api.shutdown.clone()),
            _ => answered(answer),
        },
    }
}

fn answered(answer: http::Response<hyper::body::Incoming>) -> Response {
    let (parts, body) = answer.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    *response.status_mut() = parts.status;
    *response.headers_mut() = without_connection(&parts.headers, false);
    response
}

fn plain(text: &str) -> Response {
    let mut response = Response::new(full(format!("{text}\n")));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
