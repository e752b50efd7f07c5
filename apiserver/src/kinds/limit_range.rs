//! LimitRanges (Kubernetes concept: "Limit Ranges").

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::{Format, Quantity};
use serde_json::{Map, Value, json};

use super::defaults::{each, round_amounts, spec};
use super::{Hooks, MetadataRounds, resource_names, validate};
use crate::rest::table::{CREATED_COLUMNS, created_cells};

pub static LIMIT_RANGE: Hooks = Hooks {
    metadata: MetadataRounds::WHOLE,
    default: |object| each(spec(object), "limits").for_each(default),
    // One without a name gets one of its own.
    prepare_create: |object| {
        if meta::name(object).is_empty() {
            let uid = meta::uid(object).to_owned();
            meta::metadata_mut(object).insert("name".into(), uid.into());
        }
    },
    validate: judge,
    creates_on_update: true,
    columns: CREATED_COLUMNS,
    cells: created_cells,
    ..Hooks::PLAIN
};

const AMOUNTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// What a container gets where only some of its limits are said.
fn default(item: &mut Map<String, Value>) {
    AMOUNTS.iter().for_each(|field| round_amounts(item, field));
    if item.get("type").and_then(Value::as_str) != Some("Container") {
        return;
    }
    let fill = |item: &mut Map<String, Value>, target: &str, source: &str| {
        let Some(amounts) = item.get(source).and_then(Value::as_object).cloned() else { return };
        let filled = item.entry(target).or_insert_with(|| json!({}));
        if let Some(filled) = filled.as_object_mut() {
            amounts.into_iter().for_each(|(name, amount)| {
                filled.entry(name).or_insert(amount);
            });
        }
    };
    fill(item, "default", "max");
    fill(item, "defaultRequest", "default");
    fill(item, "defaultRequest", "min");
}

fn judge(object: &Value) -> ErrorList {
    let path = validate::path(&["spec", "limits"]);
    let mut errors = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (position, item) in meta::list(object, "spec.limits").iter().enumerate() {
        let (kind, at) = (meta::text(item, "type"), path.index(position));
        errors.extend(type_name(kind, &at.child("type")));
        if !seen.insert(kind) {
            errors.push(Error::duplicate(&at.child("type"), kind));
        }
        errors.extend(resources(item, kind, &at));
        let names: BTreeSet<&String> = judged(kind).iter().flat_map(|field| meta::map(item, field).keys()).collect();
        errors.extend(names.into_iter().flat_map(|name| relations(item, kind, name, &at)));
    }
    errors
}

fn type_name(kind: &str, path: &Path) -> ErrorList {
    let mut errors = validate::named(kind, names::qualified_name, path);
    let is_standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
    if errors.is_empty() && !kind.contains('/') && !is_standard {
        errors.push(Error::invalid(path, kind, "must be a standard limit type or fully qualified"));
    }
    errors
}

/// The amounts that a type may have.
fn judged(kind: &str) -> &'static [&'static str] {
    if kind == "Pod" { &["max", "min", "maxLimitRequestRatio"] } else { &AMOUNTS }
}

fn resources(item: &Value, kind: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in judged(kind) {
        for name in meta::map(item, field).keys() {
            let at = path.child(field).key(name);
            errors.extend(match kind {
                "Pod" | "Container" => resource_names::container(name, &at),
                _ => resource_names::any(name, &at),
            });
        }
    }
    if kind == "Pod" {
        let given = ["default", "defaultRequest"].into_iter().filter(|field| !meta::map(item, field).is_empty());
        let why = "may not be specified when `type` is 'Pod'";
        errors.extend(given.map(|field| Error::forbidden(&path.child(field), why)));
    }
    let has_storage = ["min", "max"].iter().any(|field| meta::map(item, field).contains_key("storage"));
    if kind == "PersistentVolumeClaim" && !has_storage {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(Error::required(&path.child("limits"), why));
    }
    errors
}

