//! resolv.conf by `dnsPolicy` (`pkg/kubelet/network/dns`). Pure.

use k8s_openapi::api::core::v1::Pod;

use crate::pod::spec;

/// What the C libraries read at most.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsConfig {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

/// Reads the text of a resolv.conf; of several `search` lines the last one counts.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => config.searches = words.map(|word| word.trim_end_matches('.').to_owned()).collect(),
            Some("options") => config.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    config
}

/// The DNS settings of a pod. Without a cluster DNS address, ClusterFirst falls back to the node's settings.
pub fn of_pod(pod: &Pod, cluster_dns: &[String], cluster_domain: &str, host: &DnsConfig) -> DnsConfig {
    let pod_spec = spec::spec(pod);
    let mut config = match (pod_spec.dns_policy.as_deref(), spec::is_host_network(pod)) {
        (Some("None"), _) => DnsConfig::default(),
        (Some("Default"), _) | (Some("ClusterFirst") | None, true) => host.clone(),
        _ if cluster_dns.is_empty() => host.clone(),
        _ => cluster_first(pod, cluster_dns, cluster_domain, host),
    };
    if let Some(own) = &pod_spec.dns_config {
        append(&mut config.servers, own.nameservers.iter().flatten());
        append(&mut config.searches, own.searches.iter().flatten());
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            config.options.retain(|it| it.split(':').next() != Some(name.as_str()));
            config.options.push(match &option.value {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.clone(),
            });
        }
    }
    within_limits(config)
}

/// Must the pod's DNS be told to fall back for want of a cluster DNS address?
pub fn misses_cluster_dns(pod: &Pod, cluster_dns: &[String]) -> bool {
    let wants = match spec::spec(pod).dns_policy.as_deref() {
        Some("ClusterFirstWithHostNet") => true,
        Some("ClusterFirst") => !spec::is_host_network(pod),
        _ => false,
    };
    wants && cluster_dns.is_empty()
}

fn cluster_first(pod: &Pod, cluster_dns: &[String], cluster_domain: &str, host: &DnsConfig) -> DnsConfig {
    let mut searches = Vec::new();
    if !cluster_domain.is_empty() {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        searches.push(format!("{namespace}.svc.{cluster_domain}"));
        searches.push(format!("svc.{cluster_domain}"));
        searches.push(cluster_domain.to_owned());
    }
    append(&mut searches, &host.searches);
    DnsConfig { servers: cluster_dns.to_vec(), searches, options: vec!["ndots:5".into()] }
}

fn append<'a>(list: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn within_limits(mut config: DnsConfig) -> DnsConfig {
    config.servers.truncate(NAMESERVERS_MAX);
    config.searches.truncate(SEARCHES_MAX);
    while config.searches.join(" ").len() > SEARCH_CHARS_MAX {
        config.searches.pop();
    }
    config
}
