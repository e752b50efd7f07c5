//! Templates of pods, as every workload has one: filled in, judged, and shown in columns.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::selector::Selector;
use serde_json::{Map, Value, json};

use crate::kinds::defaults::within;
use crate::kinds::{pod, validate};
use crate::rest::system::validate_annotations;

/// The pod spec of the template in `fields`, filled in as a pod's.
pub fn default(fields: &mut Map<String, Value>) {
    if let Some(template) = within(fields, "template") {
        let spec = template.entry("spec").or_insert_with(|| json!({}));
        if let Some(spec) = spec.as_object_mut() {
            pod::defaults::spec(spec);
        }
    }
}

pub fn warnings(template: &Value, path: &Path) -> Vec<String> {
    pod::warnings::of(template, path)
}

/// What holds for a template wherever it stands (upstream's `ValidatePodTemplateSpec`).
pub fn validate(template: &Value, path: &Path) -> ErrorList {
    let mut errors = metadata(template, path);
    errors.extend(pod::validate::template(template, path));
    if !meta::list(template, "spec.ephemeralContainers").is_empty() {
        let at = path.child("spec").child("ephemeralContainers");
        errors.push(Error::forbidden(&at, "ephemeral containers not allowed in pod template"));
    }
    errors
}

/// Upstream names these from the template on, without its "metadata".
pub fn metadata(template: &Value, path: &Path) -> ErrorList {
    let mut errors = validate::validate_labels(meta::at(template, "metadata.labels"), &path.child("labels"));
    errors.extend(validate_annotations(meta::at(template, "metadata.annotations"), &path.child("annotations")));
    errors
}

/// The pods of the template must be found by the selector.
pub fn selected(selector: &Selector, template: &Value, path: &Path) -> Option<Error> {
    let labels = meta::at(template, "metadata.labels");
    let at = path.child("metadata").child("labels");
    let why = "`selector` does not match template `labels`";
    (!selector.matches_value(Some(labels))).then(|| Error::invalid(&at, labels.clone(), why))
}

/// Pods that are kept running are restarted always, and have no deadline. `owner` is the kind, for the message.
pub fn kept_running(template: &Value, owner: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = path.child("spec");
    let policy = meta::text(template, "spec.restartPolicy");
    if policy != "Always" {
        errors.push(Error::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if !meta::at(template, "spec.activeDeadlineSeconds").is_null() {
        let why = format!("activeDeadlineSeconds in {owner} is not Supported");
        errors.push(Error::forbidden(&path.child("activeDeadlineSeconds"), why));
    }
    errors
}

/// Names and images of the containers of a pod spec.
pub fn container_cells(spec: &Value) -> [Value; 2] {
    let containers = meta::list(spec, "containers");
    ["name", "image"].map(|field| {
        let texts: Vec<&str> = containers.iter().filter_map(|container| container[field].as_str()).collect();
        texts.join(",").into()
    })
}

/// A label selector as a query writes it; `<none>` for one that selects all, `<error>` for none that can be read.
pub fn selector_cell(selector: &Value) -> Value {
    if selector.is_null() {
        return "<none>".into();
    }
    match Selector::from_label_selector(Some(selector)) {
        Ok(selector) if selector.is_everything() => "<none>".into(),
        Ok(selector) => selector.to_string().into(),
        Err(_) => "<error>".into(),
    }
}

/// A map of labels, in the order of their keys; `<none>` when there are none.
pub fn labels_cell(labels: &Value) -> Value {
    let mut pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",").into() }
}
