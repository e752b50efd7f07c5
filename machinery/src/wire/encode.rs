//! Objects to protobuf messages. Takes values in the schema's canonical form; what does not fit its field is left out.

use std::sync::LazyLock;

use base64::Engine;
use serde_json::{Map, Value};

use super::put::{bytes, double_field, nested, varint_field};
use crate::schema::literal::BASE64;
use crate::schema::{Field, Schema, Type, WireField, time, zero};

/// Appends an object's message.
pub fn encode_message(schema: &Schema, object: &Value, out: &mut Vec<u8>) {
    static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    let map = object.as_object().unwrap_or_else(|| &EMPTY);
    for (number, at) in schema.wire() {
        match at {
            WireField::Embed(at) => {
                let message = &schema.embeds[*at as usize].message;
                nested(*number, out, |out| encode_message(message, object, out));
            }
            WireField::Field(at) => {
                let field = &schema.fields[*at as usize];
                encode_field(field, map.get(field.name.as_ref()), out);
            }
        }
    }
}

fn encode_field(field: &Field, value: Option<&Value>, out: &mut Vec<u8>) {
    match (&field.ty, value.filter(|value| !value.is_null())) {
        (Type::List(element), Some(Value::Array(list))) => {
            list.iter().for_each(|value| encode_value(element, field.number, value, out));
        }
        (Type::Map(element), Some(Value::Object(map))) => {
            for (key, value) in map {
                nested(field.number, out, |out| {
                    bytes(1, key.as_bytes(), out);
                    encode_value(element, 2, value, out);
                });
            }
        }
        (Type::List(_) | Type::WrappedList(_) | Type::Map(_) | Type::Bytes, None) => {}
        (ty, Some(value)) => encode_value(ty, field.number, value, out),
        (_, None) if field.pointer => {}
        (ty, None) => encode_value(ty, field.number, &zero(ty), out),
    }
}

fn encode_value(ty: &Type, number: u32, value: &Value, out: &mut Vec<u8>) {
    match ty {
        Type::String => bytes(number, text(value).as_bytes(), out),
        Type::Bool => varint_field(number, u64::from(value.as_bool().unwrap_or_default()), out),
        Type::Int32 | Type::Int64 => varint_field(number, value.as_i64().unwrap_or_default() as u64, out),
        Type::Double => double_field(number, value.as_f64().unwrap_or_default(), out),
        Type::Bytes => bytes(number, &BASE64.decode(text(value)).unwrap_or_default(), out),
        Type::Quantity => nested(number, out, |out| bytes(1, text(value).as_bytes(), out)),
        Type::IntOrString => nested(number, out, |out| int_or_string(value, out)),
        Type::Time => nested(number, out, |out| instant(value, false, out)),
        Type::MicroTime => nested(number, out, |out| instant(value, true, out)),
        Type::Raw => nested(number, out, |out| {
            if !value.is_null() {
                bytes(1, go_json(value).as_bytes(), out);
            }
        }),
        Type::Json | Type::Any | Type::FieldsV1 => nested(number, out, |out| {
            if !value.is_null() {
                bytes(1, value.to_string().as_bytes(), out);
            }
        }),
        Type::WrappedList(element) => nested(number, out, |out| {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().for_each(|value| encode_value(element, 1, value, out));
        }),
        Type::Message(message) => nested(number, out, |out| encode_message(message, value, out)),
        Type::SchemaOrBool(message) => nested(number, out, |out| {
            varint_field(1, u64::from(value.as_bool().unwrap_or(value.is_object())), out);
            if value.is_object() {
                nested(2, out, |out| encode_message(message, value, out));
            }
        }),
        Type::SchemaOrArray(message) => nested(number, out, |out| {
            schema_or(message, value, out, |value, out| {
                nested(2, out, |out| encode_message(message, value, out));
            })
        }),
        Type::SchemaOrStrings(message) => nested(number, out, |out| {
            schema_or(message, value, out, |value, out| {
                bytes(2, text(value).as_bytes(), out);
            })
        }),
        // Neither lists nor maps hold lists or maps.
        Type::List(_) | Type::Map(_) => {}
    }
}

fn schema_or(message: &Schema, value: &Value, out: &mut Vec<u8>, element: impl Fn(&Value, &mut Vec<u8>)) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| element(value, out)),
        value => nested(1, out, |out| encode_message(message, value, out)),
    }
}

/// JSON as Go writes it, which may stand in a page of HTML: clients compare a revision's bytes with their own. These
/// characters are in texts only, so all of them are escaped alike.
#[must_use]
pub fn go_json(value: &Value) -> String {
    const CHARACTERS: [(char, &str); 5] =
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    let json = value.to_string();
    if !json.contains(CHARACTERS.map(|(character, _)| character)) {
        return json;
    }
    CHARACTERS.iter().fold(json, |text, (from, to)| text.replace(*from, to))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn int_or_string(value: &Value, out: &mut Vec<u8>) {
    varint_field(1, u64::from(value.is_string()), out);
    varint_field(2, value.as_i64().unwrap_or_default() as u64, out);
    bytes(3, text(value).as_bytes(), out);
}

/// An unset time is an empty message.
fn instant(value: &Value, micros: bool, out: &mut Vec<u8>) {
    let Some(instant) = time::instant(text(value)) else { return };
    varint_field(1, instant.as_second() as u64, out);
    let nanos = if micros { i64::from(instant.subsec_nanosecond()) } else { 0 };
    varint_field(2, nanos as u64, out);
}
