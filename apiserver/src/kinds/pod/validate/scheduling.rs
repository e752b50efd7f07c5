//! What tells the scheduler where a pod may run: selectors, affinity, tolerations, spreading, gates.

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use crate::kinds::pod::label_keys;
use crate::kinds::validate;

/// Gates of readiness and of scheduling.
pub fn gates(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, gate) in meta::list(spec, "readinessGates").iter().enumerate() {
        let at = path.child("readinessGates").index(position).child("conditionType");
        errors.extend(validate::named(meta::text(gate, "conditionType"), names::qualified_name, &at));
    }
    for (position, gate) in meta::list(spec, "schedulingGates").iter().enumerate() {
        let at = path.child("schedulingGates").index(position);
        let name = meta::text(gate, "name");
        errors.extend(validate::named(name, names::qualified_name, &at));
        if !known.insert(name) {
            errors.push(Error::duplicate(&at, name));
        }
    }
    errors
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub fn toleration(toleration: &Value, path: &Path) -> ErrorList {
    let text = |field: &str| meta::text(toleration, field);
    let (key, operator, effect) = (text("key"), text("operator"), text("effect"));
    let mut errors = ErrorList::new();
    if !key.is_empty() {
        errors.extend(validate::named(key, names::qualified_name, &path.child("key")));
    }
    if key.is_empty() && operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(Error::invalid(&path.child("operator"), operator, why));
    }
    if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(Error::invalid(&path.child("effect"), effect, why));
    }
    let value = text("value");
    match operator {
        "" | "Equal" => {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                errors.push(Error::invalid(&path.child("operator"), value, wrong.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            let why = "value must be empty when `operator` is 'Exists'";
            errors.push(Error::invalid(&path.child("operator"), value, why));
        }
        "Exists" => {}
        // Comparisons are behind a gate that is off.
        "Lt" | "Gt" => {
            let known = ["Equal", "Exists", "Lt", "Gt"];
            errors.push(Error::not_supported(&path.child("operator"), operator, &known));
        }
        other => errors.push(Error::not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(&path.child("effect"), effect, &EFFECTS));
    }
    errors
}

pub fn spreading(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let constraints = meta::list(spec, "topologySpreadConstraints");
    for (position, constraint) in constraints.iter().enumerate() {
        let at = path.index(position);
        let skew = constraint["maxSkew"].as_i64().unwrap_or(0);
        if skew <= 0 {
            errors.push(Error::invalid(&at.child("maxSkew"), skew, "must be greater than zero"));
        }
        let (key, action) = (meta::text(constraint, "topologyKey"), meta::text(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(Error::required(&at.child("topologyKey"), "can not be empty"));
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if !actions.contains(&action) {
            errors.push(Error::not_supported(&at.child("whenUnsatisfiable"), action, &actions));
        }
        let twin =
            |other: &Value| meta::text(other, "topologyKey") == key && meta::text(other, "whenUnsatisfiable") == action;
        if constraints[position + 1..].iter().any(twin) {
            let at = at.child("{topologyKey, whenUnsatisfiable}");
            errors.push(Error::duplicate(&at, format!("{{{key}, {action}}}")));
        }
        errors.extend(minimum_domains(constraint, action, &at));
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policies = ["Honor", "Ignore"];
            if let Some(policy) = constraint[field].as_str().filter(|policy| !policies.contains(policy)) {
                errors.push(Error::not_supported(&at.child(field), policy, &policies));
            }
        }
        errors.extend(label_keys::validate(constraint, &at));
        errors.extend(validate::label_selector(&constraint["labelSelector"], &at.child("labelSelector")));
    }
    errors
}

fn minimum_domains(constraint: &Value, action: &str, path: &Path) -> Option<Error> {
    let count = constraint["minDomains"].as_i64()?;
    let path = path.child("minDomains");
    if count <= 0 {
        return Some(Error::invalid(&path, count, "must be greater than zero"));
    }
    let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
    (action != "DoNotSchedule").then(|| Error::invalid(&path, count, why))
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn affinity(affinity: &Value, path: &Path) -> ErrorList {
    let mut errors = node_affinity(&affinity["nodeAffinity"], &path.child("nodeAffinity"));
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, path) = (&affinity[kind], path.child(kind));
        for (position, term) in meta::list(affinity, REQUIRED).iter().enumerate() {
            errors.extend(pod_term(term, &path.child(REQUIRED).index(position)));
        }
        for (position, weighted) in meta::list(affinity, PREFERRED).iter().enumerate() {
            let at = path.child(PREFERRED).index(position);
            errors.extend(weight(weighted, &at));
            errors.extend(pod_term(&weighted["podAffinityTerm"], &at.child("podAffinityTerm")));
        }
    }
    errors
}

fn weight(weighted: &Value, path: &Path) -> Option<Error> {
    let weight = weighted["weight"].as_i64().unwrap_or(0);
    let outside = !(1..=100).contains(&weight);
    outside.then(|| Error::invalid(&path.child("weight"), weight, "must be in the range 1-100"))
}

fn pod_term(term: &Value, path: &Path) -> ErrorList {
    let mut errors = validate::label_selector(&term["labelSelector"], &path.child("labelSelector"));
    errors.extend(validate::label_selector(&term["namespaceSelector"], &path.child("namespaceSelector")));
    for namespace in meta::list(term, "namespaces").iter().filter_map(Value::as_str) {
        errors.extend(validate::named(namespace, names::dns_label, &path.child("namespace")));
    }
    errors.extend(label_keys::validate(term, path));
    let (key, at) = (meta::text(term, "topologyKey"), path.child("topologyKey"));
    if key.is_empty() {
        errors.push(Error::required(&at, "can not be empty"));
    }
    errors.extend(validate::named(key, names::qualified_name, &at));
    errors
}

fn node_affinity(affinity: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if affinity[REQUIRED].is_object() {
        errors.extend(node_selector(&affinity[REQUIRED], &path.child(REQUIRED)));
    }
    for (position, weighted) in meta::list(affinity, PREFERRED).iter().enumerate() {
        let at = path.child(PREFERRED).index(position);
        errors.extend(weight(weighted, &at));
        errors.extend(node_term(&weighted["preference"], &at.child("preference")));
    }
    errors
}

/// A NodeSelector: terms of which one must hold.
pub fn node_selector(selector: &Value, path: &Path) -> ErrorList {
    let at = path.child("nodeSelectorTerms");
    let terms = meta::list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        return vec![Error::required(&at, "must have at least one node selector term")];
    }
    terms.iter().enumerate().flat_map(|(position, term)| node_term(term, &at.index(position))).collect()
}

