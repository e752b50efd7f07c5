//! Strategic merge patch: a merge patch that knows which lists merge, and by which key.
//!
//! Directives: `$patch: replace|delete|merge` in a map, `$retainKeys`, `$setElementOrder/<list>` and
//! `$deleteFromPrimitiveList/<list>` beside a list (Kubernetes concept: strategic merge patch).

use serde_json::{Map, Value};

use super::PatchError;
use super::list::{ByKey, in_order, partition};
use super::shape::Shape;
use crate::schema::{Field, Schema, go_map};

pub(super) const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";

/// Applies the patch to an object of the schema.
///
/// Errors: [`PatchError::Malformed`] for a patch that is no object or a directive of the wrong form,
/// [`PatchError::Inapplicable`] for lists of lists, [`PatchError::Broken`] for elements without their merge key.
pub fn strategic(schema: &Schema, original: &mut Value, patch: Value) -> Result<(), PatchError> {
    let Value::Object(patch) = patch else {
        return Err(PatchError::Malformed("invalid JSON document".to_owned()));
    };
    let object = match original.take() {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    *original = Value::Object(merge_map(object, patch, Shape::Message(schema))?);
    Ok(())
}

fn merge_key(field: Option<&Field>) -> &str {
    field.and_then(|field| field.patch.merge_key.as_deref()).unwrap_or("")
}

/// In Go's words, which knows a directive as text only.
fn unknown_directive(directive: &Value, map: &Value) -> PatchError {
    let shown = match directive {
        Value::String(text) => text.clone(),
        Value::Number(number) => format!("%!s(int64={number})"),
        Value::Bool(value) => format!("%!s(bool={value})"),
        Value::Null => "%!s(<nil>)".to_owned(),
        other => go_map(other),
    };
    PatchError::Broken(format!("unknown patch type: {shown} in map: {}", go_map(map)))
}

pub(super) fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    shape: Shape<'_>,
) -> Result<Map<String, Value>, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => {
                patch.insert(DIRECTIVE.to_owned(), directive.clone());
                Err(unknown_directive(&directive, &Value::Object(patch)))
            }
        };
    }
    retain_keys(&mut original, &mut patch)?;
    ordered_lists(&mut original, &mut patch, shape)?;
    for (name, value) in patch {
        let (name, deletes) = match name.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
            Some(list) => (list.to_owned(), true),
            None if name == DELETE_FROM_PRIMITIVE_LIST.trim_end_matches('/') => {
                return Err(malformed("primitive list"));
            }
            None => (name, false),
        };
        merge_entry(&mut original, name, value, deletes, shape)?;
    }
    Ok(original)
}

fn malformed(what: &str) -> PatchError {
    PatchError::Malformed(format!("invalid patch format of {what}"))
}

fn merge_entry(
    original: &mut Map<String, Value>,
    name: String,
    patch: Value,
    deletes: bool,
    shape: Shape<'_>,
) -> Result<(), PatchError> {
    if patch.is_null() {
        original.remove(&name);
        return Ok(());
    }
    let (inner, field) = shape.field(&name);
    let replaces = field.is_some_and(|field| field.patch.replace);
    let merged = match (original.remove(&name), patch) {
        (Some(Value::Object(_)), Value::Object(_)) | (Some(Value::Array(_)), Value::Array(_))
            if matches!(shape, Shape::Raw | Shape::Values(_)) =>
        {
            return Err(PatchError::Broken(shape.fieldless(&name)));
        }
        (Some(Value::Object(_)), new @ Value::Object(_)) if replaces => Some(new),
        (Some(Value::Object(old)), Value::Object(new)) => Some(Value::Object(merge_map(old, new, inner)?)),
        (Some(Value::Array(old)), Value::Array(new)) => {
            let merges = field.is_some_and(|field| field.patch.merge);
            match merges || deletes {
                true => Some(Value::Array(merge_list(old, new, merge_key(field), inner, deletes)?)),
                false => Some(Value::Array(new)),
            }
        }
        (old, _) if deletes => old,
        (_, mut new) => {
            discard_nulls(&mut new);
            without_directives(new)
        }
    };
    if let Some(value) = merged {
        original.insert(name, value);
    }
    Ok(())
}

/// `$retainKeys`: fields of the object that it does not name go; it must name all that the patch sets.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(malformed("retainKeys")) };
    let named = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    let mut set = patch.iter().filter(|(name, value)| {
        !value.is_null() && !name.starts_with(DELETE_FROM_PRIMITIVE_LIST) && !name.starts_with(SET_ELEMENT_ORDER)
    });
    if set.any(|(name, _)| !named(name)) {
        return Err(malformed("retainKeys"));
    }
    original.retain(|name, _| named(name));
    Ok(())
}

