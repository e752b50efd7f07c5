//! Claims of devices: what the API tells of them, and what is decided about them.

use std::sync::Arc;
use std::time::Duration;

use component::informer::Event as Change;
use jiff::Timestamp;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use rand::RngExt;
use rand::rngs::SmallRng;

use super::Core;
use crate::devices;
use crate::event::Event;
use crate::framework::{Diagnosis, Profile};
use crate::objects::Pod;
use crate::plugins::dynamic_resources::NAME;
use crate::snapshot::{DevicePlan, Slot, Snapshot};

impl Core {
    pub fn on_device_claim(&mut self, change: &Change<ResourceClaim>, now: Timestamp) {
        match change {
            Change::Deleted(claim) => {
                self.snapshot.devices.remove_claim(claim);
                self.wake(&Event::ResourceClaim { old: None, new: claim }, now);
            }
            Change::Added(claim) | Change::Updated { new: claim, .. } => {
                self.snapshot.devices.set_claim(claim);
                let old = change.old().map(|old| &**old);
                self.wake(&Event::ResourceClaim { old, new: claim }, now);
            }
        }
    }

    /// The claim that was made for a pod's extended resources.
    pub fn extended_claim(&self, pod: &Pod) -> Option<Arc<ResourceClaim>> {
        devices::made_before(pod, &self.snapshot.devices).cloned()
    }

    pub fn device_claim(&self, namespace: &str, name: &str) -> Option<Arc<ResourceClaim>> {
        self.snapshot.devices.claim(namespace, name).cloned()
    }

    /// A claim as this scheduler's own write left it.
    pub fn device_claim_written(&mut self, claim: ResourceClaim) {
        self.snapshot.devices.set_claim(&Arc::new(claim));
    }

    pub fn on_device_class(&mut self, change: &Change<DeviceClass>, now: Timestamp) {
        match change {
            Change::Deleted(class) => self.snapshot.devices.remove_class(class),
            Change::Added(class) | Change::Updated { new: class, .. } => {
                self.snapshot.devices.set_class(class);
                self.wake(&Event::DeviceClass(class), now);
            }
        }
    }

    pub fn on_resource_slice(&mut self, change: &Change<ResourceSlice>, now: Timestamp) {
        match change {
            Change::Deleted(slice) => self.snapshot.devices.remove_slice(slice),
            Change::Added(slice) | Change::Updated { new: slice, .. } => {
                // Deleted and made again under the same name while the watch was away, it may be of another pool.
                change.old().into_iter().for_each(|old| self.snapshot.devices.remove_slice(old));
                self.snapshot.devices.set_slice(slice);
                self.wake(&Event::ResourceSlice(slice), now);
            }
        }
    }

    /// A claim whose devices keep the pod from fitting anywhere.
    pub(super) fn stuck_claim(&self, pod: &Pod, diagnosis: &Diagnosis) -> Option<Arc<ResourceClaim>> {
        let index = self.profile(pod)?.index_of(NAME)?;
        let is_rejected = diagnosis.rejected_by.iter().any(|rejected| rejected == index);
        is_rejected.then(|| devices::stuck(pod, &self.snapshot)).flatten()
    }
}

/// What has to become of the pod's claims of devices there.
pub(super) fn plan(
    profile: &Profile,
    pod: &Pod,
    snapshot: &Snapshot,
    slot: Slot,
    random: &mut SmallRng,
) -> Option<(Box<DevicePlan>, Duration)> {
    if pod.device_claims.is_empty() && pod.extended.is_empty() {
        return None;
    }
    let enabled = profile.plugins.iter().find(|enabled| enabled.plugin.name() == NAME)?;
    let node = snapshot.node(slot).node().filter(|_| enabled.filters)?;
    devices::plan(pod, snapshot, node, random.random()).map(|plan| (Box::new(plan), profile.device_bind_timeout))
}
