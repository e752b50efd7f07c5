//! Rules that several kinds share, in upstream's words. Each takes a value and the path at which it stands.

use std::net::IpAddr;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names::{self, NameCheck};
use machinery::quantity::Quantity;
use serde_json::Value;

use super::go_form::{self, Form};
use super::ip;

pub use crate::rest::system::validate_labels;

/// A name judged by upstream's newer rules, which count bytes.
pub fn long_name(name: &str) -> Vec<String> {
    match name.len() {
        ..=names::SUBDOMAIN_LENGTH_MAX => names::dns_subdomain(name),
        _ => vec![format!("must be no more than {} bytes", names::SUBDOMAIN_LENGTH_MAX)],
    }
}

/// A path of several steps from the object's root.
pub fn path(steps: &[&str]) -> Path {
    steps.iter().fold(Path::root(), |path, step| path.child(step))
}

/// A text that a check of [`machinery::names`] judges.
pub fn named(value: &str, check: NameCheck, path: &Path) -> ErrorList {
    check(value).into_iter().map(|words| Error::invalid(path, value, words)).collect()
}

/// A number that may not be negative.
pub fn not_negative(value: &Value, path: &Path) -> Option<Error> {
    let number = value.as_i64().filter(|number| *number < 0)?;
    Some(Error::invalid(path, number, "must be greater than or equal to 0"))
}

/// An amount that may not be negative; `null` is none.
pub fn not_negative_quantity(value: &Value, path: &Path) -> Option<Error> {
    let amount = Quantity::from_value(value).ok().filter(|amount| amount.sign() < 0)?;
    Some(Error::invalid(path, amount.to_string(), "must be greater than or equal to 0"))
}

/// `example.com/path`; required.
pub fn domain_prefixed_path(text: &str, path: &Path) -> ErrorList {
    if text.is_empty() {
        return vec![Error::required(path, "")];
    }
    let (host, rest) = match text.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => (host, rest),
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            return vec![Error::invalid(path, text, why)];
        }
    };
    let mut errors = named(host, names::dns_subdomain, path);
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if !rest.chars().all(is_path) {
        let why = names::pattern_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(Error::invalid(path, rest, why));
    }
    errors
}

/// A field that may not change once it is set.
pub fn immutable(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    (new != old).then(|| Error::invalid(path, new.clone(), "field is immutable"))
}

/// The same, where upstream shows its internal form of the field.
pub fn immutable_as(form: &Form, new: &Value, old: &Value, path: &Path) -> Option<Error> {
    immutable(new, old, path).map(|error| error.showing(go_form::write(new, form)))
}

/// Whether two values tell the same: what is absent, null or empty is one.
pub fn is_alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let null = &Value::Null;
            let names = a.keys().chain(b.keys());
            names.into_iter().all(|name| is_alike(a.get(name).unwrap_or(null), b.get(name).unwrap_or(null)))
        }
        (Value::Object(fields), Value::Null) | (Value::Null, Value::Object(fields)) => fields.is_empty(),
        (Value::Array(items), Value::Null) | (Value::Null, Value::Array(items)) => items.is_empty(),
        (a, b) => a == b,
    }
}

/// What is wrong with conditions of the kind that meta/v1 has.
pub fn meta_conditions(conditions: &[Value], path: &Path) -> ErrorList {
    const REASON_BYTES_MAX: usize = 1024;
    const MESSAGE_BYTES_MAX: usize = 32 * 1024;
    let mut errors = ErrorList::new();
    for (position, condition) in conditions.iter().enumerate() {
        let at = path.index(position);
        let text = |field: &str| meta::text(condition, field);
        if conditions[..position].iter().any(|other| meta::text(other, "type") == text("type")) {
            errors.push(Error::duplicate(&at.child("type"), text("type")));
        }
        errors.extend(named(text("type"), names::qualified_name, &at.child("type")));
        let statuses = ["False", "True", "Unknown"];
        if !statuses.contains(&text("status")) {
            errors.push(Error::not_supported(&at.child("status"), text("status"), &statuses));
        }
        if let Some(generation) = condition["observedGeneration"].as_i64().filter(|generation| *generation < 0) {
            let why = "must be greater than or equal to zero";
            errors.push(Error::invalid(&at.child("observedGeneration"), generation, why));
        }
        if text("lastTransitionTime").is_empty() {
            errors.push(Error::required(&at.child("lastTransitionTime"), ""));
        }
        let reason = text("reason");
        if reason.is_empty() {
            errors.push(Error::required(&at.child("reason"), ""));
        } else {
            errors.extend(named(reason, names::condition_reason, &at.child("reason")));
        }
        if reason.len() > REASON_BYTES_MAX {
            errors.push(Error::too_long(&at.child("reason"), REASON_BYTES_MAX));
        }
        if text("message").len() > MESSAGE_BYTES_MAX {
            errors.push(Error::too_long(&at.child("message"), MESSAGE_BYTES_MAX));
        }
    }
    errors
}

