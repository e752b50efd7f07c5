//! Rules of a Service (upstream's `validateService`).

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use machinery::names;
use serde_json::{Value, json};

use super::addresses;
use crate::kinds::{ip, validate};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

/// Upstream's older way to say `loadBalancerSourceRanges`.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Texts of a list of the stored Service: they may stay, whatever would be asked of new ones.
fn held<'a>(old: Option<&'a Value>, list: &str) -> Vec<&'a str> {
    old.into_iter().flat_map(|old| meta::list(&old["spec"], list)).filter_map(Value::as_str).map(str::trim).collect()
}

pub fn service(service: &Value, old: Option<&Value>) -> ErrorList {
    let path = Path::new("spec");
    let spec = &service["spec"];
    let kind = meta::text(spec, "type");
    let mut errors = ErrorList::new();
    if meta::list(spec, "ports").is_empty() && !is_headless(spec) && kind != "ExternalName" {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    errors.extend(of_type(spec, kind, &path));
    errors.extend(ports(spec, kind, &path.child("ports")));
    errors.extend(validate::validate_labels(&spec["selector"], &path.child("selector")));
    errors.extend(affinity(spec, &path));
    if kind != "ExternalName" {
        errors.extend(addresses::validate(spec, &held(old, "clusterIPs"), &path));
    }
    let held_addresses = held(old, "externalIPs");
    for (position, address) in meta::list(spec, "externalIPs").iter().filter_map(Value::as_str).enumerate() {
        let at = path.child("externalIPs").index(position);
        match ip::legacy_address(address, &held_addresses, &at) {
            Some(error) => errors.push(error),
            None => errors.extend(validate::endpoint_address(address, &at)),
        }
    }
    if !TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &TYPES));
    }
    errors.extend(source_ranges(service, old, kind));
    errors.extend(balancer(spec, kind, &path));
    errors.extend(traffic(spec, kind, &path));
    errors
}

const MODES: [&str; 2] = ["Proxy", "VIP"];

/// What a load balancer has told of itself.
pub fn status(new: &Value, old: &Value) -> ErrorList {
    const ENTRIES: &str = "status.loadBalancer.ingress";
    let (path, entries) = (validate::path(&["status", "loadBalancer", "ingress"]), meta::list(new, ENTRIES));
    if meta::text(new, "spec.type") != "LoadBalancer" && !entries.is_empty() {
        return vec![Error::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'")];
    }
    let mut errors = crate::kinds::network::balancer_entries(new, old);
    for (position, entry) in entries.iter().enumerate() {
        let at = path.index(position).child("ipMode");
        errors.extend(match (meta::text(entry, "ip").is_empty(), entry["ipMode"].as_str()) {
            (false, None) => Some(Error::required(&at, "must be specified when `ip` is set")),
            (true, Some(_)) => Some(Error::forbidden(&at, "may not be specified when `ip` is not set")),
            (false, Some(mode)) if !MODES.contains(&mode) => Some(Error::not_supported(&at, mode, &MODES)),
            _ => None,
        });
    }
    errors
}

fn is_headless(spec: &Value) -> bool {
    matches!(meta::list(spec, "clusterIPs"), [only] if only == "None") || spec["clusterIP"] == "None"
}

fn of_type(spec: &Value, kind: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(Error::invalid(&path.child("clusterIPs").index(0), "None", why));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies"] {
                if !meta::list(spec, field).is_empty() {
                    errors.push(Error::forbidden(&path.child(field), "may not be set for ExternalName services"));
                }
            }
            if !spec["ipFamilyPolicy"].is_null() {
                let why = "may not be set for ExternalName services";
                errors.push(Error::forbidden(&path.child("ipFamilyPolicy"), why));
            }
            let name = meta::text(spec, "externalName");
            let (name, at) = (name.strip_suffix('.').unwrap_or(name), path.child("externalName"));
            if name.is_empty() {
                errors.push(Error::required(&at, ""));
            } else {
                errors.extend(validate::named(name, names::dns_subdomain, &at));
            }
        }
        _ => {}
    }
    errors
}

