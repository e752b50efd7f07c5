//! What can be done to a request and its answer. Pure: bytes in, bytes out.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// The request's object is changed before the server sees it: as if the server, or a part behind it, did not heed it.
    Asked(fn(&mut Value)),
    /// Objects of the answer, in lists and events too.
    Answered(fn(&mut Value)),
    /// Part of the path and query is another.
    Path(&'static str, &'static str),
    /// A header of the request has another value; none where it is empty.
    Header(&'static str, &'static str),
    /// One status stands in the place of another.
    Status(u16, u16),
}

impl Fault {
    pub(super) fn path(self, path: &str) -> String {
        match self {
            Self::Path(from, to) => path.replace(from, to),
            _ => path.to_owned(),
        }
    }

    pub(super) fn headers(self, headers: &mut HeaderMap) {
        if let Self::Header(name, value) = self {
            headers.remove(name);
            if let (false, Ok(value)) = (value.is_empty(), value.parse()) {
                headers.insert(name, value);
            }
        }
    }

    pub(super) fn request_body(self, body: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Asked(change) => changed(body, change),
            _ => body,
        }
    }

    pub(super) fn status(self, status: StatusCode) -> StatusCode {
        match self {
            Self::Status(from, to) if status.as_u16() == from => StatusCode::from_u16(to).unwrap_or(status),
            _ => status,
        }
    }

    /// A whole body, or one line of a watch.
    pub(super) fn answer_body(self, body: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Answered(change) => changed(body, |value| each_object(value, change)),
            Self::Status(from, to) => changed(body, |value| {
                if value["code"] == from {
                    value["code"] = to.into();
                }
            }),
            _ => body,
        }
    }
}

/// What is no JSON stays as it is.
fn changed(body: Vec<u8>, change: impl Fn(&mut Value)) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(&body) else { return body };
    change(&mut value);
    let mut text = value.to_string().into_bytes();
    if body.ends_with(b"\n") {
        text.push(b'\n');
    }
    text
}

/// The object itself, the items of a list, the object of an event.
fn each_object(value: &mut Value, change: fn(&mut Value)) {
    if value["type"].is_string() && value["object"].is_object() {
        change(&mut value["object"]);
    } else if let Some(items) = value.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(change);
    } else {
        change(value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_found_in_lists_and_events() {
        let fault = Fault::Answered(|object| object["a"] = 2.into());
        for (body, expected) in [
            (json!({"a": 1}), json!({"a": 2})),
            (json!({"items": [{"a": 1}, {}]}), json!({"items": [{"a": 2}, {"a": 2}]})),
            (json!({"type": "ADDED", "object": {"a": 1}}), json!({"type": "ADDED", "object": {"a": 2}})),
        ] {
            let seen = fault.answer_body(body.to_string().into_bytes());
            assert_eq!(serde_json::from_slice::<Value>(&seen).unwrap(), expected);
        }
        assert_eq!(fault.answer_body(b"no JSON".to_vec()), b"no JSON");
        assert_eq!(fault.request_body(b"{\"a\":1}".to_vec()), b"{\"a\":1}");
    }

    #[test]
    fn a_status_is_changed_in_its_line_and_its_body() {
        let fault = Fault::Status(409, 500);
        assert_eq!(fault.status(StatusCode::CONFLICT), 500);
        assert_eq!(fault.status(StatusCode::OK), 200);
        assert_eq!(fault.answer_body(b"{\"code\":409}\n".to_vec()), b"{\"code\":500}\n");
    }
}
