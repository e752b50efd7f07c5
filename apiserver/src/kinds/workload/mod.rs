//! What keeps pods running: Deployments, ReplicaSets, DaemonSets and their kin (Kubernetes concept: "Workload
//! Management").
//!
//! One file a kind; here is what several share: columns, the selector, the rollout, the counts of a status.

mod daemon_set;
mod deployment;
mod pod_template;
mod replica_set;
mod replication_controller;
mod revision;
mod stateful_set;
pub mod template;

use std::num::{IntErrorKind, ParseIntError};

use machinery::field::{Error, ErrorList, Path};
use machinery::intstr::IntOrString;
use machinery::meta;
use machinery::names;
use machinery::selector::Selector;
use serde_json::{Value, json};

use super::go_form::{Form, LABEL_SELECTOR, NUMBER, TEXT};
use super::{Column, validate};

pub use daemon_set::DAEMON_SET;
pub use deployment::DEPLOYMENT;
pub use pod_template::POD_TEMPLATE;
pub use replica_set::REPLICA_SET;
pub use replication_controller::REPLICATION_CONTROLLER;
pub use revision::CONTROLLER_REVISION;
pub use stateful_set::{STATEFUL_SET, STATEFUL_SET_BY_SEVERAL};

pub const fn column(name: &'static str, kind: &'static str, priority: i32, description: &'static str) -> Column {
    Column { name, kind, priority, description }
}

pub const CONTAINERS: Column = column("Containers", "string", 1, "Names of each container in the template.");
pub const IMAGES: Column = column("Images", "string", 1, "Images referenced by each container in the template.");
pub const SELECTOR: Column = column("Selector", "string", 1, "Label selector for pods.");

fn reset_status(object: &mut Value) {
    object["status"] = json!({});
}

fn number(object: &Value, path: &str) -> i64 {
    meta::at(object, path).as_i64().unwrap_or(0)
}

/// A name that pods and their hosts take over is better a DNS label.
pub fn name_warning(object: &Value) -> Option<String> {
    let wrong = names::dns_label(meta::name(object));
    let why = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended";
    (!wrong.is_empty()).then(|| format!("{why}: [{}]", wrong.join(" ")))
}

/// Of the name and the template in `spec`.
fn warnings(object: &Value) -> Vec<String> {
    let of_template = template::warnings(&object["spec"]["template"], &validate::path(&["spec", "template"]));
    name_warning(object).into_iter().chain(of_template).collect()
}

fn immutable_selector(new: &Value, old: &Value) -> ErrorList {
    let path = validate::path(&["spec", "selector"]);
    validate::immutable_as(&LABEL_SELECTOR, &new["spec"]["selector"], &old["spec"]["selector"], &path)
        .into_iter()
        .collect()
}

/// A required selector, where it can be read, and what is wrong with it. `owner` is the word upstream uses for an empty
/// one, `words` what it says of one that cannot be read.
fn selector(spec: &Value, owner: &str, words: &str, path: &Path) -> (Option<Selector>, ErrorList) {
    let selector = &spec["selector"];
    if selector.is_null() {
        return (Some(Selector::nothing()), vec![Error::required(path, "")]);
    }
    let mut errors = validate::label_selector(selector, path);
    errors.extend(empty_selector(selector, owner, path));
    match Selector::from_label_selector(Some(selector)) {
        Ok(parsed) => (Some(parsed), errors),
        Err(_) => {
            errors.push(Error::invalid(path, selector.clone(), words).showing(shown_selector(selector)));
            (None, errors)
        }
    }
}

/// As upstream's type has its fields: labels before expressions.
fn shown_selector(selector: &Value) -> String {
    let parts = ["matchLabels", "matchExpressions"].into_iter().filter_map(|field| {
        let value = selector.get(field).filter(|value| !value.is_null())?;
        Some(format!("\"{field}\":{value}"))
    });
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}

fn empty_selector(selector: &Value, owner: &str, path: &Path) -> Option<Error> {
    let is_empty = meta::map(selector, "matchLabels").is_empty() && meta::list(selector, "matchExpressions").is_empty();
    let why = format!("empty selector is invalid for {owner}");
    is_empty.then(|| Error::invalid(path, selector.clone(), why))
}

/// The template of a Deployment or ReplicaSet. Without a selector that can be read, upstream does not look at it.
fn replicated_template(spec: &Value, selector: Option<Selector>, path: &Path) -> ErrorList {
    let Some(selector) = selector else { return ErrorList::new() };
    let template = &spec["template"];
    let mut errors = ErrorList::new();
    if !selector.is_everything() {
        errors.extend(template::selected(&selector, template, path));
    }
    errors.extend(template::validate(template, path));
    errors.extend(template::kept_running(template, "ReplicaSet", path));
    errors
}

