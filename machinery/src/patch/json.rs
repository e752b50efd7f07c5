//! JSON patch (RFC 6902), with what upstream's library makes of the RFC: `replace` of a key that is absent sets it, an
//! absent key reads as null in `test`, negative indices count from the end.

use serde::Deserialize;
use serde_json::Value;

use super::PatchError;

/// Upstream's limit.
pub const OPERATIONS_MAX: usize = 10_000;

/// What all copies together may add, in bytes of JSON: a copy into itself doubles the object.
const COPY_BYTES_MAX: usize = 3 << 20;

#[derive(Deserialize)]
struct Operation {
    #[serde(default)]
    op: String,
    path: Option<String>,
    from: Option<String>,
    #[serde(default)]
    value: Value,
}

/// Applies a JSON patch, given as its bytes, to the object.
///
/// Errors: [`PatchError::Malformed`] for bytes that are no list of operations, [`PatchError::TooManyOperations`],
/// [`PatchError::Inapplicable`] for an operation that fails (a `test` too); the object is then half patched.
pub fn json(object: &mut Value, patch: &[u8]) -> Result<(), PatchError> {
    let operations: Value = serde_json::from_slice(patch).map_err(|error| {
        PatchError::Malformed(format!("error decoding patch: {}", crate::schema::syntax_error(patch, &error)))
    })?;
    let operations: Vec<Operation> = match &operations {
        Value::Array(list) if list.len() > OPERATIONS_MAX => return Err(PatchError::TooManyOperations(list.len())),
        Value::Array(_) => serde_json::from_value(operations)
            .map_err(|error| PatchError::Malformed(format!("error decoding patch: json: {error}")))?,
        Value::Null => Vec::new(),
        other => {
            let kind = kind(other);
            let text = format!(
                "error decoding patch: json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp"
            );
            return Err(PatchError::Malformed(text));
        }
    };
    let mut copied_bytes = 0;
    operations
        .into_iter()
        .try_for_each(|operation| operation.apply(object, &mut copied_bytes))
        .map_err(PatchError::Inapplicable)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Operation {
    fn path(&self) -> Result<&str, String> {
        self.path.as_deref().ok_or_else(|| format!("{} operation failed to decode path: missing value", self.op))
    }

    fn from(&self) -> Result<&str, String> {
        self.from.as_deref().ok_or_else(|| format!("{} operation failed to decode from: missing value", self.op))
    }

    fn apply(self, object: &mut Value, copied_bytes: &mut usize) -> Result<(), String> {
        let path = self.path()?;
        match self.op.as_str() {
            "add" => add(
                object,
                path,
                self.value.clone(),
                &format!("add operation does not apply: doc is missing path: {path:?}"),
            )
            .map_err(|error| error.told(|error| format!("error in add for path: '{path}': {error}"))),
            "remove" => {
                let missing = format!("remove operation does not apply: doc is missing path: {path:?}");
                let (container, key) = find(object, path).ok_or(format!("{missing}: missing value"))?;
                remove(container, &key)
                    .map(drop)
                    .map_err(|error| format!("error in remove for path: '{path}': {error}"))
            }
            "replace" => replace(object, path, self.value.clone()),
            "test" => test(object, path, &self.value),
            "move" => relocate(object, self.from()?, path),
            "copy" => copy(object, self.from()?, path, copied_bytes),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }
}

/// A container that is not there, or a key that it does not take.
enum Failure {
    Missing(String),
    Key(String),
}

impl Failure {
    fn told(self, key: impl FnOnce(String) -> String) -> String {
        match self {
            Self::Missing(text) => text,
            Self::Key(text) => key(text),
        }
    }
}

/// The container of a path's last part, and that part unescaped. The whole document has none.
fn find<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parents, last) = path.rsplit_once('/')?;
    let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let mut container = object;
    for part in parents.split('/').skip(1) {
        let part = unescape(part);
        container = match container {
            Value::Object(map) => map.get_mut(&part)?,
            Value::Array(list) => {
                let at = index(&part, list.len(), list.len()).ok()?;
                &mut list[at]
            }
            _ => return None,
        };
    }
    matches!(container, Value::Object(_) | Value::Array(_)).then(|| (container, unescape(last)))
}

