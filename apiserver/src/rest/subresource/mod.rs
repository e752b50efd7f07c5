//! Subresources: parts of an object with a path, rights and sometimes a kind of their own.
//!
//! Enter at [`dispatch`]. Status and the other parts of an object go through the same update as the whole; what has a
//! shape of its own (scale, binding, eviction, token) is translated to that update here; streams go to
//! [`crate::connect`].

mod binding;
mod disruption;
mod eviction;
mod scale;
mod token;

pub use binding::bind_named;

use std::sync::Arc;

use http::Method;
use machinery::status::Status;

use super::{Call, list, not_allowed, patch, update};
use crate::api::Api;
use crate::connect;
use crate::http_body::Response;

/// Which fields a subresource owns besides the metadata, where it is a part of its parent's own kind.
pub fn owned_fields(subresource: &str) -> &'static [&'static str] {
    match subresource {
        "approval" => &["status.conditions"],
        "finalize" => &["spec.finalizers"],
        _ => &[],
    }
}

pub async fn dispatch(api: &Arc<Api>, call: Call) -> Result<Response, Status> {
    let name = call.info.subresource.clone();
    let subresource = call.served.row.subresource(&name).ok_or_else(Status::unknown_path)?;
    let is_proxy = name == "proxy";
    if call.info.verb == "watch" || (call.info.goes_on && !is_proxy) {
        return Err(Status::unknown_path());
    }
    if call.name().is_empty() {
        return Err(Status::bad_request("name must be provided"));
    }
    // What OPTIONS and HEAD ask is for the other side to say, and no verb of this one's.
    let is_taken = match call.method {
        Method::OPTIONS => is_proxy,
        Method::HEAD if !is_proxy => false,
        _ => subresource.verbs.contains(&call.info.verb.as_str()),
    };
    if !is_taken {
        return Err(not_allowed(&call));
    }
    match (name.as_str(), call.info.verb.as_str()) {
        ("scale", _) => scale::dispatch(api, &call).await,
        ("binding", _) => binding::create(api, &call).await,
        ("eviction", _) => eviction::create(api, &call).await,
        ("token", _) => token::create(api, &call).await,
        ("log" | "exec" | "attach" | "portforward" | "proxy", _) => connect::dispatch(api, call).await,
        (_, "get") => list::get(api, &call).await,
        (_, "update") => update::update(api, &call).await,
        (_, "patch") => patch::patch(api, &call).await,
        _ => Err(not_allowed(&call)),
    }
}

/// The same request, as if it were made of the object itself, for another object kind or verb.
pub fn call_of(call: &Call, served: &Arc<crate::catalogue::Served>, name: &str) -> Call {
    Call {
        method: call.method.clone(),
        uri: call.uri.clone(),
        peer: call.peer,
        info: crate::request::RequestInfo { name: name.to_owned(), ..call.info.clone() },
        query: call.query.clone(),
        headers: call.headers.clone(),
        user: call.user.clone(),
        served: served.clone(),
        body: bytes::Bytes::new(),
        upgrade: None,
        warnings: call.warnings.clone(),
        trail: call.trail.clone(),
    }
}
