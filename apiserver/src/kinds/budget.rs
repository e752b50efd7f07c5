//! PodDisruptionBudgets (Kubernetes concept: "Disruptions").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::go_form::{self, Form, LABEL_SELECTOR, POINTER};
use super::{Column, Hooks, MetadataRounds, validate};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, priority: 0, description }
}

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::NONE,
    status_metadata: MetadataRounds::NONE,
    judges_metadata_last: true,
    prepare_create: |budget| {
        budget["status"] =
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
    },
    validate_against: validate_budget,
    validate_status: |new, _| validate_status(&new["status"]),
    has_generation: true,
    updates_unconditionally: false,
    columns: &[
        NAME,
        column("Min Available", "string", "How many pods must stay."),
        column("Max Unavailable", "string", "How many pods may go."),
        column("Allowed Disruptions", "integer", "How many pods may be disturbed now."),
        AGE,
    ],
    cells: |budget, now| {
        let shown = |field: &str| match &budget["spec"][field] {
            Value::Null => Value::from("N/A"),
            Value::String(text) => text.clone().into(),
            number => number.to_string().into(),
        };
        vec![
            meta::name(budget).into(),
            shown("minAvailable"),
            shown("maxUnavailable"),
            meta::at(budget, "status.disruptionsAllowed").as_i64().unwrap_or(0).into(),
            age(budget, now).into(),
        ]
    },
    ..Hooks::PLAIN
};

const SPEC: Form = Form::Struct(&[
    ("minAvailable", POINTER),
    ("selector", LABEL_SELECTOR),
    ("maxUnavailable", POINTER),
    ("unhealthyPodEvictionPolicy", POINTER),
]);

/// A selector that could not be read before may stay so.
fn validate_budget(budget: &Value, old: Option<&Value>) -> ErrorList {
    let path = Path::new("spec");
    let spec = &budget["spec"];
    let mut errors = ErrorList::new();
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let error = Error::invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
        errors.push(error.showing(go_form::write(spec, &SPEC)));
    }
    errors.extend(validate::count_or_percent(&spec["minAvailable"], &path.child("minAvailable")));
    errors.extend(validate::count_or_percent(&spec["maxUnavailable"], &path.child("maxUnavailable")));
    let at = path.child("selector");
    let was_broken = old.is_some_and(|old| !validate::label_selector(&old["spec"]["selector"], &at).is_empty());
    if !was_broken {
        errors.extend(validate::label_selector(&spec["selector"], &at));
    }
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    if let Some(policy) = spec["unhealthyPodEvictionPolicy"].as_str().filter(|policy| !policies.contains(policy)) {
        errors.push(Error::not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &policies));
    }
    errors
}

fn validate_status(status: &Value) -> ErrorList {
    let path = Path::new("status");
    let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
    let negative = counts.iter().filter_map(|field| validate::not_negative(&status[*field], &path.child(field)));
    let mut errors = validate::meta_conditions(meta::list(status, "conditions"), &path.child("conditions"));
    errors.extend(negative);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(spec: Value, old: Option<Value>) -> Vec<String> {
        let budget = |spec: Value| json!({"spec": spec});
        let errors = validate_budget(&budget(spec), old.map(budget).as_ref());
        errors.into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn one_bound_that_can_be_read() {
        let broken = json!({"selector": {"matchLabels": {"a": "-"}}});
        for (spec, old, want) in [
            (json!({"minAvailable": "50%"}), None, 0),
            (json!({"minAvailable": "150%"}), None, 1),
            (json!({"unhealthyPodEvictionPolicy": "Never"}), None, 1),
            (broken.clone(), None, 1),
            (broken.clone(), Some(broken), 0),
        ] {
            assert_eq!(wrong(spec.clone(), old).len(), want, "{spec}");
        }
        assert_eq!(
            wrong(json!({"minAvailable": 1, "maxUnavailable": "1%"}), None),
            [
                "spec: Invalid value: {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":\"1%\",\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set"
            ]
        );
    }

    #[test]
    fn counts_of_a_status_are_not_negative() {
        assert_eq!(validate_status(&json!({"expectedPods": -1, "currentHealthy": 1})).len(), 1);
    }
}
