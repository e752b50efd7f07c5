//! Connections through the server to a node: logs, exec, attach, port-forward.
//!
//! Enter at [`dispatch`]. What the client's stream carries is the kubelet's business: after the upgrade both sides'
//! bytes are passed on as they come, but for WebSockets that the kubelet's runtime does not understand ([`translate`],
//! [`tunnel`]) (Kubernetes concept: "Communication between Nodes and the Control Plane").

pub mod kubelet;
mod log;
mod outcome;
mod pod;
pub mod proxy;
mod reader;
mod session;
pub mod splice;
mod translate;
mod tunnel;
pub mod websocket;

use std::sync::Arc;

use machinery::status::Status;

use crate::admission::{Operation, Request};
use crate::api::Api;
use crate::authz::Decision;
use crate::http_body::Response;
use crate::rest::{Call, apply};

pub async fn dispatch(api: &Arc<Api>, mut call: Call) -> Result<Response, Status> {
    if call.info.subresource == "log" {
        return log::read(api, &mut call).await;
    }
    if call.query.get("dryRun").is_some() {
        return Err(Status::bad_request("dryRun is not supported"));
    }
    if call.info.subresource == "proxy" {
        return proxy::dispatch(api, call).await;
    }
    check_create(api, &call)?;
    pod::check_options(&call)?;
    let found = api.read(&call.served, &call.info.namespace, call.name()).await?.ok_or_else(|| call.not_found())?;
    let request = Request::new(api, &call, Operation::Connect, false, None);
    api.admission.validate(&request, &found.object).await?;
    match call.info.subresource.as_str() {
        "exec" | "attach" | "portforward" => pod::stream(api, call, &found.object).await,
        _ => Err(Status::unknown_path()),
    }
}

/// A WebSocket begins with a GET: who may only read is not let in by it.
fn check_create(api: &Api, call: &Call) -> Result<(), Status> {
    if call.info.verb == "create" {
        return Ok(());
    }
    match api.authorizer.authorize(api, &call.user, &apply::to_create(call)) {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(why) => Err(Status::forbidden(call.served.row.group_resource(), call.name(), &why)),
    }
}
