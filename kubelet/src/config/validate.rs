//! What a configuration must not say: values out of range, and what is not built. Pure.

use std::{collections::BTreeMap, time::Duration};

use machinery::quantity::Quantity;
use serde_json::Value;

use super::KubeletConfiguration;
use crate::eviction::signal as eviction;

/// Fields that may only have the value that means "off" (or be empty), and what they ask for otherwise.
const NOT_BUILT: [(&str, &str, &str); 12] = [
    ("cpuManagerPolicy", "none", "the CPU manager"),
    ("cpuManagerPolicyOptions", "", "the CPU manager"),
    ("reservedSystemCPUs", "", "the CPU manager"),
    ("memoryManagerPolicy", "None", "the memory manager"),
    ("reservedMemory", "", "the memory manager"),
    ("topologyManagerPolicy", "none", "the topology manager"),
    ("topologyManagerPolicyOptions", "", "the topology manager"),
    ("qosReserved", "", "memory kept for classes of service"),
    ("memorySwap.swapBehavior", "NoSwap", "swap"),
    ("userNamespaces", "", "a range for user namespaces"),
    ("staticPodURL", "", "reading static pods from a URL"),
    ("staticPodURLHeader", "", "reading static pods from a URL"),
];

/// Everything that is wrong, in one list.
pub fn validate(configuration: &KubeletConfiguration) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, off, what) in NOT_BUILT {
        let (field, below) = path.split_once('.').map_or((path, None), |(field, below)| (field, Some(below)));
        let value = configuration.other(field).and_then(|value| below.map_or(Some(value), |below| value.get(below)));
        if value.is_some_and(|value| !is_off(value, off)) {
            problems.push(format!("invalid configuration: {path}: {what} is not supported by this kubelet"));
        }
    }
    if !matches!(configuration.cgroup_driver.as_str(), "cgroupfs" | "systemd") {
        let given = &configuration.cgroup_driver;
        problems.push(format!("invalid configuration: cgroupDriver {given:?} must be \"cgroupfs\" or \"systemd\""));
    }
    if configuration.node_lease_duration_seconds <= 0 {
        let given = configuration.node_lease_duration_seconds;
        problems.push(format!("invalid configuration: nodeLeaseDurationSeconds must be greater than 0, got {given}"));
    }
    if configuration.max_pods < 0 {
        problems.push(format!(
            "invalid configuration: maxPods (--max-pods) {} must not be a negative number",
            configuration.max_pods
        ));
    }
    match configuration.authorization.mode.as_deref().unwrap_or("AlwaysAllow") {
        "AlwaysAllow" | "Webhook" | "" => {}
        mode => problems.push(format!("unknown authorization mode {mode}")),
    }
    problems.extend(eviction::thresholds(&configuration.evictions()).err().unwrap_or_default());
    problems.extend(collections(configuration));
    problems.extend(amounts("kubeReserved", &configuration.kube_reserved));
    problems.extend(amounts("systemReserved", &configuration.system_reserved));
    for address in &configuration.cluster_dns {
        if address.parse::<std::net::IpAddr>().is_err() {
            problems.push(format!("invalid IP: {address}"));
        }
    }
    problems
}

fn is_off(value: &Value, off: &str) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == off,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Image collection, log rotation and back-off.
fn collections(c: &KubeletConfiguration) -> Vec<String> {
    let (high, low) = (c.image_gc_high_threshold_percent, c.image_gc_low_threshold_percent);
    let period = c.crash_loop_back_off.max_container_restart_period.map(|it| it.0);
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(300));
    let rows = [
        (
            !(0..=100).contains(&high),
            format!("imageGCHighThresholdPercent {high} must be between 0 and 100, inclusive"),
        ),
        (!(0..=100).contains(&low), format!("imageGCLowThresholdPercent {low} must be between 0 and 100, inclusive")),
        (low >= high, format!("imageGCLowThresholdPercent {low} must be less than imageGCHighThresholdPercent {high}")),
        (c.container_log_max_files < 2, "containerLogMaxFiles must be at least 2".to_owned()),
        (
            Quantity::parse(&c.container_log_max_size).map_or(true, |size| size.sign() <= 0),
            format!("containerLogMaxSize {:?} must be a positive quantity", c.container_log_max_size),
        ),
        (
            c.shutdown_grace_period_critical_pods.0 > c.shutdown_grace_period.0,
            "shutdownGracePeriodCriticalPods must be <= shutdownGracePeriod".to_owned(),
        ),
        (
            !c.shutdown_grace_period.0.is_zero() && !c.shutdown_grace_period_by_pod_priority.is_empty(),
            "cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod".to_owned(),
        ),
        (c.container_log_monitor_interval.0.is_zero(), "containerLogMonitorInterval must be positive".to_owned()),
        (
            period.is_some_and(|period| !(least..=most).contains(&period)),
            "crashLoopBackOff.maxContainerRestartPeriod must be between 1s and 300s".to_owned(),
        ),
    ];
    rows.into_iter().filter(|(is, _)| *is).map(|(_, problem)| format!("invalid configuration: {problem}")).collect()
}

fn amounts(field: &str, amounts: &BTreeMap<String, String>) -> Vec<String> {
    let check = |(name, text): (&String, &String)| {
        if !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | "pid") {
            return Some(format!("cannot reserve {name:?} resource in {field}"));
        }
        let quantity = Quantity::parse(text).ok().filter(|quantity| quantity.sign() >= 0);
        quantity.is_none().then(|| format!("failed to parse quantity {text:?} for {name:?} resource in {field}"))
    };
    amounts.iter().filter_map(check).collect()
}
