//! What a Service loses when its type changes.
//!
//! Who changes a type sends back what was filled in for the old one. A field that no longer applies, and that is as it
//! was, falls away; one that was changed as well is for validation to refuse (Kubernetes concept: "Service", type).

use machinery::meta;
use serde_json::{Value, json};

/// Whether fields of a kind mean something to a Service.
type Applies = fn(&Value) -> bool;

pub(super) fn drop_what_the_old_type_had(new: &mut Value, old: &Value) {
    let ends = |applies: Applies| applies(old) && !applies(new);
    let is_same = |paths: &[&str]| paths.iter().all(|path| is_same(new, old, path));
    let mut gone: Vec<&str> = Vec::new();
    if ends(has_addresses) {
        let groups = [&["clusterIP", "clusterIPs"][..], &["ipFamilies"], &["ipFamilyPolicy"]];
        gone.extend(groups.into_iter().filter(|fields| is_same(fields)).flatten().copied());
    }
    let rules: [(Applies, &str); 4] = [
        (has_health_port, "healthCheckNodePort"),
        (is_balanced, "allocateLoadBalancerNodePorts"),
        (is_balanced, "loadBalancerClass"),
        (is_reachable_from_outside, "externalTrafficPolicy"),
    ];
    gone.extend(rules.iter().filter(|(applies, field)| ends(*applies) && is_same(&[field])).map(|(_, field)| *field));
    let without_ports = ends(has_node_ports) && adds_no_node_port(new, old);
    let is_not_balanced = !is_balanced(new);
    let spec = meta::object_mut(new, "spec");
    gone.into_iter().for_each(|field| drop(spec.remove(field)));
    if without_ports {
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
        ports.filter_map(Value::as_object_mut).for_each(|port| drop(port.remove("nodePort")));
    }
    if is_not_balanced {
        meta::object_mut(new, "status").insert("loadBalancer".into(), json!({}));
    }
}

fn kind(service: &Value) -> &str {
    meta::text(service, "spec.type")
}

pub(super) fn has_addresses(service: &Value) -> bool {
    kind(service) != "ExternalName"
}

fn has_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

pub(super) fn is_balanced(service: &Value) -> bool {
    kind(service) == "LoadBalancer"
}

pub(super) fn has_health_port(service: &Value) -> bool {
    is_balanced(service) && meta::text(service, "spec.externalTrafficPolicy") == "Local"
}

/// Whether `externalTrafficPolicy` says something about it.
pub(super) fn is_reachable_from_outside(service: &Value) -> bool {
    has_node_ports(service) || kind(service) == "ClusterIP" && !meta::list(service, "spec.externalIPs").is_empty()
}

fn is_same(new: &Value, old: &Value, field: &str) -> bool {
    fn of<'a>(service: &'a Value, field: &str) -> Option<&'a Value> {
        let empty = |value: &&Value| value.is_null() || *value == "" || *value == &json!([]) || *value == &json!(0);
        service["spec"].get(field).filter(|value| !empty(value))
    }
    of(new, field) == of(old, field)
}

/// Ports may come, go and change, as long as no node port is asked for that was not there.
fn adds_no_node_port(new: &Value, old: &Value) -> bool {
    let ports = |service| meta::list(service, "spec.ports").iter().filter_map(|port| port["nodePort"].as_u64());
    ports(new).filter(|port| *port != 0).all(|port| ports(old).any(|held| held == port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Value {
        json!({"spec": spec, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}})
    }

    fn check(old: Value, changes: Value, want: Value) {
        let (old, mut new) = (service(old.clone()), service(old));
        for (field, value) in changes.as_object().unwrap() {
            new["spec"][field] = value.clone();
        }
        drop_what_the_old_type_had(&mut new, &old);
        assert_eq!(new["spec"], want, "{changes}");
        let is_kept = want["type"] == "LoadBalancer";
        assert_eq!(new["status"]["loadBalancer"] == old["status"]["loadBalancer"], is_kept, "{changes}");
    }

    fn plain(kind: &str) -> Value {
        json!({"type": kind, "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80}]})
    }

    fn balanced() -> Value {
        let mut spec = plain("LoadBalancer");
        spec["ports"] = json!([{"port": 80, "nodePort": 30080}]);
        for (field, value) in [
            ("externalTrafficPolicy", json!("Local")),
            ("healthCheckNodePort", json!(30081)),
            ("allocateLoadBalancerNodePorts", json!(true)),
            ("loadBalancerClass", json!("example.com/x")),
        ] {
            spec[field] = value;
        }
        spec
    }

    #[test]
    fn names_elsewhere_have_no_addresses() {
        let name = json!({"type": "ExternalName", "externalName": "example.com"});
        let want = json!({"type": "ExternalName", "externalName": "example.com", "ports": [{"port": 80}]});
        check(plain("ClusterIP"), name, want);
        let changed = json!({"type": "ExternalName", "clusterIP": "10.0.0.2"});
        let want = json!({"type": "ExternalName", "clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80}]});
        check(plain("ClusterIP"), changed, want);
    }

    #[test]
    fn what_was_balanced_keeps_its_address() {
        check(balanced(), json!({"type": "ClusterIP"}), plain("ClusterIP"));
        check(balanced(), json!({}), balanced());
        let mut want = balanced();
        want["type"] = json!("NodePort");
        for field in ["healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            want.as_object_mut().unwrap().remove(field);
        }
        check(balanced(), json!({"type": "NodePort"}), want);
    }

    #[test]
    fn what_is_asked_for_anew_stays() {
        let ports = json!([{"port": 80, "nodePort": 30090}]);
        let mut want = plain("ClusterIP");
        want["ports"] = ports.clone();
        check(balanced(), json!({"type": "ClusterIP", "ports": ports}), want);
        let mut want = plain("ClusterIP");
        want["externalIPs"] = json!(["192.0.2.7"]);
        want["externalTrafficPolicy"] = json!("Local");
        check(balanced(), json!({"type": "ClusterIP", "externalIPs": ["192.0.2.7"]}), want);
    }
}
