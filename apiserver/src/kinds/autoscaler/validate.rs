//! Rules of an autoscaler in v2's shape.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use crate::kinds::resource_names;
use crate::kinds::validate::{self, not_negative};

const PERIOD_SECONDS_MAX: i64 = 1800;
const WINDOW_SECONDS_MAX: i64 = 3600;

/// How strictly the `apiVersion` of a reference is judged.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    NeedsGroup,
    MayBeCore,
    /// It was so before.
    Any,
}

/// What an older version of the object already had may stay.
pub fn autoscaler(object: &Value, old: Option<&Value>) -> ErrorList {
    // Scaling to nothing is a feature that upstream has off; who has it keeps it.
    let lowest = i64::from(old.is_none_or(|old| old["spec"]["minReplicas"] != 0));
    judge(object, old, lowest)
}

/// As [`autoscaler`], where nothing may be the least.
pub fn autoscaler_to_zero(object: &Value, old: Option<&Value>) -> ErrorList {
    judge(object, old, 0)
}

fn judge(object: &Value, old: Option<&Value>, lowest: i64) -> ErrorList {
    let (path, spec) = (Path::new("spec"), &object["spec"]);
    let old = old.map(|old| &old["spec"]);
    let mut errors = replicas(spec, lowest, &path);
    let target = &spec["scaleTargetRef"];
    let is_same = |old: &Value| {
        let old = &old["scaleTargetRef"];
        ["apiVersion", "kind"].iter().all(|field| meta::text(old, field) == meta::text(target, field))
    };
    let version = match old {
        Some(old) if is_same(old) => Version::Any,
        _ if target["kind"] == "ReplicationController" => Version::MayBeCore,
        _ => Version::NeedsGroup,
    };
    errors.extend(reference(target, version, &path.child("scaleTargetRef")));
    errors.extend(metrics(spec, old, &path.child("metrics")));
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules.is_object() {
            errors.extend(scaling_rules(rules, &path.child("behavior").child(direction)));
        }
    }
    errors
}

fn replicas(spec: &Value, lowest: i64, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (min, max) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64().unwrap_or(0));
    if let Some(min) = min.filter(|min| *min < lowest) {
        let why = format!("must be greater than or equal to {lowest}");
        errors.push(Error::invalid(&path.child("minReplicas"), min, why));
    }
    let at = path.child("maxReplicas");
    if max == 0 {
        errors.push(Error::required(&at, "must be set and greater than 0"));
    } else if max < 0 {
        errors.push(Error::invalid(&at, max, "must be greater than or equal to 1"));
    }
    if min.is_some_and(|min| max < min) {
        errors.push(Error::invalid(&at, max, "must be greater than or equal to `minReplicas`"));
    }
    errors
}

fn reference(reference: &Value, version: Version, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["kind", "name"] {
        let (text, at) = (meta::text(reference, field), path.child(field));
        match text {
            "" => errors.push(Error::required(&at, "")),
            text => errors.extend(validate::named(text, names::path_segment, &at)),
        }
    }
    let given = meta::text(reference, "apiVersion");
    if let Some(why) = version_error(given, version) {
        errors.push(Error::invalid(&path.child("apiVersion"), given, why));
    }
    errors
}

fn version_error(given: &str, version: Version) -> Option<String> {
    let slashes = given.matches('/').count();
    match version {
        Version::Any => None,
        _ if slashes > 1 => Some(format!("unexpected GroupVersion string: {given}")),
        Version::NeedsGroup if slashes == 0 || given.starts_with('/') => {
            Some("apiVersion must specify API group".to_owned())
        }
        _ => None,
    }
}

const SOURCES: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

fn metrics(spec: &Value, old: Option<&Value>, path: &Path) -> ErrorList {
    let metrics = meta::list(spec, "metrics");
    let was_wrong = old.into_iter().flat_map(|old| meta::list(old, "metrics")).any(|metric| {
        let version = meta::text(metric, "object.describedObject.apiVersion");
        metric["type"] == "Object" && version_error(version, Version::MayBeCore).is_some()
    });
    let version = if was_wrong { Version::Any } else { Version::MayBeCore };
    let mut errors = ErrorList::new();
    for (position, metric) in metrics.iter().enumerate() {
        errors.extend(one_metric(metric, version, &path.index(position)));
    }
    let can_wake = metrics.iter().any(|metric| metric["type"] == "Object" || metric["type"] == "External");
    if spec["minReplicas"] == 0 && !can_wake {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(path, why));
    }
    errors
}

