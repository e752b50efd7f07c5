//! What the scheduler reads of claims, volumes and classes, and of a pod's volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::storage::v1 as storage;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::selector::Selector;
use serde::Deserialize;

use super::affinity::selector;
use super::moved::{self, Moved};
use super::node_selector::NodeTerm;
use super::{Node, api_resource, lean_metadata};

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// A volume of a pod, as far as it matters where the pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodVolume {
    /// The name of a claim; `own` when it is made for the pod's ephemeral volume.
    Claim { name: Box<str>, own: bool },
    /// A disk that not any two pods of a node can share.
    Disk { disk: Disk, read_only: bool, moved: Option<Moved> },
    /// One without such rules that a CSI driver attaches.
    Moved(Moved),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    Gce(Box<str>),
    Aws(Box<str>),
    Iscsi(Box<str>),
    Rbd { monitors: Vec<String>, pool: Box<str>, image: Box<str> },
}

impl PodVolume {
    pub(super) fn parse(pod: &str, volume: &core::Volume) -> Option<Self> {
        let disk = |disk, read_only: Option<bool>| {
            Some(Self::Disk { disk, read_only: read_only.unwrap_or(false), moved: moved::of_pod(volume) })
        };
        if let Some(claim) = &volume.persistent_volume_claim {
            return Some(Self::Claim { name: claim.claim_name.as_str().into(), own: false });
        }
        if volume.ephemeral.is_some() {
            return Some(Self::Claim { name: format!("{pod}-{}", volume.name).into(), own: true });
        }
        if let Some(gce) = &volume.gce_persistent_disk {
            return disk(Disk::Gce(gce.pd_name.as_str().into()), gce.read_only);
        }
        if let Some(aws) = &volume.aws_elastic_block_store {
            // Never shared, read-only or not.
            return disk(Disk::Aws(aws.volume_id.as_str().into()), Some(false));
        }
        if let Some(iscsi) = &volume.iscsi {
            return disk(Disk::Iscsi(iscsi.iqn.as_str().into()), iscsi.read_only);
        }
        let Some(rbd) = volume.rbd.as_ref() else { return moved::of_pod(volume).map(Self::Moved) };
        let pool = rbd.pool.as_deref().unwrap_or("rbd").into();
        disk(Disk::Rbd { monitors: rbd.monitors.clone(), pool, image: rbd.image.as_str().into() }, rbd.read_only)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "core::PersistentVolumeClaim")]
pub struct Claim {
    pub metadata: ObjectMeta,
    /// Empty for none.
    pub class: Box<str>,
    /// Empty until bound.
    pub volume_name: Box<str>,
    pub bind_completed: bool,
    pub lost: bool,
    /// The node that was chosen for it; empty for none.
    pub selected_node: Box<str>,
    /// The UID of the object that it was made for; empty for none.
    pub controller_uid: Box<str>,
    /// Bytes.
    pub requested: i64,
    pub access_modes: Vec<String>,
    pub mode: Box<str>,
    pub attributes_class: Box<str>,
    /// `None`: one that cannot be understood, which selects nothing.
    pub selector: Option<Selector>,
}

api_resource!(NamespaceResourceScope Claim, "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "core::PersistentVolume")]
pub struct Volume {
    pub metadata: ObjectMeta,
    pub class: Box<str>,
    /// Bytes.
    pub capacity: i64,
    pub access_modes: Vec<String>,
    pub mode: Box<str>,
    pub attributes_class: Box<str>,
    pub available: bool,
    /// Namespace, name and UID of the claim that has it, or, without a UID, that it is reserved for.
    pub claim: Option<[Box<str>; 3]>,
    /// Any of these; `None` when it can be reached from everywhere.
    pub nodes: Option<Vec<NodeTerm>>,
    /// Driver and handle of a CSI volume.
    pub csi: Option<(Box<str>, Box<str>)>,
    /// Of one that a CSI driver has from a kind that was built in.
    pub moved: Option<Moved>,
}

api_resource!(ClusterResourceScope Volume, "", "v1", "PersistentVolume", "persistentvolumes");

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "storage::StorageClass")]
pub struct StorageClass {
    pub metadata: ObjectMeta,
    pub provisioner: Box<str>,
    /// Its claims wait for a pod to be placed.
    pub waits: bool,
    /// Any of these; each is label keys with the values that will do. None: everywhere.
    pub topologies: Vec<Vec<(String, Vec<String>)>>,
}

