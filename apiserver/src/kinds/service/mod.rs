//! Services (Kubernetes concept: "Service").

mod addresses;
mod change;
mod update;
mod validate;

use machinery::meta;
use machinery::names;
use serde_json::{Value, json};

use crate::kinds::defaults::{each, set, set_absent, set_number, spec, within};
use crate::kinds::{Column, Hooks};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, priority: i32, description: &'static str) -> Column {
    Column { name, kind: "string", priority, description }
}

pub static HOOKS: Hooks = Hooks {
    // Since v1.36 a Service may be named as any label; before, it had to begin with a letter.
    name: names::dns_label,
    default,
    // What may not change is told first.
    validate_against: |new, old| {
        let mut errors = old.map(|old| update::validate(new, old)).unwrap_or_default();
        errors.extend(validate::service(new, old));
        errors
    },
    prepare_update: update::prepare,
    validate_status: validate::status,
    warnings: crate::kinds::warnings::service,
    status_warnings: crate::kinds::warnings::balancer_status,
    prepare_create: |service| {
        service["status"] = json!({"loadBalancer": {}});
        let address = meta::text(service, "spec.clusterIP").to_owned();
        if !address.is_empty() && meta::list(service, "spec.clusterIPs").is_empty() {
            spec(service).insert("clusterIPs".into(), json!([address]));
        }
    },
    creates_on_update: true,
    allocates: true,
    validate_asked: addresses::asked,
    fields: &[("spec.clusterIP", "spec.clusterIP"), ("spec.type", "spec.type")],
    columns: &[
        NAME,
        column("Type", 0, "Type determines how the Service is exposed."),
        column("Cluster-IP", 0, "The address inside the cluster."),
        column("External-IP", 0, "Addresses outside the cluster."),
        column("Port(s)", 0, "The ports."),
        AGE,
        column("Selector", 1, "Which pods the traffic goes to."),
    ],
    cells,
    ..Hooks::PLAIN
};

fn default(service: &mut Value) {
    set(spec(service), "type", "ClusterIP");
    let is_reachable_from_outside = change::is_reachable_from_outside(service);
    let fields = spec(service);
    set(fields, "sessionAffinity", "None");
    let kind = fields["type"].as_str().unwrap_or_default().to_owned();
    // Who switches it off sends back what was filled in when it was on.
    if fields["sessionAffinity"] == "None" {
        fields.remove("sessionAffinityConfig");
    }
    if fields["sessionAffinity"] == "ClientIP" {
        let config = fields.entry("sessionAffinityConfig").or_insert_with(|| json!({}));
        if let Some(config) = config.as_object_mut() {
            config.entry("clientIP").or_insert_with(|| json!({}));
            if let Some(client) = within(config, "clientIP") {
                set_number(client, "timeoutSeconds", 10800);
            }
        }
    }
    if is_reachable_from_outside {
        set(fields, "externalTrafficPolicy", "Cluster");
    }
    if ["ClusterIP", "NodePort", "LoadBalancer"].contains(&kind.as_str()) {
        set_absent(fields, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(fields, "allocateLoadBalancerNodePorts", true);
    }
    let is_balanced = kind == "LoadBalancer";
    for port in each(fields, "ports") {
        set(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or(json!(0));
        let unset = match port.get("targetPort") {
            None | Some(Value::Null) => true,
            Some(target) => target == 0 || target == "",
        };
        if unset {
            port.insert("targetPort".into(), number);
        }
    }
    if is_balanced {
        let entries = service.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
            if entry.get("ip").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty()) {
                set_absent(entry, "ipMode", "VIP");
            }
        }
    }
}

fn cells(service: &Value, now: i64) -> Vec<Value> {
    let or_none = |text: String| Value::from(if text.is_empty() { "<none>".to_owned() } else { text });
    let selector: Vec<String> = meta::map(service, "spec.selector")
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let cluster_ip: Vec<&str> = meta::list(service, "spec.clusterIPs").iter().filter_map(Value::as_str).collect();
    vec![
        meta::name(service).into(),
        meta::text(service, "spec.type").into(),
        or_none(cluster_ip.first().map(|address| (*address).to_owned()).unwrap_or_default()),
        external(service).into(),
        or_none(ports(service)),
        age(service, now).into(),
        or_none(selector.join(",")),
    ]
}

fn external(service: &Value) -> String {
    let own: Vec<&str> = meta::list(service, "spec.externalIPs").iter().filter_map(Value::as_str).collect();
    let ingress = || {
        meta::list(service, "status.loadBalancer.ingress")
            .iter()
            .filter_map(|ingress| ingress["ip"].as_str().or_else(|| ingress["hostname"].as_str()))
            .collect::<Vec<_>>()
    };
    match meta::text(service, "spec.type") {
        "ExternalName" => meta::text(service, "spec.externalName").to_owned(),
        "LoadBalancer" => match [ingress(), own].concat() {
            all if all.is_empty() => "<pending>".to_owned(),
            all => all.join(","),
        },
        "ClusterIP" | "NodePort" if own.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => own.join(","),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(service: &Value) -> String {
    let shown: Vec<String> = meta::list(service, "spec.ports")
        .iter()
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or_default();
            match port["nodePort"].as_u64().filter(|number| *number > 0) {
                Some(node_port) => format!("{}:{node_port}/{protocol}", port["port"]),
                None => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    shown.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_balancer_has_a_mode_unless_it_says_one() {
        let ingress = json!([{"ip": "1.2.3.4"}, {"ip": "1.2.3.4", "ipMode": ""}, {"hostname": "a.b"}]);
        let mut service = json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": ingress}}});
        default(&mut service);
        let modes = meta::list(&service, "status.loadBalancer.ingress").iter().map(|entry| entry["ipMode"].clone());
        assert_eq!(modes.collect::<Vec<_>>(), [json!("VIP"), json!(""), json!(null)]);
    }
}
