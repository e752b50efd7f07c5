//! Deployments and ReplicaSets: a number of pods of one template (Kubernetes concept: "Workload Management").

use machinery::meta;
use serde_json::{Value, json};

use super::defaults::{set, spec, within};
use super::{Column, Hooks, pod};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, kind: &'static str, priority: i32, description: &'static str) -> Column {
    Column { name, kind, priority, description }
}

const CONTAINERS: Column = column("Containers", "string", 1, "Names of each container in the template.");
const IMAGES: Column = column("Images", "string", 1, "Images referenced by each container in the template.");
const SELECTOR: Column = column("Selector", "string", 1, "Label selector for pods.");

pub static DEPLOYMENT: Hooks = Hooks {
    default: default_deployment,
    prepare_create: reset_status,
    has_generation: true,
    columns: &[
        NAME,
        column("Ready", "string", 0, "Number of the pod with ready state"),
        column("Up-to-date", "integer", 0, "Number of pods of the newest template."),
        column("Available", "integer", 0, "Number of pods that have been ready for long enough."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: deployment_cells,
    ..Hooks::PLAIN
};

pub static REPLICA_SET: Hooks = Hooks {
    default: default_replica_set,
    prepare_create: reset_status,
    has_generation: true,
    fields: &[("status.replicas", "status.replicas")],
    columns: &[
        NAME,
        column("Desired", "integer", 0, "Number of desired pods."),
        column("Current", "integer", 0, "Number of pods that there are."),
        column("Ready", "integer", 0, "Number of pods that are ready."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: replica_set_cells,
    ..Hooks::PLAIN
};

fn reset_status(object: &mut Value) {
    object["status"] = json!({});
}

/// The pod spec of the template, filled in as a pod's.
fn default_template(object: &mut Value) {
    if let Some(template) = within(spec(object), "template") {
        let template_spec = template.entry("spec").or_insert_with(|| json!({}));
        if let Some(fields) = template_spec.as_object_mut() {
            pod::defaults::spec(fields);
        }
    }
}

fn default_deployment(object: &mut Value) {
    default_template(object);
    let fields = spec(object);
    set(fields, "replicas", 1);
    set(fields, "revisionHistoryLimit", 10);
    set(fields, "progressDeadlineSeconds", 600);
    let strategy = fields.entry("strategy").or_insert_with(|| json!({}));
    let Some(strategy) = strategy.as_object_mut() else { return };
    set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
        if let Some(rolling) = rolling.as_object_mut() {
            set(rolling, "maxUnavailable", "25%");
            set(rolling, "maxSurge", "25%");
        }
    }
}

fn default_replica_set(object: &mut Value) {
    default_template(object);
    set(spec(object), "replicas", 1);
}

fn number(object: &Value, path: &str) -> i64 {
    meta::at(object, path).as_i64().unwrap_or(0)
}

fn template_cells(object: &Value) -> [Value; 3] {
    let containers = meta::list(object, "spec.template.spec.containers");
    let joined = |field: &str| {
        let texts: Vec<&str> = containers.iter().filter_map(|container| container[field].as_str()).collect();
        Value::from(texts.join(","))
    };
    let selector = machinery::selector::Selector::from_label_selector(object["spec"].get("selector"));
    let selector = selector.map(|selector| selector.to_string()).unwrap_or_default();
    [joined("name"), joined("image"), selector.into()]
}

fn deployment_cells(object: &Value, now: i64) -> Vec<Value> {
    let [containers, images, selector] = template_cells(object);
    vec![
        meta::name(object).into(),
        format!("{}/{}", number(object, "status.readyReplicas"), number(object, "spec.replicas")).into(),
        number(object, "status.updatedReplicas").into(),
        number(object, "status.availableReplicas").into(),
        age(object, now).into(),
        containers,
        images,
        selector,
    ]
}

fn replica_set_cells(object: &Value, now: i64) -> Vec<Value> {
    let [containers, images, selector] = template_cells(object);
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
