//! The verbs, once for all kinds: decode, admit, default, validate, compare-and-swap; read and watch from the cache.
//!
//! Enter at [`dispatch`]. No kind is named here: what differs is in [`crate::kinds`] hooks, in [`crate::admission`]
//! plug-ins, and in [`subresource`] for what has a shape of its own (scale, binding, eviction, token).

pub mod apply;
pub mod body;
mod carried;
mod components;
pub mod create;
pub mod current;
pub mod delete;
mod generation;
pub mod list;
pub mod managers;
pub mod negotiate;
mod owners;
pub mod params;
pub mod patch;
pub mod respond;
pub mod review;
pub mod subresource;
pub mod system;
pub mod table;
pub mod update;
pub mod warnings;
pub mod watch;
pub mod written;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use hyper::upgrade::OnUpgrade;
use machinery::gvk::Gvk;
use machinery::schema::Schema;
use machinery::status::Status;
use serde_json::Value;

use crate::api::Api;
use crate::audit::Trail;
use crate::catalogue::Served;
use crate::http_body::Response;
use crate::metrics;
use crate::request::{Query, RequestInfo, User, header_text};
use body::Decoded;
use params::FieldValidation;
use warnings::Warnings;

/// One authenticated and authorized request for a resource.
pub struct Call {
    pub method: Method,
    /// As it was sent, for what passes it on.
    pub uri: Uri,
    /// Who is on the other end of the connection.
    pub peer: Option<IpAddr>,
    pub info: RequestInfo,
    pub query: Query,
    pub headers: HeaderMap,
    pub user: User,
    pub served: Arc<Served>,
    pub body: Bytes,
    /// The client's side of an upgrade, for streams.
    pub upgrade: Option<OnUpgrade>,
    /// What the client is told beside the answer.
    pub warnings: Warnings,
    /// What is written down of the request.
    pub trail: Trail,
}

impl Call {
    /// The name that a not-found or conflict answer tells.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    pub fn not_found(&self) -> Status {
        Status::not_found(self.served.group_resource(), self.name())
    }

    pub fn accept(&self) -> Result<negotiate::Accept, Status> {
        negotiate::check_routed(&self.headers, matches!(self.info.verb.as_str(), "list" | "watch"))?;
        negotiate::Accept::of(&self.headers, negotiate::pretty(&self.query))
    }

    /// The body as an object of a kind. It is written down with what upstream's decoder fills in.
    pub fn decode(&self, schema: &Schema, kind: &Gvk, validation: FieldValidation) -> Result<Decoded, Status> {
        let decoded = body::decode(&self.body, &self.headers, schema, kind, validation)?;
        self.trail.sent(&decoded.object, |object| match *kind == self.served.row.gvk() {
            true => create::complete(object, &self.served),
            false => {
                machinery::schema::normalize(schema, object);
                machinery::schema::default_static(schema, object);
            }
        });
        Ok(decoded)
    }

    /// An answer that is a Status, which is written down even where answers are not.
    pub fn status(&self, accept: negotiate::Accept, code: u16, status: &Value) -> Result<Response, Status> {
        self.trail.told(status);
        respond::encoded(accept, code, status)
    }

    pub fn user_agent(&self) -> Cow<'_, str> {
        self.headers.get(http::header::USER_AGENT).map(header_text).unwrap_or_default()
    }
}

/// Answers a request for a resource that the catalogue has.
pub async fn dispatch(api: &Arc<Api>, call: Call) -> Result<Response, Status> {
    if let Some(words) = call.served.row.deprecated {
        call.warnings.add(words);
        call.trail.annotate("k8s.io/deprecated", "true");
        metrics::deprecated_is_asked(&call.info);
    }
    if !call.info.subresource.is_empty() {
        return subresource::dispatch(api, call).await;
    }
    let row = &call.served.row;
    let is_nameless = call.info.name.is_empty() && matches!(call.info.verb.as_str(), "update" | "patch");
    // What is in many namespaces is not deleted in one go.
    let is_everywhere = call.info.verb == "deletecollection" && row.namespaced && call.info.namespace.is_empty();
    if is_nameless || is_everywhere || is_read_oddly(&call) || !row.allows(&call.info.verb) {
        return Err(not_allowed(&call));
    }
    if row.storage.is_none() {
        return match call.info.verb.as_str() {
            "create" => review::create(api, call).await,
            _ => components::read(api, &call).await,
        };
    }
    match call.info.verb.as_str() {
        "get" => list::get(api, &call).await,
        "list" => list::list(api, &call).await,
        "watch" => watch::watch(api, call).await,
        "create" => create::create(api, &call).await,
        "update" => update::update(api, &call).await,
        "patch" => patch::patch(api, &call).await,
        "delete" => delete::delete(api, &call).await,
        "deletecollection" => delete::delete_collection(api, &call).await,
        _ => Err(not_allowed(&call)),
    }
}

/// All that is read, below the old paths of `/watch/` too, is read by GET; upstream has no route for HEAD.
fn is_read_oddly(call: &Call) -> bool {
    matches!(call.info.verb.as_str(), "get" | "list" | "watch") && call.method != Method::GET
}

pub fn not_allowed(_call: &Call) -> Status {
    Status::method_not_supported()
}
