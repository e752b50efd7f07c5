//! How a value is owned: as a whole, or by its fields, entries or elements.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::set::{self, Element};
use crate::schema::{DefaultValue, Field, ListType, Omit, Schema, Text, Type};
use crate::wire::go_json;

#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    /// A scalar, or something that is owned whole.
    Leaf,
    Struct(&'a Schema),
    /// String keys, each its own.
    Map(&'a Type),
    /// Elements named by themselves.
    Set,
    /// Elements named by keys.
    Keyed(&'a [Text], &'a Type),
    /// Not in the schema: an object is a map of such, all else a leaf.
    Deduced,
}

impl<'a> Shape<'a> {
    pub(super) fn of_field(field: &'a Field) -> Self {
        match &field.ty {
            Type::List(element) | Type::WrappedList(element) => match &field.list {
                ListType::Set => Self::Set,
                ListType::Map(keys) => Self::Keyed(keys, element),
                ListType::Unstated | ListType::Atomic => Self::Leaf,
            },
            Type::Message(message) if field.granular => Self::Struct(message),
            _ if field.atomic => Self::Leaf,
            ty => Self::of_type(ty),
        }
    }

    /// Of an element or entry.
    pub(super) fn of_type(ty: &'a Type) -> Self {
        match ty {
            Type::Message(message) if message.atomic => Self::Leaf,
            Type::Message(message) => Self::Struct(message),
            Type::Map(element) => Self::Map(element),
            Type::Any => Self::Deduced,
            _ => Self::Leaf,
        }
    }

    /// Of the value under a name; `None` when the schema has no such field.
    pub(super) fn child(self, name: &str) -> Option<Self> {
        match self {
            Self::Struct(schema) => match schema.field(name) {
                Some(field) => Some(Self::of_field(field)),
                None if schema.preserve_unknown => Some(Self::Deduced),
                None => None,
            },
            Self::Map(ty) => Some(Self::of_type(ty)),
            Self::Deduced => Some(Self::Deduced),
            Self::Leaf | Self::Set | Self::Keyed(..) => None,
        }
    }

    /// Of what a path step leads to.
    pub(super) fn step(self, element: &str) -> Self {
        match (element.split_at_checked(2), self) {
            (Some(("f:", name)), shape) => shape.child(name).unwrap_or(Self::Deduced),
            (Some(("k:", _)), Self::Keyed(_, ty)) => Self::of_type(ty),
            _ => Self::Leaf,
        }
    }

    /// Whether the name is a stated field, not an entry of a map.
    pub(super) fn names(self, name: &str) -> bool {
        matches!(self, Self::Struct(schema) if schema.field(name).is_some())
    }

    /// What a deduced value turns out to be: an object is a map.
    pub(super) fn is_map(self, value: Option<&Value>) -> bool {
        match self {
            Self::Struct(_) | Self::Map(_) => true,
            Self::Deduced => value.is_some_and(Value::is_object),
            _ => false,
        }
    }

    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Set | Self::Keyed(..))
    }

    /// The path step that names an element of a list. The error is upstream's.
    pub(super) fn element(self, value: &Value) -> Result<Element, String> {
        match self {
            Self::Keyed(keys, ty) => keyed(keys, ty, value),
            _ => match value {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
                scalar => Ok(format!("v:{}", go_json(scalar))),
            },
        }
    }
}

fn keyed(keys: &[Text], ty: &Type, value: &Value) -> Result<Element, String> {
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut named: Vec<(&str, Cow<'_, Value>)> = Vec::with_capacity(keys.len());
    for key in keys {
        let given = map.get(key.as_ref()).map(Cow::Borrowed);
        let value = given.or_else(|| key_default(ty.message()?.field(key)?).map(Cow::Owned));
        named.extend(value.map(|value| (key.as_ref(), value)));
    }
    if named.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.join(" ")
        ));
    }
    named.sort_by_key(|(name, _)| *name);
    let mut element = "k:{".to_owned();
    for (position, (name, value)) in named.iter().enumerate() {
        if position > 0 {
            element.push(',');
        }
        push_text(&mut element, name);
        element.push(':');
        match value.as_ref() {
            Value::String(text) => push_text(&mut element, text),
            value => element.push_str(&value.to_string()),
        }
    }
    element.push('}');
    Ok(element)
}

/// Adds a text as Go's JSON has it. Nearly all are names, which stand as they are.
fn push_text(element: &mut String, text: &str) {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte)) {
        element.extend(["\"", text, "\""]);
    } else {
        element.push_str(&go_json(&Value::from(text)));
    }
}

/// A key that is not given takes the default that the schema publishes.
fn key_default(field: &Field) -> Option<Value> {
    match (&field.default, &field.ty) {
        (DefaultValue::Stated(text), _) => serde_json::from_str(text).ok(),
        (DefaultValue::Implied, Type::String) if field.omit == Omit::Never && !field.pointer => Some("".into()),
        (DefaultValue::Implied, Type::Int32 | Type::Int64) if field.omit == Omit::Never && !field.pointer => {
            Some(0.into())
        }
        _ => None,
    }
}

/// An element's position among others: first of each name, with the names that occur more than once.
pub(super) struct Indexed<'v> {
    pub(super) order: Vec<Element>,
    pub(super) values: std::collections::BTreeMap<Element, Vec<&'v Value>>,
    /// An element could not be named.
    pub(super) malformed: bool,
}

impl<'v> Indexed<'v> {
    /// Elements that cannot be named are left out.
    pub(super) fn of(shape: Shape<'_>, list: Option<&'v Value>) -> Self {
        let mut indexed = Self { order: Vec::new(), values: std::collections::BTreeMap::new(), malformed: false };
        for value in list.and_then(Value::as_array).into_iter().flatten() {
            let Ok(element) = shape.element(value) else {
                indexed.malformed = true;
                continue;
            };
            indexed.order.push(element.clone());
            indexed.values.entry(element).or_default().push(value);
        }
        indexed
    }

    pub(super) fn one(&self, element: &str) -> Option<&'v Value> {
        self.values.get(element).and_then(|values| values.first().copied())
    }

    pub(super) fn count(&self, element: &str) -> usize {
        self.values.get(element).map_or(0, Vec::len)
    }
}

pub(super) fn field(name: &str) -> Element {
    set::field(name)
}

/// Every entry of either object, by name. Relies on JSON objects being sorted.
pub(super) fn zip<'v>(
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    mut visit: impl FnMut(&'v str, Option<&'v Value>, Option<&'v Value>),
) {
    let entries = |value: Option<&'v Value>| value.and_then(Value::as_object).into_iter().flatten().peekable();
    let (mut old, mut new) = (entries(old), entries(new));
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let left = if order.is_le() { old.next() } else { None };
        let right = if order.is_ge() { new.next() } else { None };
        if let Some((name, _)) = left.or(right) {
            visit(name, left.map(|(_, value)| value), right.map(|(_, value)| value));
        }
    }
}

/// No object or list, or an empty one.
pub(super) fn is_bare(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => true,
    }
}