/// `$setElementOrder/<list>`: merges the list here, with its patch if there is one, and orders it: the directive goes
/// before the patch's order, that before the live order.
fn ordered_lists(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    shape: Shape<'_>,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|name| name.starts_with("$setElementOrder")).cloned().collect();
    for directive in directives {
        let order = as_list(patch.remove(&directive).unwrap_or_default())?;
        let name = directive.strip_prefix(SET_ELEMENT_ORDER).ok_or_else(|| malformed("setElementOrder list"))?;
        let live = original.remove(name).map(as_list).transpose()?;
        let change = patch.remove(name).map(as_list).transpose()?;
        let (inner, field) = shape.field(name);
        let key = merge_key(field);
        check_order(change.as_deref().unwrap_or_default(), &order, key)?;
        let live_order = live.clone().unwrap_or_default();
        let merged = match (live, change) {
            (None, None) => continue,
            (Some(live), None) => live,
            (None, Some(change)) => change.into_iter().filter_map(without_directives).collect(),
            (Some(live), Some(change)) if field.is_some_and(|field| field.patch.merge) => {
                merge_list(live, change, key, inner, false)?
            }
            (Some(_), Some(change)) => change,
        };
        element_kind(&[&live_order, &merged])?;
        let (named, others) = partition(merged, &order, &ByKey(key))?;
        original.insert(name.to_owned(), Value::Array(in_order(named, others, &order, &live_order, &ByKey(key))));
    }
    Ok(())
}

fn as_list(value: Value) -> Result<Vec<Value>, PatchError> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(PatchError::Broken(format!("expected a []interface {{}}, but received a {}", go_type(&other)))),
    }
}

/// As Go's `%T` shows it, in a message that `%s` made.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The patch's elements must stand in the order that the directive gives, each named by it.
fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    if order.is_empty() {
        return Ok(());
    }
    let by_key = ByKey(key);
    let mut rest = order.iter();
    for element in patch.iter().filter(|element| element.get(DIRECTIVE).is_none()) {
        let wanted = by_key.of(element)?;
        let found = rest.by_ref().map(|named| by_key.of(named)).find_map(|named| match named {
            Ok(named) => (named == wanted).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        });
        match found {
            Some(result) => result?,
            None => {
                let show = |list: &[Value]| go_map(&Value::Array(list.to_vec()));
                return Err(PatchError::Broken(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    show(patch),
                    show(order)
                )));
            }
        }
    }
    Ok(())
}

#[derive(PartialEq)]
enum Kind {
    Maps,
    Scalars,
}

/// What all elements are. To Go, whole numbers and fractions are of two types.
fn element_kind(lists: &[&[Value]]) -> Result<Kind, PatchError> {
    let mut elements = lists.iter().flat_map(|list| list.iter());
    let first = elements.next();
    if first.is_some_and(Value::is_array) {
        return Err(PatchError::Inapplicable("lists of lists are not supported".to_owned()));
    }
    if elements.any(|element| first.is_some_and(|first| go_type(element) != go_type(first))) {
        let lists: Vec<String> = lists.iter().map(|list| go_map(&Value::from(list.to_vec()))).collect();
        let why = format!("list element types are not identical: [{}]", lists.join(" "));
        return Err(PatchError::Broken(why));
    }
    Ok(if first.is_some_and(Value::is_object) { Kind::Maps } else { Kind::Scalars })
}

fn merge_list(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    shape: Shape<'_>,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let scalars = element_kind(&[&original, &patch])? == Kind::Scalars;
    if scalars && deletes {
        original.retain(|element| !patch.contains(element));
        return Ok(original);
    }
    if !scalars && key.is_empty() {
        return Err(PatchError::Broken(format!("cannot merge lists without merge key for {}", shape.name())));
    }
    let key = if scalars { "" } else { key };
    let (live, patch) = match scalars {
        true => (original, patch),
        false => list_directives(original, patch, key)?,
    };
    let live_order = live.clone();
    let merged = match scalars {
        true => deduplicate(live, &patch),
        false => merge_elements(live, &patch, key, shape)?,
    };
    let by_key = ByKey(key);
    let (named, others) = partition(merged, &patch, &by_key)?;
    Ok(in_order(named, others, &patch, &live_order, &by_key))
}

fn deduplicate(mut list: Vec<Value>, more: &[Value]) -> Vec<Value> {
    list.extend_from_slice(more);
    let mut unique = Vec::with_capacity(list.len());
    for element in list {
        if !unique.contains(&element) {
            unique.push(element);
        }
    }
    unique
}

/// Elements that are directives: `$patch: delete` takes an element out, `$patch: replace` the whole live list.
fn list_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut elements = Vec::with_capacity(patch.len());
    let mut replace = false;
    for element in patch {
        match element.get(DIRECTIVE).map(Value::as_str) {
            None => elements.push(element),
            Some(Some("delete")) => {
                let gone = ByKey(key).of(&element)?;
                original.retain(|live| live.get(key) != Some(gone));
            }
            Some(Some("replace")) => replace = true,
            Some(Some("merge")) => {
                return Err(PatchError::Broken("merging lists cannot yet be specified in the patch".to_owned()));
            }
            Some(_) => {
                return Err(unknown_directive(&element[DIRECTIVE], &element));
            }
        }
    }
    Ok(if replace { (elements, Vec::new()) } else { (original, elements) })
}

fn merge_elements(
    mut original: Vec<Value>,
    patch: &[Value],
    key: &str,
    shape: Shape<'_>,
) -> Result<Vec<Value>, PatchError> {
    for element in patch {
        let name = ByKey(key).of(element)?;
        match original.iter_mut().find(|live| live.get(key) == Some(name)) {
            None => original.push(element.clone()),
            Some(live) => {
                let (Value::Object(old), Value::Object(new)) = (live.take(), element.clone()) else { continue };
                *live = Value::Object(merge_map(old, new, shape)?);
            }
        }
    }
    Ok(original)
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// What is added whole loses the directives in it; a map that is itself a directive is not added.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.into_iter().filter_map(|(name, value)| Some((name, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        scalar => Some(scalar),
    }
}