fn one_metric(metric: &Value, version: Version, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (kind, at) = (meta::text(metric, "type"), path.child("type"));
    if kind.is_empty() {
        errors.push(Error::required(&at, "must specify a metric source type"));
    }
    let unknown = (!TYPES.contains(&kind)).then(|| Error::not_supported(&at, kind, &TYPES));
    errors.extend(unknown.clone());
    let present: Vec<&str> = SOURCES.into_iter().filter(|source| metric[*source].is_object()).collect();
    if let Some(first) = present.first() {
        errors.extend(source(first, &metric[*first], version, &path.child(first)));
    }
    let expected = SOURCES.into_iter().find(|source| source.eq_ignore_ascii_case(kind) && TYPES.contains(&kind));
    match expected {
        Some(expected) if !present.contains(&expected) => {
            let why = "must populate information for the given metric source";
            errors.push(Error::required(&path.child(expected), why));
        }
        Some(_) => {}
        // Told once more.
        None => errors.extend(unknown),
    }
    if present.len() != 1 {
        let others = present.into_iter().filter(|source| Some(*source) != expected);
        let why = "must populate the given metric source only";
        errors.extend(others.map(|source| Error::forbidden(&path.child(source), why)));
    }
    errors
}

fn source(kind: &str, source: &Value, version: Version, path: &Path) -> ErrorList {
    let (target, at) = (&source["target"], path.child("target"));
    let has = |field: &str| !target[field].is_null();
    let mut errors = ErrorList::new();
    match kind {
        "object" => errors.extend(reference(&source["describedObject"], version, &path.child("describedObject"))),
        "resource" | "containerResource" => errors.extend(resource_name(kind, source, path)),
        _ => {}
    }
    if matches!(kind, "object" | "external" | "pods") {
        let (name, at) = (meta::text(source, "metric.name"), path.child("metric").child("name"));
        match name {
            "" => errors.push(Error::required(&at, "must specify a metric name")),
            name => errors.extend(validate::named(name, names::path_segment, &at)),
        }
    }
    errors.extend(metric_target(target, &at));
    let required = match kind {
        "object" if !has("value") && !has("averageValue") => {
            Some(("averageValue", "must set either a target value or averageValue"))
        }
        "external" if !has("value") && !has("averageValue") => {
            Some(("averageValue", "must set either a target value for metric or a per-pod target"))
        }
        "pods" if !has("averageValue") => Some(("averageValue", "must specify a positive target averageValue")),
        "resource" | "containerResource" if !has("averageUtilization") && !has("averageValue") => {
            Some(("averageUtilization", "must set either a target raw value or a target utilization"))
        }
        _ => None,
    };
    errors.extend(required.map(|(field, why)| Error::required(&at.child(field), why)));
    let surplus = match kind {
        "external" if has("value") && has("averageValue") => {
            Some(("value", "may not set both a target value for metric and a per-pod target"))
        }
        "resource" | "containerResource" if has("averageUtilization") && has("averageValue") => {
            Some(("averageValue", "may not set both a target raw value and a target utilization"))
        }
        _ => None,
    };
    errors.extend(surplus.map(|(field, why)| Error::forbidden(&at.child(field), why)));
    errors
}

fn resource_name(kind: &str, source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let of_container = kind == "containerResource";
    match meta::text(source, "name") {
        "" => errors.push(Error::required(&path.child("name"), "must specify a resource name")),
        name if of_container => errors.extend(resource_names::container(name, &path.child("name"))),
        _ => {}
    }
    if of_container {
        let at = path.child("container");
        match meta::text(source, "container") {
            "" => errors.push(Error::required(&at, "must specify a container")),
            container => errors.extend(validate::named(container, names::dns_label, &at)),
        }
    }
    errors
}

