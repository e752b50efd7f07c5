//! NodeVolumeLimits: a node takes so many volumes of a CSI driver, as its CSINode says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, Check, Filter, Plugin, Rejection, volume_binding};
use crate::event::Event;
use crate::objects::{Pod, PodVolume};
use crate::snapshot::Snapshot;

const TOO_MANY: &str = "node(s) exceed max volume count";

pub struct NodeVolumeLimits;

/// Volumes by driver. A claim without a volume yet stands for the one that it will get.
type ByDriver = BTreeMap<String, BTreeSet<String>>;

fn collect(pod: &Pod, snapshot: &Snapshot, into: &mut ByDriver) {
    let volumes = &snapshot.volumes;
    for volume in &pod.volumes {
        let PodVolume::Claim { name, .. } = volume else { continue };
        let Some(claim) = volumes.claim(pod.namespace(), name) else { continue };
        let bound = volumes.volume(&claim.volume_name).and_then(|volume| volume.csi.as_ref());
        let attached = match bound {
            Some((driver, handle)) => Some((driver.to_string(), handle.to_string())),
            None if claim.volume_name.is_empty() => volumes
                .class(&claim.class)
                .map(|class| (class.provisioner.to_string(), format!("{}/{name}", claim.namespace()))),
            None => None,
        };
        if let Some((driver, volume)) = attached {
            into.entry(driver).or_default().insert(volume);
        }
    }
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        let mut new = ByDriver::new();
        collect(pod, snapshot, &mut new);
        if new.is_empty() {
            return Filter::Skip;
        }
        let check: Check<'a> = Box::new(move |candidate: Candidate<'_>| {
            let Some(limits) = snapshot.volumes.csi_node(candidate.node.name()) else { return Ok(()) };
            if !new.keys().any(|driver| limits.limits.contains_key(driver)) {
                return Ok(());
            }
            let mut there = ByDriver::new();
            candidate.info.pods().iter().for_each(|other| collect(other, snapshot, &mut there));
            let exceeds = |(driver, wanted): (&String, &BTreeSet<String>)| {
                let attached = there.get(driver).cloned().unwrap_or_default();
                let more = wanted.difference(&attached).count();
                let limit = limits.limits.get(driver);
                more > 0 && limit.is_some_and(|limit| (attached.len() + more) as i64 > *limit)
            };
            if new.iter().any(exceeds) { Err(Rejection::preemptable(TOO_MANY)) } else { Ok(()) }
        });
        Filter::Check(check)
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        match event {
            Event::PodDelete(gone) => !gone.volumes.is_empty(),
            Event::CsiNode(_) | Event::NodeAdd(_) => true,
            Event::Claim(claim) => volume_binding::uses(pod, claim),
            _ => false,
        }
    }
}
