//! Which plugins schedule the pods of one `schedulerName`, and how much their scores weigh.

use std::sync::Arc;
use std::time::Duration;

use crate::event::Event;
use crate::objects::Pod;
use crate::plugins::{
    Plugin, dynamic_resources::DynamicResources, image_locality::ImageLocality, inter_pod_affinity::InterPodAffinity,
    node_affinity::NodeAffinity, node_declared_features::NodeDeclaredFeatures, node_name::NodeName,
    node_ports::NodePorts, node_resources_balanced_allocation::NodeResourcesBalancedAllocation,
    node_resources_fit::NodeResourcesFit, node_unschedulable::NodeUnschedulable, node_volume_limits::NodeVolumeLimits,
    pod_topology_spread::PodTopologySpread, scheduling_gates::SchedulingGates, taint_toleration::TaintToleration,
    volume_binding::VolumeBinding, volume_restrictions::VolumeRestrictions, volume_zone::VolumeZone,
};
use crate::preemption::Shortlist;
use crate::snapshot::Snapshot;

/// A plugin of a profile.
#[derive(Clone)]
pub struct Enabled {
    pub plugin: Arc<dyn Plugin>,
    pub filters: bool,
    /// What its scores are multiplied by; 0 when it does not score.
    pub weight: i64,
}

/// Plugins of a profile, by their place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginSet(u64);

impl PluginSet {
    /// The place of extenders, which are no plugins: any event may help a pod that they turned away.
    pub const EXTENDER: usize = 63;

    pub fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..u64::BITS as usize).filter(move |index| self.0 & (1 << index) != 0)
    }
}

#[derive(Clone)]
pub struct Profile {
    pub scheduler_name: Box<str>,
    /// In the order in which they filter; the first that turns a node away gives the reason. At most 63.
    pub plugins: Vec<Enabled>,
    /// How much of the cluster to look at before the best is good enough, in percent; 0 chooses by cluster size.
    pub percentage_of_nodes_to_score: usize,
    /// Whether pods may push out those of lower priority.
    pub preempts: bool,
    pub preemption: Shortlist,
    /// How long claims may take to be bound before their pod is tried anew.
    pub volume_bind_timeout: Duration,
    /// How long devices may take to be made ready.
    pub device_bind_timeout: Duration,
}

impl Profile {
    /// Upstream's default plugins and weights.
    pub fn default_named(scheduler_name: &str) -> Self {
        let filter = |plugin: Arc<dyn Plugin>| Enabled { plugin, filters: true, weight: 0 };
        let both = |plugin: Arc<dyn Plugin>, weight| Enabled { plugin, filters: true, weight };
        let score = |plugin: Arc<dyn Plugin>| Enabled { plugin, filters: false, weight: 1 };
        Self {
            scheduler_name: scheduler_name.into(),
            plugins: vec![
                filter(Arc::new(SchedulingGates)),
                filter(Arc::new(NodeUnschedulable)),
                filter(Arc::new(NodeName)),
                both(Arc::new(TaintToleration), 3),
                both(Arc::<NodeAffinity>::default(), 2),
                filter(Arc::new(NodePorts)),
                both(Arc::<NodeResourcesFit>::default(), 1),
                filter(Arc::new(VolumeRestrictions)),
                filter(Arc::new(NodeVolumeLimits)),
                filter(Arc::new(VolumeBinding)),
                filter(Arc::new(VolumeZone)),
                both(Arc::<PodTopologySpread>::default(), 2),
                both(Arc::<InterPodAffinity>::default(), 2),
                both(Arc::<DynamicResources>::default(), 2),
                score(Arc::<NodeResourcesBalancedAllocation>::default()),
                score(Arc::new(ImageLocality)),
                filter(Arc::new(NodeDeclaredFeatures)),
            ],
            percentage_of_nodes_to_score: 0,
            preempts: true,
            preemption: Shortlist::default(),
            volume_bind_timeout: Duration::from_secs(600),
            device_bind_timeout: Duration::from_secs(600),
        }
    }

    /// Whether a pod that was turned away from this place of the profile may fit after an event.
    pub fn wakes(&self, index: usize, pod: &Pod, event: &Event<'_>, snapshot: &Snapshot) -> bool {
        self.plugins.get(index).is_none_or(|enabled| enabled.plugin.wakes(pod, event, snapshot))
    }

    /// The place of a plugin, by name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.plugins.iter().position(|enabled| enabled.plugin.name() == name)
    }
}
