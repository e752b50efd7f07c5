//! Deployments and ReplicaSets: a number of pods of one template (Kubernetes concept: "Workload Management").

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::intstr::IntOrString;
use machinery::meta;
use machinery::selector::Selector;
use serde_json::{Value, json};

use super::defaults::{set, spec, within};
use super::{Column, Hooks, pod, validate};
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
    validate: validate_deployment,
    validate_update: immutable_selector,
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
    validate: validate_replica_set,
    validate_update: immutable_selector,
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
    let selector = Selector::from_label_selector(object["spec"].get("selector"));
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

fn immutable_selector(new: &Value, old: &Value) -> ErrorList {
    let path = validate::path(&["spec", "selector"]);
    validate::immutable(&new["spec"]["selector"], &old["spec"]["selector"], &path).into_iter().collect()
}

fn validate_deployment(object: &Value) -> ErrorList {
    let path = Path::new("spec");
    let spec = &object["spec"];
    let mut errors: ErrorList =
        validate::not_negative(&spec["replicas"], &path.child("replicas")).into_iter().collect();
    let (selector, wrong) = self::selector(spec, "deployment", "invalid label selector", &path.child("selector"));
    errors.extend(wrong);
    errors.extend(template(spec, selector, &path.child("template")));
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

fn validate_replica_set(object: &Value) -> ErrorList {
    let path = Path::new("spec");
    let spec = &object["spec"];
    let mut errors: ErrorList =
        validate::not_negative(&spec["replicas"], &path.child("replicas")).into_iter().collect();
    errors.extend(validate::not_negative(&spec["minReadySeconds"], &path.child("minReadySeconds")));
    let (selector, wrong) = self::selector(spec, "deployment", "invalid label selector", &path.child("selector"));
    errors.extend(wrong);
    errors.extend(template(spec, selector, &path.child("template")));
    errors
}

/// The selector, where it is one, and what is wrong with it. `owner` is the word upstream uses for an empty one.
fn selector(spec: &Value, owner: &str, words: &str, path: &Path) -> (Option<Selector>, ErrorList) {
    let selector = &spec["selector"];
    if selector.is_null() {
        return (Some(Selector::nothing()), vec![Error::required(path, "")]);
    }
    let mut errors = validate::label_selector(selector, path);
    let is_empty = meta::map(selector, "matchLabels").is_empty() && meta::list(selector, "matchExpressions").is_empty();
    if is_empty {
        let why = format!("empty selector is invalid for {owner}");
        errors.push(Error::invalid(path, selector.clone(), why));
    }
    match Selector::from_label_selector(Some(selector)) {
        Ok(parsed) => (Some(parsed), errors),
        Err(_) => {
            errors.push(Error::invalid(path, selector.clone(), words));
            (None, errors)
        }
    }
}

/// The template must be a good pod that the selector finds, and that is always restarted. Without a selector that can be
/// read, upstream does not look at it.
fn template(spec: &Value, selector: Option<Selector>, path: &Path) -> ErrorList {
    let Some(selector) = selector else { return ErrorList::new() };
    let template = &spec["template"];
    let metadata = path.child("metadata");
    let labels = meta::at(template, "metadata.labels");
    let mut errors = ErrorList::new();
    if !selector.is_everything() && !selector.matches_value(Some(labels)) {
        let why = "`selector` does not match template `labels`";
        errors.push(Error::invalid(&metadata.child("labels"), labels.clone(), why));
    }
    // Upstream names these from the template on, without its "metadata".
    errors.extend(validate::validate_labels(labels, &path.child("labels")));
    let annotations = meta::at(template, "metadata.annotations");
    errors.extend(crate::rest::system::validate_annotations(annotations, &path.child("annotations")));
    errors.extend(pod::validate::spec(&template["spec"], &path.child("spec")));
    let policy = meta::text(template, "spec.restartPolicy");
    if policy != "Always" {
        let at = path.child("spec").child("restartPolicy");
        errors.push(Error::not_supported(&at, policy, &["Always"]));
    }
    if !meta::at(template, "spec.activeDeadlineSeconds").is_null() {
        let at = path.child("spec").child("activeDeadlineSeconds");
        errors.push(Error::forbidden(&at, "activeDeadlineSeconds in ReplicaSet is not Supported"));
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
        // Upstream shows the whole strategy, in its own field names.
        other => {
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", quote(other));
            let error = Error::not_supported(path, strategy.clone(), &["Recreate", "RollingUpdate"]);
            errors.push(error.showing(shown));
        }
    }
    errors
}

fn rolling_update(rolling: &Value, path: &Path) -> ErrorList {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let at = path.child("maxUnavailable");
    let mut errors = positive_or_percent(unavailable, &at);
    errors.extend(positive_or_percent(surge, &path.child("maxSurge")));
    if is_zero(unavailable) && is_zero(surge) {
        errors.push(Error::invalid(&at, unavailable.clone(), "may not be 0 when `maxSurge` is 0"));
    }
    if percent(unavailable).is_some_and(|percent| percent > 100) {
        errors.push(Error::invalid(&at, unavailable.clone(), "must not be greater than 100%"));
    }
    errors
}

fn positive_or_percent(value: &Value, path: &Path) -> ErrorList {
    match value {
        Value::String(text) => validate::named(text, machinery::names::percent, path),
        number => validate::not_negative(number, path).into_iter().collect(),
    }
}

fn percent(value: &Value) -> Option<i64> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

fn is_zero(value: &Value) -> bool {
    match IntOrString::from_value(value) {
        Some(IntOrString::Int(number)) => number == 0,
        // What is no percentage counts as none.
        _ => percent(value).unwrap_or(0) == 0,
    }
}
