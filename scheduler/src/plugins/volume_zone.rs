//! VolumeZone: volumes that are labelled with zones or regions are used from there.

use super::{Candidate, Check, Filter, Plugin, Rejection, volume_binding};
use crate::event::Event;
use crate::objects::{Node, Pod, PodVolume, Volume};
use crate::snapshot::Snapshot;

const CONFLICT: &str = "node(s) had no available volume zone";

/// Label keys, with today's name of each.
const TOPOLOGY: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

pub struct VolumeZone;

/// A label that a node must have, under either name, with any of these values.
struct Place {
    key: &'static str,
    current: &'static str,
    values: Vec<String>,
}

fn places(volume: &Volume) -> impl Iterator<Item = Place> + '_ {
    TOPOLOGY.iter().filter_map(|(key, current)| {
        let value = volume.metadata.labels.as_ref()?.get(*key)?;
        let values = value.split("__").map(|v| v.trim().to_owned()).collect();
        Some(Place { key, current, values })
    })
}

impl Place {
    fn is_here(&self, node: &Node) -> bool {
        let value = node.label(self.key).or_else(|| node.label(self.current));
        value.is_some_and(|value| self.values.iter().any(|v| v == value))
    }
}

fn needed(pod: &Pod, snapshot: &Snapshot) -> Result<Vec<Place>, String> {
    let (volumes, mut needed) = (&snapshot.volumes, Vec::new());
    for volume in &pod.volumes {
        let PodVolume::Claim { name, own: false } = volume else { continue };
        let Some(claim) = volumes.claim(pod.namespace(), name) else {
            return Err(format!("persistentvolumeclaim {name:?} not found"));
        };
        if claim.volume_name.is_empty() {
            match volumes.class(&claim.class) {
                _ if claim.class.is_empty() => {
                    return Err("PersistentVolumeClaim had no pv name and storageClass name".to_owned());
                }
                None => return Err(format!("storageclass.storage.k8s.io {:?} not found", claim.class)),
                Some(class) if class.waits => continue,
                Some(_) => return Err("PersistentVolume had no name".to_owned()),
            }
        }
        match volumes.volume(&claim.volume_name) {
            Some(volume) => needed.extend(places(volume)),
            None => return Err(format!("persistentvolume {:?} not found", claim.volume_name)),
        }
    }
    Ok(needed)
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        if pod.volumes.is_empty() {
            return Filter::Skip;
        }
        let needed = match needed(pod, snapshot) {
            Ok(needed) if needed.is_empty() => return Filter::Skip,
            Ok(needed) => needed,
            Err(why) => return Filter::Refuse(Rejection::lasting(why)),
        };
        let check: Check<'a> = Box::new(move |candidate: Candidate<'_>| {
            // Nodes outside of all zones are taken for a cluster without any.
            let zoned = TOPOLOGY.iter().any(|(key, _)| candidate.node.label(key).is_some());
            match !zoned || needed.iter().all(|place| place.is_here(candidate.node)) {
                true => Ok(()),
                false => Err(Rejection::lasting(CONFLICT)),
            }
        });
        Filter::Check(check)
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        match event {
            Event::Claim { new: claim, .. } => volume_binding::uses(pod, claim),
            Event::Volume(_) | Event::StorageClass(_) => true,
            event => {
                event.node().is_some_and(|(old, new)| old.is_none_or(|old| old.metadata.labels != new.metadata.labels))
            }
        }
    }
}
