//! Extended resources that devices serve: which DeviceClass stands behind which, and what of a claim is charged to a pod.
//!
//! The scheduler makes a claim for a pod that asks for such a resource. Pod and claim then stand for the same devices,
//! so the claim counts only with what its pod is not charged for (Kubernetes concept: "Dynamic Resource Allocation",
//! extended resources).

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::pod;
use crate::meta;
use crate::resources::ResourceList;

const ANNOTATION: &str = "resource.kubernetes.io/extended-resource-claim";
pub(super) const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";
pub(super) const REQUESTS: &str = "requests.";

/// What there is beside the ResourceClaims of one namespace that matters to what they use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// The extended resource of each DeviceClass; empty for one that has only the implicit one.
    classes: BTreeMap<String, String>,
    /// What the pod is charged for that a claim was made for, by the claim's name.
    charged: BTreeMap<String, ResourceList>,
}

impl Devices {
    pub fn new<'a>(classes: impl IntoIterator<Item = &'a Value>) -> Self {
        let resource = |class: &Value| meta::text(class, "spec.extendedResourceName").to_owned();
        let classes = classes.into_iter().map(|class| (meta::name(class).to_owned(), resource(class)));
        Self { classes: classes.collect(), charged: BTreeMap::new() }
    }

    /// Name and UID of the pod whose extended resources the claim was made for.
    pub fn pod_of(claim: &Value) -> Option<(&str, &str)> {
        if meta::annotation(claim, ANNOTATION) != Some("true") {
            return None;
        }
        let owner = meta::list(claim, "metadata.ownerReferences").iter().find(|owner| owner["controller"] == true)?;
        let is_pod = owner["kind"] == "Pod" && owner["apiVersion"] == "v1";
        is_pod.then(|| (meta::text(owner, "name"), meta::text(owner, "uid")))
    }

    /// The claim for extended resources that the pod's status names.
    pub fn claim_of(pod: &Value) -> Option<&str> {
        let status = meta::at(pod, "status.extendedResourceClaimStatus");
        (!status.is_null()).then(|| meta::text(status, "resourceClaimName"))
    }

    /// Takes into account that these pods of a namespace are charged already. Of several claims for one pod that names none
    /// of them, the oldest is the pod's. `now` is in seconds since the epoch.
    pub fn charge<'a>(
        &mut self,
        pods: impl IntoIterator<Item = &'a Value>,
        claims: impl IntoIterator<Item = &'a Value>,
        now: i64,
    ) {
        let mut by_pod: HashMap<_, Vec<&Value>> = HashMap::new();
        for claim in claims {
            if let Some(pod) = Self::pod_of(claim) {
                by_pod.entry(pod).or_default().push(claim);
            }
        }
        for pod in pods {
            let Some(claims) = by_pod.get(&(meta::name(pod), meta::uid(pod))) else { continue };
            let mut claims = claims.iter().copied();
            let its = match Self::claim_of(pod) {
                None => claims.min_by_key(|&claim| age(claim)),
                Some(named) => claims.find(|claim| meta::name(claim) == named),
            };
            if let Some(its) = its {
                self.charged.insert(meta::name(its).to_owned(), pod::usage(pod, now));
            }
        }
    }

    /// Whether claims count under this name of an extended resource.
    pub(super) fn counts(&self, name: &str) -> bool {
        let Some(resource) = name.strip_prefix(REQUESTS).filter(|_| is_name(name)) else { return false };
        match resource.strip_prefix(DEVICE_CLASS) {
            Some(class) => self.classes.contains_key(class),
            None => self.classes.values().any(|own| own == resource),
        }
    }

    /// Adds what these numbers of devices, by DeviceClass, are as extended resources.
    pub(super) fn add_to(&self, usage: &mut ResourceList, claim: &Value, by_class: &BTreeMap<&str, i64>) {
        let mut by_resource: BTreeMap<String, i64> = BTreeMap::new();
        for (class, count) in by_class {
            by_resource.insert(format!("{REQUESTS}{DEVICE_CLASS}{class}"), *count);
            if let Some(resource) = self.classes.get(*class).filter(|resource| !resource.is_empty()) {
                let sum = by_resource.entry(format!("{REQUESTS}{resource}")).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        let charged = Self::pod_of(claim).and_then(|_| self.charged.get(meta::name(claim)));
        for (resource, count) in by_resource {
            let paid = charged.and_then(|charged| charged.get(&resource)).map_or(0, |paid| paid.value());
            if count > paid {
                usage.count(resource, count - paid);
            }
        }
    }
}

/// The older, the less.
fn age(claim: &Value) -> (&str, &str) {
    (meta::text(claim, "metadata.creationTimestamp"), meta::name(claim))
}

/// Whether this may be a quota's name of an extended resource that devices serve.
pub(super) fn is_name(name: &str) -> bool {
    name.strip_prefix(REQUESTS).is_some_and(|resource| resource.starts_with(DEVICE_CLASS) || pod::is_extended(resource))
}
