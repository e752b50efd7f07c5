//! OpenAPI v2 and v3, written from the rows and their schemas when asked for.
//!
//! Enter at [`answer`]. Kubernetes API concept: "OpenAPI V3". Documents are large and asked for rarely: none is kept, and
//! they are named by a fingerprint of what they are made of, so that the index makes none.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{Request, StatusCode};
use jiff::Timestamp;
use machinery::catalogue::Resource;
use machinery::openapi::{self, Custom};
use machinery::status::Status;
use serde::Serialize;

use crate::aggregation::documents;
use crate::aggregation::extension::Extension;
use crate::catalogue::Catalogue;
use crate::compress;
use crate::go_json;
use crate::http_body::{Response, empty, full};
use crate::paths;
use crate::request::Query;

const JSON: &str = "application/json";
/// What older clients ask for and newer ones are answered with: `@` is not allowed in a media type.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
const V3_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

/// Answers `/openapi/…`; `None` for other paths.
pub fn answer<B>(
    catalogue: &Catalogue,
    extensions: &[Arc<Extension>],
    path: &str,
    request: &Request<B>,
    now: Timestamp,
) -> Option<Result<Response, Status>> {
    let below = path.strip_prefix("/openapi/")?;
    let rows: Vec<&Resource> = catalogue.offered().map(|served| &served.row).collect();
    Some(match below.trim_end_matches('/') {
        "v2" => v2(&rows, extensions, request),
        "v3" => index(&rows, extensions, request),
        _ => match below.strip_prefix("v3/").and_then(group_version) {
            Some((group, version)) if rows.iter().any(|row| row.group == group && row.version == version) => {
                v3(&rows, (&group, &version), request, now)
            }
            _ => paths::unknown(catalogue, path),
        },
    })
}

fn v2<B>(rows: &[&Resource], extensions: &[Arc<Extension>], request: &Request<B>) -> Result<Response, Status> {
    let (custom, extra) = (Custom::default(), documents::v2(extensions));
    let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = name_of(openapi::fingerprint(None, rows, &custom) ^ hash_of(&extra.paths));
    if accepted.contains(openapi::V2_PROTOBUF) || accepted.contains(PROTOBUF) {
        return respond(PROTOBUF, &format!("{name}P"), request, || openapi::v2_protobuf(rows, &custom, &extra));
    }
    if !accepted.is_empty() && ["json", "*/*"].iter().all(|word| !accepted.contains(word)) {
        return Err(Status::not_acceptable("OpenAPI v2 is served as JSON and protobuf"));
    }
    respond(JSON, &name, request, || openapi::v2(rows, &custom, &extra))
}

fn v3<B>(
    rows: &[&Resource],
    (group, version): (&str, &str),
    request: &Request<B>,
    now: Timestamp,
) -> Result<Response, Status> {
    let custom = Custom::default();
    let name = name_of(openapi::fingerprint(Some((group, version)), rows, &custom));
    let Some(form) = form_of_v3(request) else {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
        return Ok(response);
    };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let given = query.text("hash").filter(|hash| !hash.is_empty());
    if given.is_some_and(|hash| hash != name) {
        let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        return moved(&format!("/openapi/v3/{path}?hash={name}"));
    }
    let named = given.is_some();
    let mut response = match form {
        V3Form::Json => respond(JSON, &name, request, || go_json::text(openapi::v3(group, version, rows, &custom)))?,
        V3Form::Protobuf => {
            let make = || openapi::v3_protobuf(group, version, rows, &custom);
            respond(V3_PROTOBUF, &format!("{name}P"), request, make)?
        }
    };
    // The index names documents by hash, so a client that brings the right one may keep what it gets.
    if named {
        let expires = now + Duration::from_secs(365 * 24 * 3600);
        let expires = expires.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let set = response.headers_mut();
        set.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        set.insert(EXPIRES, HeaderValue::from_str(&expires).map_err(Status::internal_error)?);
    }
    Ok(response)
}

/// How a document of a group is wanted.
enum V3Form {
    Json,
    Protobuf,
}

fn form_of_v3<B>(request: &Request<B>) -> Option<V3Form> {
    let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kinds = accepted.split(',').filter_map(|clause| clause.split(';').next()).map(str::trim);
    let mut kinds = kinds.filter(|kind| !kind.is_empty()).peekable();
    if kinds.peek().is_none() {
        return Some(V3Form::Json);
    }
    kinds.find_map(|kind| match kind {
        "*/*" | "application/*" | JSON => Some(V3Form::Json),
        V3_PROTOBUF | V3_PROTOBUF_OLD => Some(V3Form::Protobuf),
        _ => None,
    })
}

/// Whoever kept an old name of a document is told the one that it has now.
fn moved(place: &str) -> Result<Response, Status> {
    let mut response = Response::new(full(format!("<a href=\"{place}\">Moved Permanently</a>.\n\n")));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let set = response.headers_mut();
    set.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    set.insert(LOCATION, HeaderValue::from_str(place).map_err(Status::internal_error)?);
    Ok(response)
}

/// Nothing hashes to nothing, so that names do not change where there is nothing of others.
fn hash_of<T: Serialize + Default + PartialEq>(of: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    if *of == T::default() {
        return 0;
    }
    serde_json::to_vec(of).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

fn index<B>(rows: &[&Resource], extensions: &[Arc<Extension>], request: &Request<B>) -> Result<Response, Status> {
    let custom = Custom::default();
    let versions: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row.group.as_ref(), row.version.as_ref())).collect();
    let mut entries: Vec<(String, String)> = versions
        .into_iter()
        .map(|(group, version)| {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let name = name_of(openapi::fingerprint(Some((group, version)), rows, &custom));
            let url = format!("/openapi/v3/{path}?hash={name}");
            (path, url)
        })
        .collect();
    let more = documents::v3_entries(extensions);
    let name = name_of(openapi::fingerprint(None, rows, &custom) ^ hash_of(&more));
    entries.extend(more);
    respond(JSON, &name, request, || openapi::index(&entries).to_string().into_bytes())
}

fn group_version(path: &str) -> Option<(String, String)> {
    match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some((String::new(), (*version).to_owned())),
        ["apis", group, version] => Some(((*group).to_owned(), (*version).to_owned())),
        _ => None,
    }
}

fn name_of(fingerprint: u64) -> String {
    format!("{fingerprint:016X}")
}

/// The document, made only when the client does not have it already.
fn respond<B>(
    media_type: &'static str,
    name: &str,
    request: &Request<B>,
    make: impl FnOnce() -> Vec<u8>,
) -> Result<Response, Status> {
    let headers = request.headers();
    let tag = format!("\"{name}\"");
    let mut response = Response::new(empty());
    if headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let bytes = make();
        *response.body_mut() = if compress::is_accepted(headers) {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            full(compress::bytes(&bytes).map_err(Status::internal_error)?)
        } else {
            full(bytes)
        };
    }
    let set = response.headers_mut();
    set.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    set.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    set.insert(ETAG, HeaderValue::from_str(&tag).map_err(Status::internal_error)?);
    Ok(response)
}
