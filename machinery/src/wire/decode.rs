//! Protobuf messages to objects.

use base64::Engine;
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::reader::{Raw, Reader};
use super::{Envelope, MAGIC, WireError};
use crate::gvk::{Gvk, split_api_version};
use crate::quantity::Quantity;
use crate::schema::literal::BASE64;
use crate::schema::{self, Field, Schema, Type, TypeMeta, WireField, time};

/// As deep as JSON may nest.
const DEPTH_MAX: usize = 128;

pub(super) fn envelope(body: &[u8]) -> Result<Envelope<'_>, WireError> {
    let rest = body.strip_prefix(&MAGIC).ok_or(WireError::Magic)?;
    let mut envelope = Envelope { type_meta: TypeMeta::default(), raw: &[] };
    let mut reader = Reader(rest);
    while let Some((number, value)) = reader.next()? {
        match number {
            1 => envelope.type_meta = type_meta(value.bytes("typeMeta")?)?,
            2 => envelope.raw = value.bytes("raw")?,
            3 | 4 => {
                let text = value.text("contentType")?;
                if !matches!(text.as_str(), "" | "application/vnd.kubernetes.protobuf") {
                    return Err(WireError::Content(text));
                }
            }
            _ => {}
        }
    }
    Ok(envelope)
}

fn type_meta(bytes: &[u8]) -> Result<TypeMeta, WireError> {
    let mut type_meta = TypeMeta::default();
    let mut reader = Reader(bytes);
    while let Some((number, value)) = reader.next()? {
        match number {
            1 => type_meta.api_version = value.text("apiVersion")?,
            2 => type_meta.kind = value.text("kind")?,
            _ => {}
        }
    }
    Ok(type_meta)
}

/// Decodes a message without envelope, in normalized form.
pub fn decode_message(schema: &Schema, bytes: &[u8]) -> Result<Value, WireError> {
    let mut object = Value::Object(read_message(schema, bytes, 0)?);
    schema::normalize(schema, &mut object);
    Ok(object)
}

