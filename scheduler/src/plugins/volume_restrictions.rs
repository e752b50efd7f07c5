//! VolumeRestrictions: disks that two pods cannot share, and claims that only one pod may use at a time.

use super::{Candidate, Check, Filter, Plugin, Rejection, volume_binding};
use crate::event::Event;
use crate::objects::{Disk, Pod, PodVolume};
use crate::snapshot::Snapshot;

const DISK_CONFLICT: &str = "node(s) had no available disk";
const CLAIM_CONFLICT: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already \
                              in-use by another pod";

pub struct VolumeRestrictions;

fn disks(pod: &Pod) -> impl Iterator<Item = (&Disk, bool)> {
    pod.volumes.iter().filter_map(|volume| match volume {
        PodVolume::Disk { disk, read_only, .. } => Some((disk, *read_only)),
        PodVolume::Claim { .. } | PodVolume::Moved(_) => None,
    })
}

fn same(a: &Disk, b: &Disk) -> bool {
    match (a, b) {
        (
            Disk::Rbd { monitors, pool, image },
            Disk::Rbd { monitors: other_monitors, pool: other_pool, image: other_image },
        ) => pool == other_pool && image == other_image && monitors.iter().any(|m| other_monitors.contains(m)),
        (a, b) => a == b,
    }
}

fn conflict(a: &Pod, b: &Pod) -> bool {
    disks(a).any(|(disk, read_only)| disks(b).any(|(other, also)| same(disk, other) && !(read_only && also)))
}

/// Names of the pod's claims that only one pod may use.
fn exclusive<'a>(pod: &'a Pod, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a str> {
    pod.volumes.iter().filter_map(|volume| match volume {
        PodVolume::Claim { name, own: false } => {
            let claim = snapshot.volumes.claim(pod.namespace(), name)?;
            claim.access_modes.iter().any(|mode| mode == "ReadWriteOncePod").then_some(&**name)
        }
        _ => None,
    })
}

fn names(pod: &Pod, claim: &str) -> bool {
    pod.volumes.iter().any(|v| matches!(v, PodVolume::Claim { name, own: false } if **name == *claim))
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        if pod.volumes.is_empty() {
            return Filter::Skip;
        }
        let exclusive: Vec<&str> = exclusive(pod, snapshot).collect();
        let uses = |other: &Pod| {
            other.namespace() == pod.namespace()
                && other.uid() != pod.uid()
                && exclusive.iter().any(|claim| names(other, claim))
        };
        let taken = !exclusive.is_empty() && snapshot.pods().any(|other| uses(other));
        if !taken && disks(pod).next().is_none() {
            return Filter::Skip;
        }
        let check: Check<'a> = Box::new(move |candidate: Candidate<'_>| {
            if candidate.info.pods().iter().any(|other| conflict(pod, other)) {
                return Err(Rejection::preemptable(DISK_CONFLICT));
            }
            if taken { Err(Rejection::preemptable(CLAIM_CONFLICT)) } else { Ok(()) }
        });
        Filter::Check(check)
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, snapshot: &Snapshot) -> bool {
        match event {
            Event::PodDelete(gone) => {
                let shared = |claim: &str| gone.namespace() == pod.namespace() && names(gone, claim);
                conflict(pod, gone) || exclusive(pod, snapshot).any(shared)
            }
            Event::NodeAdd(_) => true,
            Event::Claim { new: claim, .. } => volume_binding::uses(pod, claim),
            _ => false,
        }
    }
}
