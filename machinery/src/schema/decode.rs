//! From a client's bytes to an object: one pass that knows the schema, so that unknown fields, fields given twice and
//! wrong types are seen where they stand and told in upstream's words.
//!
//! Fields that the schema does not know are dropped (and told in [`Decoded::strict`]); nulls are kept, for
//! [`super::normalize`] to take away.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::go::{Path, Segment, type_error, type_error_of};
use super::tree::{Any, Key, Tree};
use super::{Schema, Type, given_twice, go, literal, unmarshal_errors};

/// An object, and what a strict decoder objects to in it.
#[derive(Clone, Debug)]
pub struct Decoded {
    pub object: Value,
    /// `unknown field "spec.foo"`, `duplicate field "spec.containers[0].name"`: in order of appearance, each once, at most
    /// 100. What YAML gives twice comes first, as one text ([`super::unmarshal_errors`]).
    pub strict: Vec<String>,
}

/// Why bytes are no object of the kind. The text is upstream's, without its prefix naming the kind.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Not JSON (or YAML) at all.
    #[error("{0}")]
    Syntax(String),
    /// A value that its field cannot hold.
    #[error("{0}")]
    Type(String),
}

/// What a body says it is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct TypeMeta {
    #[serde(default, rename = "apiVersion")]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
}

const STRICT_MAX: usize = 100;

/// `apiVersion` and `kind` of a JSON body; empty where absent. Errors: not JSON, or either not a string.
pub fn type_meta_json(body: &[u8]) -> Result<TypeMeta, DecodeError> {
    serde_json::from_slice(body)
        .map_err(|error| syntax_or_type(body, &error, "couldn't get version/kind; json parse error: "))
}

/// The same of a YAML body.
pub fn type_meta_yaml(body: &[u8]) -> Result<TypeMeta, DecodeError> {
    serde_yaml_ng::from_slice(body).map_err(yaml_error)
}

fn syntax_or_type(body: &[u8], error: &serde_json::Error, prefix: &str) -> DecodeError {
    match error.classify() {
        serde_json::error::Category::Data => DecodeError::Type(format!("{prefix}{error}")),
        _ => DecodeError::Syntax(format!("{prefix}{}", go::syntax_error(body, error))),
    }
}

fn yaml_error(error: serde_yaml_ng::Error) -> DecodeError {
    DecodeError::Syntax(format!("error converting YAML to JSON: yaml: {error}"))
}

