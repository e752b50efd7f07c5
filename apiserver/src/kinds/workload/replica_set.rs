//! ReplicaSets (Kubernetes concept: "ReplicaSet").

use machinery::field::{ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::template::{self, container_cells, selector_cell};
use super::{CONTAINERS, IMAGES, MORE_THAN_ALL, SELECTOR, column, number};
use crate::kinds::defaults::{set, spec};
use crate::kinds::{Column, Hooks, validate};
use crate::rest::table::{AGE, NAME, age};

pub static REPLICA_SET: Hooks = Hooks {
    pod: Some("spec.template"),
    default: |object| {
        let fields = spec(object);
        template::default(fields);
        set(fields, "replicas", 1);
    },
    prepare_create: super::reset_status,
    validate: judge,
    validate_update: super::immutable_selector,
    validate_status: |new, _| status(&new["status"]),
    warnings: super::warnings,
    has_generation: true,
    columns: &COLUMNS,
    cells: |set, now| cells(set, selector_cell(&set["spec"]["selector"]), now),
    ..Hooks::PLAIN
};

/// Of all that is a number of pods of one template.
pub const COLUMNS: [Column; 8] = [
    NAME,
    column("Desired", "integer", 0, "Number of desired pods."),
    column("Current", "integer", 0, "Number of pods that there are."),
    column("Ready", "integer", 0, "Number of pods that are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub fn cells(object: &Value, selector: Value, now: i64) -> Vec<Value> {
    let [containers, images] = container_cells(meta::at(object, "spec.template.spec"));
    vec![
        meta::name(object).into(),
        number(object, "spec.replicas").into(),
        number(object, "status.replicas").into(),
        number(object, "status.readyReplicas").into(),
        age(object, now).into(),
        containers,
        images,
        selector,
    ]
}

fn judge(object: &Value) -> ErrorList {
    let path = Path::new("spec");
    let spec = &object["spec"];
    let mut errors: ErrorList =
        validate::not_negative(&spec["replicas"], &path.child("replicas")).into_iter().collect();
    errors.extend(validate::not_negative(&spec["minReadySeconds"], &path.child("minReadySeconds")));
    let (selector, wrong) = super::selector(spec, "deployment", "invalid label selector", &path.child("selector"));
    errors.extend(wrong);
    errors.extend(super::replicated_template(spec, selector, &path.child("template")));
    errors
}

const COUNTS: [&str; 6] = [
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
    "terminatingReplicas",
];

const PARTS: [(&str, &str, &str); 4] = [
    ("fullyLabeledReplicas", "replicas", MORE_THAN_ALL),
    ("readyReplicas", "replicas", MORE_THAN_ALL),
    ("availableReplicas", "replicas", MORE_THAN_ALL),
    ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
];

pub fn status(status: &Value) -> ErrorList {
    let path = Path::new("status");
    let mut errors = super::counts(status, &COUNTS, &path);
    errors.extend(super::parts(status, &PARTS, &path));
    errors
}
