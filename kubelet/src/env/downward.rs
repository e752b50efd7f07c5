//! The downward API: fields of the pod and resources of its containers as text. Pure; for variables and for volumes.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceFieldSelector},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use machinery::quantity::Quantity;

use crate::pod::{
    configs::{NodeFacts, resources::amount},
    spec,
};

/// The value of a `fieldRef`. `pod_ips` are those of the sandbox, which the object may not have yet.
///
/// # Errors
/// Paths that are no field.
pub fn field(path: &str, pod: &Pod, pod_ips: &[String], facts: &NodeFacts) -> Result<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.annotations" => &pod.metadata.annotations,
            "metadata.labels" => &pod.metadata.labels,
            _ => return Err(format!("invalid fieldPath {path:?}: field {map:?} does not support subscripting")),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&pod.metadata.name),
        "metadata.namespace" => text(&pod.metadata.namespace),
        "metadata.uid" => text(&pod.metadata.uid),
        "metadata.labels" => format_map(&pod.metadata.labels),
        "metadata.annotations" => format_map(&pod.metadata.annotations),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => text(&spec::spec(pod).service_account_name),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `metadata.labels['key']` → (`metadata.labels`, `key`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// Lines of `key="value"`, the value quoted as Go quotes it.
fn format_map(map: &Option<BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a `resourceFieldRef`: rounded up to whole divisors. A limit that is not set is the pod's, or else the
/// node's allocatable.
///
/// # Errors
/// Containers or resources that are not there.
pub fn resource(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    default_container: &str,
    facts: &NodeFacts,
) -> Result<String, String> {
    let name = selector.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(default_container);
    let Some((_, container)) = spec::find_container(pod, name) else {
        return Err(format!("container {name} not found"));
    };
    let value = quantity_of(&selector.resource, pod, &container, facts)?;
    let divisor = selector.divisor.as_ref().and_then(spec::quantity).filter(|it| !it.is_zero());
    let milli = selector.resource.ends_with(".cpu");
    let (value, divisor) = match (value, divisor) {
        (value, None) if milli => (value.milli_value(), 1000),
        (value, None) => (value.value(), 1),
        (value, Some(divisor)) if milli => (value.milli_value(), divisor.milli_value().max(1)),
        (value, Some(divisor)) => (value.value(), divisor.value().max(1)),
    };
    Ok((value / divisor + i64::from(value % divisor > 0)).to_string())
}

fn quantity_of(resource: &str, pod: &Pod, container: &Container, facts: &NodeFacts) -> Result<Quantity, String> {
    let own = container.resources.clone().unwrap_or_default();
    let zero = || Quantity::new(0, machinery::quantity::Format::DecimalSi);
    let find = |amounts: &Option<BTreeMap<String, ApiQuantity>>, name: &str| amount(amounts, name);
    match resource.split_once('.') {
        Some(("limits", name)) => Ok(find(&own.limits, name)
            .filter(|it| !it.is_zero())
            .or_else(|| limit_around(name, pod, facts))
            .unwrap_or_else(zero)),
        Some(("requests", name)) => Ok(find(&own.requests, name).unwrap_or_else(zero)),
        _ => Err(format!("unsupported container resource : {resource}")),
    }
}

/// What holds a container without a limit of its own.
fn limit_around(name: &str, pod: &Pod, facts: &NodeFacts) -> Option<Quantity> {
    let of_node = facts.allocatable.get(name)?;
    let of_pod = spec::spec(pod).resources.as_ref().filter(|_| matches!(name, "cpu" | "memory"));
    let of_pod = of_pod.and_then(|it| amount(&it.limits, name)).filter(|it| !it.is_zero());
    Some(of_pod.unwrap_or_else(|| of_node.clone()))
}
