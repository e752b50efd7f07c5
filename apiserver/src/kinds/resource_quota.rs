//! ResourceQuotas (Kubernetes concept: "Resource Quotas").

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::quantity::Quantity;
use serde_json::{Value, json};

use super::defaults::{round_amounts, spec};
use super::go_form::{self, Form, POINTER, TEXT};
use super::{Column, Hooks, resource_names, validate};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 0, description }
}

pub static RESOURCE_QUOTA: Hooks = Hooks {
    default: |object| {
        round_amounts(spec(object), "hard");
        let status = meta::object_mut(object, "status");
        ["hard", "used"].iter().for_each(|field| round_amounts(status, field));
    },
    prepare_create: |object| object["status"] = json!({}),
    validate: |object| {
        let mut errors = judge_spec(&object["spec"], &Path::new("spec"));
        errors.extend(judge_status(&object["status"]));
        errors
    },
    validate_update,
    validate_status: |new, _| judge_status(&new["status"]),
    warnings,
    columns: &[
        NAME,
        column("Request", "What may be requested: used and allowed."),
        column("Limit", "What limits may be set: used and allowed."),
        AGE,
    ],
    cells,
    ..Hooks::PLAIN
};

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let used = meta::map(object, "status.used");
    let shown = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("0").to_owned();
    for (name, hard) in meta::map(object, "status.hard") {
        let text = format!("{name}: {}/{}", shown(used.get(name)), shown(Some(hard)));
        if name.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
    }
    vec![meta::name(object).into(), requests.join(", ").into(), limits.join(", ").into(), age(object, now).into()]
}

fn amounts(amounts: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (name, value) in amounts.as_object().into_iter().flatten() {
        let at = path.key(name);
        errors.extend(resource_names::quota(name, &at));
        errors.extend(resource_names::amount(name, value, &at));
    }
    errors
}

fn judge_status(status: &Value) -> ErrorList {
    let path = Path::new("status");
    ["hard", "used"].iter().flat_map(|field| amounts(&status[*field], &path.child(field))).collect()
}

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];

/// Scopes that are there or not, and have no values.
const PLAIN_SCOPES: [&str; 5] =
    ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];

const CONFLICTING: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

const COMPUTE: [&str; 6] = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

/// Whether a scope can bound what is used of a resource.
fn bounds(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            resource == "pods" || COMPUTE.contains(&resource)
        }
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn judge_spec(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = amounts(&spec["hard"], &path.child("hard"));
    errors.extend(scopes(spec, &path.child("scopes")));
    errors.extend(scope_selector(spec, &path.child("scopeSelector").child("matchExpressions")));
    errors
}

fn unbounded<'a>(spec: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a String> {
    let names = meta::map(spec, "hard").keys();
    names.filter(move |name| resource_names::is_standard_of_quota(name) && !bounds(scope, name))
}

fn conflicts(present: &BTreeSet<&str>) -> usize {
    CONFLICTING.iter().filter(|pair| pair.iter().all(|scope| present.contains(scope))).count()
}

fn scopes(spec: &Value, path: &Path) -> ErrorList {
    let given = &spec["scopes"];
    let refuse = |why: &str| Error::invalid(path, given.clone(), why);
    let mut errors = ErrorList::new();
    let mut present = BTreeSet::new();
    for scope in meta::list(spec, "scopes").iter().filter_map(Value::as_str) {
        if !SCOPES.contains(&scope) {
            errors.push(refuse("unsupported scope"));
        }
        errors.extend(unbounded(spec, scope).map(|_| refuse("unsupported scope applied to resource")));
        present.insert(scope);
    }
    errors.extend((0..conflicts(&present)).map(|_| refuse("conflicting scopes")));
    errors
}

const NEEDS_EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";

const EXPRESSION: Form = Form::Struct(&[("scopeName", TEXT), ("operator", TEXT), ("values", POINTER)]);
const SELECTOR: Form = Form::Struct(&[("matchExpressions", Form::List(&EXPRESSION))]);

