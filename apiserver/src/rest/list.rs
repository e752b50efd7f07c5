//! Get and list, answered from the watch cache.
//!
//! Kubernetes API concepts: "Resource versions", "Retrieving large results sets in chunks". A list is written straight
//! from the cached bodies: no copy of the objects is made to answer it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use machinery::schema::{bad_base64, syntax_error};
use machinery::selector::{FieldSelector, FieldTerm};
use machinery::status::Status;
use serde_json::{Value, json};

use super::negotiate::{Accept, Format, Shape};
use super::params::{ListOptions, Match, parse_resource_version, watched_version};
use super::table::{self, Include};
use super::{Call, respond};
use crate::api::Api;
use crate::cache::{Item, Snapshot};
use crate::catalogue::Served;
use crate::errors;
use crate::http_body::{Response, append, stream};
use crate::index::{self, field_position, is_selectable};
use crate::request::Query;
use crate::store::Revision;

/// How long a read waits for a version that does not exist yet: another server may have told of it.
const VERSION_DEADLINE: Duration = Duration::from_secs(3);

pub async fn get(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    refuse_export(&call.query)?;
    match watched_version(&call.query)? {
        None => api.consistent().await.map(|_| ())?,
        Some(version) => wait_for(api, Revision(version)).await?,
    }
    let key = api.catalogue.key(&call.served, &call.info.namespace, call.name());
    let item = api.cache.get(call.served.id, &key).ok_or_else(|| call.not_found())?;
    if respond::shows_as_stored(accept, &call.served) {
        return Ok(respond::bytes_response(200, Format::Json, item.body.clone()));
    }
    let object = parse(&item)?;
    respond::object(call, accept, 200, &object, api.clock.now().as_second())
}

/// What older clients may still ask of any object, or part of one, that is read by its name.
pub fn refuse_export(query: &Query) -> Result<(), Status> {
    if query.is_true("export") {
        return Err(Status::bad_request("the export parameter, deprecated since v1.14, is no longer supported"));
    }
    Ok(())
}

fn parse(item: &Item) -> Result<Value, Status> {
    serde_json::from_slice(&item.body).map_err(Status::internal_error)
}

/// Waits until the cache has seen `revision`; one that does not come in time is told to lie in the future.
pub async fn wait_for(api: &Api, revision: Revision) -> Result<(), Status> {
    let comes = tokio::time::timeout(VERSION_DEADLINE, api.cache.wait_for(revision)).await;
    comes.map_err(|_| errors::too_large(revision.0, api.cache.revision().0))
}

/// What a list found, not yet encoded.
pub struct Found {
    pub items: Vec<Arc<Item>>,
    pub revision: Revision,
    pub continue_token: Option<String>,
    pub remaining: Option<usize>,
}

pub async fn list(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let options = options(call)?;
    let found = select(api, call, &options).await?;
    respond_list(api, call, accept, &found)
}

/// The options of a list, watch or deletecollection. An object that the path names is one more condition, as the old
/// paths below `/watch/` have it.
pub fn options(call: &Call) -> Result<ListOptions, Status> {
    let mut options = ListOptions::parse(&call.query)?;
    check_fields(&options.fields, &call.served)?;
    let name = call.name();
    if name.is_empty() {
        return Ok(options);
    }
    if options.fields.is_everything() {
        let term = FieldTerm { field: "metadata.name".to_owned(), equal: true, value: name.to_owned() };
        options.fields = FieldSelector::new(vec![term]);
    } else if options.fields.exact_match("metadata.name") != Some(name) {
        return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
    }
    Ok(options)
}

/// Finds the objects of a list request.
pub async fn select(api: &Api, call: &Call, options: &ListOptions) -> Result<Found, Status> {
    let served = &call.served;
    let prefix = api.catalogue.prefix(served, &call.info.namespace);
    let (snapshot, after) = match &options.continue_token {
        Some(token) => resume(api, call, &prefix, options, token).await?,
        None => (begin(api, call, &prefix, options).await?, String::new()),
    };
    let mut chosen = snapshot.iter_after(&after).filter(|item| is_selected(item, options, served));
    // Where any version will do, all of it is at hand.
    if options.limit == 0 || options.resource_version.as_deref() == Some("0") {
        let items = chosen.cloned().collect();
        return Ok(Found { items, revision: snapshot.revision(), continue_token: None, remaining: None });
    }
    let items: Vec<Arc<Item>> = chosen.by_ref().take(options.limit).cloned().collect();
    let rest = chosen.count();
    let continue_token =
        (rest > 0).then(|| items.last().map(|last| token(snapshot.revision(), last, &prefix))).flatten();
    if rest > 0 {
        api.cache.keep(served.id, &snapshot);
    }
    // Upstream tells how many remain only where no selector makes that costly.
    let unselected = options.labels.is_everything() && options.fields.is_everything();
    let remaining = (rest > 0 && unselected).then_some(rest);
    Ok(Found { items, revision: snapshot.revision(), continue_token, remaining })
}