/// How the amounts of one resource must stand to each other.
fn relations(item: &Value, kind: &str, name: &str, path: &Path) -> ErrorList {
    let amount = |field: &str| {
        let value = meta::map(item, field).get(name).filter(|_| judged(kind).contains(&field))?;
        Quantity::from_value(value).ok()
    };
    let mut errors = ErrorList::new();
    let mut refuse = |field: &str, shown: &Quantity, why: String| {
        errors.push(Error::invalid(&path.child(field).key(name), shown.to_string(), why));
    };
    let (min, max, default, request) = (amount("min"), amount("max"), amount("default"), amount("defaultRequest"));
    // The smaller, the larger, and the field and amount that the message is about.
    let pairs = [
        (&min, "min value", &max, "max value", "min", &min),
        (&min, "min value", &request, "default request value", "defaultRequest", &request),
        (&request, "default request value", &max, "max value", "defaultRequest", &request),
        (&request, "default request value", &default, "default limit value", "defaultRequest", &request),
        (&min, "min value", &default, "default value", "default", &min),
        (&default, "default value", &max, "max value", "default", &max),
    ];
    for (small, small_word, large, large_word, field, shown) in pairs {
        if let (Some(small), Some(large), Some(shown)) = (small, large, shown)
            && small > large
        {
            refuse(field, shown, format!("{small_word} {small} is greater than {large_word} {large}"));
        }
    }
    if let Some(ratio) = amount("maxLimitRequestRatio") {
        if ratio < Quantity::new(1, Format::DecimalSi) {
            refuse("maxLimitRequestRatio", &ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (&min, &max) {
            let limit = max.milli_value() as f64 / min.milli_value() as f64;
            if ratio.milli_value() as f64 / 1000.0 > limit {
                refuse("maxLimitRequestRatio", &ratio, format!("ratio {ratio} is greater than max/min = {limit:.6}"));
            }
        }
    }
    if let (Some(default), Some(request)) = (&default, &request)
        && !resource_names::may_be_overcommitted(name)
        && default != request
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        refuse("defaultRequest", request, why);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(item: Value) -> Vec<String> {
        let object = json!({"spec": {"limits": [item]}});
        let short = |error: Error| error.field.trim_start_matches("spec.limits[0].").to_owned();
        judge(&object).into_iter().map(short).collect()
    }

    #[test]
    fn amounts_agree_with_each_other() {
        for (item, want) in [
            (json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}}), vec![]),
            (json!({"type": "Container", "min": {"cpu": "3"}, "max": {"cpu": "2"}}), vec!["min[cpu]"]),
            (
                json!({"type": "Container", "min": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}),
                vec!["defaultRequest[cpu]"],
            ),
            (
                json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}),
                vec!["defaultRequest[cpu]"],
            ),
            (json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}}), vec!["maxLimitRequestRatio[cpu]"]),
            (
                json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}),
                vec!["maxLimitRequestRatio[cpu]"],
            ),
            (
                json!({"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}}),
                vec!["defaultRequest[example.com/gpu]"],
            ),
            (json!({"type": "Pod", "default": {"cpu": "1"}}), vec!["default"]),
            (json!({"type": "PersistentVolumeClaim", "max": {"cpu": "1"}}), vec!["limits"]),
            (json!({"type": "Pod", "max": {"gpu": "1"}}), vec!["max[gpu]", "max[gpu]"]),
        ] {
            assert_eq!(wrong(item.clone()), want, "{item}");
        }
    }

    #[test]
    fn one_limit_of_each_type() {
        let item = json!({"type": "Pod", "max": {"cpu": "1"}});
        let object = json!({"spec": {"limits": [item, item]}});
        assert_eq!(judge(&object)[0].field, "spec.limits[1].type");
    }

    #[test]
    fn a_maximum_is_the_default_and_that_the_request() {
        let mut object = json!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}, {"type": "Pod", "max": {"cpu": "2"}},
        ]}});
        (LIMIT_RANGE.default)(&mut object);
        let limits = &object["spec"]["limits"];
        assert_eq!(limits[0]["default"], json!({"cpu": "2"}));
        assert_eq!(limits[0]["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
        assert_eq!(limits[1], json!({"type": "Pod", "max": {"cpu": "2"}}));
    }
}
