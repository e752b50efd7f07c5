//! What the API's events do to the snapshot and the queue.

use std::sync::Arc;

use component::informer::Event as Change;
use jiff::Timestamp;

use super::Core;
use crate::event::{Event, node_changed, pod_changed};
use crate::objects::{
    Attachment, Capacity, Claim, CsiDriver, CsiNode, Namespace, Node, Pod, PodDisruptionBudget, ReplicaSet,
    ReplicationController, Service, StatefulSet, StorageClass, Volume,
};

impl Core {
    pub fn on_node(&mut self, change: &Change<Node>, now: Timestamp) {
        match change {
            Change::Added(node) => {
                self.snapshot.set_node(node.clone());
                self.wake(&Event::NodeAdd(node), now);
            }
            Change::Updated { old, new } => {
                self.snapshot.set_node(new.clone());
                if node_changed(old, new) {
                    self.wake(&Event::NodeUpdate { old, new }, now);
                }
            }
            Change::Deleted(node) => {
                if let Some(slot) = self.snapshot.slot(node.name()) {
                    self.nominated.remove(&slot);
                }
                self.snapshot.remove_node(node.name());
                self.wake(&Event::NodeDelete(node), now);
            }
        }
    }

    pub fn on_pod(&mut self, change: &Change<Pod>, now: Timestamp) {
        match change {
            // Deleted and made again under the same name while the watch was away.
            Change::Updated { old, new } if old.uid() != new.uid() => {
                self.pod_gone(old, now);
                self.pod_added(new, now);
            }
            Change::Added(pod) => self.pod_added(pod, now),
            Change::Updated { old, new } => self.pod_updated(old, new, now),
            Change::Deleted(pod) => self.pod_gone(pod, now),
        }
    }

    fn pod_added(&mut self, pod: &Arc<Pod>, now: Timestamp) {
        if pod.is_assigned() {
            self.snapshot.set_pod(pod.clone());
            self.wake(&Event::PodAdd(pod), now);
        } else if self.profile(pod).is_some() {
            self.queue.add(pod.clone(), now);
            self.renominate(pod);
        }
    }

    fn pod_updated(&mut self, old: &Arc<Pod>, new: &Arc<Pod>, now: Timestamp) {
        if new.is_assigned() {
            // Bound by us or by somebody else: either way it waits no more.
            self.queue.remove(new.uid());
            self.forget_nomination(new.uid());
            self.snapshot.set_pod(new.clone());
            if !old.is_assigned() {
                self.wake(&Event::PodAdd(new), now);
            } else if pod_changed(old, new) {
                self.wake(&Event::PodUpdate { old, new }, now);
            }
        } else if self.snapshot.is_assumed(new.uid()) {
            self.assumed_pod_updated(new, now);
        } else if self.profile(new).is_some() {
            self.queued_pod_updated(old, new, now);
        }
    }

    /// Its binding is under way. If the pod is going the API refuses that, and its room on the node is free at once.
    fn assumed_pod_updated(&mut self, new: &Arc<Pod>, now: Timestamp) {
        if !new.is_terminating() {
            return self.queue.update(new.clone(), now, |_, _| false);
        }
        self.queue.remove(new.uid());
        if let Some((_, placed)) = self.snapshot.remove_pod(new.uid()) {
            self.wake(&Event::PodDelete(&placed), now);
        }
    }

    fn queued_pod_updated(&mut self, old: &Arc<Pod>, new: &Arc<Pod>, now: Timestamp) {
        if new.is_terminating() {
            self.queue.remove(new.uid());
            if let Some(promised) = self.forget_nomination(new.uid()) {
                self.wake(&Event::PodDelete(&promised), now);
            }
            return;
        }
        let (snapshot, profiles) = (&self.snapshot, &self.profiles);
        let changed = old.metadata.labels != new.metadata.labels
            || old.requests != new.requests
            || old.tolerations != new.tolerations
            || old.gates != new.gates
            || old.device_claims != new.device_claims
            || old.required_node_affinity != new.required_node_affinity;
        self.queue.update(new.clone(), now, |known, rejected_by| {
            let Some(profile) = profiles.iter().find(|p| p.scheduler_name == new.scheduler_name) else { return false };
            let event = Event::OwnUpdate { old: known, new };
            changed && rejected_by.iter().any(|index| profile.wakes(index, new, &event, snapshot))
        });
        if old.nominated_node_name != new.nominated_node_name {
            let promised = self.forget_nomination(new.uid());
            self.renominate(new);
            // Others may have the room now. A first promise changes nothing for them.
            if let Some(promised) = promised.filter(|_| !old.nominated_node_name.is_empty()) {
                self.wake(&Event::PodDelete(&promised), now);
            }
        }
    }

    fn pod_gone(&mut self, pod: &Arc<Pod>, now: Timestamp) {
        self.queue.remove(pod.uid());
        let promised = self.forget_nomination(pod.uid());
        let placed = self.snapshot.remove_pod(pod.uid()).map(|(_, placed)| placed);
        if let Some(gone) = placed.or(promised) {
            self.wake(&Event::PodDelete(&gone), now);
        }
    }