async fn begin(api: &Api, call: &Call, prefix: &str, options: &ListOptions) -> Result<Snapshot, Status> {
    let id = call.served.id;
    let version = parse_resource_version(options.resource_version.as_deref())?;
    match version.map(Revision) {
        None => api.consistent().await.map(|_| ())?,
        Some(Revision(0)) => {}
        Some(at) => {
            wait_for(api, at).await?;
            if is_exact(call, options) {
                return api.cache.list_at(id, prefix, "", at).await.map_err(|error| errors::store(&error));
            }
        }
    }
    Ok(api.cache.list(id, prefix))
}

/// Whether the list is of the very version that was named. One that is cut is, for older clients rely on it; but what can
/// only be one object is not cut.
fn is_exact(call: &Call, options: &ListOptions) -> bool {
    let is_one = options.fields.exact_match("metadata.name").is_some()
        && (!call.served.row.namespaced || !call.info.namespace.is_empty());
    match options.resource_version_match {
        Some(asked) => asked == Match::Exact,
        None => options.limit > 0 && !is_one,
    }
}

/// The list of a continue token and the key after which to go on.
async fn resume(
    api: &Api,
    call: &Call,
    prefix: &str,
    options: &ListOptions,
    token: &str,
) -> Result<(Snapshot, String), Status> {
    let told = |why| Status::bad_request(format!("invalid continue token: {why}"));
    let (revision, name) = parse_token(token).map_err(told)?;
    if !options.takes_any_version() {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let after = format!("{prefix}{name}");
    let Some(revision) = revision else {
        api.consistent().await?;
        return Ok((api.cache.list(call.served.id, prefix), after));
    };
    match api.cache.list_at(call.served.id, prefix, &after, revision).await {
        Ok(snapshot) => Ok((snapshot, after)),
        Err(crate::store::Error::Compacted { .. }) => {
            let fresh = encode_token(-1, &name);
            Err(Status::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            )
            .with_continue(fresh))
        }
        Err(error) => Err(errors::store(&error)),
    }
}

fn token(revision: Revision, last: &Item, prefix: &str) -> String {
    let name = last.key.strip_prefix(prefix).unwrap_or(&last.key);
    encode_token(revision.0 as i64, name)
}

fn encode_token(revision: i64, name: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("{name}\0")}).to_string())
}

/// The revision (none: the newest) and the last key that was answered, below the list's prefix.
fn parse_token(token: &str) -> Result<(Option<Revision>, String), String> {
    const NO_KEY: &str = "continue key is not valid";
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| format!("{NO_KEY}: {}", bad_base64(&error, token)))?;
    let token: Value =
        serde_json::from_slice(&bytes).map_err(|error| format!("{NO_KEY}: {}", syntax_error(&bytes, &error)))?;
    if token["v"] != "meta.k8s.io/v1" {
        let version = token["v"].as_str().unwrap_or_default();
        return Err(format!("{NO_KEY}: server does not recognize this encoded version {version}"));
    }
    let revision = token["rv"].as_i64().filter(|revision| *revision != 0);
    let revision = revision
        .ok_or_else(|| format!("{NO_KEY}: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"))?;
    let start = token["start"].as_str().unwrap_or_default();
    if start.is_empty() {
        return Err(format!("{NO_KEY}: encoded start key empty (version meta.k8s.io/v1)"));
    }
    let below = start.strip_prefix('/').unwrap_or(start);
    // A key that leads out of the list's prefix would show what the client may not read.
    if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("{NO_KEY}: {start}"));
    }
    let revision = (revision > 0).then_some(Revision(revision as u64));
    Ok((revision, below.trim_end_matches('\0').to_owned()))
}

/// Refuses field selectors that the resource does not support.
pub fn check_fields(fields: &FieldSelector, served: &Served) -> Result<(), Status> {
    let unknown = fields.terms().iter().find(|term| !is_selectable(served, &term.field));
    unknown.map_or(Ok(()), |term| Err(Status::bad_request(index::refusal(served, &term.field))))
}

pub fn is_selected(item: &Item, options: &ListOptions, served: &Served) -> bool {
    (options.labels.is_everything() || options.labels.matches(|key| item.labels.get(key)))
        && (options.fields.is_everything()
            || options.fields.matches(|name| item.fields.get(field_position(served, name)?)))
}

