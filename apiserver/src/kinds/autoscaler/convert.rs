//! v1 and v2 of an autoscaler, one made of the other.
//!
//! v1 knows CPU use alone: what else v2 says travels in annotations, in shapes that are upstream's own (metrics as
//! `autoscaling/v1` has them, behavior in Go's field names), and is taken out of them again.

use machinery::meta;
use machinery::schema::{self, Schema, Type};
use serde_json::{Map, Value, json};

use super::names::{Names, READINGS, SOURCES};
use super::{CPU_UTILIZATION_PERCENT, cpu_metric, cpu_utilization};
use crate::kinds::go_form::{self, Form, NUMBER, POINTER, TEXT};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ROUND_TRIP: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

pub fn to_v1(object: &mut Value) {
    let mut notes: Vec<(&str, String)> = Vec::new();
    let spec = meta::object_mut(object, "spec");
    let metrics = take_list(spec, "metrics");
    if let Some(percent) = metrics.iter().find_map(cpu_utilization) {
        spec.insert("targetCPUUtilizationPercentage".into(), json!(percent));
    }
    let others: Vec<Value> = metrics
        .iter()
        .filter(|metric| cpu_utilization(metric).is_none())
        .map(|metric| older(metric, &SOURCES))
        .collect();
    if !others.is_empty() {
        notes.push((METRICS, written(others, "MetricSpec")));
    }
    if let Some(behavior) = spec.remove("behavior").filter(Value::is_object) {
        notes.push((BEHAVIOR, go_form::write(&behavior, &BEHAVIOR_FORM)));
    }
    let status = meta::object_mut(object, "status");
    let (readings, conditions) = (take_list(status, "currentMetrics"), take_list(status, "conditions"));
    let is_cpu = |metric: &&Value| metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    // The last one counts: upstream goes through all of them.
    let mut percents =
        readings.iter().filter(is_cpu).map(|metric| meta::at(metric, "resource.current.averageUtilization"));
    if let Some(percent) = percents.rfind(|percent| percent.is_number()) {
        status.insert("currentCPUUtilizationPercentage".into(), percent.clone());
    }
    if !readings.is_empty() {
        let readings = readings.iter().map(|metric| older(metric, &READINGS)).collect();
        notes.push((CURRENT_METRICS, written(readings, "MetricStatus")));
    }
    if !conditions.is_empty() {
        notes.push((CONDITIONS, written(conditions, "HorizontalPodAutoscalerCondition")));
    }
    take_notes(object);
    if !notes.is_empty() {
        let metadata = meta::metadata_mut(object);
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        notes.into_iter().for_each(|(name, text)| annotations[name] = text.into());
    }
}

/// Whether the annotations of one in the older shape carry metrics.
pub fn has_metrics(object: &Value) -> bool {
    let text = meta::map(object, "metadata.annotations").get(METRICS).and_then(Value::as_str);
    let metrics = text.and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
    metrics.is_some_and(|metrics| !metrics.is_empty())
}

pub fn to_v2(object: &mut Value) {
    let notes = take_notes(object);
    let read = |name: &str| notes.get(name).and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
    let spec = meta::object_mut(object, "spec");
    let mut metrics: Vec<Value> = match read(METRICS) {
        Some(Value::Array(others)) => others.iter().map(|metric| newer(metric, &SOURCES)).collect(),
        _ => Vec::new(),
    };
    metrics.iter_mut().for_each(name_target);
    let own = spec.remove("targetCPUUtilizationPercentage").and_then(|percent| percent.as_i64());
    metrics.extend(own.map(cpu_metric));
    if metrics.is_empty() {
        metrics.push(cpu_metric(CPU_UTILIZATION_PERCENT));
    }
    spec.insert("metrics".into(), metrics.into());
    if let Some(behavior) = read(BEHAVIOR).map(|behavior| behavior_of_go(&behavior)).filter(|own| own != &json!({})) {
        spec.insert("behavior".into(), behavior);
    }
    let status = meta::object_mut(object, "status");
    let reading = status.remove("currentCPUUtilizationPercentage").filter(Value::is_number).map(
        |percent| json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}),
    );
    let readings: Vec<Value> = match read(CURRENT_METRICS) {
        Some(Value::Array(readings)) => readings.iter().map(|metric| newer(metric, &READINGS)).collect(),
        _ => reading.into_iter().collect(),
    };
    if !readings.is_empty() {
        status.insert("currentMetrics".into(), readings.into());
    }
    if let Some(Value::Array(conditions)) = read(CONDITIONS) {
        status.insert("conditions".into(), conditions.into());
    }
}