/// A number of pods that is not negative, or a percentage (which may be any).
fn positive_or_percent(value: &Value, path: &Path) -> ErrorList {
    match value {
        Value::String(text) => validate::named(text, names::percent, path),
        number => validate::not_negative(number, path).into_iter().collect(),
    }
}

fn percent(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    names::percent(text).is_empty().then(|| saturating(text.trim_end_matches('%')))
}

/// As Go reads a number and does not ask whether it could: one too large is the largest, and none is zero.
fn saturating(text: &str) -> i64 {
    text.parse().unwrap_or_else(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => i64::MAX,
        IntErrorKind::NegOverflow => i64::MIN,
        _ => 0,
    })
}

fn at_most_all(value: &Value, path: &Path) -> Option<Error> {
    let is_more = percent(value).is_some_and(|percent| percent > 100);
    is_more.then(|| Error::invalid(path, value.clone(), "must not be greater than 100%"))
}

/// What is neither a percentage nor a number counts as none.
fn is_zero(value: &Value) -> bool {
    match IntOrString::from_value(value) {
        Some(IntOrString::Int(number)) => number == 0,
        Some(IntOrString::String(text)) => percent(value).unwrap_or_else(|| saturating(&text)) == 0,
        None => true,
    }
}

const ROLLING_UPDATE: Form = Form::Struct(&[("maxUnavailable", NUMBER), ("maxSurge", NUMBER)]);
const STRATEGY: Form = Form::Struct(&[("type", TEXT), ("rollingUpdate", ROLLING_UPDATE)]);

/// Fields of a status that count something.
fn counts(status: &Value, fields: &[&str], path: &Path) -> ErrorList {
    fields.iter().filter_map(|field| validate::not_negative(&status[*field], &path.child(field))).collect()
}

/// Counts that are parts of another: `(part, whole, why)`.
fn parts(status: &Value, pairs: &[(&str, &str, &str)], path: &Path) -> ErrorList {
    let wrong = pairs.iter().filter(|(part, whole, _)| number(status, part) > number(status, whole));
    wrong.map(|(part, _, why)| Error::invalid(&path.child(part), number(status, part), *why)).collect()
}

const MORE_THAN_ALL: &str = "cannot be greater than status.replicas";

fn collisions(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let (now, before) = (&new["status"]["collisionCount"], &old["status"]["collisionCount"]);
    let is_less = before.as_i64().is_some_and(|before| now.as_i64().is_none_or(|now| now < before));
    let now = now.as_i64().unwrap_or(0);
    is_less.then(|| Error::invalid(&path.child("collisionCount"), now, "cannot be decremented"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(errors: ErrorList) -> Vec<String> {
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let large = "99999999999999999999";
        for (value, zero, more) in [
            ("0%", true, false),
            ("100%", false, false),
            ("101%", false, true),
            (format!("{large}%").as_str(), false, true),
            (large, false, false),
            (format!("-{large}").as_str(), false, false),
            ("-5%", true, false),
            ("x", true, false),
        ] {
            let value = json!(value);
            let read = (is_zero(&value), at_most_all(&value, &Path::new("p")).is_some());
            assert_eq!(read, (zero, more), "{value}");
        }
    }

    #[test]
    fn a_part_is_not_more_than_the_whole() {
        let path = Path::new("status");
        let pairs = [("readyReplicas", "replicas", MORE_THAN_ALL), ("availableReplicas", "readyReplicas", "")];
        for (status, want) in [
            (json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 1}), vec![]),
            (json!({"replicas": 1, "readyReplicas": 2}), vec!["status.readyReplicas"]),
            (json!({"availableReplicas": 1}), vec!["status.availableReplicas"]),
        ] {
            assert_eq!(fields(parts(&status, &pairs, &path)), want, "{status}");
        }
    }

    #[test]
    fn collisions_are_never_fewer() {
        let status = |count: Value| json!({"status": {"collisionCount": count}});
        for (new, old, wrong) in
            [(json!(1), json!(null), false), (json!(1), json!(2), true), (json!(null), json!(1), true)]
        {
            assert_eq!(collisions(&status(new), &status(old), &Path::new("status")).is_some(), wrong);
        }
    }

    #[test]
    fn long_names_are_warned_of() {
        let named = |name: &str| name_warning(&json!({"metadata": {"name": name}}));
        assert_eq!(named("web"), None);
        let warning = named("web.example").unwrap_or_default();
        assert!(warning.ends_with(": [must not contain dots]"), "{warning}");
    }
}