    /// A nomination from an earlier life of the scheduler still holds.
    fn renominate(&mut self, pod: &Arc<Pod>) {
        if !pod.nominated_node_name.is_empty() {
            // Whoever it displaced was told in that earlier life.
            self.nominate(pod, &pod.nominated_node_name);
        }
    }

    /// Lets waiting pods try again that this event may help.
    pub(super) fn wake(&mut self, event: &Event<'_>, now: Timestamp) {
        let (snapshot, profiles) = (&self.snapshot, &self.profiles);
        self.queue.event(event.label(), now, |pod, rejected_by| {
            let Some(profile) = profiles.iter().find(|p| p.scheduler_name == pod.scheduler_name) else { return false };
            let helps = |index: usize| profile.wakes(index, pod, event, snapshot);
            // A pod that was promised a node waits for those that go from it, whatever turned it away.
            let makes_room = matches!(event, Event::PodDelete(gone) if gone.node_name == pod.nominated_node_name);
            makes_room || rejected_by.iter().any(helps)
        });
    }

    pub fn on_namespace(&mut self, change: &Change<Namespace>) {
        let metadata = &change.object().metadata;
        let labels = metadata.labels.clone().unwrap_or_default();
        let labels = (!matches!(change, Change::Deleted(_))).then_some(labels);
        self.snapshot.set_namespace(metadata.name.as_deref().unwrap_or_default(), labels);
    }

    pub fn on_budget(&mut self, change: &Change<PodDisruptionBudget>) {
        let metadata = &change.object().metadata;
        let key = (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
        match change {
            Change::Deleted(_) => drop(self.budgets.remove(&key)),
            Change::Added(budget) | Change::Updated { new: budget, .. } => {
                self.budgets.insert(key, budget.clone());
            }
        }
    }
}

macro_rules! storage_events {
    ($($method:ident: $kind:ident, $set:ident($($field:ident),*), $event:expr;)*) => {
        impl Core {
            $(pub fn $method(&mut self, change: &Change<$kind>, now: Timestamp) {
                let object = change.object();
                let kept = (!matches!(change, Change::Deleted(_))).then(|| object.clone());
                let metadata = &object.metadata;
                self.snapshot.volumes.$set($(metadata.$field.as_deref().unwrap_or_default(),)* kept.clone());
                if kept.is_some() {
                    let event: for<'a> fn(Option<&'a $kind>, &'a $kind) -> Event<'a> = $event;
                    self.wake(&event(change.old().map(|old| &**old), object), now);
                }
            })*
        }
    };
}

storage_events! {
    on_claim: Claim, set_claim(namespace, name), |old, new| Event::Claim { old, new };
    on_volume: Volume, set_volume(name), |_, new| Event::Volume(new);
    on_storage_class: StorageClass, set_class(name), |_, new| Event::StorageClass(new);
    on_csi_node: CsiNode, set_csi_node(name), |old, new| Event::CsiNode { old, new };
    on_csi_driver: CsiDriver, set_csi_driver(name), |_, new| Event::CsiDriver(new);
    on_capacity: Capacity, set_capacity(namespace, name), |_, new| Event::Capacity(new);
}

impl Core {
    pub fn on_attachment(&mut self, change: &Change<Attachment>, now: Timestamp) {
        match change {
            Change::Deleted(gone) => {
                self.snapshot.volumes.remove_attachment(gone);
                self.wake(&Event::AttachmentDelete(gone), now);
            }
            Change::Added(new) | Change::Updated { new, .. } => {
                // Made again under the same name while the watch was away, perhaps for another node.
                if let Some(old) = change.old() {
                    self.snapshot.volumes.remove_attachment(old);
                }
                self.snapshot.volumes.set_attachment(new.clone());
            }
        }
    }
}

macro_rules! owner_events {
    ($($method:ident: $kind:ty => $field:ident, $selector:expr;)*) => {
        impl Core {
            $(pub fn $method(&mut self, change: &Change<$kind>) {
                let select: fn(&$kind) -> Option<_> = $selector;
                let object = change.object();
                let selector = if matches!(change, Change::Deleted(_)) { None } else { select(object) };
                let name = |name: &Option<String>| name.clone().unwrap_or_default();
                let (namespace, name) = (name(&object.metadata.namespace), name(&object.metadata.name));
                self.snapshot.owners.$field.set(&namespace, &name, selector);
            })*
        }
    };
}

owner_events! {
    on_service: Service => services, |service| service.selector.clone();
    on_replication_controller: ReplicationController => replication_controllers, |rc| rc.selector.clone();
    on_replica_set: ReplicaSet => replica_sets, |set| Some(set.selector.clone());
    on_stateful_set: StatefulSet => stateful_sets, |set| Some(set.selector.clone());
}
