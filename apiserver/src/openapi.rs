//! OpenAPI v2 and v3, generated from the rows and their schemas when asked for.
//!
//! Kubernetes API concept: "OpenAPI V3". Documents are large and asked for rarely: what is kept is the hash of each,
//! compressed documents are not held.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
};
use http::{Request, StatusCode};
use machinery::catalogue::Resource;
use machinery::openapi;
use machinery::status::Status;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::catalogue::Catalogue;
use crate::http_body::{Response, empty, full};

/// Hashes of the documents, by path.
#[derive(Default)]
pub struct OpenApi {
    hashes: Mutex<HashMap<String, String>>,
}

impl OpenApi {
    /// Answers `/openapi/…`; `None` for other paths.
    pub fn answer<B>(
        &self,
        catalogue: &Catalogue,
        path: &str,
        request: &Request<B>,
    ) -> Option<Result<Response, Status>> {
        let below = path.strip_prefix("/openapi/")?;
        let rows: Vec<&Resource> = catalogue.rows().iter().map(|served| &served.row).collect();
        Some(match below.trim_end_matches('/') {
            "v2" => self.v2(&rows, request),
            "v3" => self.index(&rows, request),
            _ => match below.strip_prefix("v3/").and_then(group_version) {
                Some((group, version)) if rows.iter().any(|row| row.group == group && row.version == version) => {
                    self.v3(&rows, path, &group, &version, request)
                }
                _ => Err(Status::unknown_path()),
            },
        })
    }

    fn v2<B>(&self, rows: &[&Resource], request: &Request<B>) -> Result<Response, Status> {
        let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let takes_json = accepted.is_empty() || ["json", "*/*"].iter().any(|word| accepted.contains(word));
        if !takes_json {
            return Err(Status::not_acceptable("OpenAPI v2 is served as application/json"));
        }
        respond(&openapi::v2(rows, &openapi::Custom::default()), request)
    }

    fn v3<B>(
        &self,
        rows: &[&Resource],
        path: &str,
        group: &str,
        version: &str,
        request: &Request<B>,
    ) -> Result<Response, Status> {
        let document = openapi::v3(group, version, rows, &openapi::Custom::default());
        let mut response = respond(&document, request)?;
        // The index names documents by hash, so a client that brings the right one may keep what it gets.
        let asked = request.uri().query().unwrap_or_default();
        if asked == format!("hash={}", self.hash(path, || document)) {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        }
        Ok(response)
    }

    fn index<B>(&self, rows: &[&Resource], request: &Request<B>) -> Result<Response, Status> {
        let versions: BTreeSet<(&str, &str)> =
            rows.iter().map(|row| (row.group.as_ref(), row.version.as_ref())).collect();
        let entries: Vec<(String, String)> = versions
            .into_iter()
            .map(|(group, version)| {
                let name = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
                let path = format!("/openapi/v3/{name}");
                let hash = self.hash(&path, || openapi::v3(group, version, rows, &openapi::Custom::default()));
                (name, format!("{path}?hash={hash}"))
            })
            .collect();
        respond(&openapi::index(&entries), request)
    }

    fn hash(&self, path: &str, make: impl FnOnce() -> Value) -> String {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.entry(path.to_owned()).or_insert_with(|| hash_of(make().to_string().as_bytes())).clone()
    }
}

fn group_version(path: &str) -> Option<(String, String)> {
    match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some((String::new(), (*version).to_owned())),
        ["apis", group, version] => Some(((*group).to_owned(), (*version).to_owned())),
        _ => None,
    }
}

fn hash_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..32].iter().map(|byte| format!("{byte:02X}")).collect()
}

fn respond<B>(document: &Value, request: &Request<B>) -> Result<Response, Status> {
    let headers = request.headers();
    let bytes = serde_json::to_vec(document).map_err(Status::internal_error)?;
    let tag = format!("\"{}\"", hash_of(&bytes));
    let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response = if unchanged {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(full(bytes.clone()))
    };
    let zipped =
        headers.get(ACCEPT_ENCODING).is_some_and(|given| given.to_str().is_ok_and(|text| text.contains("gzip")));
    if zipped && !unchanged {
        *response.body_mut() = full(gzip(&bytes).map_err(Status::internal_error)?);
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let set = response.headers_mut();
    set.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    set.insert(ETAG, HeaderValue::from_str(&tag).map_err(Status::internal_error)?);
    Ok(response)
}

fn gzip(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish().map(Bytes::from)
}