/// Decodes a JSON body as an object of the schema.
///
/// Errors: bytes that are not one JSON value; a value of the wrong type (the first such, as Go's decoder has it).
pub fn decode_json(schema: &Schema, body: &[u8]) -> Result<Decoded, DecodeError> {
    let mut session = Session::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = session.run(schema, &mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let value = value.map_err(|error| syntax_or_type(body, &error, ""))?;
    session.finish(value)
}

/// Decodes a YAML body (one document) as an object of the schema: by way of JSON, as upstream does, which has no key twice.
pub fn decode_yaml(schema: &Schema, body: &[u8]) -> Result<Decoded, DecodeError> {
    let tree = Any.deserialize(serde_yaml_ng::Deserializer::from_slice(body)).map_err(yaml_error)?;
    let mut decoded = decode_value(schema, tree)?;
    let twice = given_twice(body);
    if !twice.is_empty() {
        decoded.strict.insert(0, unmarshal_errors(&twice));
    }
    Ok(decoded)
}

/// Checks a value that was made otherwise (a patched object) as if it had been sent.
pub fn decode_value(schema: &Schema, value: Value) -> Result<Decoded, DecodeError> {
    let mut session = Session::default();
    let value = session.run(schema, value).map_err(|error| DecodeError::Type(error.to_string()))?;
    session.finish(value)
}

#[derive(Default)]
struct Session {
    strict: Vec<String>,
    /// Go's decoder goes on after a type error and reports the first,
    saved: Option<String>,
    /// but an error from a type's own decoder ends it and wins.
    fatal: Option<String>,
}

impl Session {
    fn run<'de, D: Deserializer<'de>>(&mut self, schema: &Schema, deserializer: D) -> Result<Value, D::Error> {
        let root = Path::root(schema);
        Object { session: self, schema, path: &root }.deserialize(deserializer)
    }

    fn finish(self, object: Value) -> Result<Decoded, DecodeError> {
        match self.fatal.or(self.saved) {
            Some(text) => Err(DecodeError::Type(text)),
            None => Ok(Decoded { object, strict: self.strict }),
        }
    }

    fn strict(&mut self, what: &str, path: &Path<'_>, name: &str) {
        let text = format!("{what} field {}", go::quote(&path.child(name)));
        if self.strict.len() < STRICT_MAX && !self.strict.contains(&text) {
            self.strict.push(text);
        }
    }

    fn mismatch(&mut self, value: &str, path: &Path<'_>) -> Value {
        if self.saved.is_none() {
            self.saved = Some(type_error(value, path));
        }
        Value::Null
    }

    fn literal(&mut self, result: Result<Value, literal::Refusal>, path: &Path<'_>) -> Value {
        match result {
            Ok(value) => return value,
            Err(literal::Refusal::Mismatch(value)) => return self.mismatch(&value, path),
            Err(literal::Refusal::Saved(text)) => self.saved = self.saved.take().or(Some(text)),
            Err(literal::Refusal::Fatal(text)) => self.fatal = self.fatal.take().or(Some(text)),
            Err(literal::Refusal::Nested(value, ty)) => {
                self.fatal = self.fatal.take().or_else(|| Some(type_error_of(ty, &value, path)));
            }
        }
        Value::Null
    }
}

/// A value of some type at some place.
struct Seed<'a> {
    session: &'a mut Session,
    ty: &'a Type,
    path: &'a Path<'a>,
    /// In a structural schema values pass whatever their type; validation tells.
    lenient: bool,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.ty {
            Type::Json | Type::Any | Type::Raw => deserializer.deserialize_any(Tree),
            Type::FieldsV1 | Type::SchemaOrBool(_) | Type::SchemaOrArray(_) | Type::SchemaOrStrings(_) => {
                deserializer.deserialize_any(Tree)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Seed<'_> {
    fn scalar(self, token: literal::Token<'_>) -> Value {
        if self.lenient {
            return token.into_value();
        }
        self.session.literal(literal::read(self.ty, token), self.path)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(self.scalar(literal::Token::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(self.scalar(literal::Token::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(self.scalar(literal::Token::Number(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(serde_json::Number::from_f64(value)
            .map_or(Value::Null, |number| self.scalar(literal::Token::Number(number))))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(self.scalar(literal::Token::Text(value.into())))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(self.scalar(literal::Token::Text(value.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let (Type::List(element) | Type::WrappedList(element)) = self.ty else {
            return other_seq(self, elements);
        };
        let mut list = Vec::new();
        loop {
            let path = self.path.then(Segment::Index(list.len()));
            let seed = Seed { session: &mut *self.session, ty: element, path: &path, lenient: self.lenient };
            match elements.next_element_seed(seed)? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        match self.ty {
            Type::Message(schema) => Object { session: self.session, schema, path: self.path }.visit_map(entries),
            Type::Map(element) => {
                let mut map = Map::new();
                while let Some(key) = entries.next_key_seed(Key)? {
                    let path = self.path.then(Segment::Key(&key));
                    let seed = Seed { session: &mut *self.session, ty: element, path: &path, lenient: self.lenient };
                    let value = entries.next_value_seed(seed)?;
                    if map.contains_key(&key) {
                        self.session.strict("duplicate", self.path, &key);
                    }
                    map.insert(key, value);
                }
                Ok(Value::Object(map))
            }
            _ => {
                let tree = Tree.visit_map(entries)?;
                if self.lenient {
                    return Ok(tree);
                }
                let refusal = literal::composite(self.ty, "object", &tree);
                Ok(self.session.literal(Err(refusal), self.path))
            }
        }
    }
}

fn other_seq<'de, A: SeqAccess<'de>>(seed: Seed<'_>, elements: A) -> Result<Value, A::Error> {
    let tree = Tree.visit_seq(elements)?;
    if seed.lenient {
        return Ok(tree);
    }
    let read = match seed.ty {
        Type::Bytes => literal::byte_list(&tree),
        ty => Err(literal::composite(ty, "array", &tree)),
    };
    Ok(seed.session.literal(read, seed.path))
}

/// An object of a message.
struct Object<'a> {
    session: &'a mut Session,
    schema: &'a Schema,
    path: &'a Path<'a>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Object(Map::new()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(self.session.mismatch("bool", self.path))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(self.session.mismatch("number", self.path))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(self.session.mismatch("number", self.path))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(self.session.mismatch("number", self.path))
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(self.session.mismatch("string", self.path))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        while elements.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(self.session.mismatch("array", self.path))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut seen = vec![false; self.schema.fields.len()];
        while let Some(key) = entries.next_key_seed(Key)? {
            let Some(position) = self.schema.position(&key) else {
                if self.schema.preserve_unknown {
                    map.insert(key, entries.next_value_seed(Any)?);
                } else {
                    self.session.strict("unknown", self.path, &key);
                    entries.next_value::<de::IgnoredAny>()?;
                }
                continue;
            };
            if std::mem::replace(&mut seen[position], true) {
                self.session.strict("duplicate", self.path, &key);
            }
            let field = &self.schema.fields[position];
            let path = self.path.then(Segment::Field(self.schema, field));
            let lenient = self.schema.structural;
            let seed = Seed { session: &mut *self.session, ty: &field.ty, path: &path, lenient };
            let value = entries.next_value_seed(seed)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
