//! The CRI configuration of a pod's sandbox. Pure.

use std::collections::HashMap;

use k8s_cri::v1;
use k8s_openapi::api::core::v1::{ContainerPort, Pod};

use super::{NodeFacts, dns, hosts, resources, security};
use crate::{
    pod::spec::{self, Role},
    status::qos,
};

/// The configuration of the sandbox of `attempt`.
///
/// # Errors
/// A host name that is none.
pub fn config(pod: &Pod, attempt: u32, facts: &NodeFacts) -> Result<v1::PodSandboxConfig, String> {
    let identity = spec::identity(pod);
    let own = |map: &Option<std::collections::BTreeMap<String, String>>| -> HashMap<String, String> {
        map.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let mut labels = own(&pod.metadata.labels);
    identity.write(&mut labels);
    let (dns, _) = dns::of_pod(pod, &facts.cluster_dns, &facts.cluster_domain, &facts.host_dns);
    let hostname = match spec::is_host_network(pod) {
        true => String::new(),
        false => hosts::sandbox_host_name(pod, &facts.cluster_domain)?,
    };
    Ok(v1::PodSandboxConfig {
        log_directory: facts.paths.log_folder(&identity).to_string_lossy().into_owned(),
        metadata: Some(v1::PodSandboxMetadata {
            name: identity.name,
            uid: identity.uid,
            namespace: identity.namespace,
            attempt,
        }),
        hostname,
        dns_config: Some(v1::DnsConfig { servers: dns.servers, searches: dns.searches, options: dns.options }),
        port_mappings: port_mappings(pod),
        labels,
        annotations: own(&pod.metadata.annotations),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: facts.cgroups.pod(qos::of_pod(pod), spec::uid(pod)).cri_parent(),
            security_context: Some(security::of_sandbox(pod)),
            sysctls: sysctls(pod),
            overhead: resources::overhead(pod, facts),
            resources: Some(resources::of_pod(pod, facts)),
        }),
        windows: None,
    })
}

/// The runtime handler of the pod's RuntimeClass is looked up by the worker; a pod without one takes the default.
fn sysctls(pod: &Pod) -> HashMap<String, String> {
    let context = spec::spec(pod).security_context.as_ref();
    let list = context.and_then(|it| it.sysctls.as_deref()).unwrap_or_default();
    list.iter().map(|sysctl| (machinery::sysctls::dotted(&sysctl.name), sysctl.value.clone())).collect()
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    let holders = spec::containers(pod).into_iter().filter(|(role, _)| matches!(role, Role::Regular | Role::Sidecar));
    let ports = holders.flat_map(|(_, container)| container.ports.unwrap_or_default());
    ports.map(|port| mapping(&port)).collect()
}

fn mapping(port: &ContainerPort) -> v1::PortMapping {
    let protocol = match port.protocol.as_deref() {
        Some("UDP") => v1::Protocol::Udp,
        Some("SCTP") => v1::Protocol::Sctp,
        _ => v1::Protocol::Tcp,
    };
    v1::PortMapping {
        protocol: protocol as i32,
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    }
}
