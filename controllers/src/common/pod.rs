//! What the controllers keep of a pod: there is one informer of all of them, and clusters have a hundred thousand.
//!
//! Enter by [`Pod`], which is decoded from the API's object and dropped down to what some controller reads. Pods of one
//! owner share what its template gave them. Pure; `lean` is the list of what goes. A pod that is written is the API's own
//! type: this one cannot be, and so never overwrites what it has not kept.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use component::informer::Alike;
use k8s_openapi::api::core::v1::{
    self as api, Affinity, ContainerStatus, PersistentVolumeClaimVolumeSource, PodCondition, PodIP,
    PodResourceClaimStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

use super::lean;
use super::owner::controller_of;

static SHARED: LazyLock<Alike<api::PodSpec>> = LazyLock::new(Alike::default);
static SHARED_VOLUMES: LazyLock<Alike<api::Volume>> = LazyLock::new(Alike::default);

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "api::Pod")]
pub(crate) struct Pod {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<PodSpec>,
    pub(crate) status: Option<PodStatus>,
}

component::api_resource!(NamespaceResourceScope Pod, "", "v1", "Pod", "pods");

/// The fields here are the pod's own; all others are those of [`api::PodSpec`], and may be shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodSpec {
    pub(crate) node_name: Option<String>,
    pub(crate) hostname: Option<String>,
    /// A DaemonSet pins each of its pods by it.
    pub(crate) affinity: Option<Box<Affinity>>,
    pub(crate) volumes: Option<Vec<Volume>>,
    shared: Arc<api::PodSpec>,
}

impl Deref for PodSpec {
    type Target = api::PodSpec;

    fn deref(&self) -> &api::PodSpec {
        &self.shared
    }
}

/// The fields here are the pod's own; all others are those of [`api::Volume`], and may be shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
    /// None: it is nothing but a claim.
    shared: Option<Arc<api::Volume>>,
}

impl Deref for Volume {
    type Target = api::Volume;

    fn deref(&self) -> &api::Volume {
        static NOTHING: LazyLock<api::Volume> = LazyLock::new(api::Volume::default);
        self.shared.as_deref().unwrap_or(&NOTHING)
    }
}

fn volume(owner: Option<&str>, volume: api::Volume) -> Volume {
    match volume.persistent_volume_claim {
        Some(_) => Volume { name: volume.name, persistent_volume_claim: volume.persistent_volume_claim, shared: None },
        None => {
            let owner = owner.map(|owner| format!("{owner}/{}", volume.name));
            let name = volume.name.clone();
            let shared = Some(SHARED_VOLUMES.share(owner.as_deref(), volume));
            Volume { name, persistent_volume_claim: None, shared }
        }
    }
}

/// The same fields as in [`api::PodStatus`], but for one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodStatus {
    pub(crate) conditions: Option<Vec<PodCondition>>,
    pub(crate) container_statuses: Option<Vec<ContainerStatus>>,
    /// Of a pod that is going.
    pub(crate) ephemeral_container_statuses: Option<Box<[ContainerStatus]>>,
    /// The claim that the scheduler made for extended resources.
    pub(crate) extended_resource_claim: Option<Box<str>>,
    pub(crate) init_container_statuses: Option<Vec<ContainerStatus>>,
    pub(crate) message: Option<String>,
    pub(crate) phase: Option<String>,
    pub(crate) pod_ip: Option<String>,
    pub(crate) pod_ips: Option<Vec<PodIP>>,
    pub(crate) reason: Option<String>,
    pub(crate) resource_claim_statuses: Option<Vec<PodResourceClaimStatus>>,
    pub(crate) start_time: Option<Time>,
}

impl From<api::Pod> for Pod {
    fn from(mut whole: api::Pod) -> Self {
        lean::pod(&mut whole);
        let api::Pod { metadata, spec, status } = whole;
        // Those that nobody controls are often made by the dozen, too.
        let owner = controller_of(&metadata).map(|owner| owner.uid.as_str()).or(metadata.namespace.as_deref());
        let spec = spec.map(|mut spec| PodSpec {
            node_name: spec.node_name.take(),
            hostname: spec.hostname.take(),
            affinity: spec.affinity.take().map(Box::new),
            volumes: spec.volumes.take().map(|all| all.into_iter().map(|one| volume(owner, one)).collect()),
            shared: SHARED.share(owner, spec),
        });
        let status = status.map(|status| PodStatus {
            conditions: status.conditions,
            container_statuses: status.container_statuses,
            ephemeral_container_statuses: status.ephemeral_container_statuses.map(Vec::into_boxed_slice),
            extended_resource_claim: status.extended_resource_claim_status.map(|s| s.resource_claim_name.into()),
            init_container_statuses: status.init_container_statuses,
            message: status.message,
            phase: status.phase,
            pod_ip: status.pod_ip,
            pod_ips: status.pod_ips,
            reason: status.reason,
            resource_claim_statuses: status.resource_claim_statuses,
            start_time: status.start_time,
        });
        Pod { metadata, spec, status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(owner: &str, image: &str) -> Pod {
        let reference =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true});
        let spec = json!({"nodeName": "n", "containers": [{"name": "c", "image": image}]});
        let value: Value = json!({"metadata": {"name": "p", "ownerReferences": [reference]}, "spec": spec});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn pods_of_one_owner_share_what_they_have_in_common() {
        let is_shared = |a: &Pod, b: &Pod| match (&a.spec, &b.spec) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.shared, &b.shared),
            _ => false,
        };
        let first = pod("sharing-a", "nginx:1");
        assert!(is_shared(&first, &pod("sharing-a", "nginx:1")));
        assert!(!is_shared(&first, &pod("sharing-b", "nginx:1")), "another owner's");
        let newer = pod("sharing-a", "nginx:2");
        assert_eq!(newer.spec.as_ref().unwrap().containers[0].image.as_deref(), Some("nginx:2"));
        assert!(is_shared(&newer, &pod("sharing-a", "nginx:2")));
        assert_eq!(newer.spec.unwrap().node_name.as_deref(), Some("n"));
    }
}
