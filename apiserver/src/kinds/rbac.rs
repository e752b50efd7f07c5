//! Roles and bindings (Kubernetes reference: "Using RBAC Authorization").

use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::defaults::{each, set};
use super::{Column, Hooks};
use crate::rest::table::{AGE, NAME, age};

const GROUP: &str = "rbac.authorization.k8s.io";

const CREATED: Column =
    Column { name: "Created At", kind: "date", priority: 0, description: "When the role was made." };

pub static ROLE: Hooks = Hooks {
    name: names::path_segment,
    columns: &[NAME, CREATED],
    cells: |role, _| vec![meta::name(role).into(), meta::text(role, "metadata.creationTimestamp").into()],
    ..Hooks::PLAIN
};

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 1, description }
}

pub static BINDING: Hooks = Hooks {
    name: names::path_segment,
    default: default_binding,
    columns: &[
        NAME,
        Column { name: "Role", kind: "string", priority: 0, description: "The role that is given." },
        AGE,
        wide("Users", "Users whom it is given to."),
        wide("Groups", "Groups whom it is given to."),
        wide("ServiceAccounts", "ServiceAccounts which it is given to."),
    ],
    cells: binding_cells,
    ..Hooks::PLAIN
};

fn default_binding(binding: &mut Value) {
    let Some(fields) = binding.as_object_mut() else { return };
    if let Some(role) = fields.get_mut("roleRef").and_then(Value::as_object_mut) {
        set(role, "apiGroup", GROUP);
    }
    for subject in each(fields, "subjects") {
        if subject.get("kind").is_some_and(|kind| kind == "User" || kind == "Group") {
            set(subject, "apiGroup", GROUP);
        }
    }
}

fn binding_cells(binding: &Value, now: i64) -> Vec<Value> {
    let subjects = |kind: &str| {
        let named = meta::list(binding, "subjects").iter().filter(|subject| subject["kind"] == kind);
        let shown: Vec<String> = named
            .map(|subject| match subject["namespace"].as_str() {
                Some(namespace) => format!("{namespace}/{}", subject["name"].as_str().unwrap_or_default()),
                None => subject["name"].as_str().unwrap_or_default().to_owned(),
            })
            .collect();
        Value::from(shown.join(", "))
    };
    vec![
        meta::name(binding).into(),
        format!("{}/{}", meta::text(binding, "roleRef.kind"), meta::text(binding, "roleRef.name")).into(),
        age(binding, now).into(),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
