//! ReplicationControllers, the ReplicaSets of old (Kubernetes concept: "ReplicationController").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::selector::Selector;
use serde_json::Value;

use super::replica_set::{COLUMNS, cells, status};
use super::template::{self, labels_cell};
use crate::kinds::defaults::{set, spec};
use crate::kinds::{Hooks, validate};

pub static REPLICATION_CONTROLLER: Hooks = Hooks {
    name: validate::long_name,
    takes_any_prefix: true,
    default,
    pod: Some("spec.template"),
    prepare_create: super::reset_status,
    validate: judge,
    validate_status: |new, _| status(&new["status"]),
    warnings: super::warnings,
    has_generation: true,
    orphans_by_default: true,
    fields: &[("status.replicas", "status.replicas")],
    columns: &COLUMNS,
    cells: |controller, now| cells(controller, labels_cell(&controller["spec"]["selector"]), now),
    ..Hooks::PLAIN
};

/// The template's labels stand for what is not said.
fn default(object: &mut Value) {
    let fields = spec(object);
    template::default(fields);
    set(fields, "replicas", 1);
    let labels = meta::at(object, "spec.template.metadata.labels").clone();
    if !labels.is_object() {
        return;
    }
    if meta::map(object, "spec.selector").is_empty() {
        spec(object).insert("selector".into(), labels.clone());
    }
    if meta::map(object, "metadata.labels").is_empty() {
        meta::metadata_mut(object).insert("labels".into(), labels);
    }
}

fn judge(object: &Value) -> ErrorList {
    let path = Path::new("spec");
    let spec = &object["spec"];
    let mut errors: ErrorList =
        validate::not_negative(&spec["minReadySeconds"], &path.child("minReadySeconds")).into_iter().collect();
    let labels = meta::map(spec, "selector");
    if labels.is_empty() {
        errors.push(Error::required(&path.child("selector"), ""));
    }
    errors.extend(validate::not_negative(&spec["replicas"], &path.child("replicas")));
    let (template, at) = (&spec["template"], path.child("template"));
    if template.is_null() {
        errors.push(Error::required(&at, ""));
        return errors;
    }
    if !labels.is_empty() {
        let selector =
            Selector::from_labels(labels.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())));
        errors.extend(template::selected(&selector, template, &at));
    }
    errors.extend(template::validate(template, &at));
    errors.extend(template::kept_running(template, "ReplicationController", &at));
    errors
}
