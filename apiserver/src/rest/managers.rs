//! Who owns which field, recorded on every write (Kubernetes concept: "Server-Side Apply", field management).

use std::sync::LazyLock;

use machinery::apply::{self, ApplyError, FieldSet, Other, Request};
use machinery::field::is_printable;
use machinery::gvk::Gvk;
use machinery::meta;
use machinery::schema::{self, Schema};
use machinery::status::{Cause, Status};
use serde_json::{Value, json};

use super::Call;
use super::params::WriteOptions;
use crate::catalogue::Served;

/// What upstream's server calls itself.
const OWN_NAME: &str = "kube-apiserver";
/// Longest name that is made of a user agent, in bytes.
const MANAGER_LENGTH_MAX: usize = 128;

static NOTHING: LazyLock<FieldSet> = LazyLock::new(FieldSet::default);

/// The manager that a request names, else what its user agent begins with.
pub fn manager(call: &Call, options: &WriteOptions) -> String {
    if let Some(manager) = &options.field_manager {
        return manager.clone();
    }
    let agent = call.user_agent();
    let name = agent.split('/').next().unwrap_or_default();
    let mut printable = String::new();
    for c in name.chars().filter(|c| is_printable(*c)) {
        if printable.len() + c.len_utf8() > MANAGER_LENGTH_MAX {
            break;
        }
        printable.push(c);
    }
    if printable.is_empty() { "unknown".to_owned() } else { printable }
}

/// Fields that this kind of write puts back, so that nobody comes to own them by it.
fn put_back(call: &Call) -> &FieldSet {
    let mut resets = call.served.resets.iter();
    resets.find(|(subresource, _)| *subresource == call.info.subresource).map_or(&NOTHING, |(_, fields)| fields)
}

/// What an object is written as: in its own version, or as what is shown of it.
type As<'a> = (&'a Schema, &'a str, Option<Other<'a>>);

