//! Autoscalers as rows.

use machinery::meta;
use serde_json::Value;

use crate::kinds::Column;
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 0, description }
}

pub const COLUMNS: &[Column] = &[
    NAME,
    column("Reference", "What is scaled."),
    column("Targets", "Each metric: as it is, and as it should be."),
    column("MinPods", "Fewest pods."),
    column("MaxPods", "Most pods."),
    column("Replicas", "Number of pods as last seen."),
    AGE,
];

pub fn cells(object: &Value, now: i64) -> Vec<Value> {
    let target = &object["spec"]["scaleTargetRef"];
    let min = meta::at(object, "spec.minReplicas").as_i64().map_or("<unset>".to_owned(), |min| min.to_string());
    vec![
        meta::name(object).into(),
        format!("{}/{}", meta::text(target, "kind"), meta::text(target, "name")).into(),
        metrics(object).into(),
        min.into(),
        meta::at(object, "spec.maxReplicas").as_i64().unwrap_or(0).into(),
        meta::at(object, "status.currentReplicas").as_i64().unwrap_or(0).into(),
        age(object, now).into(),
    ]
}

/// Metrics shown before the rest is counted only.
const SHOWN_MAX: usize = 2;
const UNKNOWN: &str = "<unknown>";
const NIL: &str = "<nil>";

fn metrics(object: &Value) -> String {
    let (metrics, readings) = (meta::list(object, "spec.metrics"), meta::list(object, "status.currentMetrics"));
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .take(SHOWN_MAX)
        .map(|(position, metric)| one(metric, readings.get(position).unwrap_or(&Value::Null)))
        .collect();
    let shown = shown.join(", ");
    match metrics.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn one(metric: &Value, reading: &Value) -> String {
    let source = match meta::text(metric, "type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (metric, reading) = (&metric[source], &reading[source]);
    let wanted = |name: &str| text(&metric["target"][name]);
    let current = |name: &str| text(&reading["current"][name]);
    let known = |name: &str| current(name).unwrap_or_else(|| UNKNOWN.to_owned());
    // A reading that lacks its quantity is shown as Go shows a pointer to none.
    let read = |name: &str| {
        if reading.is_null() { UNKNOWN.to_owned() } else { current(name).unwrap_or_else(|| NIL.to_owned()) }
    };
    match source {
        "external" | "object" => match wanted("averageValue") {
            Some(average) => format!("{}/{average} (avg)", known("averageValue")),
            None => format!("{}/{}", read("value"), wanted("value").unwrap_or_default()),
        },
        "pods" => format!("{}/{}", read("averageValue"), wanted("averageValue").unwrap_or_default()),
        _ => {
            let name = meta::text(metric, "name");
            match wanted("averageValue") {
                Some(average) => format!("{name}: {}/{average}", read("averageValue")),
                None => {
                    let percent = |text: Option<String>, none: &str| {
                        text.map_or_else(|| none.to_owned(), |percent| format!("{percent}%"))
                    };
                    let now = percent(text(&reading["current"]["averageUtilization"]), UNKNOWN);
                    format!("{name}: {now}/{}", percent(wanted("averageUtilization"), "<auto>"))
                }
            }
        }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metrics_are_shown_as_they_are_and_should_be() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "2"}}});
        let external = json!({"type": "External", "external": {"target": {"averageValue": "5"}}});
        let total = json!({"type": "Object", "object": {"target": {"value": "7"}}});
        let memory = json!({"type": "ContainerResource", "containerResource":
            {"name": "memory", "target": {"averageValue": "10Mi"}}});
        let reading = json!({"type": "Resource", "resource": {"current": {"averageUtilization": 3}}});
        for (specs, readings, want) in [
            (json!([]), json!([]), "<none>"),
            (json!([cpu]), json!([]), "cpu: <unknown>/80%"),
            (json!([cpu, external]), json!([reading]), "cpu: 3%/80%, <unknown>/5 (avg)"),
            (json!([pods]), json!([{"pods": {"current": {}}}]), "<nil>/2"),
            (json!([external]), json!([{"external": {"current": {}}}]), "<unknown>/5 (avg)"),
            (json!([total]), json!([{"object": {"current": {}}}]), "<nil>/7"),
            (json!([total]), json!([{"resource": {"current": {}}}]), "<unknown>/7"),
            (json!([memory]), json!([{"containerResource": {"current": {}}}]), "memory: <nil>/10Mi"),
            (json!([cpu]), json!([{"resource": {"current": {}}}]), "cpu: <unknown>/80%"),
            (json!([cpu, pods, external]), json!([reading]), "cpu: 3%/80%, <unknown>/2 + 1 more..."),
        ] {
            let object = json!({"spec": {"metrics": specs}, "status": {"currentMetrics": readings}});
            assert_eq!(metrics(&object), want);
        }
    }
}