/// Upstream names no position in the list.
fn scope_selector(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut present = BTreeSet::new();
    for expression in meta::list(spec, "scopeSelector.matchExpressions") {
        let (scope, operator) = (meta::text(expression, "scopeName"), meta::text(expression, "operator"));
        let values = meta::list(expression, "values");
        if !SCOPES.contains(&scope) {
            errors.push(Error::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in unbounded(spec, scope) {
            let why = "unsupported scope applied to resource";
            errors.push(
                Error::invalid(path, spec["scopeSelector"].clone(), why)
                    .showing(go_form::write(&spec["scopeSelector"], &SELECTOR)),
            );
        }
        if PLAIN_SCOPES.contains(&scope) && operator != "Exists" {
            errors.push(Error::invalid(&path.child("operator"), operator, NEEDS_EXISTS));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&path.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(&path.child("values"), values.to_vec(), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator"));
            }
        }
        present.insert(scope);
    }
    let again = (0..conflicts(&present)).map(|_| Error::invalid(path, spec["scopes"].clone(), "conflicting scopes"));
    errors.extend(again);
    errors
}

fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let set = |object: &Value| -> BTreeSet<String> {
        meta::list(object, "spec.scopes").iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if set(new) == set(old) {
        return ErrorList::new();
    }
    let path = validate::path(&["spec", "scopes"]);
    vec![Error::invalid(&path, new["spec"]["scopes"].clone(), "field is immutable")]
}

/// A request above its limit makes no sense.
fn warnings(object: &Value) -> Vec<String> {
    let hard = meta::map(object, "spec.hard");
    let amount = |name: &str| hard.get(name).and_then(|value| Quantity::from_value(value).ok());
    let mut warnings = Vec::new();
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let mut request_name = format!("requests.{resource}");
        if !hard.contains_key(&request_name) && matches!(resource, "cpu" | "memory") {
            request_name = resource.to_owned();
        }
        let limit_name = format!("limits.{resource}");
        if let (Some(request), Some(limit)) = (amount(&request_name), amount(&limit_name))
            && request > limit
        {
            warnings
                .push(format!("ResourceQuota {request_name} ({request}) should be less than {limit_name} ({limit})"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(spec: Value) -> Vec<String> {
        judge_spec(&spec, &Path::new("spec")).into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn scopes_fit_what_is_counted() {
        for (spec, want) in [
            (json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]}), None),
            (json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}), Some("unsupported scope applied to resource")),
            (json!({"hard": {"example.com/gpu": "1"}, "scopes": ["BestEffort"]}), None),
            (json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}), Some("conflicting scopes")),
            (json!({"scopes": ["Never"]}), Some("unsupported scope")),
        ] {
            let got = wrong(spec.clone());
            match want {
                Some(want) => assert!(got.iter().any(|text| text.ends_with(want)), "{spec}: {got:?}"),
                None => assert!(got.is_empty(), "{spec}: {got:?}"),
            }
        }
    }

    #[test]
    fn selectors_of_scopes_are_judged() {
        let of = |scope: &str, operator: &str, values: Value| {
            let expression = json!({"scopeName": scope, "operator": operator, "values": values});
            wrong(json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [expression]}})).len()
        };
        assert_eq!(of("PriorityClass", "In", json!(["high"])), 0);
        assert_eq!(of("PriorityClass", "In", json!([])), 1);
        assert_eq!(of("PriorityClass", "Exists", json!(["high"])), 1);
        assert_eq!(of("Terminating", "In", json!(["x"])), 1);
        assert_eq!(of("Terminating", "Is", json!(["x"])), 2);
    }

    #[test]
    fn scopes_never_change() {
        let quota = |scopes: Value| json!({"spec": {"scopes": scopes}});
        let one = quota(json!(["BestEffort", "Terminating"]));
        assert!(validate_update(&quota(json!(["Terminating", "BestEffort"])), &one).is_empty());
        assert_eq!(validate_update(&quota(json!(["Terminating"])), &one).len(), 1);
    }

    #[test]
    fn a_request_above_its_limit_is_warned_of() {
        let quota = |hard: Value| warnings(&json!({"spec": {"hard": hard}}));
        assert_eq!(quota(json!({"cpu": "1", "limits.cpu": "2"})), Vec::<String>::new());
        assert_eq!(
            quota(json!({"cpu": "3", "limits.cpu": "2"})),
            ["ResourceQuota cpu (3) should be less than limits.cpu (2)"]
        );
    }
}
