//! What the scheduler reads of Services, workloads, Namespaces and PodDisruptionBudgets: mostly whom they select.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use machinery::selector::Selector;
use serde::{Deserialize, Deserializer};

use super::affinity::selector;
use super::{api_resource, lean_metadata};

/// A type with metadata and one thing made of its specification.
macro_rules! selecting {
    ($(#[$doc:meta])* $name:ident { $selector:ty } from $raw:ty, $convert:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            pub metadata: ObjectMeta,
            pub selector: $selector,
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let raw = RawObject::<RawSelector<$raw>>::deserialize(deserializer)?;
                let convert: fn(Option<$raw>) -> $selector = $convert;
                Ok(Self { metadata: lean_metadata(raw.metadata), selector: convert(raw.spec.selector) })
            }
        }
    };
}

#[derive(Deserialize)]
struct RawObject<S> {
    metadata: ObjectMeta,
    spec: S,
}

#[derive(Deserialize)]
struct RawSelector<S> {
    selector: Option<S>,
}

type Labels = BTreeMap<String, String>;

fn parsed(raw: Option<LabelSelector>) -> Selector {
    selector(raw.as_ref()).unwrap_or_else(Selector::nothing)
}

selecting!(Service { Option<Labels> } from Labels, |raw| raw);
selecting!(ReplicationController { Option<Labels> } from Labels, |raw| raw);
selecting!(ReplicaSet { Selector } from LabelSelector, parsed);
selecting!(StatefulSet { Selector } from LabelSelector, parsed);

api_resource!(NamespaceResourceScope Service, "", "v1", "Service", "services");
api_resource!(NamespaceResourceScope ReplicationController, "", "v1", "ReplicationController", "replicationcontrollers");
api_resource!(NamespaceResourceScope ReplicaSet, "apps", "v1", "ReplicaSet", "replicasets");
api_resource!(NamespaceResourceScope StatefulSet, "apps", "v1", "StatefulSet", "statefulsets");
api_resource!(ClusterResourceScope Namespace, "", "v1", "Namespace", "namespaces");
api_resource!(NamespaceResourceScope PodDisruptionBudget, "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets");

#[derive(Clone, Debug, Deserialize)]
pub struct Namespace {
    pub metadata: ObjectMeta,
}

/// How many more of its pods may be disrupted now.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawBudget")]
pub struct PodDisruptionBudget {
    pub metadata: ObjectMeta,
    pub selector: Selector,
    pub disruptions_allowed: i64,
    /// Pods whose disruption is already counted, by name.
    pub disrupted_pods: BTreeSet<String>,
}

#[derive(Deserialize)]
struct RawBudget {
    metadata: ObjectMeta,
    spec: RawSelector<LabelSelector>,
    #[serde(default)]
    status: RawBudgetStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawBudgetStatus {
    disruptions_allowed: i64,
    disrupted_pods: Option<BTreeMap<String, serde_json::Value>>,
}

impl From<RawBudget> for PodDisruptionBudget {
    fn from(raw: RawBudget) -> Self {
        Self {
            metadata: lean_metadata(raw.metadata),
            selector: parsed(raw.spec.selector),
            disruptions_allowed: raw.status.disruptions_allowed,
            disrupted_pods: raw.status.disrupted_pods.unwrap_or_default().into_keys().collect(),
        }
    }
}