fn take_list(fields: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match fields.remove(name) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// Takes the annotations that carry what v1 has no field for.
fn take_notes(object: &mut Value) -> Map<String, Value> {
    let metadata = meta::metadata_mut(object);
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return Map::new() };
    let notes = ROUND_TRIP.iter().filter_map(|name| annotations.remove_entry(*name)).collect();
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    notes
}

/// A metric in v1's names.
fn older(metric: &Value, tables: &[(&str, Names)]) -> Value {
    let mut older = json!({"type": metric["type"]});
    for (source, names) in tables.iter().filter(|(source, _)| metric[*source].is_object()) {
        let present = names.iter().map(|(path, name)| (*name, meta::at(&metric[*source], path)));
        let fields: Map<String, Value> = present
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
        older[*source] = fields.into();
    }
    older
}

/// A metric in v2's names.
fn newer(metric: &Value, tables: &[(&str, Names)]) -> Value {
    let mut newer = json!({"type": metric["type"]});
    for (source, names) in tables.iter().filter(|(source, _)| metric[*source].is_object()) {
        let mut fields = json!({});
        for (path, name) in names.iter().filter(|(_, name)| !metric[*source][*name].is_null()) {
            let value = metric[*source][*name].clone();
            match path.split_once('.') {
                Some((outer, inner)) => fields[outer][inner] = value,
                None => fields[*path] = value,
            }
        }
        newer[*source] = fields;
    }
    newer
}

/// v2 says in words what kind of target a metric has; v1 leaves that to which value is there.
fn name_target(metric: &mut Value) {
    for (source, _) in SOURCES {
        let Some(fields) = metric.get_mut(source).and_then(Value::as_object_mut) else { continue };
        let target = fields.entry("target").or_insert_with(|| json!({}));
        let has = |name: &str| target.get(name).is_some_and(|value| !value.is_null());
        let word = match source {
            "object" if !has("averageValue") => "Value",
            "external" if has("value") => "Value",
            "resource" | "containerResource" if has("averageUtilization") => "Utilization",
            _ => "AverageValue",
        };
        // v1 always writes the value of an object metric.
        let unset = source == "object" && word == "AverageValue" && target["value"] == "0";
        target["type"] = word.into();
        if let Some(target) = target.as_object_mut().filter(|_| unset) {
            target.remove("value");
        }
    }
}

/// The JSON text of v1 messages, fields in the order of their declaration.
fn written(items: Vec<Value>, message: &str) -> String {
    let schema = schema::message(&format!("io.k8s.api.autoscaling.v1.{message}"));
    let texts: Vec<String> = items
        .into_iter()
        .map(|mut item| match schema {
            Some(schema) => {
                schema::normalize(schema, &mut item);
                in_order(schema, &item)
            }
            None => item.to_string(),
        })
        .collect();
    format!("[{}]", texts.join(","))
}

