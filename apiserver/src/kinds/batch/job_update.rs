//! What of a Job may change once it is made.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::job_status::is_condition;
use super::{failure_policy, job, success_policy};
use crate::kinds::go_form::{Form, LABEL_SELECTOR, POINTER};
use crate::kinds::{pod, validate};

/// Fields that stay as the selector and the template do, and how upstream shows them.
const FROZEN: [(&str, Form); 5] = [
    ("completionMode", POINTER),
    ("podFailurePolicy", failure_policy::FORM),
    ("backoffLimitPerIndex", POINTER),
    ("managedBy", POINTER),
    ("successPolicy", success_policy::FORM),
];

pub fn validate(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("spec");
    let (spec, before) = (&new["spec"], &old["spec"]);
    let mut errors = job::spec_with_selector(spec, &path);
    errors.extend(completions(spec, before, &path.child("completions")));
    let frozen = |field, form: &Form| validate::immutable_as(form, &spec[field], &before[field], &path.child(field));
    errors.extend(frozen("selector", &LABEL_SELECTOR));
    errors.extend(template(new, old, &path));
    errors.extend(FROZEN.iter().filter_map(|(field, form)| frozen(field, form)));
    errors
}

/// An indexed Job may grow and shrink, if it runs all of its pods at once.
fn completions(spec: &Value, old: &Value, path: &Path) -> Option<Error> {
    let (now, before) = (&spec["completions"], &old["completions"]);
    if spec["completionMode"] != "Indexed" {
        return validate::immutable(now, before, path);
    }
    let why = "can only be modified in tandem with spec.parallelism";
    let is_alone = !now.is_null() && now != before && *now != spec["parallelism"];
    is_alone.then(|| Error::invalid(path, now.clone(), why))
}

/// A suspended Job may be steered to other nodes and be given other resources before it runs (again).
fn template(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let is_suspended = meta::is_true(old, "spec.suspend");
    let stands_still = meta::at(old, "status.startTime").is_null() || is_condition(old, "Suspended", "True");
    let is_mutable = is_suspended && stands_still && meta::at(old, "status.active").as_i64().unwrap_or(0) == 0;
    let now = &new["spec"]["template"];
    let mut before = old["spec"]["template"].clone();
    if !is_mutable {
        let error = validate::immutable(now, &before, &path.child("template"));
        return error.map(|error| error.showing(pod::template_form(now)));
    }
    steer(now, &mut before);
    take_resources(&now["spec"], &mut before["spec"]);
    let error = validate::immutable(&now["spec"], &before["spec"], &path.child("template").child("spec"));
    error.map(|error| error.showing(pod::spec_form(&now["spec"])))
}

/// Carries over what says where pods may run.
fn steer(now: &Value, before: &mut Value) {
    let wanted = &now["spec"]["affinity"]["nodeAffinity"];
    let affinity = meta::object_mut(&mut before["spec"], "affinity");
    put(affinity, "nodeAffinity", wanted);
    let is_bare = affinity.is_empty() && now["spec"]["affinity"].is_null();
    if let Some(spec) = before["spec"].as_object_mut() {
        if is_bare {
            spec.remove("affinity");
        }
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            put(spec, field, &now["spec"][field]);
        }
    }
}

fn take_resources(now: &Value, before: &mut Value) {
    for list in ["containers", "initContainers"] {
        let wanted = meta::list(now, list);
        let Some(own) = before.get_mut(list).and_then(Value::as_array_mut) else { continue };
        if own.len() != wanted.len() {
            continue;
        }
        for (own, wanted) in own.iter_mut().zip(wanted).filter(|(own, wanted)| own["name"] == wanted["name"]) {
            if let Some(fields) = own.as_object_mut() {
                put(fields, "resources", &wanted["resources"]);
            }
        }
    }
}

fn put(fields: &mut serde_json::Map<String, Value>, name: &str, value: &Value) {
    if value.is_null() {
        fields.remove(name);
    } else {
        fields.insert(name.to_owned(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const IMMUTABLE: &str = "field is immutable";

    fn job(spec: Value, status: Value) -> Value {
        let mut job = json!({"spec": {
            "selector": {"matchLabels": {"a": "b"}}, "completions": 1, "parallelism": 1,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
            }},
        }, "status": status});
        job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        job
    }

    fn frozen(new: &Value, old: &Value) -> Vec<String> {
        let errors = validate(new, old).into_iter();
        errors
            .filter(|error| error.detail == IMMUTABLE || error.detail.contains("in tandem"))
            .map(|error| error.field)
            .collect()
    }

    #[test]
    fn most_of_it_stays() {
        let old = job(json!({}), json!({}));
        for (change, want) in [
            (json!({"parallelism": 2, "suspend": true, "ttlSecondsAfterFinished": 5, "backoffLimit": 1}), vec![]),
            (json!({"completions": 2}), vec!["spec.completions"]),
            (json!({"completionMode": "Indexed"}), vec!["spec.completionMode"]),
            (json!({"managedBy": "example.com/me"}), vec!["spec.managedBy"]),
            (json!({"selector": {"matchLabels": {"a": "c"}}}), vec!["spec.selector"]),
            (json!({"podFailurePolicy": {"rules": []}}), vec!["spec.podFailurePolicy"]),
            (json!({"template": {"metadata": {"labels": {"a": "b"}}}}), vec!["spec.template"]),
        ] {
            assert_eq!(frozen(&job(change.clone(), json!({})), &old), want, "{change}");
        }
    }

    #[test]
    fn an_indexed_job_grows_with_its_pods() {
        let indexed = |completions: i64, parallelism: i64| {
            job(json!({"completionMode": "Indexed", "completions": completions, "parallelism": parallelism}), json!({}))
        };
        assert!(frozen(&indexed(3, 3), &indexed(2, 2)).is_empty());
        assert_eq!(frozen(&indexed(3, 2), &indexed(2, 2)), ["spec.completions"]);
    }

    #[test]
    fn a_suspended_job_is_steered() {
        let steered = |suspend: bool, status: Value| {
            let mut job = job(json!({"suspend": suspend}), status);
            job["spec"]["template"]["spec"]["nodeSelector"] = json!({"zone": "a"});
            job["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}});
            job
        };
        for (suspend, status, allowed) in [
            (true, json!({}), true),
            (true, json!({"startTime": "2026-01-01T00:00:00Z"}), false),
            (
                true,
                json!({"startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Suspended", "status": "True"}]}),
                true,
            ),
            (true, json!({"active": 1}), false),
            (false, json!({}), false),
        ] {
            let old = job(json!({"suspend": suspend}), status.clone());
            assert_eq!(frozen(&steered(suspend, status.clone()), &old).is_empty(), allowed, "{suspend} {status}");
        }
        let mut renamed = steered(true, json!({}));
        renamed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
        assert_eq!(frozen(&renamed, &job(json!({"suspend": true}), json!({}))), ["spec.template.spec"]);
    }
}