pub fn respond_list(api: &Api, call: &Call, accept: Accept, found: &Found) -> Result<Response, Status> {
    let served = &call.served;
    let metadata = list_metadata(found);
    if respond::shows_as_stored(accept, &call.served) {
        return Ok(json_list(served, &metadata, &found.items));
    }
    let objects = found.items.iter().map(|item| parse(item)).collect::<Result<Vec<Value>, Status>>()?;
    respond_objects(api, call, accept, metadata, objects)
}

/// A list of these objects in the shape that was asked for.
pub fn respond_objects(
    api: &Api,
    call: &Call,
    accept: Accept,
    metadata: Value,
    objects: Vec<Value>,
) -> Result<Response, Status> {
    let served = &call.served;
    let list = match accept.shape {
        Shape::Object => {
            let shown =
                if served.is_view() { objects.iter().map(|item| served.shown(item)).collect() } else { objects };
            list_of(served.row.api_version(), served.row.list_kind(), metadata, strip_kinds(shown))
        }
        Shape::Table => {
            let now = api.clock.now().as_second();
            let include = Include::of(&call.query)?;
            let rows = objects.iter().map(|object| table::row(served, object, now, include)).collect();
            table::of_rows(served, metadata, rows, true)
        }
        Shape::Partial => return Err(respond::no_object(&served.row.group, &served.row.list_kind())),
        Shape::PartialList => {
            let items = objects.iter().map(|object| respond::metadata_alone(served, object)).collect();
            list_of("meta.k8s.io/v1".into(), "PartialObjectMetadataList".into(), metadata, items)
        }
    };
    respond::encoded(accept, 200, &list)
}

fn list_metadata(found: &Found) -> Value {
    let mut metadata = json!({"resourceVersion": found.revision.to_string()});
    if let Some(token) = &found.continue_token {
        metadata["continue"] = json!(token);
    }
    if let Some(remaining) = found.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

fn list_of(api_version: String, kind: String, metadata: Value, items: Vec<Value>) -> Value {
    json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items})
}

/// Items of a list of one kind do not repeat it.
fn strip_kinds(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        if let Some(fields) = object.as_object_mut() {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
    }
    objects
}

const CHUNK_BYTES: usize = 64 * 1024;

fn json_list(served: &Served, metadata: &Value, items: &[Arc<Item>]) -> Response {
    let head = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        served.row.list_kind(),
        served.row.api_version(),
    );
    let chunks =
        ListChunks { head: Some(head), prefix: served.body_prefix.clone(), items: items.to_vec(), at: 0, done: false };
    let length = items.iter().map(|item| item.body.len()).sum();
    respond::whole_response(200, Format::Json.media_type(), stream(futures::stream::iter(chunks)), length)
}

/// Writes the list piece by piece, as the client takes it.
struct ListChunks {
    head: Option<String>,
    prefix: String,
    items: Vec<Arc<Item>>,
    at: usize,
    done: bool,
}

impl Iterator for ListChunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES + 4096);
        if let Some(head) = self.head.take() {
            chunk.put_slice(head.as_bytes());
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(item) = self.items.get(self.at) else {
                chunk.put_slice(b"]}\n");
                self.done = true;
                break;
            };
            if self.at > 0 {
                chunk.put_u8(b',');
            }
            match item.text().strip_prefix(self.prefix.as_bytes()) {
                Some(rest) => {
                    chunk.put_u8(b'{');
                    append(&mut chunk, rest);
                }
                None => append(&mut chunk, item.text()),
            }
            self.at += 1;
        }
        Some(chunk.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_base64_is_told_in_gos_words() {
        for (token, at) in [("x", 0), ("abcde", 4), ("ab!d", 2), ("abcd=", 4)] {
            let why = format!("continue key is not valid: illegal base64 data at input byte {at}");
            assert_eq!(parse_token(token), Err(why), "{token}");
        }
    }

    #[test]
    fn tokens_go_there_and_back() {
        assert_eq!(parse_token(&encode_token(7, "ns/a")), Ok((Some(Revision(7)), "ns/a".into())));
        assert_eq!(parse_token(&encode_token(-1, "a")), Ok((None, "a".into())));
        for wrong in ["garbage", &encode_token(0, "a"), &encode_token(7, "../a"), &encode_token(7, "a//b")] {
            let why = parse_token(wrong).unwrap_err();
            assert!(why.starts_with("continue key is not valid"), "{why}");
        }
    }
}
