//! A request, taken apart as the API server's RequestInfo does.

use std::collections::BTreeMap;

use http::{Method, Request, header::CONTENT_TYPE};
use kube::client::Body;
use serde_json::Value;

/// One request that the server got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Received {
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: &'static str,
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    /// Plural.
    pub resource: String,
    pub subresource: String,
    /// Empty for cluster-scoped objects and for all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    pub query: BTreeMap<String, String>,
    pub content_type: String,
    /// Null without a body.
    pub body: Value,
}

impl Received {
    pub(super) async fn read(request: Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap_or_default();
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut received = Self {
            query: query(parts.uri.query().unwrap_or_default()),
            content_type: content_type.to_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            ..Self::default()
        };
        received.path(parts.uri.path());
        received.verb = received.verb(&parts.method);
        received
    }

    fn path(&mut self, path: &str) {
        let mut words = path.split('/').filter(|word| !word.is_empty()).map(str::to_owned);
        if words.next().as_deref() == Some("apis") {
            self.group = words.next().unwrap_or_default();
        }
        self.version = words.next().unwrap_or_default();
        let mut rest: Vec<String> = words.collect();
        if rest.len() > 2 && rest[0] == "namespaces" && !["status", "finalize"].contains(&&*rest[2]) {
            self.namespace = rest[1].clone();
            rest.drain(..2);
        }
        let mut rest = rest.into_iter();
        self.resource = rest.next().unwrap_or_default();
        self.name = rest.next().unwrap_or_default();
        self.subresource = rest.collect::<Vec<_>>().join("/");
    }

    fn verb(&self, method: &Method) -> &'static str {
        let watching = self.query.get("watch").is_some_and(|value| value == "true" || value == "1");
        match (method, self.name.is_empty()) {
            (&Method::GET, true) if watching => "watch",
            (&Method::GET, true) => "list",
            (&Method::GET, false) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, true) => "deletecollection",
            (&Method::DELETE, false) => "delete",
            _ => "other",
        }
    }

    pub(super) fn query(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// Percent-decoding, as in forms.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
