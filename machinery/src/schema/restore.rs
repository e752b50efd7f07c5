//! From a tree to an object, as upstream takes what a strategic merge patch or an apply makes: field by field in the order
//! of Go's structs, and told in words that name the types and no place. A number that is too large for its field loses its
//! upper bits.

use serde_json::{Map, Value, json};

use super::decode::{DecodeError, Decoded};
use super::go::{Path, Segment, go_type_at, quote};
use super::{Schema, Type, literal};

/// Makes an object of the schema of a tree. Fields that the schema does not know are dropped, and told in alphabetical
/// order.
pub fn restore(schema: &Schema, tree: Value) -> Result<Decoded, DecodeError> {
    let mut strict = Vec::new();
    let object = message(schema, tree, &Path::root(schema), &mut strict).map_err(DecodeError::Type)?;
    strict.sort();
    Ok(Decoded { object, strict })
}

fn message(schema: &Schema, tree: Value, path: &Path<'_>, strict: &mut Vec<String>) -> Result<Value, String> {
    let mut given = match tree {
        Value::Object(given) => given,
        other => return Err(format!("cannot restore struct from: {}", kind(&other))),
    };
    let mut fields = Map::new();
    for field in &schema.fields {
        let Some(tree) = given.remove(field.name.as_ref()) else { continue };
        let value = value(&field.ty, tree, &path.then(Segment::Field(schema, field)), strict)?;
        fields.insert(field.name.to_string(), value);
    }
    strict.extend(given.keys().map(|name| format!("unknown field {}", quote(&path.child(name)))));
    Ok(Value::Object(fields))
}

fn value(ty: &Type, tree: Value, path: &Path<'_>, strict: &mut Vec<String>) -> Result<Value, String> {
    match (ty, tree) {
        (_, Value::Null) => Ok(Value::Null),
        (Type::Message(schema), tree) => message(schema, tree, path, strict),
        (Type::List(element) | Type::WrappedList(element), Value::Array(items)) => {
            let each = items.into_iter().enumerate();
            each.map(|(at, item)| value(element, item, &path.then(Segment::Index(at)), strict)).collect()
        }
        (Type::Map(element), Value::Object(entries)) => {
            let mut map = Map::new();
            for (key, entry) in entries {
                let entry = value(element, entry, &path.then(Segment::Key(&key)), strict)?;
                map.insert(key, entry);
            }
            Ok(Value::Object(map))
        }
        (Type::Bytes, Value::String(text)) => {
            read(ty, text.into(), path).map_err(|why| format!("error decoding from json: {why}"))
        }
        (Type::List(_) | Type::WrappedList(_) | Type::Bytes, other) => {
            Err(format!("cannot restore slice from {}", kind(&other)))
        }
        (Type::Map(_), other) => Err(format!("cannot restore map from {}", kind(&other))),
        (Type::Quantity | Type::IntOrString | Type::Time | Type::MicroTime, tree) => read(ty, tree, path),
        (Type::String | Type::Bool | Type::Int32 | Type::Int64 | Type::Double, tree) => scalar(ty, tree, path),
        (_, tree) => Ok(tree),
    }
}

fn scalar(ty: &Type, tree: Value, path: &Path<'_>) -> Result<Value, String> {
    let unconverted = |from: &str| Err(format!("cannot convert {from} to {}", go_type_at(&path.segments())));
    let plain = match ty {
        Type::String => "string",
        Type::Bool => "bool",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        _ => "float64",
    };
    match (ty, &tree) {
        (Type::String, Value::String(_)) | (Type::Bool, Value::Bool(_)) | (Type::Double, Value::Number(_)) => Ok(tree),
        (Type::Int32 | Type::Int64, Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(wrapped(ty, whole)),
            (None, Some(real)) if real.trunc() == real => Ok(wrapped(ty, real as i64)),
            _ => unconverted("float64"),
        },
        // To Go an integer is a character, which JSON is not asked for.
        (Type::String, Value::Number(number)) if number.is_i64() => unconverted("int64"),
        _ => Err(format!("unrecognized type: {plain}")),
    }
}

fn wrapped(ty: &Type, whole: i64) -> Value {
    match ty {
        Type::Int32 => json!(whole as i32),
        _ => json!(whole),
    }
}

/// A value whose type has a decoder of its own, which knows no path.
fn read(ty: &Type, tree: Value, path: &Path<'_>) -> Result<Value, String> {
    let token = match tree {
        Value::Bool(value) => literal::Token::Bool(value),
        Value::Number(number) => literal::Token::Number(number),
        Value::String(text) => literal::Token::Text(text.into()),
        other => {
            return Err(told(literal::composite(ty, if other.is_array() { "array" } else { "object" }, &other), path));
        }
    };
    literal::read(ty, token).map_err(|refusal| told(refusal, path))
}

fn told(refusal: literal::Refusal, path: &Path<'_>) -> String {
    let mismatch = |value: &str, ty: &str| format!("json: cannot unmarshal {value} into Go value of type {ty}");
    match refusal {
        literal::Refusal::Saved(text) | literal::Refusal::Fatal(text) => text,
        literal::Refusal::Nested(value, ty) => mismatch(&value, ty),
        literal::Refusal::Mismatch(value) => mismatch(&value, &go_type_at(&path.segments())),
    }
}

/// What Go calls the sort of a value of a tree.
fn kind(tree: &Value) -> &'static str {
    match tree {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gvk::Gvk;

    fn pod(spec: Value) -> Result<Decoded, DecodeError> {
        let schema = super::super::builtin(&Gvk::new("", "v1", "Pod")).unwrap();
        restore(schema, json!({"spec": spec}))
    }

    #[test]
    fn refusals_name_types_and_no_place() {
        for (spec, expected) in [
            (json!({"hostname": 1}), "cannot convert int64 to string"),
            (json!({"dnsPolicy": 1}), "cannot convert int64 to v1.DNSPolicy"),
            (json!({"hostname": true}), "unrecognized type: string"),
            (json!({"hostNetwork": "x"}), "unrecognized type: bool"),
            (json!({"priority": "x"}), "unrecognized type: int32"),
            (json!({"priority": 1.5}), "cannot convert float64 to int32"),
            (json!({"containers": "x"}), "cannot restore slice from string"),
            (json!({"containers": [1]}), "cannot restore struct from: int64"),
            (json!({"nodeSelector": []}), "cannot restore map from slice"),
            (
                json!({"containers": [{"livenessProbe": {"httpGet": {"port": true}}}]}),
                "json: cannot unmarshal bool into Go value of type int32",
            ),
            // In the order of the fields, not of the patch.
            (json!({"nodeName": 1, "containers": "x"}), "cannot restore slice from string"),
        ] {
            assert_eq!(pod(spec.clone()).unwrap_err().to_string(), expected, "{spec}");
        }
    }

    #[test]
    fn too_large_numbers_wrap_and_unknown_fields_are_told() {
        let made = pod(json!({"priority": 2147483648_i64, "zoo": 1, "containers": [{"name": "c", "foo": 1}]})).unwrap();
        let want = json!({"spec": {"priority": -2147483648_i64, "containers": [{"name": "c"}]}});
        assert_eq!(made.object, want);
        let told = ["unknown field \"spec.containers[0].foo\"", "unknown field \"spec.zoo\""];
        assert_eq!(made.strict, told);
    }
}
