//! What a Job does about pods that fail (Kubernetes concept: "Pod failure policy").

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use crate::kinds::go_form::{Form, POINTER, TEXT};
use crate::kinds::validate;

const EXIT_CODES: Form = Form::Struct(&[("containerName", POINTER), ("operator", TEXT), ("values", POINTER)]);
const CONDITION: Form = Form::Struct(&[("type", TEXT), ("status", TEXT)]);
const RULE: Form =
    Form::Struct(&[("action", TEXT), ("onExitCodes", EXIT_CODES), ("onPodConditions", Form::List(&CONDITION))]);
pub const FORM: Form = Form::Struct(&[("rules", Form::List(&RULE))]);

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// `spec` is the Job's.
pub fn all(spec: &Value, path: &Path) -> ErrorList {
    let rules = meta::list(spec, "podFailurePolicy.rules");
    let at = path.child("rules");
    let mut errors: ErrorList = too_many(rules.len(), RULES_MAX, &at).into_iter().collect();
    let pod = meta::at(spec, "template.spec");
    let containers: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| meta::list(pod, list))
        .map(|container| meta::text(container, "name"))
        .collect();
    let indexed = !spec["backoffLimitPerIndex"].is_null();
    for (position, rule) in rules.iter().enumerate() {
        errors.extend(one(rule, &containers, indexed, &at.index(position)));
    }
    errors
}

pub fn too_many(count: usize, max: usize, path: &Path) -> Option<Error> {
    (count > max).then(|| Error::too_many(path, count, max))
}

/// A word that is required and one of a few.
fn word(value: &str, words: &[&str], path: &Path) -> Option<Error> {
    if value.is_empty() {
        let quoted: Vec<String> = words.iter().map(|word| machinery::field::quote(word)).collect();
        return Some(Error::required(path, format!("valid values: [{}]", quoted.join(" "))));
    }
    (!words.contains(&value)).then(|| Error::not_supported(path, value, words))
}

fn one(rule: &Value, containers: &BTreeSet<&str>, indexed: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (action, at) = (meta::text(rule, "action"), path.child("action"));
    if action == "FailIndex" {
        let why = "requires the backoffLimitPerIndex to be set";
        errors.extend((!indexed).then(|| Error::invalid(&at, action, why)));
    } else {
        errors.extend(word(action, &ACTIONS, &at));
    }
    let (codes, conditions) = (&rule["onExitCodes"], meta::list(rule, "onPodConditions"));
    if codes.is_object() {
        errors.extend(exit_codes(codes, containers, &path.child("onExitCodes")));
    }
    errors.extend(pod_conditions(conditions, &path.child("onPodConditions")));
    let why = match (codes.is_object(), conditions.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return errors,
    };
    errors.push(Error::invalid(path, Value::Null, why).without_value());
    errors
}

fn pod_conditions(conditions: &[Value], path: &Path) -> ErrorList {
    let mut errors: ErrorList = too_many(conditions.len(), CONDITIONS_MAX, path).into_iter().collect();
    for (position, condition) in conditions.iter().enumerate() {
        let at = path.index(position);
        errors.extend(validate::named(meta::text(condition, "type"), names::qualified_name, &at.child("type")));
        errors.extend(word(meta::text(condition, "status"), &["False", "True", "Unknown"], &at.child("status")));
    }
    errors
}

fn exit_codes(codes: &Value, containers: &BTreeSet<&str>, path: &Path) -> ErrorList {
    let operator = meta::text(codes, "operator");
    let mut errors: ErrorList = word(operator, &["In", "NotIn"], &path.child("operator")).into_iter().collect();
    if let Some(name) = codes["containerName"].as_str().filter(|name| !containers.contains(name)) {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.push(Error::invalid(&path.child("containerName"), name, why));
    }
    let at = path.child("values");
    let values: Vec<i64> = meta::list(codes, "values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.push(Error::invalid(&at, codes["values"].clone(), "at least one value is required"));
    }
    errors.extend(too_many(values.len(), EXIT_CODES_MAX, &at));
    let mut seen = BTreeSet::new();
    for (position, value) in values.iter().enumerate() {
        let at = at.index(position);
        if operator == "In" && *value == 0 {
            errors.push(Error::invalid(&at, 0, "must not be 0 for the In operator"));
        }
        if !seen.insert(*value) {
            errors.push(Error::duplicate(&at, *value));
        }
    }
    if !values.is_sorted() {
        errors.push(Error::invalid(&at, codes["values"].clone(), "must be ordered"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(rule: Value, per_index: bool) -> Vec<String> {
        let mut spec = json!({
            "podFailurePolicy": {"rules": [rule]}, "template": {"spec": {"containers": [{"name": "c"}]}},
        });
        if per_index {
            spec["backoffLimitPerIndex"] = json!(1);
        }
        let short = |error: Error| error.to_string().trim_start_matches("p.rules[0]").to_owned();
        all(&spec, &Path::new("p")).into_iter().map(short).collect()
    }

    #[test]
    fn a_rule_asks_for_one_thing() {
        let codes = |values: Value| json!({"operator": "In", "values": values});
        for (rule, want) in [
            (json!({"action": "FailJob", "onExitCodes": codes(json!([1, 2]))}), vec![]),
            (
                json!({"action": "FailJob"}),
                vec![": Invalid value: specifying one of OnExitCodes and OnPodConditions is required"],
            ),
            (
                json!({"action": "FailIndex", "onExitCodes": codes(json!([1]))}),
                vec![".action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set"],
            ),
            (
                json!({"onExitCodes": codes(json!([1]))}),
                vec![".action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"],
            ),
            (
                json!({"action": "Ignore", "onExitCodes": codes(json!([2, 0, 2]))}),
                vec![
                    ".onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                    ".onExitCodes.values[2]: Duplicate value: 2",
                    ".onExitCodes.values: Invalid value: [2,0,2]: must be ordered",
                ],
            ),
            (
                json!({"action": "Ignore", "onPodConditions": [{"type": "Ready", "status": "Maybe"}]}),
                vec![
                    ".onPodConditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
                ],
            ),
        ] {
            assert_eq!(wrong(rule.clone(), false), want, "{rule}");
        }
        assert!(wrong(json!({"action": "FailIndex", "onExitCodes": codes(json!([1]))}), true).is_empty());
    }
}
