//! DaemonSets (Kubernetes concept: "DaemonSet").
//!
//! The number of the template lies in an annotation: upstream's own form has a field for it that no served version has
//! any more.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::selector::Selector;
use serde_json::{Value, json};

use super::template::{self, container_cells, labels_cell, selector_cell};
use super::{CONTAINERS, IMAGES, SELECTOR, column, number};
use crate::kinds::defaults::{set, set_absent, spec, within};
use crate::kinds::{Hooks, go_form, validate};
use crate::rest::table::{AGE, NAME, age};

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub static DAEMON_SET: Hooks = Hooks {
    pod: Some("spec.template"),
    default,
    prepare_create: |object| {
        super::reset_status(object);
        let given = template_generation(object);
        set_template_generation(object, given.max(1));
    },
    prepare_update: |new, old| {
        let changed = new["spec"]["template"] != old["spec"]["template"];
        set_template_generation(new, template_generation(old) + i64::from(changed));
    },
    prepare_status: |new, old| set_template_generation(new, template_generation(old)),
    validate: judge,
    validate_update: super::immutable_selector,
    validate_status,
    is_worth_warning: |new, old| new["spec"]["template"] != old["spec"]["template"],
    warnings: |set| template::warnings(&set["spec"]["template"], &validate::path(&["spec", "template"])),
    has_generation: true,
    columns: &[
        NAME,
        column("Desired", "integer", 0, "Number of nodes that should run the pod."),
        column("Current", "integer", 0, "Number of nodes that run the pod and should."),
        column("Ready", "integer", 0, "Number of nodes on which the pod is ready."),
        column("Up-to-date", "integer", 0, "Number of nodes that run the newest template."),
        column("Available", "integer", 0, "Number of nodes on which the pod has been ready for long enough."),
        column("Node Selector", "string", 0, "Labels of the nodes that run the pod."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells,
    field_annotations: &[TEMPLATE_GENERATION],
    ..Hooks::PLAIN
};

fn template_generation(object: &Value) -> i64 {
    meta::annotation(object, TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn set_template_generation(object: &mut Value, generation: i64) {
    let annotations = meta::metadata_mut(object).entry("annotations").or_insert_with(|| json!({}));
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[TEMPLATE_GENERATION] = generation.to_string().into();
}

fn default(object: &mut Value) {
    let given = template_generation(object);
    set_template_generation(object, given);
    let fields = spec(object);
    template::default(fields);
    set(fields, "revisionHistoryLimit", 10);
    let strategy = fields.entry("updateStrategy").or_insert_with(|| json!({}));
    let Some(strategy) = strategy.as_object_mut() else { return };
    set(strategy, "type", "RollingUpdate");
    let rolls = strategy["type"] == "RollingUpdate";
    if rolls {
        strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
    }
    // With another strategy nothing is filled in, but both are plain numbers to upstream, and shown as such.
    if let Some(rolling) = within(strategy, "rollingUpdate") {
        set_absent(rolling, "maxUnavailable", i64::from(rolls));
        set_absent(rolling, "maxSurge", 0);
    }
}

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let [containers, images] = container_cells(meta::at(object, "spec.template.spec"));
    vec![
        meta::name(object).into(),
        number(object, "status.desiredNumberScheduled").into(),
        number(object, "status.currentNumberScheduled").into(),
        number(object, "status.numberReady").into(),
        number(object, "status.updatedNumberScheduled").into(),
        number(object, "status.numberAvailable").into(),
        labels_cell(meta::at(object, "spec.template.spec.nodeSelector")),
        age(object, now).into(),
        containers,
        images,
        selector_cell(&object["spec"]["selector"]),
    ]
}

fn judge(object: &Value) -> ErrorList {
    let path = Path::new("spec");
    let spec = &object["spec"];
    let (selector, at) = (&spec["selector"], path.child("selector"));
    let mut errors = validate::label_selector(selector, &at);
    let (template, template_at) = (&spec["template"], path.child("template"));
    // No selector at all finds nothing.
    if let Ok(selector) = Selector::from_label_selector(spec.get("selector").filter(|selector| !selector.is_null())) {
        errors.extend(template::selected(&selector, template, &template_at));
    }
    if !selector.is_null() {
        errors.extend(super::empty_selector(selector, "daemonset", &at));
    }
    errors.extend(template::validate(template, &template_at));
    errors.extend(template::kept_running(template, "DaemonSet", &template_at));
    errors.extend(validate::not_negative(&spec["minReadySeconds"], &path.child("minReadySeconds")));
    errors.extend(strategy(&spec["updateStrategy"], &path.child("updateStrategy")));
    errors.extend(validate::not_negative(&spec["revisionHistoryLimit"], &path.child("revisionHistoryLimit")));
    errors
}

fn strategy(strategy: &Value, path: &Path) -> ErrorList {
    let at = path.child("rollingUpdate");
    match meta::text(strategy, "type") {
        "OnDelete" => ErrorList::new(),
        "RollingUpdate" if strategy["rollingUpdate"].is_null() => vec![Error::required(&at, "")],
        "RollingUpdate" => rolling_update(&strategy["rollingUpdate"], &at),
        _ => {
            let error = Error::not_supported(path, strategy.clone(), &["RollingUpdate", "OnDelete"]);
            vec![error.showing(go_form::write(strategy, &super::STRATEGY))]
        }
    }
}

fn rolling_update(rolling: &Value, path: &Path) -> ErrorList {
    let sides = ["maxUnavailable", "maxSurge"].map(|field| (&rolling[field], path.child(field)));
    let mut errors: ErrorList = sides.iter().flat_map(|(value, at)| super::positive_or_percent(value, at)).collect();
    errors.extend(sides.iter().filter_map(|(value, at)| super::at_most_all(value, at)));
    let [(unavailable, unavailable_at), (surge, surge_at)] = sides;
    match (!super::is_zero(unavailable), !super::is_zero(surge)) {
        (true, true) => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.push(Error::invalid(&surge_at, surge.clone(), why));
        }
        (false, false) => errors.push(Error::required(&unavailable_at, "cannot be 0 when maxSurge is 0")),
        _ => {}
    }
    errors
}

const COUNTS: [&str; 9] = [
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

fn validate_status(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("status");
    let mut errors = super::counts(&new["status"], &COUNTS, &path);
    errors.extend(super::collisions(new, old, &path));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_numbered() {
        let set =
            |image: &str| json!({"metadata": {}, "spec": {"template": {"spec": {"containers": [{"image": image}]}}}});
        let mut first = set("a");
        default(&mut first);
        (DAEMON_SET.prepare_create)(&mut first);
        assert_eq!(template_generation(&first), 1);
        for (image, want) in [("a", 1), ("b", 2)] {
            let mut next = set(image);
            default(&mut next);
            (DAEMON_SET.prepare_update)(&mut next, &first);
            assert_eq!(template_generation(&next), want, "{image}");
        }
    }

    #[test]
    fn either_surge_or_unavailability() {
        let path = Path::new("r");
        for (unavailable, surge, want) in [
            (json!(1), json!(0), None),
            (json!(0), json!("10%"), None),
            (json!(1), json!(1), Some("r.maxSurge")),
            (json!("0%"), json!(0), Some("r.maxUnavailable")),
            (json!("101%"), json!(0), Some("r.maxUnavailable")),
            (json!(""), json!(0), Some("r.maxUnavailable")),
            (json!(0), json!("x"), Some("r.maxSurge")),
        ] {
            let errors = rolling_update(&json!({"maxUnavailable": unavailable, "maxSurge": surge}), &path);
            assert_eq!(errors.first().map(|error| error.field.as_str()), want, "{unavailable} {surge}");
        }
        // A text that is a number is no percentage, but it is a number.
        for (surge, count) in [("1", 1), ("007", 1), ("0", 2), ("x", 2)] {
            let errors = rolling_update(&json!({"maxUnavailable": 0, "maxSurge": surge}), &path);
            assert_eq!(errors.len(), count, "{surge}");
        }
    }
}
