//! Names of compute resources, and where each may stand: in a container, a limit range, a quota.
//!
//! Kubernetes concepts: "Resource Management for Pods and Containers", "Resource Quotas".

use machinery::field::{Error, ErrorList, Path};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::validate;

const CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

const QUOTA: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// Counted in whole objects.
const COUNTS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

const REQUESTS: &str = "requests.";
const HUGE_PAGES: &str = "hugepages-";

fn is_huge_pages_of_quota(name: &str) -> bool {
    name.strip_prefix(REQUESTS).unwrap_or(name).starts_with(HUGE_PAGES)
}

/// One that a quota knows by itself, without a domain.
pub fn is_standard_of_quota(name: &str) -> bool {
    QUOTA.contains(&name) || is_huge_pages_of_quota(name)
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// A resource that a vendor adds: counted whole, never overcommitted.
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with(REQUESTS) && names::qualified_name(&format!("{REQUESTS}{name}")).is_empty()
}

/// More of it may be promised than there is.
pub fn may_be_overcommitted(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}

/// A resource name anywhere.
pub fn any(name: &str, path: &Path) -> ErrorList {
    let mut errors = validate::named(name, names::qualified_name, path);
    let is_standard = is_standard_of_quota(name) || name == "storage";
    if errors.is_empty() && !name.contains('/') && !is_standard {
        errors.push(Error::invalid(path, name, "must be a standard resource type or fully qualified"));
    }
    errors
}

/// A resource that a container asks for.
pub fn container(name: &str, path: &Path) -> ErrorList {
    let mut errors = any(name, path);
    let is_standard = CONTAINER.contains(&name) || name.starts_with(HUGE_PAGES);
    if !name.contains('/') && !is_standard {
        errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
    } else if !is_native(name) && !is_extended(name) {
        errors.push(Error::invalid(path, name, "doesn't follow extended resource name standard"));
    }
    errors
}

/// A resource that a quota limits.
pub fn quota(name: &str, path: &Path) -> ErrorList {
    let mut errors = any(name, path);
    if !name.contains('/') && !is_standard_of_quota(name) {
        errors.push(Error::invalid(path, name, "must be a standard resource for quota"));
    }
    errors
}

/// An amount of a resource: not negative, and whole where the resource is counted.
pub fn amount(name: &str, value: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = validate::not_negative_quantity(value, path).into_iter().collect();
    let is_whole = Quantity::from_value(value).is_ok_and(|amount| !amount.is_fractional());
    if !is_whole && (COUNTS.contains(&name) || is_extended(name)) {
        errors.push(Error::invalid(path, value.clone(), "must be an integer"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(errors: &ErrorList) -> Vec<&str> {
        errors.iter().map(|error| error.detail.as_str()).collect()
    }

    #[test]
    fn names_belong_somewhere() {
        let path = Path::new("x");
        let (anywhere, of_container) =
            ("must be a standard resource type or fully qualified", "must be a standard resource for containers");
        for (name, in_container, in_quota) in [
            ("cpu", vec![], vec![]),
            ("hugepages-2Mi", vec![], vec![]),
            ("example.com/gpu", vec![], vec![]),
            ("requests.cpu", vec![of_container], vec![]),
            ("storage", vec![of_container], vec!["must be a standard resource for quota"]),
            ("gpu", vec![anywhere, of_container], vec![anywhere, "must be a standard resource for quota"]),
            ("requests.example.com/gpu", vec!["doesn't follow extended resource name standard"], vec![]),
        ] {
            assert_eq!(details(&container(name, &path)), in_container, "{name} in a container");
            assert_eq!(details(&quota(name, &path)), in_quota, "{name} in a quota");
        }
    }

    #[test]
    fn what_is_counted_is_whole() {
        let path = Path::new("x");
        for (name, value, want) in [
            ("cpu", "1500m", vec![]),
            ("pods", "1500m", vec!["must be an integer"]),
            ("example.com/gpu", "1500m", vec!["must be an integer"]),
            ("memory", "-1", vec!["must be greater than or equal to 0"]),
        ] {
            assert_eq!(details(&amount(name, &value.into(), &path)), want, "{name}");
        }
    }
}
