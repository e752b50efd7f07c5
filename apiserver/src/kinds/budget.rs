//! PodDisruptionBudgets (Kubernetes concept: "Disruptions").

use machinery::meta;
use serde_json::{Value, json};

use super::{Column, Hooks};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, priority: 0, description }
}

pub static HOOKS: Hooks = Hooks {
    prepare_create: |budget| {
        budget["status"] =
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
    },
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