fn ports(spec: &Value, kind: &str, path: &Path) -> ErrorList {
    let ports = meta::list(spec, "ports");
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, port) in ports.iter().enumerate() {
        errors.extend(self::port(port, ports.len() > 1, &mut known, &path.index(position)));
    }
    let (mut node_ports, mut numbers) = (HashSet::new(), HashSet::new());
    for (position, port) in ports.iter().enumerate() {
        let at = path.index(position);
        let protocol = meta::text(port, "protocol");
        let node_port = port["nodePort"].as_i64().unwrap_or(0);
        if kind == "ClusterIP" && node_port != 0 {
            errors.push(Error::forbidden(&at.child("nodePort"), "may not be used when `type` is 'ClusterIP'"));
        }
        if node_port != 0 && !node_ports.insert((protocol, node_port)) {
            errors.push(Error::duplicate(&at.child("nodePort"), node_port));
        }
        let number = port["port"].as_i64().unwrap_or(0);
        if !numbers.insert((protocol, number)) {
            errors.push(Error::duplicate(&at, port.clone()).showing(shown(protocol, number)));
        }
    }
    errors
}

/// A port as upstream's internal type shows it in a message.
fn shown(protocol: &str, number: i64) -> String {
    let protocol = quote(protocol);
    format!(
        "{{\"Name\":\"\",\"Protocol\":{protocol},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}"
    )
}

fn port<'a>(port: &'a Value, needs_name: bool, known: &mut HashSet<&'a str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (name, at) = (meta::text(port, "name"), path.child("name"));
    if name.is_empty() && needs_name {
        errors.push(Error::required(&at, ""));
    } else if !name.is_empty() {
        errors.extend(validate::named(name, names::dns_label, &at));
        if !known.insert(name) {
            errors.push(Error::duplicate(&at, name));
        }
    }
    errors.extend(validate::port(&json!(port["port"].as_i64().unwrap_or(0)), &path.child("port")));
    errors.extend(validate::protocol(port, path));
    errors.extend(validate::port(&port["targetPort"], &path.child("targetPort")));
    errors.extend(validate::app_protocol(port, path));
    errors
}

const AFFINITY_SECONDS_MAX: i64 = 86400;

fn affinity(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let affinity = meta::text(spec, "sessionAffinity");
    let config = &spec["sessionAffinityConfig"];
    let at = path.child("sessionAffinityConfig");
    match affinity {
        "ClientIP" => {
            let seconds = meta::at(config, "clientIP.timeoutSeconds").as_i64().unwrap_or(0);
            if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
                let at = at.child("clientIP").child("timeoutSeconds");
                let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                errors.push(Error::invalid(&at, seconds, why));
            }
        }
        "None" => {
            if !config.is_null() {
                errors.push(Error::forbidden(&at, "must not be set when session affinity is None"));
            }
        }
        "" => errors.push(Error::required(&path.child("sessionAffinity"), "")),
        other => {
            errors.push(Error::not_supported(&path.child("sessionAffinity"), other, &["ClientIP", "None"]));
        }
    }
    errors
}

/// In the field, or in the annotation where the field says nothing. Both may be padded with spaces.
fn source_ranges(service: &Value, old: Option<&Value>, kind: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut refuse_unless_balancer = |at: &Path| {
        if kind != "LoadBalancer" {
            errors.push(Error::forbidden(at, BALANCER_ONLY));
        }
    };
    let ranges = held(Some(service), "loadBalancerSourceRanges");
    if !ranges.is_empty() {
        // Upstream writes this one field with a capital.
        let at = validate::path(&["spec", "LoadBalancerSourceRanges"]);
        refuse_unless_balancer(&at);
        let held = held(old, "loadBalancerSourceRanges");
        for (position, range) in ranges.iter().enumerate() {
            errors.extend(ip::legacy_cidr(range, &held, &at.index(position)));
        }
    } else if let Some(text) = meta::annotation(service, SOURCE_RANGES) {
        let at = validate::path(&["metadata", "annotations"]).key(SOURCE_RANGES);
        refuse_unless_balancer(&at);
        let is_new = old.and_then(|old| meta::annotation(old, SOURCE_RANGES)) != Some(text);
        let ranges = text.split(',').filter(|_| is_new && !text.trim().is_empty());
        errors.extend(ranges.filter_map(|range| ip::legacy_cidr(range.trim(), &[], &at)));
    }
    errors
}

fn balancer(spec: &Value, kind: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let is_balancer = kind == "LoadBalancer";
    if !spec["allocateLoadBalancerNodePorts"].is_null() && !is_balancer {
        errors.push(Error::forbidden(&path.child("allocateLoadBalancerNodePorts"), BALANCER_ONLY));
    }
    if let Some(class) = spec["loadBalancerClass"].as_str() {
        let at = path.child("loadBalancerClass");
        if is_balancer {
            errors.extend(validate::named(class, names::qualified_name, &at));
        } else {
            errors.push(Error::forbidden(&at, BALANCER_ONLY));
        }
    }
    errors
}

