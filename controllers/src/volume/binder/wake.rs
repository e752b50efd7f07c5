//! Which events concern which claims and volumes. Nothing is looked at by the clock: whatever a waiting claim may wait for
//! wakes it.

use std::sync::Arc;

use component::informer::Event;
use component::key::Key;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::super::{facts, pods};
use super::{Binder, recycle};
use crate::common::pod::Pod;

const WAITING: &str = "waiting";

impl Binder {
    pub(super) fn subscribe(self: &Arc<Self>) {
        self.claims.index(WAITING, |claim| match facts::has_annotation(claim, facts::BIND_COMPLETED) {
            true => Vec::new(),
            false => vec![String::new()],
        });
        self.claims.notify(self, Self::on_claim);
        self.volumes.notify(self, Self::on_volume);
        self.classes.notify(self, |this, _| this.wake_waiting(|_| true));
        self.pods.notify(self, Self::on_pod);
    }

    fn on_claim(&self, event: &Event<PersistentVolumeClaim>) {
        let claim = event.object();
        // A successor of the same name does not keep its predecessor's volume.
        let before = event.old().filter(|old| old.uid() != claim.uid());
        for gone in before.into_iter().chain(matches!(event, Event::Deleted(_)).then_some(claim)) {
            self.written_claims.forget(gone);
            if !facts::volume_name(gone).is_empty() {
                self.volume_queue.add(Key::cluster(facts::volume_name(gone)));
            }
        }
        if !matches!(event, Event::Deleted(_)) {
            self.claim_queue.add(Key::of(&**claim));
        }
    }

    fn on_volume(&self, event: &Event<PersistentVolume>) {
        let volume = event.object();
        if matches!(event, Event::Deleted(_)) {
            self.written_volumes.forget(volume);
        } else {
            self.volume_queue.add(Key::cluster(volume.name_any()));
        }
        if let Some(reference) = facts::claim_ref(volume) {
            let (namespace, name) = (reference.namespace.clone(), reference.name.clone());
            self.claim_queue.add(Key::new(namespace.unwrap_or_default(), name.unwrap_or_default()));
        }
        let (name, class) = (volume.name_any(), facts::class_of_volume(volume));
        let free = facts::claim_ref(volume).is_none();
        self.wake_waiting(|claim| facts::volume_name(claim) == name || (free && facts::class_of_claim(claim) == class));
    }

    fn wake_waiting(&self, concerned: impl Fn(&PersistentVolumeClaim) -> bool) {
        let waiting = self.claims.by_index(WAITING, "");
        waiting.iter().filter(|claim| concerned(claim)).for_each(|claim| self.claim_queue.add(Key::of(&**claim)));
    }

    /// A pod that comes changes what its claims are told to wait for; one that goes may free a volume to be cleaned.
    fn on_pod(&self, event: &Event<Pod>) {
        let pod = event.object();
        if let Some(volume) =
            recycle::volume_of(&pod.name_any()).filter(|_| pod.namespace().as_deref() == Some(recycle::NAMESPACE))
        {
            self.volume_queue.add(Key::cluster(volume));
        }
        let ended = |pod: &Pod| crate::common::pods::is_terminal(pod);
        let over = matches!(event, Event::Deleted(_)) || (ended(pod) && event.old().is_some_and(|old| !ended(old)));
        if !(over || matches!(event, Event::Added(_))) {
            return;
        }
        for key in pods::claims(pod) {
            match self.claims.get_key(&key) {
                Some(claim) if facts::has_annotation(&*claim, facts::BIND_COMPLETED) => {}
                Some(_) => self.claim_queue.add(key),
                None if over => self.wake_released(&key),
                None => {}
            }
        }
    }

    fn wake_released(&self, claim: &Key) {
        for volume in self.volumes.by_index(super::BY_USE, &super::named_by(claim)) {
            self.volume_queue.add(Key::cluster(volume.name_any()));
        }
    }
}