/// Runs with the version of the request, and with the other one that the same objects are served in.
fn in_versions<T>(served: &Served, run: impl FnOnce(As<'_>) -> T) -> T {
    let own = served.row.api_version();
    let other = served.hooks.other_version.and_then(|other| {
        let kind = Gvk::new(other.group, other.version, &served.row.kind);
        Some((other, kind.api_version(), schema::builtin(&kind)?))
    });
    let Some((ways, api_version, schema)) = other else { return run((served.schema, &own, None)) };
    let to = |object: &Value| reshaped(object, ways.to, &api_version, schema);
    let from = |object: &Value| reshaped(object, ways.from, &own, served.schema);
    run((served.schema, &own, Some(Other { api_version: &api_version, schema, to: &to, from: &from })))
}

fn reshaped(object: &Value, way: fn(&mut Value), api_version: &str, schema: &Schema) -> Value {
    let mut object = object.clone();
    way(&mut object);
    object["apiVersion"] = api_version.into();
    schema::normalize(schema, &mut object);
    object
}

fn with_request<T>(
    call: &Call,
    (schema, api_version, other): As<'_>,
    manager: &str,
    now: &str,
    reset: bool,
    run: impl FnOnce(&Request<'_>) -> T,
) -> T {
    run(&Request {
        schema,
        api_version,
        other,
        subresource: &call.info.subresource,
        manager,
        now,
        ignored: put_back(call),
        reset,
    })
}

/// Records the writer of a create (`live` is `None`), an update or a patch. `reset`: the client sent an empty list.
pub fn track(call: &Call, options: &WriteOptions, live: Option<&Value>, new: &mut Value, reset: bool, now: &str) {
    in_versions(&call.served, |of| {
        with_request(call, of, &manager(call, options), now, reset, |request| apply::update(request, live, new));
    });
}

/// Records the writer of what is shown of an object in another kind, such as its Scale.
pub fn track_view(
    call: &Call,
    (schema, api_version): (&Schema, &str),
    options: &WriteOptions,
    live: Option<&Value>,
    new: &mut Value,
    now: &str,
) {
    let of = (schema, api_version, None);
    with_request(call, of, &manager(call, options), now, false, |request| apply::update(request, live, new));
}

/// What was sent, for [`keep_empty_lists`]; mostly there is none.
pub fn with_empty_lists(sent: &Value) -> Option<Value> {
    has_empty_list(sent).then(|| sent.clone())
}

/// Puts back what was sent as an empty list where it stands as none: until it is stored Go tells these apart, and so who
/// sends one owns it.
pub fn keep_empty_lists(sent: Option<&Value>, object: &mut Value) {
    if let Some(sent) = sent.filter(|sent| has_empty_list(sent)) {
        put_back_empty_lists(sent, object);
    }
}

fn has_empty_list(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty() || items.iter().any(has_empty_list),
        Value::Object(fields) => fields.values().any(has_empty_list),
        _ => false,
    }
}

fn put_back_empty_lists(sent: &Value, object: &mut Value) {
    match (sent, object) {
        (Value::Array(sent), object @ Value::Null) if sent.is_empty() => *object = Value::Array(Vec::new()),
        (Value::Array(sent), Value::Array(items)) if sent.len() == items.len() => {
            sent.iter().zip(items).for_each(|(sent, item)| put_back_empty_lists(sent, item));
        }
        (Value::Object(sent), Value::Object(fields)) => {
            for (name, field) in fields {
                if let Some(sent) = sent.get(name) {
                    put_back_empty_lists(sent, field);
                }
            }
        }
        _ => {}
    }
}

/// Records the server itself as the writer of a part of an object that it writes beside another one.
pub fn track_own(served: &Served, subresource: &str, live: &Value, new: &mut Value, now: &str) {
    let api_version = served.row.api_version();
    let request = Request {
        schema: served.schema,
        api_version: &api_version,
        other: None,
        subresource,
        manager: OWN_NAME,
        now,
        ignored: &NOTHING,
        reset: false,
    };
    apply::update(&request, Some(live), new);
}

/// Applies a configuration; `live` is `None` when the object is to be created by it.
pub fn apply_configuration(
    call: &Call,
    options: &WriteOptions,
    live: Option<&Value>,
    configuration: &Value,
    now: &str,
) -> Result<Value, Status> {
    let blank = match live {
        Some(_) => Value::Null,
        None => blank(call, configuration),
    };
    in_versions(&call.served, |of| apply_as(call, of, options, live.unwrap_or(&blank), configuration, now))
}

/// Applies a configuration to what is shown of an object in another kind, such as its Scale.
pub fn apply_to_view(
    call: &Call,
    (schema, api_version): (&Schema, &str),
    options: &WriteOptions,
    live: &Value,
    configuration: &Value,
    now: &str,
) -> Result<Value, Status> {
    apply_as(call, (schema, api_version, None), options, live, configuration, now)
}

fn apply_as(
    call: &Call,
    of: As<'_>,
    options: &WriteOptions,
    live: &Value,
    configuration: &Value,
    now: &str,
) -> Result<Value, Status> {
    let manager = options.field_manager.as_deref().unwrap_or_default();
    let applied = with_request(call, of, manager, now, false, |request| {
        apply::apply(request, live, configuration, options.force)
    });
    applied.map_err(|error| match error {
        ApplyError::Malformed(text) => Status::bad_request(text),
        ApplyError::Invalid(text) => Status::unexplained(text),
        ApplyError::Conflict(conflicts) => {
            let causes = conflicts.0.iter().map(|conflict| Cause {
                reason: "FieldManagerConflict".into(),
                message: conflict.message.clone(),
                field: conflict.field.clone(),
            });
            Status::apply_conflict(conflicts.to_string(), causes.collect())
        }
    })
}

/// What a create by apply begins with.
fn blank(call: &Call, configuration: &Value) -> Value {
    let mut blank = apply::empty(call.served.schema, &call.served.row.api_version());
    let metadata = meta::metadata_mut(&mut blank);
    metadata.insert("name".into(), json!(meta::name(configuration)));
    if call.served.row.namespaced && !call.info.namespace.is_empty() {
        metadata.insert("namespace".into(), json!(call.info.namespace));
    }
    blank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_was_sent_empty_is_not_none() {
        let sent = json!({"rules": [], "other": [], "none": null, "items": [{"rules": []}, {}], "map": {}});
        let mut object = json!({"rules": null, "none": null, "items": [{"rules": null}, {"rules": null}], "map": null});
        keep_empty_lists(Some(&sent), &mut object);
        assert_eq!(object, json!({"rules": [], "none": null, "items": [{"rules": []}, {"rules": null}], "map": null}));
    }
}