api_resource!(ClusterResourceScope StorageClass, "storage.k8s.io", "v1", "StorageClass", "storageclasses");

fn text(value: Option<String>) -> Box<str> {
    value.unwrap_or_default().into()
}

fn class(metadata: &ObjectMeta, name: Option<String>) -> Box<str> {
    let annotated = metadata.annotations.as_ref().and_then(|a| a.get(BETA_CLASS).cloned());
    text(annotated.or(name))
}

fn bytes(resources: Option<&BTreeMap<String, Quantity>>) -> i64 {
    let amount = resources.and_then(|r| r.get("storage"));
    amount.and_then(|q| machinery::quantity::Quantity::parse(&q.0).ok()).map_or(0, |q| q.value())
}

fn mode(mode: Option<String>) -> Box<str> {
    mode.unwrap_or_else(|| "Filesystem".to_owned()).into()
}

impl From<core::PersistentVolumeClaim> for Claim {
    fn from(raw: core::PersistentVolumeClaim) -> Self {
        let spec = raw.spec.unwrap_or_default();
        let annotation = |key: &str| raw.metadata.annotations.as_ref().and_then(|a| a.get(key).cloned());
        let controller = raw.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        Self {
            class: class(&raw.metadata, spec.storage_class_name),
            volume_name: text(spec.volume_name),
            bind_completed: annotation(BIND_COMPLETED).is_some(),
            lost: raw.status.and_then(|s| s.phase).as_deref() == Some("Lost"),
            selected_node: text(annotation(SELECTED_NODE)),
            controller_uid: text(controller.map(|o| o.uid.clone())),
            requested: bytes(spec.resources.as_ref().and_then(|r| r.requests.as_ref())),
            access_modes: spec.access_modes.unwrap_or_default(),
            mode: mode(spec.volume_mode),
            attributes_class: text(spec.volume_attributes_class_name),
            selector: match &spec.selector {
                None => Some(Selector::everything()),
                given => selector(given.as_ref()),
            },
            metadata: lean_metadata(raw.metadata),
        }
    }
}

impl Claim {
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn is_bound(&self) -> bool {
        self.bind_completed && !self.volume_name.is_empty()
    }
}

impl From<core::PersistentVolume> for Volume {
    fn from(raw: core::PersistentVolume) -> Self {
        let spec = raw.spec.unwrap_or_default();
        let moved = moved::of_volume(&spec);
        let terms = spec.node_affinity.and_then(|a| a.required).map(|s| s.node_selector_terms);
        Self {
            class: class(&raw.metadata, spec.storage_class_name),
            capacity: bytes(spec.capacity.as_ref()),
            access_modes: spec.access_modes.unwrap_or_default(),
            mode: mode(spec.volume_mode),
            attributes_class: text(spec.volume_attributes_class_name),
            available: raw.status.and_then(|s| s.phase).as_deref() == Some("Available"),
            claim: spec.claim_ref.map(|r| [text(r.namespace), text(r.name), text(r.uid)]),
            nodes: terms.map(|terms| terms.iter().filter_map(NodeTerm::parse).collect()),
            csi: spec.csi.map(|csi| (csi.driver.into(), csi.volume_handle.into())),
            moved,
            metadata: lean_metadata(raw.metadata),
        }
    }
}

impl Volume {
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn reachable_from(&self, node: &Node) -> bool {
        self.nodes.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
    }
}

impl From<storage::StorageClass> for StorageClass {
    fn from(raw: storage::StorageClass) -> Self {
        let terms = raw.allowed_topologies.into_iter().flatten();
        let term = |term: core::TopologySelectorTerm| {
            term.match_label_expressions.into_iter().flatten().map(|e| (e.key, e.values)).collect()
        };
        Self {
            provisioner: raw.provisioner.into(),
            waits: raw.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            topologies: terms.map(term).collect(),
            metadata: lean_metadata(raw.metadata),
        }
    }
}

impl StorageClass {
    pub fn provisions(&self) -> bool {
        !matches!(&*self.provisioner, "" | "kubernetes.io/no-provisioner")
    }

    pub fn reaches(&self, node: &Node) -> bool {
        let fits = |(key, values): &(String, Vec<String>)| {
            node.label(key).is_some_and(|value| values.iter().any(|v| v == value))
        };
        self.topologies.is_empty() || self.topologies.iter().any(|term| !term.is_empty() && term.iter().all(fits))
    }
}
