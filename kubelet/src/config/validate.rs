//! What a configuration must not say: values out of range, and what is not built. Pure.

use std::collections::BTreeMap;

use machinery::quantity::Quantity;
use serde_json::Value;

use super::KubeletConfiguration;

/// Fields that may only have the value that means "off", and what they ask for otherwise.
const NOT_BUILT: [(&str, &[&str], &str); 4] = [
    ("cpuManagerPolicy", &["none", ""], "the CPU manager"),
    ("memoryManagerPolicy", &["None", ""], "the memory manager"),
    ("topologyManagerPolicy", &["none", ""], "the topology manager"),
    ("staticPodURL", &[""], "static pods from a URL"),
];

/// Everything that is wrong, in one list.
pub fn validate(configuration: &KubeletConfiguration) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, off, what) in NOT_BUILT {
        let value = configuration.other(name).and_then(Value::as_str);
        if value.is_some_and(|value| !off.contains(&value)) {
            problems.push(format!("invalid configuration: {name}: {what} is not supported by this kubelet"));
        }
    }
    if configuration.other("memorySwap").and_then(|it| it.get("swapBehavior")).is_some_and(|it| it == "LimitedSwap") {
        problems.push("invalid configuration: memorySwap.swapBehavior: swap is not supported by this kubelet".into());
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
    problems.extend(amounts("kubeReserved", &configuration.kube_reserved));
    problems.extend(amounts("systemReserved", &configuration.system_reserved));
    for address in &configuration.cluster_dns {
        if address.parse::<std::net::IpAddr>().is_err() {
            problems.push(format!("invalid IP: {address}"));
        }
    }
    problems
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
