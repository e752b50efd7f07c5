//! Host names: a pod's own, and its managed /etc/hosts. Pure text.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;

use crate::pod::spec;

/// The kernel's limit of a host name.
const HOST_NAME_CHARS_MAX: usize = 63;
/// Of its field for the node's name.
const FULL_NAME_CHARS_MAX: usize = 64;

/// The pod's host name and, with a subdomain, the domain that it stands in.
pub fn name_and_domain(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let pod_spec = spec::spec(pod);
    if let Some(name) = &pod_spec.hostname_override {
        return (shortened(name), None);
    }
    let own = pod_spec.hostname.as_ref().filter(|name| !name.is_empty());
    let name = own.or(pod.metadata.name.as_ref()).cloned().unwrap_or_default();
    let domain = pod_spec.subdomain.as_ref().filter(|subdomain| !subdomain.is_empty()).map(|subdomain| {
        format!("{subdomain}.{}.svc.{cluster_domain}", pod.metadata.namespace.as_deref().unwrap_or_default())
    });
    (shortened(&name), domain)
}

/// The host name inside the sandbox: the full name with `setHostnameAsFQDN`.
///
/// # Errors
/// A full name that the kernel does not take, in upstream's words.
pub fn sandbox_host_name(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (name, domain) = name_and_domain(pod, cluster_domain);
    let Some(domain) = domain.filter(|_| spec::spec(pod).set_hostname_as_fqdn == Some(true)) else { return Ok(name) };
    let full = format!("{name}.{domain}");
    if full.len() <= FULL_NAME_CHARS_MAX {
        return Ok(full);
    }
    Err(format!(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({FULL_NAME_CHARS_MAX} \
         characters is the max, {} characters requested)",
        full.len()
    ))
}

fn shortened(name: &str) -> String {
    let cut: String = name.chars().take(HOST_NAME_CHARS_MAX).collect();
    if cut.len() < name.len() { cut.trim_end_matches(['-', '.']).to_owned() } else { cut }
}

/// The managed /etc/hosts of a pod; `node_hosts` is the node's own file, which a pod on the host network gets.
pub fn file(pod: &Pod, pod_ips: &[String], cluster_domain: &str, node_hosts: &str) -> String {
    let mut text;
    if spec::is_host_network(pod) {
        text = format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}");
    } else {
        text = String::from(
            "# Kubernetes-managed hosts file.\n\
             127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\n\
             fe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n",
        );
        let (name, domain) = name_and_domain(pod, cluster_domain);
        for ip in pod_ips {
            let _ = match &domain {
                Some(domain) => writeln!(text, "{ip}\t{name}.{domain}\t{name}"),
                None => writeln!(text, "{ip}\t{name}"),
            };
        }
    }
    let aliases = spec::spec(pod).host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        let _ = writeln!(text, "{}\t{names}", alias.ip);
    }
    text
}