/// What is wrong with the conditions of a status: each has a type, and a type of its own.
pub fn conditions(object: &Value) -> ErrorList {
    let path = path(&["status", "conditions"]);
    let mut errors = ErrorList::new();
    let mut known = Vec::new();
    for (position, condition) in meta::list(object, "status.conditions").iter().enumerate() {
        let (kind, at) = (meta::text(condition, "type"), path.index(position).child("type"));
        if known.contains(&kind) {
            errors.push(Error::duplicate(&at, kind));
        }
        known.push(kind);
        if kind.is_empty() {
            errors.push(Error::required(&at, ""));
        }
    }
    errors
}

/// What a status update leaves alone of the metadata, for kinds whose `/status` may not touch it.
pub fn keep_metadata(new: &mut Value, old: &Value) {
    let metadata = meta::metadata_mut(new);
    for field in ["deletionTimestamp", "labels", "annotations", "finalizers", "ownerReferences"] {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
}

/// A LabelSelector; `null` is none.
pub fn label_selector(selector: &Value, path: &Path) -> ErrorList {
    let mut errors = validate_labels(&selector["matchLabels"], &path.child("matchLabels"));
    for (position, expression) in meta::list(selector, "matchExpressions").iter().enumerate() {
        errors.extend(requirement(expression, &path.child("matchExpressions").index(position)));
    }
    errors
}

fn requirement(expression: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let values = meta::list(expression, "values");
    let operator = meta::text(expression, "operator");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(Error::required(&path.child("values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(Error::forbidden(&path.child("values"), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    errors.extend(named(meta::text(expression, "key"), names::qualified_name, &path.child("key")));
    for (position, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        errors.extend(named(value, names::label_value, &path.child("values").index(position)));
    }
    errors
}

/// A number of pods, or a share of them of at most 100 %.
pub fn count_or_percent(value: &Value, path: &Path) -> ErrorList {
    match value {
        Value::Null => ErrorList::new(),
        Value::String(text) => {
            let mut errors = named(text, names::percent, path);
            let share = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok());
            if errors.is_empty() && share.is_none_or(|share| share > 100) {
                errors.push(Error::invalid(path, text.as_str(), "must not be greater than 100%"));
            }
            errors
        }
        number => not_negative(number, path).into_iter().collect(),
    }
}

/// An address in a field that takes any and keeps nothing of before.
pub fn address(text: &str, path: &Path) -> Option<Error> {
    ip::legacy_address(text, &[], path)
}

/// An address that packets can be sent to from elsewhere.
pub fn endpoint_address(text: &str, path: &Path) -> ErrorList {
    let Ok(address) = text.parse::<IpAddr>() else {
        return vec![Error::invalid(path, text, "must be a valid IP address")];
    };
    let (link_local, link_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] == 0xff02),
    };
    let mut errors = ErrorList::new();
    let mut refuse = |why: String| errors.push(Error::invalid(path, text, why));
    if address.is_unspecified() {
        refuse(format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        refuse("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    if link_local {
        refuse("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if link_multicast {
        refuse("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
    errors
}

pub const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// A protocol of a port; required.
pub fn protocol(port: &Value, path: &Path) -> Option<Error> {
    let (protocol, at) = (meta::text(port, "protocol"), path.child("protocol"));
    if protocol.is_empty() {
        return Some(Error::required(&at, ""));
    }
    (!PROTOCOLS.contains(&protocol)).then(|| Error::not_supported(&at, protocol, &PROTOCOLS))
}

/// A port's number, or its name where a name will do.
pub fn port(port: &Value, path: &Path) -> ErrorList {
    match port {
        Value::String(name) => named(name, names::port_name, path),
        number => {
            let number = number.as_i64().unwrap_or(0);
            names::port_number(number).into_iter().map(|words| Error::invalid(path, number, words)).collect()
        }
    }
}

/// An optional `appProtocol`.
pub fn app_protocol(port: &Value, path: &Path) -> ErrorList {
    let Some(name) = port["appProtocol"].as_str() else { return ErrorList::new() };
    named(name, names::qualified_name, &path.child("appProtocol"))
}

/// A path that does not climb out of where it begins.
pub fn without_backsteps(target: &str, path: &Path) -> Option<Error> {
    let climbs = target.split('/').any(|part| part == "..");
    climbs.then(|| Error::invalid(path, target, "must not contain '..'"))
}

/// A path that stays below where it begins.
pub fn local_descending(target: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if target.starts_with('/') {
        errors.push(Error::invalid(path, target, "must be a relative path"));
    }
    errors.extend(without_backsteps(target, path));
    errors
}

/// A file below a volume that cannot hide the volume's own bookkeeping (`..data`).
pub fn local_file(target: &str, path: &Path) -> ErrorList {
    let mut errors = local_descending(target, path);
    if target.starts_with("..") && !target.starts_with("../") {
        errors.push(Error::invalid(path, target, "must not start with '..'"));
    }
    errors
}