fn in_order(schema: &Schema, object: &Value) -> String {
    let fields = schema.fields.iter().filter_map(|field| {
        let value = object.get(field.name.as_ref())?;
        let text = match &field.ty {
            Type::Message(message) if value.is_object() => in_order(message, value),
            _ => value.to_string(),
        };
        Some(format!("{}:{text}", Value::from(field.name.as_ref())))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

const POLICY: Form = Form::Struct(&[("type", TEXT), ("value", NUMBER), ("periodSeconds", NUMBER)]);
const RULES: Form = Form::Struct(&[
    ("stabilizationWindowSeconds", POINTER),
    ("selectPolicy", POINTER),
    ("policies", Form::List(&POLICY)),
    ("tolerance", POINTER),
]);
const BEHAVIOR_FORM: Form = Form::Struct(&[("scaleUp", RULES), ("scaleDown", RULES)]);

/// All names in a behavior; none stands in two places.
const BEHAVIOR_NAMES: [&str; 9] = [
    "scaleUp",
    "scaleDown",
    "stabilizationWindowSeconds",
    "selectPolicy",
    "policies",
    "tolerance",
    "type",
    "value",
    "periodSeconds",
];

fn behavior_of_go(behavior: &Value) -> Value {
    match behavior {
        Value::Object(fields) => {
            let known = BEHAVIOR_NAMES.iter();
            let named = known.filter_map(|name| {
                // Go does not mind the case of a name that it reads.
                let (_, value) =
                    fields.iter().find(|(own, value)| own.eq_ignore_ascii_case(name) && !value.is_null())?;
                Some(((*name).to_owned(), behavior_of_go(value)))
            });
            Value::Object(named.collect())
        }
        Value::Array(items) => items.iter().map(behavior_of_go).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(spec: Value, status: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": spec, "status": status})
    }

    #[test]
    fn what_v1_cannot_say_comes_back() {
        let memory = json!({"type": "Resource", "resource": {
            "name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"},
        }});
        let object = json!({"type": "Object", "object": {
            "describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m"},
            "target": {"type": "AverageValue", "averageValue": "3"},
        }});
        let external = json!({"type": "External", "external": {
            "metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "Value", "value": "30"},
        }});
        let behavior = json!({
            "scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]},
            "scaleDown": {"stabilizationWindowSeconds": 5, "selectPolicy": "Min", "tolerance": "100m",
                "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
        });
        let reading = json!({"type": "Resource", "resource": {
            "name": "cpu", "current": {"averageUtilization": 7, "averageValue": "70m"},
        }});
        let condition = json!({"type": "AbleToScale", "status": "True"});
        for (spec, status) in [
            (json!({"metrics": [cpu_metric(50)]}), json!({})),
            (json!({"metrics": [memory, object, external, cpu_metric(50)], "behavior": behavior}), json!({})),
            (json!({"metrics": [memory]}), json!({"currentMetrics": [reading], "conditions": [condition]})),
        ] {
            let mut twice = v2(spec.clone(), status.clone());
            to_v1(&mut twice);
            assert!(twice["spec"].get("metrics").is_none() && twice["status"].get("conditions").is_none());
            to_v2(&mut twice);
            let conditions = twice.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
            for kept in conditions.into_iter().flatten() {
                kept.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            }
            assert_eq!(twice, v2(spec, status));
        }
    }

    #[test]
    fn notes_are_in_the_words_of_upstream() {
        let mut object = v2(
            json!({"metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "p"}, "target": {"type": "AverageValue", "averageValue": "2"},
            }}], "behavior": {"scaleDown": {"selectPolicy": "Max", "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]}}}),
            json!({}),
        );
        to_v1(&mut object);
        let note = |name: &str| meta::annotation(&object, name).unwrap().to_owned();
        assert_eq!(note(METRICS), r#"[{"type":"Pods","pods":{"metricName":"p","targetAverageValue":"2"}}]"#);
        assert_eq!(
            note(BEHAVIOR),
            r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max","Policies":[{"Type":"Percent","Value":100,"PeriodSeconds":15}],"Tolerance":null}}"#
        );
    }

    #[test]
    fn nothing_said_is_a_share_of_the_cpu() {
        let mut object = v2(json!({"maxReplicas": 3}), json!({}));
        to_v2(&mut object);
        assert_eq!(object["spec"]["metrics"], json!([cpu_metric(80)]));
    }
}
