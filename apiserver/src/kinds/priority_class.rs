//! PriorityClasses (Kubernetes concept: "Pod Priority and Preemption").

use machinery::meta;

use super::{Column, Hooks};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, priority: 0, description }
}

pub static HOOKS: Hooks = Hooks {
    default: |class| {
        if meta::text(class, "preemptionPolicy").is_empty() {
            class["preemptionPolicy"] = "PreemptLowerPriority".into();
        }
    },
    has_generation: true,
    columns: &[
        NAME,
        column("Value", "integer", "The priority of pods of this class."),
        column("Global-Default", "boolean", "Whether pods without a class are of this one."),
        AGE,
        column("PreemptionPolicy", "string", "Whether pods of the class make others give way."),
    ],
    cells: |class, now| {
        vec![
            meta::name(class).into(),
            class["value"].as_i64().unwrap_or(0).into(),
            meta::is_true(class, "globalDefault").into(),
            age(class, now).into(),
            meta::text(class, "preemptionPolicy").into(),
        ]
    },
    ..Hooks::PLAIN
};
