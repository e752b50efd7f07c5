//! One scalar: whether its field can hold it, and its canonical JSON form.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Number, Value};

use super::{Type, time};
use crate::quantity::Quantity;

/// A JSON scalar that is not null.
pub(super) enum Token<'a> {
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
}

/// Why it cannot be held.
pub(super) enum Refusal {
    /// Told with the field's path and type; the words for the value.
    Mismatch(String),
    /// Told as it is, when nothing worse happens later.
    Saved(String),
    /// Told as it is; ends Go's decoding.
    Fatal(String),
    /// From a type's own decoder, which wants another type inside: the words for the value, and that type. Ends Go's decoding.
    Nested(String, &'static str),
}

impl Token<'_> {
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(value),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::String(text.into_owned()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
        }
    }
}

/// A scalar as a value of that type, in the form in which the API answers it.
pub(super) fn read(ty: &Type, token: Token<'_>) -> Result<Value, Refusal> {
    match (ty, token) {
        (Type::String, Token::Text(text)) => Ok(Value::String(text.into_owned())),
        (Type::Bool, Token::Bool(value)) => Ok(Value::Bool(value)),
        (Type::Double, Token::Number(number)) => Ok(Value::Number(number)),
        (Type::Int64, Token::Number(number)) => integer(number, i64::MIN, i64::MAX),
        (Type::Int32, Token::Number(number)) => integer(number, i32::MIN.into(), i32::MAX.into()),
        (Type::Bytes, Token::Text(text)) => bytes(text),
        (Type::Quantity, token) => quantity(token.into_value()),
        (Type::IntOrString, Token::Text(text)) => Ok(Value::String(text.into_owned())),
        (Type::IntOrString, Token::Number(number)) => int_or_string(number),
        (Type::IntOrString, other) => Err(nested(other.kind(), "int32")),
        (Type::Time, Token::Text(text)) => time::seconds(text).map(Value::String).map_err(Refusal::Fatal),
        (Type::MicroTime, Token::Text(text)) => time::micros(text).map(Value::String).map_err(Refusal::Fatal),
        (Type::Time | Type::MicroTime, other) => Err(nested(other.kind(), "string")),
        (_, other) => Err(Refusal::Mismatch(other.kind().to_owned())),
    }
}

/// The refusal of an object or array where the type is none.
pub(super) fn composite(ty: &Type, kind: &str, value: &Value) -> Refusal {
    match ty {
        Type::Quantity => match quantity(value.clone()) {
            Err(refusal) => refusal,
            Ok(_) => Refusal::Mismatch(kind.to_owned()),
        },
        Type::IntOrString => nested(kind, "int32"),
        Type::Time | Type::MicroTime => nested(kind, "string"),
        _ => Refusal::Mismatch(kind.to_owned()),
    }
}

fn nested(kind: &str, ty: &'static str) -> Refusal {
    Refusal::Nested(kind.to_owned(), ty)
}

fn integer(number: Number, min: i64, max: i64) -> Result<Value, Refusal> {
    match number.as_i64() {
        Some(value) if (min..=max).contains(&value) => Ok(Value::Number(number)),
        _ => Err(Refusal::Mismatch(format!("number {number}"))),
    }
}

fn int_or_string(number: Number) -> Result<Value, Refusal> {
    match integer(number, i32::MIN.into(), i32::MAX.into()) {
        Err(Refusal::Mismatch(value)) => Err(nested(&value, "int32")),
        other => other,
    }
}

/// The one place where a quantity takes its canonical form.
fn quantity(value: Value) -> Result<Value, Refusal> {
    match Quantity::from_value(&value) {
        Ok(quantity) => Ok(Value::String(quantity.to_string())),
        Err(error) => Err(Refusal::Fatal(error.to_string())),
    }
}

/// Go reads padded standard base64, does not look at the unused bits of the last character, and skips line ends.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

fn bytes(text: Cow<'_, str>) -> Result<Value, Refusal> {
    let compact: Cow<'_, str> = match text.contains(['\r', '\n']) {
        true => text.replace(['\r', '\n'], "").into(),
        false => text,
    };
    match BASE64.decode(compact.as_bytes()) {
        Ok(decoded) => {
            let canonical = compact.len() == decoded.len().div_ceil(3) * 4 && decoded.len() % 3 == 0;
            Ok(Value::String(if canonical { compact.into_owned() } else { BASE64.encode(decoded) }))
        }
        Err(error) => Err(Refusal::Saved(bad_base64(&error, &compact))),
    }
}

/// Go takes bytes one by one, too; an element that is null leaves its byte as it is.
pub(super) fn byte_list(list: &Value) -> Result<Value, Refusal> {
    let byte = |element: &Value| match element {
        Value::Null => Some(0),
        other => other.as_u64().and_then(|number| u8::try_from(number).ok()),
    };
    let bytes: Option<Vec<u8>> = list.as_array().into_iter().flatten().map(byte).collect();
    bytes.map(|bytes| BASE64.encode(bytes).into()).ok_or_else(|| Refusal::Mismatch("array".to_owned()))
}

/// In Go's words, which tell where the last group of four begins when its end is missing.
pub fn bad_base64(error: &base64::DecodeError, text: &str) -> String {
    let length = text.len();
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidPadding if text.ends_with('=') => length,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => length - length % 4,
    };
    format!("illegal base64 data at input byte {at}")
}
