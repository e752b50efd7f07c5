//! PriorityClasses (Kubernetes concept: "Pod Priority and Preemption").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::{Column, Hooks, validate};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, priority: 0, description }
}

pub static HOOKS: Hooks = Hooks {
    default: |class| {
        if class["preemptionPolicy"].is_null() {
            class["preemptionPolicy"] = "PreemptLowerPriority".into();
        }
    },
    // Upstream's update looks at the change alone.
    validate_against: |class, old| if old.is_none() { validate_class(class) } else { ErrorList::new() },
    validate_update: |new, old| {
        let value = (new["value"] != old["value"])
            .then(|| Error::forbidden(&Path::new("value"), "may not be changed in an update."));
        let (policy, before) = (&new["preemptionPolicy"], &old["preemptionPolicy"]);
        value.into_iter().chain(validate::immutable(policy, before, &Path::new("preemptionPolicy"))).collect()
    },
    // It stays the first.
    prepare_create: |class| class["metadata"]["generation"] = 1.into(),
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

/// Above it only the system's own classes stand.
const HIGHEST: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

fn validate_class(class: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (name, value) = (meta::name(class), class["value"].as_i64().unwrap_or(0));
    if name.starts_with("system-") {
        let why = match SYSTEM.iter().find(|(known, _)| *known == name) {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, expected)) if *expected != value => {
                Some(format!("value of {name} PriorityClass must be {expected}"))
            }
            Some(_) if meta::is_true(class, "globalDefault") => {
                Some(format!("globalDefault of {name} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            let path = Path::new("metadata").child("name");
            let words = "priority class names with 'system-' prefix are reserved for system use only. error: ";
            errors.push(Error::forbidden(&path, format!("{words}{why}")));
        }
    } else if value > HIGHEST {
        let why = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        errors.push(Error::forbidden(&Path::new("value"), why));
    }
    let policy = meta::text(class, "preemptionPolicy");
    let policies = ["PreemptLowerPriority", "Never"];
    if policy.is_empty() {
        errors.push(Error::required(&Path::new("preemptionPolicy"), ""));
    } else if !policies.contains(&policy) {
        errors.push(Error::not_supported(&Path::new("preemptionPolicy"), policy, &policies));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_update_is_judged_by_its_change_alone() {
        let class = |policy: &str| json!({"metadata": {"name": "a"}, "value": 1, "preemptionPolicy": policy});
        let judge = HOOKS.validate_against;
        assert_eq!(judge(&class("X"), None).len(), 1);
        assert_eq!(judge(&class("X"), Some(&class("Never"))).len(), 0);
        assert_eq!((HOOKS.validate_update)(&class("X"), &class("Never")).len(), 1);
    }
}
