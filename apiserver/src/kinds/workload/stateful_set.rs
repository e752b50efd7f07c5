//! StatefulSets: pods with names and volumes of their own (Kubernetes concept: "StatefulSets").

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::{Map, Value, json};

use super::template::{self, container_cells};
use super::{CONTAINERS, IMAGES, MORE_THAN_ALL, column, number};
use crate::kinds::defaults::{each, set, spec, within, within_made};
use crate::kinds::go_form::{self, Form, NUMBER, POINTER, TEXT};
use crate::kinds::volume::claim;
use crate::kinds::{Hooks, validate};
use crate::rest::table::{AGE, NAME, age};

const HOOKS: Hooks = Hooks {
    name: names::dns_label,
    pod: Some("spec.template"),
    default,
    prepare_create: |object| {
        super::reset_status(object);
        drop_max_unavailable(object, None);
    },
    prepare_update: |new, old| drop_max_unavailable(new, Some(old)),
    validate_against: judge,
    validate_update,
    validate_status,
    warnings,
    has_generation: true,
    columns: &[NAME, column("Ready", "string", 0, "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES],
    cells,
    ..Hooks::PLAIN
};

pub static STATEFUL_SET: Hooks = HOOKS;

/// Of servers with the feature MaxUnavailableStatefulSet.
pub static STATEFUL_SET_BY_SEVERAL: Hooks = Hooks {
    default: |object| {
        default(object);
        if let Some(rolling) =
            within(spec(object), "updateStrategy").and_then(|strategy| within(strategy, "rollingUpdate"))
        {
            set(rolling, "maxUnavailable", 1);
        }
    },
    prepare_create: super::reset_status,
    prepare_update: |_, _| {},
    ..HOOKS
};

fn warnings(object: &Value) -> Vec<String> {
    let path = validate::path(&["spec", "template"]);
    let mut warnings = template::warnings(&object["spec"]["template"], &path);
    let at = validate::path(&["spec", "volumeClaimTemplates"]);
    for (position, template) in meta::list(object, "spec.volumeClaimTemplates").iter().enumerate() {
        warnings.extend(claim::spec_warnings(&template["spec"], &at.index(position)));
    }
    if number(object, "spec.revisionHistoryLimit") < 0 {
        let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
        warnings.push(format!("spec.revisionHistoryLimit: {why}"));
    }
    warnings
}

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let [containers, images] = container_cells(meta::at(object, "spec.template.spec"));
    vec![
        meta::name(object).into(),
        format!("{}/{}", number(object, "status.readyReplicas"), number(object, "spec.replicas")).into(),
        age(object, now).into(),
        containers,
        images,
    ]
}

fn default(object: &mut Value) {
    let fields = spec(object);
    template::default(fields);
    set(fields, "podManagementPolicy", "OrderedReady");
    set(fields, "replicas", 1);
    set(fields, "revisionHistoryLimit", 10);
    let retention = fields.entry("persistentVolumeClaimRetentionPolicy").or_insert_with(|| json!({}));
    if let Some(retention) = retention.as_object_mut() {
        set(retention, "whenDeleted", "Retain");
        set(retention, "whenScaled", "Retain");
    }
    update_strategy(fields);
    for template in each(fields, "volumeClaimTemplates") {
        template.insert("apiVersion".into(), "v1".into());
        template.insert("kind".into(), "PersistentVolumeClaim".into());
        if let Some(spec) = within_made(template, "spec") {
            claim::default_spec(spec);
        }
        if let Some(status) = within_made(template, "status") {
            claim::default_status(status);
        }
    }
}

/// A rolling update that is asked for by name alone stays without its details.
fn update_strategy(fields: &mut Map<String, Value>) {
    let strategy = fields.entry("updateStrategy").or_insert_with(|| json!({}));
    let Some(strategy) = strategy.as_object_mut() else { return };
    if strategy.get("type").and_then(Value::as_str).unwrap_or_default().is_empty() {
        strategy.insert("type".into(), "RollingUpdate".into());
        let rolling = strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
        if rolling.is_null() {
            *rolling = json!({});
        }
    }
    if strategy["type"] == "RollingUpdate"
        && let Some(rolling) = within(strategy, "rollingUpdate")
    {
        set(rolling, "partition", 0);
    }
}

/// Updates of several pods at a time are a feature that upstream has off; who has it keeps it.
fn drop_max_unavailable(new: &mut Value, old: Option<&Value>) {
    let path = "spec.updateStrategy.rollingUpdate.maxUnavailable";
    if old.is_some_and(|old| !meta::at(old, path).is_null()) {
        return;
    }
    if let Some(rolling) = within(spec(new), "updateStrategy").and_then(|strategy| within(strategy, "rollingUpdate")) {
        rolling.remove("maxUnavailable");
    }
}

/// An update of a set whose template was broken before does not mind that it still is; what can never change is not
/// looked at again.
fn judge(object: &Value, old: Option<&Value>) -> ErrorList {
    let path = Path::new("spec");
    let was_broken = old.is_some_and(|old| !judge_spec(&old["spec"], true, true, &path).is_empty());
    judge_spec(&object["spec"], !was_broken, old.is_some(), &path)
}

fn judge_spec(spec: &Value, with_template: bool, is_update: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (policy, at) = (meta::text(spec, "podManagementPolicy"), path.child("podManagementPolicy"));
    if !matches!(policy, "OrderedReady" | "Parallel") {
        errors.push(Error::invalid(&at, policy, "must be 'OrderedReady' or 'Parallel'"));
    }
    errors.extend(strategy(&spec["updateStrategy"], &path.child("updateStrategy")));
    let at = path.child("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        let policy = meta::text(&spec["persistentVolumeClaimRetentionPolicy"], field);
        if !matches!(policy, "Retain" | "Delete") {
            errors.push(Error::not_supported(&at.child(field), policy, &["Retain", "Delete"]));
        }
    }
    if !is_update {
        let at = path.child("volumeClaimTemplates");
        for (position, claim) in meta::list(spec, "volumeClaimTemplates").iter().enumerate() {
            errors.extend(claim::validate_spec(&claim["spec"], &at.index(position).child("spec")));
        }
    }
    for field in ["replicas", "minReadySeconds"] {
        errors.extend(validate::not_negative(&spec[field], &path.child(field)));
    }
    errors.extend(validate::not_negative(&spec["ordinals"]["start"], &path.child("ordinals").child("start")));
    let service = meta::text(spec, "serviceName");
    if !is_update && !service.is_empty() {
        errors.extend(validate::named(service, names::dns_label, &path.child("serviceName")));
    }
    let (selector, wrong) = super::selector(spec, "statefulset", "", &path.child("selector"));
    errors.extend(wrong);
    let at = path.child("template");
    let template = &spec["template"];
    if let Some(selector) = selector {
        if !selector.is_everything() {
            errors.extend(template::selected(&selector, template, &at));
        }
        if with_template {
            errors.extend(template::validate(&as_made(spec), &at));
        }
        errors.extend(template::metadata(template, &at));
    }
    errors.extend(template::kept_running(template, "StatefulSet", &at));
    errors
}

/// The template as the controller completes it: names of the pod and of its volumes come from the set.
fn as_made(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) else { return template };
    pod.remove("subdomain");
    pod.remove("hostname");
    // One of each name: that two are alike is not told here.
    let names: BTreeSet<&str> = meta::list(spec, "volumeClaimTemplates").iter().map(meta::name).collect();
    let mut volumes: Vec<Value> =
        names.into_iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})).collect();
    if !volumes.is_empty() {
        let own = pod.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
        let kept = own.into_iter().filter(|own| !volumes.iter().any(|claimed| claimed["name"] == own["name"]));
        let kept: Vec<Value> = kept.collect();
        volumes.extend(kept);
        pod.insert("volumes".into(), volumes.into());
    }
    template
}

