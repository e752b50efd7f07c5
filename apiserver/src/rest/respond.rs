//! From an object to an answer in the encoding and shape that the client asked for.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use machinery::gvk::Gvk;
use machinery::meta;
use machinery::status::Status;
use serde::Serialize;
use serde_json::{Value, json};

use super::Call;
use super::body::internal_package;
use super::negotiate::{Accept, Format, Shape};
use super::table::{self, Include};
use crate::catalogue::Served;
use crate::compress::Whole;
use crate::go_json;
use crate::http_body::{Body, Response, full};
use crate::protobuf;

/// A stored object, as the kind of the row that was asked, or as the view that was asked for.
pub fn object(call: &Call, accept: Accept, code: u16, object: &Value, now: i64) -> Result<Response, Status> {
    let served = call.served.as_ref();
    match accept.shape {
        Shape::Object if served.is_view() => encoded(accept, code, &served.shown(object)),
        Shape::Object => encoded(accept, code, object),
        Shape::Table => {
            let table = table::of_object(served, object, now, Include::of(&call.query)?);
            encoded(accept, code, &table)
        }
        Shape::Partial => encoded(accept, code, &metadata_alone(served, object)),
        Shape::PartialList => {
            let row = &served.home().row;
            Err(no_list(&row.group, &row.kind))
        }
    }
}

/// What is shown of an object in another kind, such as its Scale; `table` makes a table of it.
pub fn view(
    accept: Accept,
    kind: &Gvk,
    view: &Value,
    table: impl FnOnce() -> Result<Value, Status>,
) -> Result<Response, Status> {
    match accept.shape {
        Shape::Object => encoded(accept, 200, view),
        Shape::Table => encoded(accept, 200, &table()?),
        Shape::Partial => encoded(accept, 200, &partial(view)),
        Shape::PartialList => Err(no_list(&kind.group, &kind.kind)),
    }
}

fn no_list(group: &str, kind: &str) -> Status {
    Status::not_acceptable(format!(
        "you requested PartialObjectMetadataList, but the requested object is not a list (*{}.{kind})",
        internal_package(group),
    ))
}

/// What is said of a list that is asked for as if it were one object.
pub fn no_object(group: &str, list_kind: &str) -> Status {
    Status::not_acceptable(format!(
        "you requested PartialObjectMetadata, but the requested object is a list (*{}.{list_kind})",
        internal_package(group),
    ))
}

/// Whether the answer is the very text in which an object is stored and cached.
pub fn shows_as_stored(accept: Accept, served: &Served) -> bool {
    accept == Accept::default() && !served.is_view()
}

/// Any object as it is: reviews, Status, Table.
pub fn encoded(accept: Accept, code: u16, object: &Value) -> Result<Response, Status> {
    let bytes = encode(accept, object)?;
    Ok(bytes_response(code, accept.format, bytes))
}

/// A document whose members have an order of their own, which an object's text has not.
pub fn encoded_in_order(accept: Accept, code: u16, document: &impl Serialize) -> Result<Response, Status> {
    match accept.format {
        Format::Protobuf => encoded(accept, code, &serde_json::to_value(document).map_err(Status::internal_error)?),
        format => Ok(bytes_response(code, format, text(accept, document)?.into())),
    }
}

/// Upstream ends what is written for programs with a newline, and what is written for people with none.
pub fn encode(accept: Accept, object: &Value) -> Result<Bytes, Status> {
    let object = in_version(accept, object);
    let bytes = match accept.format {
        Format::Protobuf => protobuf::encode(&object)?,
        _ => text(accept, object.as_ref())?,
    };
    Ok(bytes.into())
}

/// A view, and the views that it holds, in the version that was asked for.
pub fn in_version(accept: Accept, view: &Value) -> Cow<'_, Value> {
    if !accept.is_beta {
        return Cow::Borrowed(view);
    }
    let mut view = view.clone();
    let rows = view.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten();
    rows.filter_map(|row| row.get_mut("object")).for_each(say_beta);
    view.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(say_beta);
    say_beta(&mut view);
    Cow::Owned(view)
}

/// Objects that are no views, as a Status or what a row has whole, stay what they are.
fn say_beta(view: &mut Value) {
    if view["apiVersion"] == "meta.k8s.io/v1" {
        view["apiVersion"] = "meta.k8s.io/v1beta1".into();
    }
}

/// As JSON, or as YAML.
fn text(accept: Accept, document: &impl Serialize) -> Result<Vec<u8>, Status> {
    Ok(match accept.format {
        Format::Yaml => serde_yaml_ng::to_string(document).map_err(Status::internal_error)?.into_bytes(),
        _ if accept.pretty => go_json::text(serde_json::to_vec_pretty(document).map_err(Status::internal_error)?),
        _ => {
            // Of most objects room enough: a buffer that grows is copied each time.
            let mut text = Vec::with_capacity(4096);
            serde_json::to_writer(&mut text, document).map_err(Status::internal_error)?;
            text.push(b'\n');
            go_json::text(text)
        }
    })
}

pub fn bytes_response(code: u16, format: Format, bytes: Bytes) -> Response {
    let length = bytes.len();
    whole_response(code, format.media_type(), full(bytes), length)
}

/// An answer of known length in bytes, which may be compressed on its way.
pub fn whole_response(code: u16, media_type: &'static str, body: Body, length: usize) -> Response {
    let mut response = body_response(code, media_type, body);
    response.extensions_mut().insert(Whole(length));
    response
}

pub fn body_response(code: u16, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A failure. Told in JSON whatever was asked, except to clients that asked for nothing but protobuf or YAML.
pub fn failure(status: &Status, accept: Accept) -> Response {
    let object = status.to_value();
    let accept = Accept { shape: Shape::Object, ..accept };
    let mut response = encoded(accept, status.code, &object)
        .unwrap_or_else(|_| bytes_response(status.code, Format::Json, object.to_string().into()));
    let retry_after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry_after > 0 {
        response.headers_mut().insert(http::header::RETRY_AFTER, retry_after.into());
    }
    response
}

/// A stored object without all but its metadata. Upstream takes that from its own form of the object, where some
/// annotations are fields.
pub fn metadata_alone(served: &Served, object: &Value) -> Value {
    let mut partial = partial(object);
    for name in served.hooks.field_annotations {
        meta::remove_annotation(&mut partial, name);
    }
    partial
}

pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
