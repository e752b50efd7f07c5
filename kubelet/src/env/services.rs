//! The variables that tell a container about Services (`pkg/kubelet/envvars`). Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// The namespace and name of the Service that every pod is told of.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// Variables for the Services of `namespace` (none with `links` off), and always for the API server's.
pub fn variables(services: &[Arc<Service>], namespace: &str, links: bool) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let name_of = |service: &Service| service.metadata.name.clone().unwrap_or_default();
    let is_in = |service: &Service, wanted: &str| service.metadata.namespace.as_deref() == Some(wanted);
    let masters = services.iter().filter(|it| is_in(it, MASTER.0) && name_of(it) == MASTER.1);
    let own = services.iter().filter(|it| links && is_in(it, namespace));
    // Own Services come last: in a namespace with a Service named kubernetes, that one wins.
    for service in masters.chain(own) {
        add(&mut variables, &name_of(service), service);
    }
    variables
}

fn add(variables: &mut BTreeMap<String, String>, name: &str, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
    let Some(first) = spec.ports.iter().flatten().next() else { return };
    let prefix = name.to_uppercase().replace('-', "_");
    variables.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    variables.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    variables.insert(format!("{prefix}_PORT"), url(ip, first));
    for port in spec.ports.iter().flatten() {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let port_name = port_name.to_uppercase().replace('-', "_");
            variables.insert(format!("{prefix}_SERVICE_PORT_{port_name}"), port.port.to_string());
        }
        let protocol = protocol(port);
        let stem = format!("{prefix}_PORT_{}_{protocol}", port.port);
        variables.insert(stem.clone(), url(ip, port));
        variables.insert(format!("{stem}_PROTO"), protocol.to_lowercase());
        variables.insert(format!("{stem}_PORT"), port.port.to_string());
        variables.insert(format!("{stem}_ADDR"), ip.to_owned());
    }
}

fn protocol(port: &ServicePort) -> String {
    port.protocol.as_deref().unwrap_or("TCP").to_uppercase()
}

fn url(ip: &str, port: &ServicePort) -> String {
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    format!("{}://{host}:{}", protocol(port).to_lowercase(), port.port)
}
