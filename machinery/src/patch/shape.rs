//! What a strategic merge patch knows of the place that it merges.

use crate::field::quote;
use crate::schema::{Field, Schema, Type};

/// What is known of the values of a map.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    Message(&'a Schema),
    /// Every value of a string-keyed map has this type.
    Values(&'a Type),
    /// Go keeps bytes there, and knows no field of them.
    Raw,
    Unknown,
}

impl<'a> Shape<'a> {
    pub(super) fn of(ty: &'a Type) -> Self {
        match ty {
            Type::Message(message) => Self::Message(message),
            Type::SchemaOrBool(message) | Type::SchemaOrArray(message) | Type::SchemaOrStrings(message) => {
                Self::Message(message)
            }
            Type::Map(element) => Self::Values(element),
            Type::List(element) | Type::WrappedList(element) => Self::of(element),
            Type::Raw => Self::Raw,
            _ => Self::Unknown,
        }
    }

    pub(super) fn field(self, name: &str) -> (Shape<'a>, Option<&'a Field>) {
        match self {
            Self::Message(schema) => match schema.field(name) {
                Some(field) => (Self::of(&field.ty), Some(field)),
                None => (Self::Unknown, None),
            },
            Self::Values(ty) => (Self::of(ty), None),
            Self::Raw | Self::Unknown => (Self::Unknown, None),
        }
    }

    /// Why what lies below a value that has no fields of its own is not merged.
    pub(super) fn fieldless(self, name: &str) -> String {
        match self {
            Self::Raw => format!("unable to find api field in struct RawExtension for the json field {}", quote(name)),
            _ => "merging an object in json but data type is not struct, instead is: map".to_owned(),
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Message(schema) => schema.short_name().to_owned(),
            _ => "map".to_owned(),
        }
    }
}
