//! ControllerRevisions: what a DaemonSet or StatefulSet was, kept for going back.

use machinery::field::{Error, Path};
use machinery::meta;
use serde_json::Value;

use super::{column, number};
use crate::kinds::{Hooks, MetadataRounds, validate};
use crate::rest::table::{AGE, NAME, age};

pub static CONTROLLER_REVISION: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    validate: |revision| validate::not_negative(&revision["revision"], &Path::new("revision")).into_iter().collect(),
    validate_against: |revision, old| match old {
        None => data(&revision["data"]).into_iter().collect(),
        Some(old) => validate::immutable(&revision["data"], &old["data"], &Path::new("data")).into_iter().collect(),
    },
    columns: &[
        NAME,
        column("Controller", "string", 0, "Controller of the object"),
        column("Revision", "string", 0, "Number of the revision."),
        AGE,
    ],
    cells: |revision, now| {
        vec![
            meta::name(revision).into(),
            controller(revision).into(),
            number(revision, "revision").into(),
            age(revision, now).into(),
        ]
    },
    ..Hooks::PLAIN
};

fn data(data: &Value) -> Option<Error> {
    let path = Path::new("data");
    match data {
        Value::Null => Some(Error::required(&path, "data is mandatory")),
        Value::Object(_) => None,
        _ => Some(Error::required(&path, "data must be a valid JSON object")),
    }
}

fn controller(revision: &Value) -> String {
    let owner = meta::list(revision, "metadata.ownerReferences").iter().find(|owner| owner["controller"] == true);
    let Some(owner) = owner else { return "<none>".to_owned() };
    let group = meta::text(owner, "apiVersion").split_once('/').map_or("", |(group, _)| group);
    let (kind, name) = (meta::text(owner, "kind").to_lowercase(), meta::text(owner, "name"));
    if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn its_data_is_there_and_never_changes() {
        let revision = |data: Value| json!({"data": data});
        let judge = CONTROLLER_REVISION.validate_against;
        for (new, old, want) in [
            (json!({}), None, ""),
            (json!(null), None, "data is mandatory"),
            (json!([1]), None, "data must be a valid JSON object"),
            (json!({"a": 1}), Some(json!({"a": 1})), ""),
            (json!({"a": 2}), Some(json!({"a": 1})), "field is immutable"),
        ] {
            let errors = judge(&revision(new.clone()), old.map(revision).as_ref());
            assert_eq!(errors.first().map_or("", |error| error.detail.as_str()), want, "{new}");
        }
    }

    #[test]
    fn its_owner_is_named_with_the_group() {
        let owned = |version: &str| {
            controller(&json!({"metadata": {"ownerReferences": [
                {"kind": "DaemonSet", "name": "d", "apiVersion": version, "controller": true},
            ]}}))
        };
        assert_eq!(owned("apps/v1"), "daemonset.apps/d");
        assert_eq!(owned("v1"), "daemonset/d");
    }
}
