//! HorizontalPodAutoscalers, stored as v2 and shown as v1 too (Kubernetes concept: "Horizontal Pod Autoscaling").
//!
//! Enter at [`V2`] and [`V1`]. The older version is a view: [`convert`] turns one into the other, and all rules here see
//! the newer.

mod columns;
mod convert;
mod names;
mod validate;

use machinery::meta;
use serde_json::{Map, Value, json};

use super::defaults::{set, set_absent, spec, within};
use super::{Conversion, Hooks, OtherVersion};

const HOOKS: Hooks = Hooks {
    default: |autoscaler| default(spec(autoscaler)),
    prepare_create: |autoscaler| autoscaler["status"] = json!({}),
    validate_against: validate::autoscaler,
    validate_status: validate::status,
    columns: columns::COLUMNS,
    cells: columns::cells,
    ..Hooks::PLAIN
};

pub static V2: Hooks = Hooks { prepare_create_as_sent: keep_no_policies, other_version: Some(&OLDER), ..HOOKS };

static OLDER: OtherVersion =
    OtherVersion { group: "autoscaling", version: "v1", to: convert::to_v1, from: convert::to_v2 };
static NEWER: OtherVersion =
    OtherVersion { group: "autoscaling", version: "v2", to: convert::to_v2, from: convert::to_v1 };

/// A list of policies that was sent empty is none that is left out: it is not filled in, and refused.
fn keep_no_policies(new: &mut Value, sent: &Value) {
    for direction in ["scaleUp", "scaleDown"] {
        let is_empty = sent["spec"]["behavior"][direction]["policies"].as_array().is_some_and(Vec::is_empty);
        let rules = new.pointer_mut(&format!("/spec/behavior/{direction}")).and_then(Value::as_object_mut);
        if let Some(rules) = rules.filter(|_| is_empty) {
            rules.remove("policies");
        }
    }
}

static CONVERSION: Conversion = Conversion { to_stored: convert::to_v2, from_stored: convert::to_v1 };

pub static V1: Hooks =
    Hooks { default: default_v1, conversion: Some(&CONVERSION), other_version: Some(&NEWER), ..HOOKS };

/// Of servers with the feature HPAScaleToZero.
pub static V2_TO_ZERO: Hooks = Hooks { validate_against: validate::autoscaler_to_zero, ..V2 };
pub static V1_TO_ZERO: Hooks = Hooks { validate_against: validate::autoscaler_to_zero, ..V1 };

fn default_v1(autoscaler: &mut Value) {
    let has_metrics = convert::has_metrics(autoscaler);
    let fields = spec(autoscaler);
    set(fields, "minReplicas", 1);
    // The newer shape's default, which whoever writes the older one owns as well.
    if !has_metrics {
        set(fields, "targetCPUUtilizationPercentage", CPU_UTILIZATION_PERCENT);
    }
}

/// The share of its CPU request that a pod is to use where nothing is said.
const CPU_UTILIZATION_PERCENT: i64 = 80;

fn cpu_metric(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent},
    }})
}

fn default(fields: &mut Map<String, Value>) {
    set(fields, "minReplicas", 1);
    if fields.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        fields.insert("metrics".into(), json!([cpu_metric(CPU_UTILIZATION_PERCENT)]));
    }
    if let Some(behavior) = within(fields, "behavior") {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        // How long to wait before scaling down is the controller's flag to say.
        rules(behavior, "scaleDown", None, json!([percent]));
        rules(behavior, "scaleUp", Some(0), json!([pods, percent]));
    }
}

fn rules(behavior: &mut Map<String, Value>, direction: &str, window_seconds: Option<i64>, policies: Value) {
    let rules = behavior.entry(direction).or_insert_with(|| json!({}));
    let Some(rules) = rules.as_object_mut() else { return };
    set_absent(rules, "selectPolicy", "Max");
    if let Some(seconds) = window_seconds {
        set(rules, "stabilizationWindowSeconds", seconds);
    }
    if rules.get("policies").is_none_or(Value::is_null) {
        rules.insert("policies".into(), policies);
    }
}

/// A metric of CPU use as a share of the request: what v1 can say.
fn cpu_utilization(metric: &Value) -> Option<i64> {
    let resource = &metric["resource"];
    let is_cpu = metric["type"] == "Resource" && resource["name"] == "cpu";
    meta::at(resource, "target.averageUtilization").as_i64().filter(|_| is_cpu)
}