fn metric_target(target: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (kind, at) = (meta::text(target, "type"), path.child("type"));
    if kind.is_empty() {
        errors.push(Error::required(&at, "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.push(Error::invalid(&at, kind, "must be either Utilization, Value, or AverageValue"));
    }
    for field in ["value", "averageValue"] {
        let is_positive = Quantity::from_value(&target[field]).is_ok_and(|amount| amount.sign() == 1);
        if !target[field].is_null() && !is_positive {
            errors.push(Error::invalid(&path.child(field), target[field].clone(), "must be positive"));
        }
    }
    if let Some(percent) = target["averageUtilization"].as_i64().filter(|percent| *percent < 1) {
        errors.push(Error::invalid(&path.child("averageUtilization"), percent, "must be greater than 0"));
    }
    errors
}

fn scaling_rules(rules: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = path.child("stabilizationWindowSeconds");
    let why = match rules["stabilizationWindowSeconds"].as_i64().unwrap_or(0) {
        ..0 => Some("must be greater than or equal to zero".to_owned()),
        0..=WINDOW_SECONDS_MAX => None,
        _ => Some(format!("must be less than or equal to {WINDOW_SECONDS_MAX}")),
    };
    errors.extend(why.map(|why| Error::invalid(&at, rules["stabilizationWindowSeconds"].clone(), why)));
    let policies = ["Disabled", "Max", "Min"];
    if let Some(policy) = rules["selectPolicy"].as_str().filter(|policy| !policies.contains(policy)) {
        errors.push(Error::not_supported(&path.child("selectPolicy"), policy, &policies));
    }
    let at = path.child("policies");
    if meta::list(rules, "policies").is_empty() {
        errors.push(Error::required(&at, "must specify at least one Policy"));
    }
    for (position, policy) in meta::list(rules, "policies").iter().enumerate() {
        errors.extend(scaling_policy(policy, &at.index(position)));
    }
    errors.extend(validate::not_negative_quantity(&rules["tolerance"], &path.child("tolerance")));
    errors
}

fn scaling_policy(policy: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let kind = meta::text(policy, "type");
    if !matches!(kind, "Pods" | "Percent") {
        errors.push(Error::not_supported(&path.child("type"), kind, &["Percent", "Pods"]));
    }
    for field in ["value", "periodSeconds"] {
        let number = policy[field].as_i64().unwrap_or(0);
        if number <= 0 {
            errors.push(Error::invalid(&path.child(field), number, "must be greater than zero"));
        }
        if field == "periodSeconds" && number > PERIOD_SECONDS_MAX {
            let why = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
            errors.push(Error::invalid(&path.child(field), number, why));
        }
    }
    errors
}

pub fn status(new: &Value, _old: &Value) -> ErrorList {
    let path = Path::new("status");
    let fields = ["currentReplicas", "desiredReplicas"];
    fields.iter().filter_map(|field| not_negative(&new["status"][*field], &path.child(field))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, min: i64) -> Value {
        json!({"spec": {
            "minReplicas": min, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": api_version},
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
            }}],
        }})
    }

    fn fields(new: &Value, old: Option<&Value>) -> Vec<String> {
        autoscaler(new, old).into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn what_was_there_before_may_stay() {
        let (good, groupless, asleep) = (object("apps/v1", 1), object("v1", 1), object("apps/v1", 0));
        for (new, old, want) in [
            (&good, None, vec![]),
            (&groupless, None, vec!["spec.scaleTargetRef.apiVersion"]),
            (&groupless, Some(&good), vec!["spec.scaleTargetRef.apiVersion"]),
            (&groupless, Some(&groupless), vec![]),
            (&asleep, Some(&good), vec!["spec.minReplicas", "spec.metrics"]),
            (&asleep, Some(&asleep), vec!["spec.metrics"]),
        ] {
            assert_eq!(fields(new, old), want, "{new} after {old:?}");
        }
    }

    #[test]
    fn a_metric_has_one_source() {
        let mut both = object("apps/v1", 1);
        both["spec"]["metrics"][0]["pods"] =
            json!({"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}});
        assert_eq!(fields(&both, None), ["spec.metrics[0].pods"]);
        both["spec"]["metrics"][0]["type"] = "Nothing".into();
        let errors = fields(&both, None);
        assert_eq!(errors.iter().filter(|field| *field == "spec.metrics[0].type").count(), 2);
    }
}