/// An index below `end`; negative ones count from `length`.
fn index(key: &str, length: usize, end: usize) -> Result<usize, String> {
    let number: i64 = key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))?;
    let from_start = if number < 0 { number + length as i64 } else { number };
    match usize::try_from(from_start) {
        Ok(at) if at < end => Ok(at),
        _ => Err(format!("Unable to access invalid index: {number}: invalid index referenced")),
    }
}

fn get(container: &Value, key: &str) -> Result<Value, String> {
    match container {
        Value::Array(list) => Ok(list[index(key, list.len(), list.len())?].clone()),
        other => Ok(other.get(key).cloned().unwrap_or_default()),
    }
}

fn add(object: &mut Value, path: &str, value: Value, missing: &str) -> Result<(), Failure> {
    match find(object, path) {
        Some((Value::Object(map), key)) => drop(map.insert(key, value)),
        Some((Value::Array(list), key)) if key == "-" => list.push(value),
        Some((Value::Array(list), key)) => {
            let end = list.len() + 1;
            let at = index(&key, end, end).map_err(|error| {
                Failure::Key(match key.parse::<i64>() {
                    Ok(_) => error,
                    Err(_) => format!("value was not a proper array index: '{key}': {error}"),
                })
            })?;
            list.insert(at, value);
        }
        _ => return Err(Failure::Missing(format!("{missing}: missing value"))),
    }
    Ok(())
}

fn remove(container: &mut Value, key: &str) -> Result<Value, String> {
    match container {
        Value::Array(list) => {
            let at = index(key, list.len(), list.len())?;
            Ok(list.remove(at))
        }
        Value::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value"))
        }
        _ => Err("missing value".to_owned()),
    }
}

fn replace(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err("replace operation value must be object or array: %!w(<nil>)".to_owned());
        }
        *object = value;
        return Ok(());
    }
    match find(object, path) {
        Some((Value::Object(map), key)) => drop(map.insert(key, value)),
        Some((Value::Array(list), key)) => {
            let at = index(&key, list.len(), list.len())
                .map_err(|_| format!("replace operation does not apply: doc is missing key: {path}: missing value"))?;
            list[at] = value;
        }
        _ => return Err(format!("replace operation does not apply: doc is missing path: {path}: missing value")),
    }
    Ok(())
}

fn test(object: &mut Value, path: &str, value: &Value) -> Result<(), String> {
    let found = match path {
        "" => object.clone(),
        _ => {
            let missing = || format!("test operation does not apply: is missing path: {path}: missing value");
            let (container, key) = find(object, path).ok_or_else(missing)?;
            get(container, &key).map_err(|error| format!("error in test for path: '{path}': {error}"))?
        }
    };
    match found == *value {
        true => Ok(()),
        false => Err(format!("testing value {path} failed: test failed")),
    }
}

fn relocate(object: &mut Value, from: &str, path: &str) -> Result<(), String> {
    let missing = || format!("move operation does not apply: doc is missing from path: {from}: missing value");
    let (container, key) = find(object, from).ok_or_else(missing)?;
    let value = remove(container, &key).map_err(|error| format!("error in move for path: '{key}': {error}"))?;
    let missing = format!("move operation does not apply: doc is missing destination path: {path}");
    add(object, path, value, &missing)
        .map_err(|error| error.told(|error| format!("error in move for path: '{path}': {error}")))
}

fn copy(object: &mut Value, from: &str, path: &str, copied_bytes: &mut usize) -> Result<(), String> {
    let missing = || format!("copy operation does not apply: doc is missing from path: {from}: missing value");
    let (container, key) = find(object, from).ok_or_else(missing)?;
    let value = get(container, &key).map_err(|error| format!("error in copy for from: '{from}': {error}"))?;
    *copied_bytes += value.to_string().len();
    if *copied_bytes > COPY_BYTES_MAX {
        return Err(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied_bytes}, exceeding the limit {COPY_BYTES_MAX}"
        ));
    }
    let missing = format!("copy operation does not apply: doc is missing destination path: {path}");
    add(object, path, value, &missing)
        .map_err(|error| error.told(|error| format!("error while adding value during copy: {error}")))
}
