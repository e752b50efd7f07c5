//! Which kinds are custom: none, for they are not built.
//!
//! That there are none is told to whoever may list them, and nothing else of the group is there, nor in discovery. Before
//! kubectl sends what cannot be patched (a review, a list of one kind) it asks which kinds are custom, and gives up when it
//! is not told.

use http::HeaderMap;
use machinery::status::Status;
use serde_json::json;

use crate::api::Api;
use crate::http_body::Response;
use crate::paths;
use crate::request::{Query, RequestInfo};
use crate::rest::negotiate::Accept;
use crate::rest::respond;

/// Answers a request for a resource that the catalogue has not.
pub fn answer(api: &Api, info: &RequestInfo, query: &Query, headers: &HeaderMap) -> Result<Response, Status> {
    let asked = (info.verb.as_str(), info.group.as_str(), info.version.as_str(), info.resource.as_str());
    if asked != ("list", "apiextensions.k8s.io", "v1", "customresourcedefinitions") || !info.namespace.is_empty() {
        return paths::unknown(&api.catalogue, &info.path);
    }
    let accept = Accept::of(headers, query.is_true("pretty"))?;
    let metadata = json!({"resourceVersion": api.cache.revision().to_string()});
    let list = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinitionList", "metadata": metadata, "items": [],
    });
    respond::encoded(accept, 200, &list)
}
