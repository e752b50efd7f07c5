//! When a container starts anew: after it ended, and when its resources change.

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

const POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const WITHOUT_POLICY: &str = "must specify restartPolicy when restart rules are used";

/// A container's own policy, and its rules beside it.
pub fn policy(container: &Value, path: &Path) -> ErrorList {
    let rules = meta::list(container, "restartPolicyRules");
    let mut errors = ErrorList::new();
    let at = path.child("restartPolicy");
    match container["restartPolicy"].as_str() {
        None if rules.is_empty() => return errors,
        None => errors.push(Error::required(&at, WITHOUT_POLICY)),
        Some(policy) if !POLICIES.contains(&policy) => errors.push(Error::not_supported(&at, policy, &POLICIES)),
        Some(_) => {}
    }
    let at = path.child("restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(&at, rules.len(), RULES_MAX));
    }
    for (position, rule) in rules.iter().enumerate() {
        errors.extend(self::rule(rule, &at.index(position)));
    }
    errors
}

fn rule(rule: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let action = meta::text(rule, "action");
    if !ACTIONS.contains(&action) {
        errors.push(Error::not_supported(&path.child("action"), action, &ACTIONS));
    }
    let (codes, at) = (&rule["exitCodes"], path.child("exitCodes"));
    if codes.is_null() {
        errors.push(Error::required(&at, "must be specified"));
        return errors;
    }
    let (operator, count) = (meta::text(codes, "operator"), meta::list(codes, "values").len());
    if !OPERATORS.contains(&operator) {
        errors.push(Error::not_supported(&at.child("operator"), operator, &OPERATORS));
    }
    if count > EXIT_CODES_MAX {
        errors.push(Error::too_many(&at.child("values"), count, EXIT_CODES_MAX));
    }
    errors
}

pub fn of_init(container: &Value, path: &Path) -> ErrorList {
    if !container["restartPolicy"].is_null() {
        return policy(container, path);
    }
    let has_rules = !meta::list(container, "restartPolicyRules").is_empty();
    has_rules.then(|| Error::required(&path.child("restartPolicy"), WITHOUT_POLICY)).into_iter().collect()
}

/// `pod_policy` is the pod's own. Upstream tells most of this at the list.
pub fn resize(container: &Value, pod_policy: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, entry) in meta::list(container, "resizePolicy").iter().enumerate() {
        let (resource, policy) = (meta::text(entry, "resourceName"), meta::text(entry, "restartPolicy"));
        if !known.insert(resource) {
            errors.push(Error::duplicate(&path.index(position), resource));
        }
        for (text, supported) in [(resource, ["cpu", "memory"]), (policy, ["NotRequired", "RestartContainer"])] {
            match text {
                "" => errors.push(Error::required(path, "")),
                text if !supported.contains(&text) => errors.push(Error::not_supported(path, text, &supported)),
                _ => {}
            }
        }
        if pod_policy == "Never" && policy != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(path, policy, why));
        }
    }
    errors
}

/// What ends before the pod's work begins is not started anew to grow.
pub fn resize_of_init(container: &Value, path: &Path) -> ErrorList {
    if container["restartPolicy"] == "Always" {
        return ErrorList::new();
    }
    let entries = meta::list(container, "resizePolicy").iter().enumerate();
    let restarting = entries.filter(|(_, entry)| entry["restartPolicy"] == "RestartContainer");
    let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
    let at = path.child("resizePolicy");
    restarting
        .map(|(position, _)| Error::invalid(&at.index(position).child("restartPolicy"), "RestartContainer", why))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::pod::validate::told;

    #[test]
    fn rules_stand_beside_a_policy() {
        let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}});
        for (container, want) in [
            (json!({}), vec![]),
            (json!({"restartPolicy": "Never", "restartPolicyRules": [rule]}), vec![]),
            (
                json!({"restartPolicyRules": [rule]}),
                vec!["c.restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
            ),
            (
                json!({"restartPolicy": "x"}),
                vec![
                    "c.restartPolicy: Unsupported value: \"x\": supported values: \"Always\", \"Never\", \"OnFailure\"",
                ],
            ),
            (
                json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "x"}]}),
                vec![
                    "c.restartPolicyRules[0].action: Unsupported value: \"x\": supported values: \"Restart\", \"RestartAllContainers\"",
                    "c.restartPolicyRules[0].exitCodes: Required value: must be specified",
                ],
            ),
            (
                json!({"restartPolicy": "Never", "restartPolicyRules": vec![rule.clone(); 21]}),
                vec!["c.restartPolicyRules: Too many: 21: must have at most 20 items"],
            ),
        ] {
            assert_eq!(told(policy(&container, &Path::new("c"))), want, "{container}");
        }
        assert_eq!(told(of_init(&json!({"restartPolicyRules": [rule]}), &Path::new("c"))).len(), 1);
    }

    #[test]
    fn who_never_restarts_is_not_restarted_to_grow() {
        let entry = |resource: &str, policy: &str| json!({"resourceName": resource, "restartPolicy": policy});
        for (entries, pod_policy, want) in [
            (vec![entry("cpu", "NotRequired"), entry("memory", "RestartContainer")], "Always", vec![]),
            (
                vec![entry("cpu", "RestartContainer")],
                "Never",
                vec![
                    "c: Invalid value: \"RestartContainer\": must be 'NotRequired' when pod `restartPolicy` is 'Never'",
                ],
            ),
            (
                vec![entry("cpu", "NotRequired"), entry("cpu", "")],
                "Always",
                vec!["c[1]: Duplicate value: \"cpu\"", "c: Required value"],
            ),
            (
                vec![entry("pods", "NotRequired")],
                "Always",
                vec!["c: Unsupported value: \"pods\": supported values: \"cpu\", \"memory\""],
            ),
        ] {
            let container = json!({"resizePolicy": entries});
            assert_eq!(told(resize(&container, pod_policy, &Path::new("c"))), want, "{container}");
        }
        let init = json!({"resizePolicy": [entry("cpu", "RestartContainer")]});
        assert_eq!(
            told(resize_of_init(&init, &Path::new("c"))),
            [
                "c.resizePolicy[0].restartPolicy: Invalid value: \"RestartContainer\": must not be set to 'RestartContainer' for non-sidecar initContainers",
            ]
        );
    }
}
