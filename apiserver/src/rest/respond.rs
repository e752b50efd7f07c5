//! From an object to an answer in the encoding and shape that the client asked for.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use machinery::status::Status;
use serde_json::{Value, json};

use super::negotiate::{Accept, Format, Shape};
use super::table;
use crate::catalogue::Served;
use crate::compress::Whole;
use crate::http_body::{Body, Response, full};
use crate::protobuf;

/// A stored object, as the kind of the row that was asked, or as the view that was asked for.
pub fn object(accept: Accept, code: u16, served: &Served, object: &Value, now: i64) -> Result<Response, Status> {
    match accept.shape {
        Shape::Object if served.is_view() => encoded(accept, code, &served.shown(object)),
        Shape::Object => encoded(accept, code, object),
        Shape::Table => {
            let table = table::of_object(served, object, now);
            encoded(accept, code, &table)
        }
        Shape::Partial => encoded(accept, code, &partial(object)),
        Shape::PartialList => Err(Status::not_acceptable("PartialObjectMetadataList is a view of lists")),
    }
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

/// Upstream ends what is written for programs with a newline, and what is written for people with none.
pub fn encode(accept: Accept, object: &Value) -> Result<Bytes, Status> {
    let bytes = match accept.format {
        Format::Json if accept.pretty => serde_json::to_vec_pretty(object).map_err(Status::internal_error)?,
        Format::Json => {
            // Of most objects room enough: a buffer that grows is copied each time.
            let mut text = Vec::with_capacity(4096);
            serde_json::to_writer(&mut text, object).map_err(Status::internal_error)?;
            text.push(b'\n');
            text
        }
        Format::Yaml => serde_yaml_ng::to_string(object).map_err(Status::internal_error)?.into_bytes(),
        Format::Protobuf => protobuf::encode(object)?,
    };
    Ok(bytes.into())
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
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
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

pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
