//! An OpenAPI v2 document in protobuf, by gnostic's `openapi.v2` messages: kubectl before 1.27 takes no other form.
//!
//! Any value whose form is open is carried as YAML text; JSON is that.

use serde_json::{Map, Value};

use crate::wire::put::{bytes, double_field, nested, varint_field};

/// The media type of these bytes.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

type Out = Vec<u8>;

/// Names and values as they are made.
type Emit<'a> = &'a mut dyn FnMut(&str, &Value);

/// Encodes a document from its paths, definitions and security definitions.
pub(super) fn document(paths: impl FnOnce(Emit<'_>), definitions: impl FnOnce(Emit<'_>), security: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    bytes(1, b"2.0", &mut out);
    nested(2, &mut out, |out| {
        bytes(1, b"Kubernetes", out);
        bytes(2, b"unversioned", out);
    });
    nested(8, &mut out, |out| paths(&mut |path, item| named(2, path, out, |out| path_item(item, out))));
    nested(9, &mut out, |out| definitions(&mut |name, found| named(1, name, out, |out| schema(found, out))));
    for (name, definition) in entries(security) {
        nested(12, &mut out, |out| named(1, name, out, |_| {}));
        nested(13, &mut out, |out| named(1, name, out, |out| nested(2, out, |out| api_key(definition, out))));
    }
    out
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(number: u32, object: &Value, name: &str, out: &mut Out) {
    if let Some(text) = object.get(name).and_then(Value::as_str) {
        bytes(number, text.as_bytes(), out);
    }
}

fn texts(number: u32, value: &Value, out: &mut Out) {
    list(value).iter().filter_map(Value::as_str).for_each(|text| bytes(number, text.as_bytes(), out));
}

fn flag(number: u32, object: &Value, name: &str, out: &mut Out) {
    if object.get(name) == Some(&Value::Bool(true)) {
        varint_field(number, 1, out);
    }
}

/// A name with its value.
fn named(number: u32, name: &str, out: &mut Out, value: impl FnOnce(&mut Out)) {
    nested(number, out, |out| {
        bytes(1, name.as_bytes(), out);
        nested(2, out, value);
    });
}

fn any(value: &Value, out: &mut Out) {
    bytes(2, value.to_string().as_bytes(), out);
}

fn extensions(number: u32, object: &Value, out: &mut Out) {
    for (name, value) in entries(object).filter(|(name, _)| name.starts_with("x-")) {
        named(number, name, out, |out| any(value, out));
    }
}

fn api_key(definition: &Value, out: &mut Out) {
    for (number, name) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
        text(number, definition, name, out);
    }
}

fn path_item(item: &Value, out: &mut Out) {
    let methods = [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")];
    for (number, method) in methods {
        if let Some(found) = item.get(method) {
            nested(number, out, |out| operation(found, out));
        }
    }
    list(&item["parameters"]).iter().for_each(|found| nested(9, out, |out| parameter(found, out)));
}

fn operation(found: &Value, out: &mut Out) {
    texts(1, &found["tags"], out);
    text(3, found, "description", out);
    text(5, found, "operationId", out);
    texts(6, &found["produces"], out);
    texts(7, &found["consumes"], out);
    list(&found["parameters"]).iter().for_each(|found| nested(8, out, |out| parameter(found, out)));
    nested(9, out, |out| {
        for (code, response) in entries(&found["responses"]) {
            named(1, code, out, |out| {
                nested(1, out, |out| {
                    text(1, response, "description", out);
                    if let Some(found) = response.get("schema") {
                        nested(2, out, |out| nested(1, out, |out| schema(found, out)));
                    }
                });
            });
        }
    });
    texts(10, &found["schemes"], out);
    extensions(13, found, out);
}

/// A parameter's item: a parameter, and in it what kind it is.
fn parameter(found: &Value, out: &mut Out) {
    let place = found["in"].as_str().unwrap_or_default();
    nested(1, out, |out| match place {
        "body" => nested(1, out, |out| {
            for (number, name) in [(1, "description"), (2, "name"), (3, "in")] {
                text(number, found, name, out);
            }
            flag(4, found, "required", out);
            nested(5, out, |out| schema(&found["schema"], out));
        }),
        _ => nested(2, out, |out| {
            let in_path = place == "path";
            nested(if in_path { 4 } else { 3 }, out, |out| {
                flag(1, found, "required", out);
                for (number, name) in [(2, "in"), (3, "description"), (4, "name")] {
                    text(number, found, name, out);
                }
                text(if in_path { 5 } else { 6 }, found, "type", out);
                flag(if in_path { 19 } else { 20 }, found, "uniqueItems", out);
            });
        }),
    });
}

fn named_schemas(schemas: &Value, out: &mut Out) {
    for (name, found) in entries(schemas) {
        named(1, name, out, |out| schema(found, out));
    }
}

fn schema(found: &Value, out: &mut Out) {
    for (number, name) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description")] {
        text(number, found, name, out);
    }
    let field = |name: &str| found.get(name);
    if let Some(value) = field("default") {
        nested(5, out, |out| any(value, out));
    }
    for (number, name) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        if let Some(value) = field(name).and_then(Value::as_f64) {
            double_field(number, value, out);
        }
    }
    for (number, name) in [(8, "exclusiveMaximum"), (10, "exclusiveMinimum"), (16, "uniqueItems")] {
        flag(number, found, name, out);
    }
    text(13, found, "pattern", out);
    let sizes = [
        (11, "maxLength"),
        (12, "minLength"),
        (14, "maxItems"),
        (15, "minItems"),
        (17, "maxProperties"),
        (18, "minProperties"),
    ];
    for (number, name) in sizes {
        if let Some(value) = field(name).and_then(Value::as_u64) {
            varint_field(number, value, out);
        }
    }
    texts(19, &found["required"], out);
    list(&found["enum"]).iter().for_each(|value| nested(20, out, |out| any(value, out)));
    match field("additionalProperties") {
        Some(Value::Bool(true)) => nested(21, out, |out| varint_field(2, 1, out)),
        Some(value @ Value::Object(_)) => nested(21, out, |out| nested(1, out, |out| schema(value, out))),
        _ => {}
    }
    if let Some(value) = field("type").and_then(Value::as_str) {
        nested(22, out, |out| bytes(1, value.as_bytes(), out));
    }
    if let Some(value) = field("items") {
        nested(23, out, |out| nested(1, out, |out| schema(value, out)));
    }
    if let Some(value) = field("properties") {
        nested(25, out, |out| named_schemas(value, out));
    }
    extensions(31, found, out);
}