fn traffic(spec: &Value, kind: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let external = meta::text(spec, "externalTrafficPolicy");
    let at = path.child("externalTrafficPolicy");
    let from_outside = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !meta::list(spec, "externalIPs").is_empty());
    if !external.is_empty() && !from_outside {
        errors.push(Error::invalid(&at, external, "may only be set for externally-accessible services"));
    } else if !external.is_empty() && !["Cluster", "Local"].contains(&external) {
        errors.push(Error::not_supported(&at, external, &["Cluster", "Local"]));
    }
    let health = spec["healthCheckNodePort"].as_i64().unwrap_or(0);
    if health != 0 && !(kind == "LoadBalancer" && external == "Local") {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(Error::invalid(&path.child("healthCheckNodePort"), health, why));
    }
    if let Some(internal) =
        spec["internalTrafficPolicy"].as_str().filter(|policy| !["Cluster", "Local"].contains(policy))
    {
        errors.push(Error::not_supported(&path.child("internalTrafficPolicy"), internal, &["Cluster", "Local"]));
    }
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(given) = spec["trafficDistribution"].as_str().filter(|given| !distributions.contains(given)) {
        errors.push(Error::not_supported(&path.child("trafficDistribution"), given, &distributions));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_in_the_field_or_the_annotation() {
        let service = |kind: &str, field: &[&str], annotation: &str| {
            let annotations = json!({SOURCE_RANGES: annotation});
            json!({"metadata": {"annotations": annotations}, "spec": {"type": kind, "loadBalancerSourceRanges": field}})
        };
        let told = |service: &Value, old: Option<&Value>| -> Vec<String> {
            let kind = meta::text(service, "spec.type");
            source_ranges(service, old, kind).iter().map(Error::to_string).collect()
        };
        let good = service("LoadBalancer", &[" 10.0.0.0/8 "], "");
        assert_eq!(told(&good, None), [""; 0]);
        let zeros = service("LoadBalancer", &["010.0.0.0/8"], "");
        let field = "spec.LoadBalancerSourceRanges";
        let why = "must not have leading 0s in IP or prefix length";
        assert_eq!(told(&zeros, None), [format!("{field}[0]: Invalid value: \"010.0.0.0/8\": {why}")]);
        assert_eq!(told(&zeros, Some(&zeros)), [""; 0]);
        let annotated = service("ClusterIP", &[], "10.0.0.1/8, 10.0.0.0/8");
        let at = format!("metadata.annotations[{SOURCE_RANGES}]");
        let of_type = format!("{at}: Forbidden: {BALANCER_ONLY}");
        let bits = format!("{at}: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length");
        assert_eq!(told(&annotated, None), [of_type.clone(), bits]);
        assert_eq!(told(&annotated, Some(&annotated)), [of_type]);
    }

    #[test]
    fn what_a_load_balancer_may_tell() {
        let told = |kind: &str, entry: Value| -> Vec<String> {
            let service = json!({"spec": {"type": kind}, "status": {"loadBalancer": {"ingress": [entry]}}});
            status(&service, &json!({})).iter().map(Error::to_string).collect()
        };
        let at = "status.loadBalancer.ingress";
        assert_eq!(told("LoadBalancer", json!({"ip": "1.2.3.4", "ipMode": "Proxy"})), [""; 0]);
        assert_eq!(told("LoadBalancer", json!({"hostname": "a.example.com"})), [""; 0]);
        assert_eq!(
            told("ClusterIP", json!({"ip": "1.2.3.4"})),
            [format!("{at}: Forbidden: may only be used when `spec.type` is 'LoadBalancer'")]
        );
        assert_eq!(
            told("LoadBalancer", json!({"hostname": "1.2.3.4", "ipMode": "VIP"})),
            [
                format!("{at}[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"),
                format!("{at}[0].ipMode: Forbidden: may not be specified when `ip` is not set"),
            ]
        );
        assert_eq!(
            told("LoadBalancer", json!({"ip": "1.2.3.4", "ipMode": "X"})),
            [format!("{at}[0].ipMode: Unsupported value: \"X\": supported values: \"Proxy\", \"VIP\"")]
        );
    }
}
