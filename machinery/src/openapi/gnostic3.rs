//! An OpenAPI v3 document in protobuf, by gnostic's `openapi.v3` messages.
//!
//! A message is a table of what stands where ([`Message`]); any value whose form is open is carried as YAML text, and JSON
//! is that.

use serde_json::{Map, Value};

use crate::wire::put::{bytes, double_field, nested, varint_field};

type Out = Vec<u8>;

/// Number, name in JSON, form.
type Field = (u32, &'static str, Form);

struct Message {
    fields: &'static [Field],
    /// Where names stand that begin with `x-`.
    extensions: u32,
}

enum Form {
    Text,
    Texts,
    Flag,
    Double,
    Int,
    Anys,
    Default,
    Of(&'static Message),
    /// A message, or a reference to one.
    Ref(&'static Message),
    Refs(&'static Message),
    /// Messages by their names.
    Named(&'static Message),
    NamedRefs(&'static Message),
    /// The schema of a list's items.
    Items,
    /// Of values without a name of their own: a schema, or whether there may be any.
    Additional,
}

use Form::{Additional, Anys, Default, Double, Flag, Int, Items, Named, NamedRefs, Of, Ref, Refs, Text, Texts};

static DOCUMENT: Message = Message {
    fields: &[
        (1, "openapi", Text),
        (2, "info", Of(&INFO)),
        (4, "paths", Of(&PATHS)),
        (5, "components", Of(&COMPONENTS)),
    ],
    extensions: 9,
};
static INFO: Message =
    Message { fields: &[(1, "title", Text), (2, "description", Text), (6, "version", Text)], extensions: 7 };
/// Its paths have no field of their own: [`put`] knows.
static PATHS: Message = Message { fields: &[], extensions: 2 };
static COMPONENTS: Message = Message {
    fields: &[(1, "schemas", NamedRefs(&SCHEMA)), (7, "securitySchemes", NamedRefs(&SECURITY_SCHEME))],
    extensions: 10,
};
static SECURITY_SCHEME: Message = Message {
    fields: &[
        (1, "type", Text),
        (2, "description", Text),
        (3, "name", Text),
        (4, "in", Text),
        (5, "scheme", Text),
        (6, "bearerFormat", Text),
    ],
    extensions: 9,
};
static PATH_ITEM: Message = Message {
    fields: &[
        (2, "summary", Text),
        (3, "description", Text),
        (4, "get", Of(&OPERATION)),
        (5, "put", Of(&OPERATION)),
        (6, "post", Of(&OPERATION)),
        (7, "delete", Of(&OPERATION)),
        (8, "options", Of(&OPERATION)),
        (9, "head", Of(&OPERATION)),
        (10, "patch", Of(&OPERATION)),
        (11, "trace", Of(&OPERATION)),
        (13, "parameters", Refs(&PARAMETER)),
    ],
    extensions: 14,
};
static OPERATION: Message = Message {
    fields: &[
        (1, "tags", Texts),
        (2, "summary", Text),
        (3, "description", Text),
        (5, "operationId", Text),
        (6, "parameters", Refs(&PARAMETER)),
        (7, "requestBody", Ref(&REQUEST_BODY)),
        (8, "responses", Of(&RESPONSES)),
        (10, "deprecated", Flag),
    ],
    extensions: 13,
};
static PARAMETER: Message = Message {
    fields: &[
        (1, "name", Text),
        (2, "in", Text),
        (3, "description", Text),
        (4, "required", Flag),
        (5, "deprecated", Flag),
        (6, "allowEmptyValue", Flag),
        (10, "schema", Ref(&SCHEMA)),
        (13, "content", Named(&MEDIA_TYPE)),
    ],
    extensions: 14,
};
static REQUEST_BODY: Message = Message {
    fields: &[(1, "description", Text), (2, "content", Named(&MEDIA_TYPE)), (3, "required", Flag)],
    extensions: 4,
};
/// Its codes have no field of their own: [`put`] knows.
static RESPONSES: Message = Message { fields: &[(1, "default", Ref(&RESPONSE))], extensions: 3 };
static RESPONSE: Message =
    Message { fields: &[(1, "description", Text), (3, "content", Named(&MEDIA_TYPE))], extensions: 5 };
static MEDIA_TYPE: Message = Message { fields: &[(1, "schema", Ref(&SCHEMA))], extensions: 5 };
static SCHEMA: Message = Message {
    fields: &[
        (1, "nullable", Flag),
        (3, "readOnly", Flag),
        (4, "writeOnly", Flag),
        (8, "deprecated", Flag),
        (9, "title", Text),
        (10, "multipleOf", Double),
        (11, "maximum", Double),
        (12, "exclusiveMaximum", Flag),
        (13, "minimum", Double),
        (14, "exclusiveMinimum", Flag),
        (15, "maxLength", Int),
        (16, "minLength", Int),
        (17, "pattern", Text),
        (18, "maxItems", Int),
        (19, "minItems", Int),
        (20, "uniqueItems", Flag),
        (21, "maxProperties", Int),
        (22, "minProperties", Int),
        (23, "required", Texts),
        (24, "enum", Anys),
        (25, "type", Text),
        (26, "allOf", Refs(&SCHEMA)),
        (27, "oneOf", Refs(&SCHEMA)),
        (28, "anyOf", Refs(&SCHEMA)),
        (29, "not", Of(&SCHEMA)),
        (30, "items", Items),
        (31, "properties", NamedRefs(&SCHEMA)),
        (32, "additionalProperties", Additional),
        (33, "default", Default),
        (34, "description", Text),
        (35, "format", Text),
    ],
    extensions: 36,
};

/// Encodes a document.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    put(document, &DOCUMENT, &mut out);
    out
}

fn put(object: &Value, message: &Message, out: &mut Out) {
    let is = |other: &Message| std::ptr::eq(message, other);
    for (number, name, form) in message.fields {
        if let Some(value) = object.get(*name) {
            put_field(*number, value, form, out);
        }
    }
    let all = object.as_object().into_iter().flat_map(Map::iter);
    for (name, value) in all {
        if name.starts_with("x-") {
            nested(message.extensions, out, |out| named(name, out, |out| any(value, out)));
        } else if is(&PATHS) {
            nested(1, out, |out| named(name, out, |out| put(value, &PATH_ITEM, out)));
        } else if is(&RESPONSES) && name != "default" {
            nested(2, out, |out| named(name, out, |out| put_ref(value, &RESPONSE, out)));
        }
    }
}

fn put_field(number: u32, value: &Value, form: &Form, out: &mut Out) {
    match form {
        Text => {
            if let Some(text) = value.as_str() {
                bytes(number, text.as_bytes(), out);
            }
        }
        Texts => list(value).iter().filter_map(Value::as_str).for_each(|text| bytes(number, text.as_bytes(), out)),
        Flag if *value == true => varint_field(number, 1, out),
        Flag => {}
        Double => {
            if let Some(value) = value.as_f64() {
                double_field(number, value, out);
            }
        }
        Int => {
            if let Some(value) = value.as_u64() {
                varint_field(number, value, out);
            }
        }
        Anys => list(value).iter().for_each(|value| nested(number, out, |out| any(value, out))),
        Default => nested(number, out, |out| default(value, out)),
        Of(message) => nested(number, out, |out| put(value, message, out)),
        Ref(message) => nested(number, out, |out| put_ref(value, message, out)),
        Refs(message) => {
            list(value).iter().for_each(|value| nested(number, out, |out| put_ref(value, message, out)));
        }
        Named(message) => nested(number, out, |out| each(value, out, |value, out| put(value, message, out))),
        NamedRefs(message) => nested(number, out, |out| each(value, out, |value, out| put_ref(value, message, out))),
        Items => nested(number, out, |out| nested(1, out, |out| put_ref(value, &SCHEMA, out))),
        Additional => nested(number, out, |out| match value {
            Value::Bool(any) => varint_field(2, u64::from(*any), out),
            value => nested(1, out, |out| put_ref(value, &SCHEMA, out)),
        }),
    }
}

/// The message in its first field, or a reference in its second.
fn put_ref(value: &Value, message: &Message, out: &mut Out) {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => nested(2, out, |out| bytes(1, reference.as_bytes(), out)),
        None => nested(1, out, |out| put(value, message, out)),
    }
}

fn each(values: &Value, out: &mut Out, put: impl Fn(&Value, &mut Out)) {
    for (name, value) in values.as_object().into_iter().flat_map(Map::iter) {
        nested(1, out, |out| named(name, out, |out| put(value, out)));
    }
}

fn named(name: &str, out: &mut Out, value: impl FnOnce(&mut Out)) {
    bytes(1, name.as_bytes(), out);
    nested(2, out, value);
}

/// There is no place for defaults that are objects or lists: that there is one is all that is said.
fn default(value: &Value, out: &mut Out) {
    match value {
        Value::Number(number) => double_field(1, number.as_f64().unwrap_or_default(), out),
        Value::Bool(value) => varint_field(2, u64::from(*value), out),
        Value::String(text) => bytes(3, text.as_bytes(), out),
        _ => {}
    }
}

fn any(value: &Value, out: &mut Out) {
    bytes(2, value.to_string().as_bytes(), out);
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_lies_in_the_fields_of_gnostics_messages() {
        let encoded = document(&json!({
            "openapi": "3.0.0",
            "paths": {"/a": {"get": {"responses": {"200": {"$ref": "r"}}}}},
            "components": {"schemas": {"S": {"default": {}, "type": "object", "x-y": 1}}},
        }));
        let part = |number: u8, inner: &[u8]| [&[number << 3 | 2, inner.len() as u8], inner].concat();
        let response = [part(1, b"200"), part(2, &part(2, &part(1, b"r")))].concat();
        let get = part(4, &part(8, &part(2, &response)));
        let paths = part(4, &part(1, &[part(1, b"/a"), part(2, &get)].concat()));
        // Fields beyond 15 take two bytes for their number.
        let high = |number: u32, inner: &[u8]| {
            let tag = number << 3 | 2;
            [&[tag as u8 | 0x80, (tag >> 7) as u8, inner.len() as u8], inner].concat()
        };
        let extension = high(36, &[part(1, b"x-y"), part(2, &part(2, b"1"))].concat());
        let schema = [high(25, b"object"), high(33, b""), extension].concat();
        let named = [part(1, b"S"), part(2, &part(1, &schema))].concat();
        let components = part(5, &part(1, &part(1, &named)));
        assert_eq!(encoded, [part(1, b"3.0.0"), paths, components].concat());
    }
}