fn read_message(schema: &Schema, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, WireError> {
    let mut map = Map::new();
    read_into(&mut map, schema, bytes, depth)?;
    Ok(map)
}

fn read_into(map: &mut Map<String, Value>, schema: &Schema, bytes: &[u8], depth: usize) -> Result<(), WireError> {
    if depth > DEPTH_MAX {
        return Err(WireError::Overflow);
    }
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.next()? {
        match schema.by_number(number) {
            None => {}
            Some(WireField::Embed(at)) => {
                let embed = &schema.embeds[at as usize];
                read_into(map, &embed.message, raw.bytes(embed.go)?, depth + 1)?;
            }
            Some(WireField::Field(at)) => read_field(map, &schema.fields[at as usize], raw, depth)?,
        }
    }
    Ok(())
}

fn read_field(map: &mut Map<String, Value>, field: &Field, raw: Raw<'_>, depth: usize) -> Result<(), WireError> {
    let name = field.name.as_ref();
    match &field.ty {
        Type::List(element) => {
            let slot = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = slot {
                list.push(read_value(element, name, raw, depth)?);
            }
        }
        Type::Map(element) => {
            let (key, value) = read_entry(element, name, raw.bytes(name)?, depth)?;
            let slot = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(entries) = slot {
                entries.insert(key, value);
            }
        }
        ty => {
            let value = read_value(ty, name, raw, depth)?;
            map.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn read_entry(element: &Type, name: &str, bytes: &[u8], depth: usize) -> Result<(String, Value), WireError> {
    let (mut key, mut found) = (String::new(), None);
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.next()? {
        match number {
            1 => key = raw.text(name)?,
            2 => found = Some(read_value(element, name, raw, depth)?),
            _ => {}
        }
    }
    // Go's writer leaves out empty bytes.
    let value = found.unwrap_or_else(|| match element {
        Type::Bytes => "".into(),
        other => schema::zero(other),
    });
    Ok((key, value))
}

fn read_value(ty: &Type, name: &str, raw: Raw<'_>, depth: usize) -> Result<Value, WireError> {
    Ok(match ty {
        Type::String => raw.text(name)?.into(),
        Type::Bool => (raw.varint(name)? != 0).into(),
        Type::Int32 => (raw.varint(name)? as i32).into(),
        Type::Int64 => (raw.varint(name)? as i64).into(),
        Type::Double => match raw {
            Raw::Fixed64(bytes) => Number::from_f64(f64::from_le_bytes(bytes)).map_or(Value::Null, Value::Number),
            other => return Err(other.wrong(name)),
        },
        Type::Bytes => BASE64.encode(raw.bytes(name)?).into(),
        Type::Quantity => read_quantity(name, first_text(name, raw)?)?,
        Type::IntOrString => read_int_or_string(name, raw.bytes(name)?)?,
        Type::Time => read_instant(name, raw.bytes(name)?, false)?,
        Type::MicroTime => read_instant(name, raw.bytes(name)?, true)?,
        Type::Raw | Type::Json | Type::Any | Type::FieldsV1 => read_raw(name, raw.bytes(name)?)?,
        Type::WrappedList(element) => {
            let mut list = Vec::new();
            each(raw.bytes(name)?, |number, raw| {
                if number == 1 {
                    list.push(read_value(element, name, raw, depth)?);
                }
                Ok(())
            })?;
            list.into()
        }
        Type::Message(message) => Value::Object(read_message(message, raw.bytes(name)?, depth + 1)?),
        Type::SchemaOrBool(_) | Type::SchemaOrArray(_) | Type::SchemaOrStrings(_) => {
            read_schema_or(ty, name, raw, depth)?
        }
        Type::List(_) | Type::Map(_) => Value::Null,
    })
}

fn each<'a>(bytes: &'a [u8], mut field: impl FnMut(u32, Raw<'a>) -> Result<(), WireError>) -> Result<(), WireError> {
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.next()? {
        field(number, raw)?;
    }
    Ok(())
}

fn first_text(name: &str, raw: Raw<'_>) -> Result<String, WireError> {
    let mut text = String::new();
    each(raw.bytes(name)?, |number, raw| {
        if number == 1 {
            text = raw.text(name)?;
        }
        Ok(())
    })?;
    Ok(text)
}

fn read_quantity(name: &str, text: String) -> Result<Value, WireError> {
    if text.is_empty() {
        return Ok("0".into());
    }
    match Quantity::parse(&text) {
        Ok(quantity) => Ok(quantity.to_string().into()),
        Err(error) => Err(WireError::Value { field: name.to_owned(), reason: error.to_string() }),
    }
}

fn read_int_or_string(name: &str, bytes: &[u8]) -> Result<Value, WireError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    each(bytes, |field, raw| {
        match field {
            1 => is_text = raw.varint(name)? != 0,
            2 => number = raw.varint(name)? as i32,
            3 => text = raw.text(name)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_text { text.into() } else { number.into() })
}

fn read_instant(name: &str, bytes: &[u8], micros: bool) -> Result<Value, WireError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    each(bytes, |field, raw| {
        match field {
            1 => seconds = raw.varint(name)? as i64,
            2 => nanos = raw.varint(name)? as i32,
            _ => {}
        }
        Ok(())
    })?;
    let instant = Timestamp::new(seconds, if micros { nanos / 1000 * 1000 } else { 0 })
        .map_err(|error| WireError::Value { field: name.to_owned(), reason: error.to_string() })?;
    Ok(if micros { time::format_micros(instant) } else { time::format_seconds(instant) }.into())
}

/// JSON text, or an object in an envelope of its own.
fn read_raw(name: &str, bytes: &[u8]) -> Result<Value, WireError> {
    let mut content: &[u8] = &[];
    each(bytes, |number, raw| {
        if number == 1 {
            content = raw.bytes(name)?;
        }
        Ok(())
    })?;
    if content.is_empty() {
        return Ok(Value::Null);
    }
    if super::is_protobuf(content) {
        let type_meta = envelope(content)?.type_meta;
        let known = split_api_version(&type_meta.api_version)
            .and_then(|(group, version)| schema::builtin(&Gvk::new(group, version, &type_meta.kind)));
        return match known {
            Some(schema) => super::decode(schema, content),
            None => Err(WireError::Content(format!("{} {}", type_meta.api_version, type_meta.kind))),
        };
    }
    serde_json::from_slice(content)
        .map_err(|error| WireError::Value { field: name.to_owned(), reason: error.to_string() })
}

fn read_schema_or(ty: &Type, name: &str, raw: Raw<'_>, depth: usize) -> Result<Value, WireError> {
    let Some(message) = ty.message() else { return Ok(Value::Null) };
    let (mut allows, mut schema, mut list) = (false, None, Vec::new());
    each(raw.bytes(name)?, |number, raw| {
        match (ty, number) {
            (Type::SchemaOrBool(_), 1) => allows = raw.varint(name)? != 0,
            (Type::SchemaOrBool(_), 2) | (_, 1) => schema = Some(read_message(message, raw.bytes(name)?, depth + 1)?),
            (Type::SchemaOrArray(_), 2) => {
                list.push(Value::Object(read_message(message, raw.bytes(name)?, depth + 1)?))
            }
            (Type::SchemaOrStrings(_), 2) => list.push(raw.text(name)?.into()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(match (ty, schema) {
        (_, Some(schema)) => Value::Object(schema),
        (Type::SchemaOrBool(_), None) => allows.into(),
        _ => list.into(),
    })
}
