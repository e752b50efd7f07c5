//! Pods: `pods`, compute resources as requested and limited, huge pages and extended resources.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::devices::{DEVICE_CLASS, REQUESTS};
use crate::meta;
use crate::names;
use crate::resources::ResourceList;
use crate::resources::pod::{self, Counting};

const COUNTED: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];

/// A quota of these wants each container to name them: an old mistake that users rely on.
const REQUIRED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const HUGE_PAGES: &str = "hugepages-";

pub(super) fn counts(name: &str) -> bool {
    COUNTED.contains(&name)
        || name.starts_with(HUGE_PAGES)
        || name.strip_prefix(REQUESTS).is_some_and(|requested| {
            requested.starts_with(HUGE_PAGES) || requested.starts_with(DEVICE_CLASS) || !is_native(name)
        })
}

/// Kubernetes' own resource names: without a domain, or of its own.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// A device or other resource of a vendor, as containers name it.
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with(REQUESTS) && names::qualified_name(&format!("{REQUESTS}{name}")).is_empty()
}

/// A pod that has ended counts as an object only.
pub(super) fn usage(object: &Value, now: i64) -> ResourceList {
    let mut usage = ResourceList::default();
    if !has_ended(object, now) {
        let counting = Counting { status: true, overhead: true };
        usage = compute(&pod::requests(object, counting), &pod::limits(object, counting));
    }
    usage.count("count/pods", 1);
    usage
}

fn compute(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut usage = ResourceList::default();
    usage.count("pods", 1);
    for name in COMPUTE {
        if let Some(request) = requests.get(name) {
            usage.set(name, request.clone());
            usage.set(format!("{REQUESTS}{name}"), request.clone());
        }
        if let Some(limit) = limits.get(name) {
            usage.set(format!("limits.{name}"), limit.clone());
        }
    }
    for (name, request) in requests.iter() {
        if name.starts_with(HUGE_PAGES) {
            usage.set(name, request.clone());
        }
        if name.starts_with(HUGE_PAGES) || name.starts_with(DEVICE_CLASS) || is_extended(name) {
            usage.set(format!("{REQUESTS}{name}"), request.clone());
        }
    }
    usage
}

/// Its phase is final, or its deletion is overdue: a lost node's pods must not keep new ones from starting.
pub fn has_ended(pod: &Value, now: i64) -> bool {
    if matches!(meta::text(pod, "status.phase"), "Failed" | "Succeeded") {
        return true;
    }
    let deletion = meta::text(pod, "metadata.deletionTimestamp").parse::<jiff::Timestamp>();
    let grace = meta::at(pod, "metadata.deletionGracePeriodSeconds").as_i64();
    matches!((deletion, grace), (Ok(deletion), Some(grace)) if now > deletion.as_second() + grace)
}

pub(super) fn require<'a>(names: impl Iterator<Item = &'a str>, object: &Value) -> Result<(), String> {
    if pod::has_pod_level(object) {
        return Ok(());
    }
    let required: BTreeSet<&str> = names.filter(|name| REQUIRED.contains(name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["spec.containers", "spec.initContainers"] {
        for container in meta::list(object, list) {
            let of = |which: &str| ResourceList::from_value(&container["resources"][which]);
            let told = compute(&of("requests"), &of("limits"));
            for name in required.iter().filter(|name| told.get(name).is_none()) {
                missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = missing
        .iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.iter().copied().collect::<Vec<_>>().join(",")))
        .collect();
    Err(format!("must specify {}", told.join("; ")))
}
