//! Hints for proxies that should stay near: `trafficDistribution` of a Service.
//!
//! Pure. Concepts: "Service", "Traffic distribution". Routing by annotation is in `topology`, and wins.

use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForNode, ForZone};

use super::plan::Plan;

/// Sets the hints of all slices that are written, and writes those whose hints alone are wrong.
pub(super) fn apply(spec: &ServiceSpec, existing: &[&EndpointSlice], changes: &mut Plan) {
    let distribution = spec.traffic_distribution.as_deref();
    let touched: Vec<_> =
        changes.update.iter().chain(&changes.delete).filter_map(|s| s.metadata.name.clone()).collect();
    let untouched = existing.iter().filter(|s| s.metadata.name.as_ref().is_none_or(|n| !touched.contains(n)));
    let wrong = |e: &Endpoint| (is_ready(e) || distribution.is_none()) && hints(e, distribution) != e.hints;
    let stale = untouched.filter(|s| s.endpoints.iter().flatten().any(wrong));
    changes.update.extend(stale.map(|s| (*s).clone()));
    for slice in changes.create.iter_mut().chain(&mut changes.update) {
        for endpoint in slice.endpoints.iter_mut().flatten() {
            endpoint.hints = hints(endpoint, distribution);
        }
    }
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(true)
}

fn hints(endpoint: &Endpoint, distribution: Option<&str>) -> Option<EndpointHints> {
    let (near, same_node) = match distribution {
        Some("PreferClose" | "PreferSameZone") => (true, false),
        Some("PreferSameNode") => (true, true),
        _ => (false, false),
    };
    if !near || !is_ready(endpoint) {
        return None;
    }
    let for_zones = endpoint.zone.clone().map(|name| vec![ForZone { name }]);
    let for_nodes = endpoint.node_name.clone().filter(|_| same_node).map(|name| vec![ForNode { name }]);
    (for_zones.is_some() || for_nodes.is_some()).then_some(EndpointHints { for_zones, for_nodes })
}
