//! What an object costs a ResourceQuota, and whether a quota is about it (Kubernetes concept: "Resource Quotas").
//!
//! Enter at [`Evaluator::of`]. Admission charges by it and the quota controller counts by it, so that both agree. It
//! knows neither the quotas' store nor what is done about one that is exceeded.

mod claim;
mod device_claim;
mod devices;
mod pod;
mod scope;
mod service;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use claim::storage_class;
pub use devices::Devices;
pub use pod::{has_ended, is_extended as is_extended_resource};

use crate::meta;
use crate::resources::ResourceList;

/// How objects of one resource are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evaluator {
    Pods,
    Services,
    Claims,
    /// With what is known beside them.
    DeviceClaims(Devices),
    /// By their number, under these names: `count/configmaps`, `configmaps`.
    Objects(Vec<String>),
}

/// Names under which these were counted before `count/` existed.
const ALIASES: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

impl Evaluator {
    /// The evaluator of a stored, namespaced resource; `None` for what is never counted. One of ResourceClaims knows no
    /// [`Devices`] yet.
    pub fn of(group: &str, plural: &str) -> Option<Self> {
        match (group, plural) {
            ("" | "events.k8s.io", "events") => None,
            ("", "pods") => Some(Self::Pods),
            ("", "services") => Some(Self::Services),
            ("", "persistentvolumeclaims") => Some(Self::Claims),
            ("resource.k8s.io", "resourceclaims") => Some(Self::DeviceClaims(Devices::default())),
            _ => {
                let mut names = vec![object_count_name(group, plural)];
                if group.is_empty() && ALIASES.contains(&plural) {
                    names.push(plural.to_owned());
                }
                Some(Self::Objects(names))
            }
        }
    }

    /// What an object uses. `now` is in seconds since the epoch.
    pub fn usage(&self, object: &Value, now: i64) -> ResourceList {
        match self {
            Self::Pods => pod::usage(object, now),
            Self::Services => service::usage(object),
            Self::Claims => claim::usage(object),
            Self::DeviceClaims(devices) => device_claim::usage(object, devices),
            Self::Objects(names) => {
                let mut usage = ResourceList::default();
                names.iter().for_each(|name| usage.count(name, 1));
                usage
            }
        }
    }

    /// Whether objects of this resource count under this name.
    pub fn counts(&self, name: &str) -> bool {
        match self {
            Self::Pods => pod::counts(name),
            Self::Services => service::COUNTED.contains(&name),
            Self::Claims => claim::counts(name),
            Self::DeviceClaims(devices) => device_claim::counts(name, devices),
            Self::Objects(names) => names.iter().any(|own| own == name),
        }
    }

    /// Whether objects of this resource count under this name once some DeviceClass says so, or already.
    pub fn may_count(&self, name: &str) -> bool {
        self.counts(name) || matches!(self, Self::DeviceClaims(_) if devices::is_name(name))
    }

    /// Whether the quota is about the object: by what it limits (`status.hard`) and by its scopes.
    pub fn matches(&self, quota: &Value, object: &Value) -> bool {
        meta::map(quota, "status.hard").keys().any(|name| self.counts(name)) && self.matches_scopes(quota, object)
    }

    pub fn matches_scopes(&self, quota: &Value, object: &Value) -> bool {
        scope::selectors(quota).iter().all(|selector| match self {
            Self::Pods => scope::matches_pod(selector, object),
            Self::Claims => scope::matches_claim(selector, object),
            Self::Services | Self::DeviceClaims(_) | Self::Objects(_) => false,
        })
    }

    /// What an object must say about itself to be counted under `names`. Error: what it does not, in upstream's words.
    pub fn require<'a>(&self, names: impl Iterator<Item = &'a str>, object: &Value) -> Result<(), String> {
        match self {
            Self::Pods => pod::require(names, object),
            _ => Ok(()),
        }
    }

    /// Whether an update can change what an object costs. `subresource` is empty for the object itself.
    pub fn follows_update(&self, subresource: &str, new: &Value, old: &Value) -> bool {
        match (self, subresource) {
            (Self::Pods, "") => scope::is_terminating(new) != scope::is_terminating(old),
            (Self::Pods, "resize")
            | (Self::Services | Self::Claims | Self::DeviceClaims(_), "")
            | (Self::Claims, "status") => true,
            _ => false,
        }
    }
}

/// `count/deployments.apps`.
pub fn object_count_name(group: &str, plural: &str) -> String {
    if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") }
}
