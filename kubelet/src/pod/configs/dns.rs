//! resolv.conf by `dnsPolicy` (`pkg/kubelet/network/dns`). Pure.

use k8s_openapi::api::core::v1::Pod;

use crate::pod::spec;

/// What the C libraries read at most.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;
/// Some C libraries end the process over a longer one.
const SEARCH_PATH_CHARS_MAX: usize = 253;

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
            Some("search") => {
                let paths = words.filter(|word| *word != ".");
                config.searches = paths.map(|path| path.strip_suffix('.').unwrap_or(path).to_owned()).collect();
            }
            Some("options") => words.for_each(|word| set_option(&mut config.options, word)),
            _ => {}
        }
    }
    config
}

/// A later option of the same name takes the place of an earlier one.
fn set_option(options: &mut Vec<String>, option: &str) {
    let name = |option: &str| option.split(':').next().map(str::to_owned);
    options.retain(|it| name(it) != name(option));
    options.push(option.to_owned());
}

/// The DNS settings of a pod, and what of them had to be left out, in the words of upstream's `DNSConfigForming` events.
/// Without a cluster DNS address, ClusterFirst falls back to the node's settings.
pub fn of_pod(pod: &Pod, cluster_dns: &[String], cluster_domain: &str, host: &DnsConfig) -> (DnsConfig, Vec<String>) {
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
            match &option.value {
                Some(value) if !value.is_empty() => set_option(&mut config.options, &format!("{name}:{value}")),
                _ => set_option(&mut config.options, name),
            }
        }
    }
    within_limits(config)
}

/// That the pod wants the cluster's DNS and there is none, in upstream's words.
pub fn misses_cluster_dns(pod: &Pod, cluster_dns: &[String]) -> Option<&'static str> {
    let wants = match spec::spec(pod).dns_policy.as_deref() {
        Some("ClusterFirstWithHostNet") => true,
        Some("ClusterFirst") => !spec::is_host_network(pod),
        _ => false,
    };
    (wants && cluster_dns.is_empty()).then_some(
        "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back \
         to \"Default\" policy.",
    )
}

/// What of the node's own file does not fit beside the cluster's paths, in upstream's words.
pub fn host_problem(host: &DnsConfig, path: &str, cluster_domain: &str) -> Option<String> {
    let paths_max = if cluster_domain.is_empty() { SEARCHES_MAX } else { SEARCHES_MAX - 3 };
    if host.searches.len() > paths_max {
        return Some(format!(
            "Resolv.conf file '{path}' contains search line consisting of more than {paths_max} domains!"
        ));
    }
    if host.searches.iter().any(|search| search.len() > SEARCH_PATH_CHARS_MAX) {
        return Some(format!(
            "Resolv.conf file {path:?} contains a search path which length is more than allowed \
             {SEARCH_PATH_CHARS_MAX} chars!"
        ));
    }
    (host.searches.join(" ").len() > SEARCH_CHARS_MAX).then(|| {
        format!(
            "Resolv.conf file '{path}' contains search line which length is more than allowed {SEARCH_CHARS_MAX} chars!"
        )
    })
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

fn within_limits(mut config: DnsConfig) -> (DnsConfig, Vec<String>) {
    let mut problems = Vec::new();
    if config.servers.len() > NAMESERVERS_MAX {
        config.servers.truncate(NAMESERVERS_MAX);
        problems.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            config.servers.join(" ")
        ));
    }
    let asked = config.searches.len();
    config.searches.truncate(SEARCHES_MAX);
    config.searches.retain(|search| search.len() <= SEARCH_PATH_CHARS_MAX);
    while config.searches.join(" ").len() > SEARCH_CHARS_MAX {
        config.searches.pop();
    }
    if config.searches.len() < asked {
        problems.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            config.searches.join(" ")
        ));
    }
    (config, problems)
}
