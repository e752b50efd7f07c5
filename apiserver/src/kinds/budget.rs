//! PodDisruptionBudgets (Kubernetes concept: "Disruptions").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::{Value, json};

use super::{Column, Hooks, validate};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, priority: 0, description }
}

pub static HOOKS: Hooks = Hooks {
    prepare_create: |budget| {
        budget["status"] =
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
    },
    validate: validate_budget,
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

fn validate_budget(budget: &Value) -> ErrorList {
    let path = Path::new("spec");
    let spec = &budget["spec"];
    let mut errors = ErrorList::new();
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        errors.push(Error::invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set"));
    }
    errors.extend(validate::count_or_percent(&spec["minAvailable"], &path.child("minAvailable")));
    errors.extend(validate::count_or_percent(&spec["maxUnavailable"], &path.child("maxUnavailable")));
    errors.extend(validate::label_selector(&spec["selector"], &path.child("selector")));
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    if let Some(policy) = spec["unhealthyPodEvictionPolicy"].as_str().filter(|policy| !policies.contains(policy)) {
        errors.push(Error::not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &policies));
    }
    errors
}