fn strategy(strategy: &Value, path: &Path) -> ErrorList {
    let (rolling, at) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    match meta::text(strategy, "type") {
        "OnDelete" if !rolling.is_null() => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            vec![Error::invalid(&at, rolling.clone(), why).showing(go_form::write(rolling, &ROLLING_UPDATE))]
        }
        "OnDelete" => ErrorList::new(),
        "RollingUpdate" => {
            let mut errors: ErrorList =
                validate::not_negative(&rolling["partition"], &at.child("partition")).into_iter().collect();
            let (unavailable, at) = (&rolling["maxUnavailable"], at.child("maxUnavailable"));
            if !unavailable.is_null() {
                errors.extend(super::positive_or_percent(unavailable, &at));
                if super::is_zero(unavailable) {
                    errors.push(Error::invalid(&at, unavailable.clone(), "cannot be 0"));
                }
                errors.extend(super::at_most_all(unavailable, &at));
            }
            errors
        }
        _ => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            vec![Error::invalid(path, strategy.clone(), why).showing(go_form::write(strategy, &STRATEGY))]
        }
    }
}

const ROLLING_UPDATE: Form = Form::Struct(&[("partition", NUMBER), ("maxUnavailable", POINTER)]);
const STRATEGY: Form = Form::Struct(&[("type", TEXT), ("rollingUpdate", ROLLING_UPDATE)]);

const CHANGEABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let frozen = |object: &Value| {
        let mut spec = meta::map(object, "spec").clone();
        spec.retain(|name, _| !CHANGEABLE.contains(&name.as_str()));
        spec
    };
    if frozen(new) == frozen(old) {
        return ErrorList::new();
    }
    let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    vec![Error::forbidden(&Path::new("spec"), why)]
}

const COUNTS: [&str; 7] = [
    "replicas",
    "readyReplicas",
    "currentReplicas",
    "updatedReplicas",
    "availableReplicas",
    "observedGeneration",
    "collisionCount",
];

const PARTS: [(&str, &str, &str); 5] = [
    ("readyReplicas", "replicas", MORE_THAN_ALL),
    ("currentReplicas", "replicas", MORE_THAN_ALL),
    ("updatedReplicas", "replicas", MORE_THAN_ALL),
    ("availableReplicas", "replicas", MORE_THAN_ALL),
    ("availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas"),
];

fn validate_status(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("status");
    let mut errors = super::counts(&new["status"], &COUNTS, &path);
    errors.extend(super::parts(&new["status"], &PARTS, &path));
    errors.extend(super::collisions(new, old, &path));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(change: impl Fn(&mut Value)) -> Value {
        let mut object = json!({"spec": {
            "selector": {"matchLabels": {"a": "b"}}, "serviceName": "s",
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        }});
        change(&mut object["spec"]);
        default(&mut object);
        object
    }

    #[test]
    fn few_fields_may_change() {
        let old = set(|_| {});
        for (field, value, allowed) in [
            ("replicas", json!(3), true),
            ("ordinals", json!({"start": 1}), true),
            ("minReadySeconds", json!(1), true),
            ("serviceName", json!("t"), false),
            ("podManagementPolicy", json!("Parallel"), false),
            ("volumeClaimTemplates", json!([{"metadata": {"name": "v"}}]), false),
            ("selector", json!({"matchLabels": {"a": "c"}}), false),
        ] {
            let new = set(|spec| spec[field] = value.clone());
            assert_eq!(validate_update(&new, &old).is_empty(), allowed, "{field}");
        }
    }

    #[test]
    fn what_was_broken_may_stay_so() {
        let broken = set(|spec| spec["template"]["spec"]["containers"] = json!([]));
        assert!(!judge(&broken, None).is_empty());
        assert!(!judge(&broken, Some(&set(|_| {}))).is_empty());
        assert!(judge(&broken, Some(&broken)).is_empty());
        let oddly_served = set(|spec| spec["serviceName"] = json!("A.b"));
        assert!(!judge(&oddly_served, None).is_empty());
        assert!(judge(&oddly_served, Some(&oddly_served)).is_empty());
    }

    #[test]
    fn claimed_volumes_may_be_mounted() {
        let object = set(|spec| {
            let asked = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
            spec["volumeClaimTemplates"] = json!([{"metadata": {"name": "v"}, "spec": asked}]);
            spec["template"]["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        });
        assert!(judge(&object, None).is_empty(), "{:?}", judge(&object, None));
    }

    #[test]
    fn a_strategy_by_name_alone_has_no_details() {
        let strategy =
            |given: Value| set(|spec| spec["updateStrategy"] = given.clone())["spec"]["updateStrategy"].clone();
        assert_eq!(strategy(json!({})), json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
        assert_eq!(strategy(json!({"type": "RollingUpdate"})), json!({"type": "RollingUpdate"}));
    }
}
