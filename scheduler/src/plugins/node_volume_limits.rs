//! NodeVolumeLimits: a node takes so many volumes of a CSI driver, as its CSINode says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, Check, Filter, Plugin, Rejection, volume_binding};
use crate::event::Event;
use crate::objects::{Claim, Pod, PodVolume, driver_of};
use crate::snapshot::{Snapshot, Volumes};

const TOO_MANY: &str = "node(s) exceed max volume count";

pub struct NodeVolumeLimits;

/// Volumes by driver. A claim without a volume yet stands for the one that it will get.
type ByDriver = BTreeMap<String, BTreeSet<String>>;

/// Adds a pod's volumes; returns a claim that is not there.
fn collect<'p>(pod: &'p Pod, snapshot: &Snapshot, into: &mut ByDriver) -> Option<&'p str> {
    let (volumes, mut missing) = (&snapshot.volumes, None);
    for volume in &pod.volumes {
        let attached = match volume {
            PodVolume::Moved((driver, name)) | PodVolume::Disk { moved: Some((driver, name)), .. } => {
                Some(((*driver).to_owned(), name.to_string()))
            }
            PodVolume::Disk { moved: None, .. } => None,
            PodVolume::Claim { name, .. } => match volumes.claim(pod.namespace(), name) {
                Some(claim) => of_claim(claim, volumes),
                None => {
                    missing = missing.or(Some(&**name));
                    None
                }
            },
        };
        if let Some((driver, volume)) = attached {
            into.entry(driver).or_default().insert(volume);
        }
    }
    missing
}

/// The driver and the name of a claim's volume.
fn of_claim(claim: &Claim, volumes: &Volumes) -> Option<(String, String)> {
    let Some(volume) = volumes.volume(&claim.volume_name) else {
        // It has none yet, or one that is not there: the class says whose it will be.
        let class = volumes.class(&claim.class)?;
        return Some((driver_of(&class.provisioner).to_owned(), format!("{}/{}", claim.namespace(), claim.name())));
    };
    let csi = volume.csi.as_ref().map(|(driver, handle)| (driver.to_string(), handle.to_string()));
    csi.or_else(|| volume.moved.as_ref().map(|(driver, name)| ((*driver).to_owned(), name.to_string())))
}

/// Whether the node takes these volumes beside those of its pods, and those that are attached for nobody there.
fn has_room(new: &ByDriver, candidate: Candidate<'_>, snapshot: &Snapshot) -> bool {
    let Some(limits) = snapshot.volumes.csi_node(candidate.node.name()) else { return true };
    if !new.keys().any(|driver| limits.limits.contains_key(driver)) {
        return true;
    }
    let mut there = ByDriver::new();
    for other in candidate.info.pods() {
        collect(other, snapshot, &mut there);
    }
    let mut beside: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (driver, handle) in snapshot.volumes.attached(candidate.node.name()) {
        if !there.get(driver).is_some_and(|volumes| volumes.contains(handle)) {
            beside.entry(driver).or_default().insert(handle);
        }
    }
    new.iter().all(|(driver, wanted)| {
        let none = BTreeSet::new();
        let used = there.get(driver).unwrap_or(&none);
        let more = wanted.difference(used).count();
        // One that is attached for nobody counts beside itself for the pod that wants it: upstream's rule.
        let count = used.len() + beside.get(&**driver).map_or(0, BTreeSet::len) + more;
        more == 0 || limits.limits.get(driver).is_none_or(|limit| count as i64 <= *limit)
    })
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        let mut new = ByDriver::new();
        if let Some(claim) = collect(pod, snapshot, &mut new) {
            let namespace = pod.namespace();
            let why = format!("looking up PVC {namespace}/{claim}: persistentvolumeclaim \"{claim}\" not found");
            // No refusal: what VolumeBinding says of all nodes comes first.
            let refuse: Check<'a> = Box::new(move |_: Candidate<'_>| Err(Rejection::lasting(why.clone())));
            return Filter::Check(refuse);
        }
        if new.is_empty() {
            return Filter::Skip;
        }
        let check: Check<'a> = Box::new(move |candidate: Candidate<'_>| match has_room(&new, candidate, snapshot) {
            true => Ok(()),
            false => Err(Rejection::preemptable(TOO_MANY)),
        });
        Filter::Check(check)
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        match event {
            Event::PodDelete(gone) => gone.volumes.iter().any(|volume| may_use(volume, None)),
            Event::AttachmentDelete(gone) => pod.volumes.iter().any(|volume| may_use(volume, Some(&gone.attacher))),
            Event::NodeAdd(_) | Event::CsiNode { old: None, .. } => true,
            Event::CsiNode { old: Some(old), new } => new.takes_more_than(old),
            Event::Claim { old: None, new } => volume_binding::uses(pod, new),
            _ => false,
        }
    }
}

/// Whether a driver, if this one, may attach the volume; of claims that is not asked.
fn may_use(volume: &PodVolume, driver: Option<&str>) -> bool {
    match volume {
        PodVolume::Claim { .. } => true,
        PodVolume::Moved((own, _)) | PodVolume::Disk { moved: Some((own, _)), .. } => {
            driver.is_none_or(|driver| driver == *own)
        }
        PodVolume::Disk { moved: None, .. } => false,
    }
}
