//! What the runtime tells of its containers, by pod.

use std::collections::{BTreeMap, HashMap};

use k8s_cri::v1::ContainerStats;

use crate::{
    pod::node::Node,
    runtime::{
        self,
        labels::{CONTAINER_NAME, Identity},
    },
};

/// A container with what it uses.
pub(in crate::server) struct Measured {
    pub(in crate::server) name: String,
    pub(in crate::server) stats: ContainerStats,
    /// Nanoseconds since 1970 at which it was made, as upstream tells its start; zero where that is not known.
    pub(in crate::server) created_at_ns: i64,
}

impl Measured {
    pub(in crate::server) fn id(&self) -> Option<&str> {
        Some(&self.stats.attributes.as_ref()?.id)
    }
}

/// Containers by their pods; those of other clients of the runtime are left out.
pub(in crate::server) async fn measured(node: &Node) -> runtime::Result<BTreeMap<Identity, Vec<Measured>>> {
    let stats = node.runtime.list_container_stats().await?;
    let containers = node.runtime.list_containers(None).await?;
    let created: HashMap<String, i64> = containers.into_iter().map(|it| (it.id, it.created_at)).collect();
    Ok(by_pod(stats, &created))
}

pub(super) fn by_pod(stats: Vec<ContainerStats>, created: &HashMap<String, i64>) -> BTreeMap<Identity, Vec<Measured>> {
    let mut pods: BTreeMap<Identity, Vec<_>> = BTreeMap::new();
    for stats in stats {
        let Some(attributes) = stats.attributes.as_ref() else { continue };
        let (labels, id) = (&attributes.labels, &attributes.id);
        let created_at_ns = created.get(id).copied().unwrap_or(0);
        if let (Some(identity), Some(name)) = (Identity::from_labels(labels), labels.get(CONTAINER_NAME).cloned()) {
            pods.entry(identity).or_default().push(Measured { name, stats, created_at_ns });
        }
    }
    pods
}
