//! Claims and volumes as the snapshot has them, and what was decided about them and is not told yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::objects::{Attachment, Capacity, Claim, CsiDriver, CsiNode, Node, StorageClass, Volume};

/// What becomes of the claims of a pod on its node, before the pod goes there.
#[derive(Clone, Debug, Default)]
pub struct VolumePlan {
    pub node: Box<str>,
    /// Volumes that are there, with the claims that get them.
    pub bindings: Vec<(Arc<Volume>, Arc<Claim>)>,
    /// Claims that get a volume made for this node.
    pub provisions: Vec<Arc<Claim>>,
}

impl VolumePlan {
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.provisions.is_empty()
    }

    /// All claims that change.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.bindings.iter().map(|(_, claim)| claim).chain(&self.provisions)
    }
}

#[derive(Debug, Default)]
pub struct Volumes {
    claims: HashMap<(Box<str>, Box<str>), Arc<Claim>>,
    volumes: HashMap<Box<str>, Arc<Volume>>,
    classes: HashMap<Box<str>, Arc<StorageClass>>,
    csi_nodes: HashMap<Box<str>, Arc<CsiNode>>,
    /// By node and name.
    attachments: HashMap<Box<str>, BTreeMap<Box<str>, Arc<Attachment>>>,
    csi_drivers: HashMap<Box<str>, Arc<CsiDriver>>,
    capacities: HashMap<(Box<str>, Box<str>), Arc<Capacity>>,
    /// By the pod's UID.
    assumed: HashMap<Box<str>, VolumePlan>,
}

impl Volumes {
    pub fn set_claim(&mut self, namespace: &str, name: &str, claim: Option<Arc<Claim>>) {
        put(&mut self.claims, (namespace.into(), name.into()), claim);
    }

    pub fn set_volume(&mut self, name: &str, volume: Option<Arc<Volume>>) {
        put(&mut self.volumes, name.into(), volume);
    }

    pub fn set_class(&mut self, name: &str, class: Option<Arc<StorageClass>>) {
        put(&mut self.classes, name.into(), class);
    }

    pub fn set_csi_node(&mut self, name: &str, node: Option<Arc<CsiNode>>) {
        put(&mut self.csi_nodes, name.into(), node);
    }

    pub fn set_attachment(&mut self, attachment: Arc<Attachment>) {
        self.attachments.entry(attachment.node.clone()).or_default().insert(attachment.name().into(), attachment);
    }

    pub fn remove_attachment(&mut self, attachment: &Attachment) {
        let Some(of_node) = self.attachments.get_mut(&attachment.node) else { return };
        of_node.remove(attachment.name());
        if of_node.is_empty() {
            self.attachments.remove(&attachment.node);
        }
    }

    /// Driver and handle of the CSI volumes that are attached to a node, or about to be.
    pub fn attached(&self, node: &str) -> impl Iterator<Item = (&str, &str)> {
        let attachments = self.attachments.get(node).into_iter().flat_map(BTreeMap::values);
        attachments.filter_map(|attachment| {
            let (_, handle) = self.volumes.get(&attachment.volume)?.csi.as_ref()?;
            (!attachment.attacher.is_empty()).then_some((&*attachment.attacher, &**handle))
        })
    }

    pub fn set_csi_driver(&mut self, name: &str, driver: Option<Arc<CsiDriver>>) {
        put(&mut self.csi_drivers, name.into(), driver);
    }

    pub fn set_capacity(&mut self, namespace: &str, name: &str, capacity: Option<Arc<Capacity>>) {
        put(&mut self.capacities, (namespace.into(), name.into()), capacity);
    }

    /// Whether a volume for the claim can be made where the node reaches it, as far as its driver tells such things.
    pub fn has_room(&self, claim: &Claim, class: &StorageClass, node: &Node) -> bool {
        let tracked = self.csi_drivers.get(&class.provisioner).is_some_and(|driver| driver.tracks_capacity);
        if !tracked || claim.requested == 0 {
            return true;
        }
        let mut of_class = self.capacities.values().filter(|capacity| capacity.class == claim.class);
        of_class.any(|capacity| capacity.suffices(claim.requested, node))
    }

    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<Claim>> {
        self.claims.get(&(namespace.into(), name.into()))
    }

    pub fn volume(&self, name: &str) -> Option<&Arc<Volume>> {
        self.volumes.get(name)
    }

    pub fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(name)
    }

    pub fn csi_node(&self, name: &str) -> Option<&Arc<CsiNode>> {
        self.csi_nodes.get(name)
    }

    /// The volumes of a class, and those that are reserved for the claim, in no order.
    pub fn candidates<'a>(&'a self, claim: &'a Claim) -> impl Iterator<Item = &'a Arc<Volume>> {
        self.volumes.values().filter(move |volume| volume.class == claim.class || self.is_for(volume, claim))
    }

    /// Whether the volume is the claim's, reserved for it, or about to be.
    pub fn is_for(&self, volume: &Volume, claim: &Claim) -> bool {
        let told = volume.claim.as_ref().is_some_and(|[namespace, name, uid]| {
            **namespace == *claim.namespace() && **name == *claim.name() && (uid.is_empty() || **uid == *claim.uid())
        });
        told || self.assumed_claim(volume).is_some_and(|assumed| assumed.uid() == claim.uid())
    }

    pub fn is_free(&self, volume: &Volume) -> bool {
        volume.claim.is_none() && self.assumed_claim(volume).is_none()
    }

    fn assumed_claim(&self, volume: &Volume) -> Option<&Arc<Claim>> {
        let mut all = self.assumed.values().flat_map(|plan| &plan.bindings);
        all.find(|(assumed, _)| assumed.name() == volume.name()).map(|(_, claim)| claim)
    }

    /// The node for which the claim's volume is made, or about to be; empty for none.
    pub fn selected_node<'a>(&'a self, claim: &'a Claim) -> &'a str {
        let mut plans = self.assumed.values();
        let assumed = plans.find(|plan| plan.provisions.iter().any(|other| other.uid() == claim.uid()));
        assumed.map_or(&*claim.selected_node, |plan| &*plan.node)
    }

    /// Holds to a plan until the pod is bound or its binding failed.
    pub fn assume(&mut self, pod_uid: &str, plan: VolumePlan) {
        self.assumed.insert(pod_uid.into(), plan);
    }

    pub fn forget(&mut self, pod_uid: &str) {
        self.assumed.remove(pod_uid);
    }
}

fn put<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}