fn node_term(term: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (position, expression) in meta::list(term, "matchExpressions").iter().enumerate() {
        errors.extend(node_requirement(expression, &path.child("matchExpressions").index(position)));
    }
    for (position, expression) in meta::list(term, "matchFields").iter().enumerate() {
        errors.extend(field_requirement(expression, &path.child("matchFields").index(position)));
    }
    errors
}

fn node_requirement(expression: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let values = meta::list(expression, "values");
    let operator = meta::text(expression, "operator");
    let at = path.child("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(Error::required(&at, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(Error::forbidden(&at, why));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.push(Error::required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    errors.extend(validate::named(meta::text(expression, "key"), names::qualified_name, &path.child("key")));
    for (position, value) in values.iter().filter_map(Value::as_str).enumerate() {
        errors.extend(validate::named(value, names::label_value, &at.index(position)));
    }
    errors
}

/// Fields of a node: its name alone, one value. Each that is given is judged, however many are too many.
fn field_requirement(expression: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let values = meta::list(expression, "values");
    match meta::text(expression, "operator") {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(Error::required(&path.child("values"), why));
        }
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    let key = meta::text(expression, "key");
    if key != "metadata.name" {
        errors.push(Error::invalid(&path.child("key"), key, "not a valid field selector key"));
        return errors;
    }
    for (position, name) in values.iter().filter_map(Value::as_str).enumerate() {
        errors.extend(validate::named(name, names::dns_subdomain, &path.child("values").index(position)));
    }
    errors
}
