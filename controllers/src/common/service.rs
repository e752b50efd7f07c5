//! What Endpoints and EndpointSlices have in common: which pods stand behind a Service, on which ports.
//!
//! Pure. Concepts: "Service", "EndpointSlices".

use std::net::IpAddr;

use component::informer::{Event, Informer};
use component::key::Key;
use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::pod::Pod;
use super::{map, pods};

/// The label on endpoints of a Service without an address of its own.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// The spec of a Service whose endpoints the control plane looks after: it selects pods, and is no alias.
pub(crate) fn selecting(service: &Service) -> Option<&ServiceSpec> {
    let spec = service.spec.as_ref()?;
    (spec.selector.is_some() && spec.type_.as_deref() != Some("ExternalName")).then_some(spec)
}

pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = map(&pod.metadata.labels);
    let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref());
    selector.is_some_and(|s| s.iter().all(|(k, v)| labels.get(k) == Some(v)))
}

/// Whether the Service has an address of its own.
pub(crate) fn has_cluster_ip(spec: &ServiceSpec) -> bool {
    !matches!(spec.cluster_ip.as_deref(), None | Some("" | "None"))
}

pub(crate) fn publishes_not_ready(spec: &ServiceSpec) -> bool {
    spec.publish_not_ready_addresses.unwrap_or(false)
}

/// Whether the pod has addresses to stand for and has not ended.
pub(crate) fn belongs_in_endpoints(pod: &Pod, include_terminating: bool) -> bool {
    let has_ip = pod.status.as_ref().is_some_and(|s| {
        s.pod_ip.as_deref().is_some_and(|ip| !ip.is_empty()) || s.pod_ips.as_ref().is_some_and(|ips| !ips.is_empty())
    });
    !pods::is_terminal(pod) && has_ip && (include_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The pod's addresses in canonical form.
pub(crate) fn pod_ips(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let status = pod.status.as_ref();
    status.into_iter().flat_map(|s| s.pod_ips.iter().flatten()).filter_map(|p| p.ip.parse().ok())
}

/// The pod's host name, when it has one under this Service's name.
pub(crate) fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a String> {
    let spec = pod.spec.as_ref()?;
    let under = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    let same_namespace = pod.metadata.namespace == service.metadata.namespace;
    spec.hostname.as_ref().filter(|h| !h.is_empty() && under && same_namespace)
}

pub(crate) fn target_ref(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..Default::default()
    }
}

pub(crate) fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The number of the Service port's target on this pod. A name is looked for among the containers and the sidecars;
/// None when no port there has it with the same protocol.
pub(crate) fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match port.target_port.as_ref() {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let found =
        ports.find(|p| p.name.as_ref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol(port));
    found.map(|p| p.container_port)
}

/// The Services whose endpoints a pod's event may change.
pub(crate) fn concerned(services: &Informer<Service>, event: &Event<Pod>) -> Vec<Key> {
    let (old, pod) = (event.old(), event.object());
    let changed = old.is_none_or(|old| endpoints_change(old, pod));
    let relabelled = old.filter(|old| old.labels() != pod.labels() || host(old) != host(pod));
    if !changed && relabelled.is_none() {
        return Vec::new();
    }
    let all = services.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    let selected = all.iter().filter(|s| selects(s, pod) || relabelled.is_some_and(|old| selects(s, old)));
    selected.map(|s| Key::of(&**s)).collect()
}

fn host(pod: &Pod) -> Option<(&Option<String>, &Option<String>)> {
    pod.spec.as_ref().map(|s| (&s.hostname, &s.subdomain))
}

/// Most of what happens to a pod changes no endpoint.
fn endpoints_change(old: &Pod, new: &Pod) -> bool {
    let ips = |p: &Pod| pod_ips(p).collect::<Vec<_>>();
    old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || old.metadata.uid != new.metadata.uid
        || pods::is_ready(old) != pods::is_ready(new)
        || pods::is_terminal(old) != pods::is_terminal(new)
        || pods::node_name(old) != pods::node_name(new)
        || ips(old) != ips(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_found_by_number_and_name() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "a", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"name": "web", "containerPort": 8080}]}],
            "initContainers": [
                {"name": "once", "ports": [{"name": "once", "containerPort": 1}]},
                {"name": "sidecar", "restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 9100}]}],
        }}))
        .unwrap();
        let rows = [
            (json!({"port": 80}), Some(80)),
            (json!({"port": 80, "targetPort": 81}), Some(81)),
            (json!({"port": 80, "targetPort": "web"}), Some(8080)),
            (json!({"port": 80, "targetPort": "dns"}), None),
            (json!({"port": 53, "targetPort": "dns", "protocol": "UDP"}), Some(53)),
            (json!({"port": 80, "targetPort": "metrics"}), Some(9100)),
            (json!({"port": 80, "targetPort": "once"}), None),
        ];
        for (port, want) in rows {
            let port: ServicePort = serde_json::from_value(port).unwrap();
            assert_eq!(find_port(&pod, &port), want, "{port:?}");
        }
    }
}
