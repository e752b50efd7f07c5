//! Roles and bindings (Kubernetes reference: "Using RBAC Authorization").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::selector::Selector;
use serde_json::Value;

use super::defaults::{each, set};
use super::go_form::{self, Form, TEXT};
use super::{Column, Hooks, MetadataRounds, validate};
use crate::rest::table::{AGE, CREATED_COLUMNS, NAME, age, created_cells};

const GROUP: &str = "rbac.authorization.k8s.io";

pub static ROLE: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    name: names::path_segment,
    columns: CREATED_COLUMNS,
    validate: validate_role,
    creates_on_update: true,
    cells: created_cells,
    ..Hooks::PLAIN
};

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 1, description }
}

pub static BINDING: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    name: names::path_segment,
    default: default_binding,
    validate: validate_binding,
    creates_on_update: true,
    validate_update: |new, old| {
        const ROLE: Form = Form::Struct(&[("apiGroup", Form::As("APIGroup", &TEXT)), ("kind", TEXT), ("name", TEXT)]);
        let (role, before) = (&new["roleRef"], &old["roleRef"]);
        let error = || Error::invalid(&Path::new("roleRef"), role.clone(), "cannot change roleRef");
        (role != before).then(|| error().showing(go_form::write(role, &ROLE))).into_iter().collect()
    },
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

fn validate_role(role: &Value) -> ErrorList {
    let namespaced = role["kind"] == "Role";
    let mut errors = ErrorList::new();
    for (position, rule) in meta::list(role, "rules").iter().enumerate() {
        errors.extend(validate_rule(rule, namespaced, &Path::new("rules").index(position)));
    }
    if role.get("aggregationRule").is_some_and(Value::is_object) {
        let selectors = meta::list(role, "aggregationRule.clusterRoleSelectors");
        let at = validate::path(&["aggregationRule", "clusterRoleSelectors"]);
        if selectors.is_empty() {
            let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(Error::required(&at, why));
        }
        for (position, selector) in selectors.iter().enumerate() {
            let at = at.index(position);
            errors.extend(validate::label_selector(selector, &at));
            if Selector::from_label_selector(Some(selector)).is_err() {
                errors.push(Error::invalid(&at, Value::Null, "invalid label selector."));
            }
        }
    }
    errors
}

fn validate_rule(rule: &Value, namespaced: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let is_empty = |list: &str| meta::list(rule, list).is_empty();
    if is_empty("verbs") {
        errors.push(Error::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    if !is_empty("nonResourceURLs") {
        let mut refuse = |why: &str| {
            errors.push(Error::invalid(&path.child("nonResourceURLs"), rule["nonResourceURLs"].clone(), why));
        };
        if namespaced {
            refuse("namespaced rules cannot apply to non-resource URLs");
        }
        if !["apiGroups", "resources", "resourceNames"].into_iter().all(is_empty) {
            refuse("rules cannot apply to both regular resources and non-resource URLs");
        }
        return errors;
    }
    if is_empty("apiGroups") {
        errors.push(Error::required(&path.child("apiGroups"), "resource rules must supply at least one api group"));
    }
    if is_empty("resources") {
        errors.push(Error::required(&path.child("resources"), "resource rules must supply at least one resource"));
    }
    errors
}

fn validate_binding(binding: &Value) -> ErrorList {
    let namespaced = binding["kind"] == "RoleBinding";
    let mut errors = ErrorList::new();
    let at = |field: &str| Path::new("roleRef").child(field);
    let text = |field: &str| binding["roleRef"][field].as_str().unwrap_or_default();
    if text("apiGroup") != GROUP {
        errors.push(Error::not_supported(&at("apiGroup"), text("apiGroup"), &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text("kind")) {
        errors.push(Error::not_supported(&at("kind"), text("kind"), kinds));
    }
    if text("name").is_empty() {
        errors.push(Error::required(&at("name"), ""));
    } else {
        errors.extend(validate::named(text("name"), names::path_segment, &at("name")));
    }
    for (position, subject) in meta::list(binding, "subjects").iter().enumerate() {
        errors.extend(validate_subject(subject, namespaced, &Path::new("subjects").index(position)));
    }
    errors
}

fn validate_subject(subject: &Value, namespaced: bool, path: &Path) -> ErrorList {
    let text = |field: &str| subject[field].as_str().unwrap_or_default();
    let name_at = path.child("name");
    let is_account = text("kind") == "ServiceAccount";
    let mut errors = match text("name") {
        "" => vec![Error::required(&name_at, "")],
        name if is_account => validate::named(name, names::dns_subdomain, &name_at).into_iter().collect(),
        _ => ErrorList::new(),
    };
    let group = match text("kind") {
        "ServiceAccount" => "",
        "User" | "Group" => GROUP,
        other => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(Error::not_supported(&path.child("kind"), other, &kinds));
            return errors;
        }
    };
    if text("apiGroup") != group {
        errors.push(Error::not_supported(&path.child("apiGroup"), text("apiGroup"), &[group]));
    }
    if is_account && !namespaced && text("namespace").is_empty() {
        errors.push(Error::required(&path.child("namespace"), ""));
    }
    errors
}

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
        let shown = named.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", meta::text(subject, "namespace"), meta::text(subject, "name")),
            _ => meta::text(subject, "name").to_owned(),
        });
        Value::from(shown.collect::<Vec<_>>().join(", "))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_subject_is_judged_by_its_kind_and_its_name_first() {
        let told = |subject: Value| -> Vec<String> {
            validate_subject(&subject, false, &Path::root()).into_iter().map(|error| error.field).collect()
        };
        let account = json!({"kind": "ServiceAccount", "name": "A", "apiGroup": "x"});
        assert_eq!(told(account), ["name", "apiGroup", "namespace"]);
        assert_eq!(told(json!({"kind": "User", "apiGroup": ""})), ["name", "apiGroup"]);
        assert_eq!(told(json!({"kind": "Group", "name": "A", "apiGroup": GROUP})), [""; 0]);
        assert_eq!(told(json!({"kind": "X", "apiGroup": "x"})), ["name", "kind"]);
    }
}
