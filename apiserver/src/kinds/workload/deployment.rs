//! Deployments (Kubernetes concept: "Deployments").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::selector::Selector;
use serde_json::{Value, json};

use super::template::{self, container_cells};
use super::{CONTAINERS, IMAGES, MORE_THAN_ALL, SELECTOR, column, number};
use crate::kinds::defaults::{set, set_absent, spec};
use crate::kinds::{Hooks, go_form, validate};
use crate::rest::table::{AGE, NAME, age};

pub static DEPLOYMENT: Hooks = Hooks {
    pod: Some("spec.template"),
    default,
    prepare_create: super::reset_status,
    // Labels are not changed with the status.
    prepare_status: |new, old| {
        let labels = old["metadata"].get("labels").cloned().unwrap_or_default();
        meta::metadata_mut(new).insert("labels".into(), labels);
    },
    resets: &[("", &["status"]), ("status", &["spec", "metadata.labels"])],
    validate: judge,
    validate_update: super::immutable_selector,
    validate_status,
    warnings: super::warnings,
    has_generation: true,
    counts_annotations: true,
    columns: &[
        NAME,
        column("Ready", "string", 0, "Number of the pod with ready state"),
        column("Up-to-date", "string", 0, "Number of pods of the newest template."),
        column("Available", "string", 0, "Number of pods that have been ready for long enough."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells,
    field_annotations: &["deprecated.deployment.rollback.to"],
    ..Hooks::PLAIN
};

fn default(object: &mut Value) {
    let fields = spec(object);
    template::default(fields);
    set(fields, "replicas", 1);
    set(fields, "revisionHistoryLimit", 10);
    set(fields, "progressDeadlineSeconds", 600);
    let strategy = fields.entry("strategy").or_insert_with(|| json!({}));
    let Some(strategy) = strategy.as_object_mut() else { return };
    set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
        if let Some(rolling) = rolling.as_object_mut() {
            set_absent(rolling, "maxUnavailable", "25%");
            set_absent(rolling, "maxSurge", "25%");
        }
    }
}

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let [containers, images] = container_cells(meta::at(object, "spec.template.spec"));
    // Other workloads have a word for none; upstream's printer of this one does not.
    let selector = match &object["spec"]["selector"] {
        Value::Null => String::new(),
        selector => Selector::from_label_selector(Some(selector)).map(|it| it.to_string()).unwrap_or_default(),
    };
    vec![
        meta::name(object).into(),
        format!("{}/{}", number(object, "status.readyReplicas"), number(object, "spec.replicas")).into(),
        number(object, "status.updatedReplicas").into(),
        number(object, "status.availableReplicas").into(),
        age(object, now).into(),
        containers,
        images,
        selector.into(),
    ]
}

fn judge(object: &Value) -> ErrorList {
    let path = Path::new("spec");
    let spec = &object["spec"];
    let mut errors: ErrorList =
        validate::not_negative(&spec["replicas"], &path.child("replicas")).into_iter().collect();
    let (selector, wrong) = super::selector(spec, "deployment", "invalid label selector", &path.child("selector"));
    errors.extend(wrong);
    errors.extend(super::replicated_template(spec, selector, &path.child("template")));
    errors.extend(strategy(&spec["strategy"], &path.child("strategy")));
    let ready = spec["minReadySeconds"].as_i64().unwrap_or(0);
    for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        errors.extend(validate::not_negative(&spec[field], &path.child(field)));
    }
    if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64().filter(|deadline| *deadline <= ready) {
        let why = "must be greater than minReadySeconds";
        errors.push(Error::invalid(&path.child("progressDeadlineSeconds"), deadline, why));
    }
    errors
}

fn strategy(strategy: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let rolling = &strategy["rollingUpdate"];
    match meta::text(strategy, "type") {
        "Recreate" if !rolling.is_null() => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(Error::forbidden(&path.child("rollingUpdate"), why));
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.is_null() => {
            errors.push(Error::required(&path.child("rollingUpdate"), "this should be defaulted and never be nil"));
        }
        "RollingUpdate" => errors.extend(rolling_update(rolling, &path.child("rollingUpdate"))),
        _ => {
            let error = Error::not_supported(path, strategy.clone(), &["Recreate", "RollingUpdate"]);
            errors.push(error.showing(go_form::write(strategy, &super::STRATEGY)));
        }
    }
    errors
}

fn rolling_update(rolling: &Value, path: &Path) -> ErrorList {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let at = path.child("maxUnavailable");
    let mut errors = super::positive_or_percent(unavailable, &at);
    errors.extend(super::positive_or_percent(surge, &path.child("maxSurge")));
    if super::is_zero(unavailable) && super::is_zero(surge) {
        errors.push(Error::invalid(&at, unavailable.clone(), "may not be 0 when `maxSurge` is 0"));
    }
    errors.extend(super::at_most_all(unavailable, &at));
    errors
}

const COUNTS: [&str; 8] = [
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "terminatingReplicas",
    "collisionCount",
];

const PARTS: [(&str, &str, &str); 4] = [
    ("updatedReplicas", "replicas", MORE_THAN_ALL),
    ("readyReplicas", "replicas", MORE_THAN_ALL),
    ("availableReplicas", "replicas", MORE_THAN_ALL),
    ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
];

fn validate_status(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("status");
    let mut errors = super::counts(&new["status"], &COUNTS, &path);
    errors.extend(super::parts(&new["status"], &PARTS, &path));
    errors.extend(super::collisions(new, old, &path));
    errors
}
