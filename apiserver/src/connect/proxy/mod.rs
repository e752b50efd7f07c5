//! The `proxy` subresource: requests passed on to a pod, a service's pod, or a node, upgrades too.
//!
//! Enter at [`dispatch`]. [`target`] says where to, [`rewrite`] what is changed on the way, [`links`] what in pages.

mod links;
pub mod rewrite;
mod target;

use std::sync::Arc;

use component::tls::{self, Trust};
use http::header::{HOST, LOCATION};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use machinery::status::Status;
use serde_json::Value;

use self::rewrite::Paths;
use self::target::{Backend, Target};
use super::{kubelet, splice};
use crate::admission::{self, Operation};
use crate::api::Api;
use crate::http_body::{BoxError, Response, empty, full};
use crate::request::escape_path;
use crate::rest::Call;

pub async fn dispatch(api: &Arc<Api>, call: Call) -> Result<Response, Status> {
    let resource = call.served.row.plural.to_string();
    let path = escape_path(call.info.raw_path());
    let name = escape_path(call.name().as_bytes());
    let paths = Paths::of(&path, &resource, &name).ok_or_else(Status::unknown_path)?;
    let (object, backend, to_kubelet) = find(api, &call, &resource, call.name()).await?;
    let admitted = admission::Request::new(api, &call, Operation::Connect, false, None);
    api.admission.validate(&admitted, &object).await?;
    let upgrade = call.upgrade.is_some();
    if !upgrade && paths.rest.is_empty() && matches!(call.method, Method::GET | Method::HEAD) {
        return to_the_root(&call, paths);
    }
    let tls = match (backend.https, to_kubelet) {
        (false, _) => None,
        (true, true) => Some(api.kubelets.tls.clone()),
        (true, false) => Some(anyone()?),
    };
    let request = request(&call, paths, &backend, upgrade)?;
    let answer = kubelet::send_over(tls, &backend.endpoint, request).await;
    let answer = answer.map_err(unreachable)?;
    if !upgrade {
        return pass_on(answer, paths, &backend, &call).await;
    }
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => {
            let client = call.upgrade.ok_or_else(|| Status::bad_request("the connection cannot be upgraded"))?;
            Ok(splice::join(client, answer, api.shutdown.clone()))
        }
        status if status.as_u16() < 400 => {
            Err(Status::internal_error(format!("invalid upgrade response: status code {}", status.as_u16())))
        }
        _ => pass_on(answer, paths, &backend, &call).await,
    }
}

/// The object, where it leads, and whether that is a kubelet.
async fn find(api: &Arc<Api>, call: &Call, resource: &str, id: &str) -> Result<(Value, Backend, bool), Status> {
    let (namespace, of) = (call.info.namespace.as_str(), call.served.row.group_resource());
    match resource {
        "pods" => {
            let target = Target::parse("pod", id)?;
            let pod = named(api, call, &target).await?;
            let backend = target::pod_backend(&target, &pod)?;
            Ok((pod, backend, false))
        }
        "services" => {
            let target = Target::parse("service", id)?;
            let service = named(api, call, &target).await?;
            let port_name = target::service_port_name(&target, &service)?;
            let endpoints = api
                .peek_named("", "endpoints", namespace, target.name)
                .ok_or_else(|| Status::not_found(of, target.name))?;
            let mut found = target::candidates(&endpoints, namespace, &port_name);
            found.retain(|(ip, _, pod)| {
                api.peek_named("", "pods", namespace, pod).is_some_and(|pod| target::is_address_of(&pod, ip))
            });
            let none = || Status::service_unavailable(format!("no endpoints available for service {id:?}"));
            let count = u64::try_from(found.len()).unwrap_or(u64::MAX).max(1);
            let chosen = usize::try_from(api.random.u64() % count).unwrap_or_default();
            let (ip, port, _) = found.get(chosen).ok_or_else(none)?;
            Ok((service, target::service_backend(&target, ip, *port), false))
        }
        "nodes" => {
            let target = Target::parse("node", id)?;
            let node = named(api, call, &target).await?;
            let (backend, to_kubelet) = target::node_backend(&target, api.kubelets.endpoint(api, of, target.name)?)?;
            Ok((node, backend, to_kubelet))
        }
        _ => Err(Status::unknown_path()),
    }
}

async fn named(api: &Api, call: &Call, target: &Target<'_>) -> Result<Value, Status> {
    let found = api.read(&call.served, &call.info.namespace, target.name).await?;
    let missing = || Status::not_found(call.served.row.group_resource(), target.name);
    found.map(|found| found.object.clone()).ok_or_else(missing)
}

/// What is behind a proxy is nobody's certificate authority's business, as upstream has it.
pub fn anyone() -> Result<Arc<rustls::ClientConfig>, Status> {
    let mut config = tls::client_config(&Trust::Anyone, None).map_err(Status::internal_error)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Relative links work only below a slash.
fn to_the_root(call: &Call, paths: Paths<'_>) -> Result<Response, Status> {
    let query = call.uri.query().filter(|query| !query.is_empty()).map(|query| format!("?{query}"));
    let location = format!("{}/{}", paths.prefix, query.unwrap_or_default());
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::from_bytes(location.as_bytes()).map_err(Status::internal_error)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn request(
    call: &Call,
    paths: Paths<'_>,
    backend: &Backend,
    upgrade: bool,
) -> Result<Request<crate::http_body::Body>, Status> {
    let mut request = Request::new(full(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = kubelet::target(&rewrite::joined("", paths.rest), call.uri.query().unwrap_or_default())?;
    *request.headers_mut() = rewrite::request_headers(&call.headers, paths, call.peer, upgrade);
    if !request.headers().contains_key(HOST) {
        // HTTP/2 clients name the host elsewhere.
        let host = HeaderValue::from_str(&backend.endpoint.authority()).map_err(Status::internal_error)?;
        request.headers_mut().insert(HOST, host);
    }
    Ok(request)
}

fn unreachable(error: BoxError) -> Status {
    Status::service_unavailable(format!("error trying to reach service: {error}"))
}

async fn pass_on(
    answer: http::Response<hyper::body::Incoming>,
    paths: Paths<'_>,
    backend: &Backend,
    call: &Call,
) -> Result<Response, Status> {
    let (parts, body) = answer.into_parts();
    let authority = backend.endpoint.authority();
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    *response.status_mut() = parts.status;
    *response.headers_mut() = rewrite::answer_headers(&parts.headers, paths, &authority, &call.headers);
    if call.method == Method::HEAD {
        return Ok(response);
    }
    let host = rewrite::asked_host(&call.headers);
    let change = |link: &str| rewrite::through_proxy(link, paths, &authority, host);
    links::answer(response, change).await.map_err(unreachable)
}
