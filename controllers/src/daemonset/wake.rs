//! Which events concern which DaemonSets.

use std::sync::Arc;

use component::informer::{Event, Informer};
use component::key::Key;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::core::SelectorExt;

use super::Controller;
use super::node::fit;
use crate::common::map;
use crate::common::owner::{controller_of, selector};
use crate::common::pod::Pod;

impl Controller {
    pub(super) fn subscribe(self: &Arc<Self>, revisions: &Informer<ControllerRevision>) {
        self.daemon_sets.notify(self, Self::on_daemon_set);
        self.pods.notify(self, Self::on_pod);
        revisions.notify(self, Self::on_revision);
        self.nodes.notify(self, Self::on_node);
    }

    fn on_daemon_set(&self, event: &Event<DaemonSet>) {
        let key = Key::of(&**event.object());
        // A successor of the same name owes nothing of what its predecessor expected.
        let replaced = event.old().is_some_and(|old| old.uid() != event.object().uid());
        if replaced || matches!(event, Event::Deleted(_)) {
            self.expectations.forget(&key);
        }
        self.queue.add(key);
    }

    fn on_pod(&self, event: &Event<Pod>) {
        let pod = event.object();
        let going = matches!(event, Event::Deleted(_)) || pod.metadata.deletion_timestamp.is_some();
        let owner = self.owner(&**pod);
        match &owner {
            Some(key) if going => self.expectations.deletion_observed(key, &pod.name_any()),
            Some(key) if matches!(event, Event::Added(_)) => self.expectations.creation_observed(key),
            _ => {}
        }
        let before = event.old().and_then(|old| self.owner(&**old)).filter(|b| Some(b) != owner.as_ref());
        before.into_iter().for_each(|key| self.queue.add(key));
        match owner {
            Some(key) => self.queue.add(key),
            None if !going => self.wake_selecting(event.old().map(Arc::as_ref), &**pod),
            None => {}
        }
    }

    fn on_revision(&self, event: &Event<ControllerRevision>) {
        let revision = event.object();
        match self.owner(&**revision) {
            // What this controller itself has made is no news.
            Some(_) if matches!(event, Event::Added(_)) => {}
            Some(key) => self.queue.add(key),
            None if matches!(event, Event::Deleted(_)) => {}
            None => self.wake_selecting(event.old().map(Arc::as_ref), &**revision),
        }
    }

    /// A node concerns those whose pods belong there now and did not before, or the other way round.
    fn on_node(&self, event: &Event<Node>) {
        let (old, new) = (event.old(), event.object());
        let taints = |n: &Node| n.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
        if old.is_some_and(|old| old.labels() == new.labels() && taints(old) == taints(new)) {
            return;
        }
        let deleted = matches!(event, Event::Deleted(_));
        for ds in self.daemon_sets.list() {
            let before = old.map(|old| fit(&ds, old));
            if deleted || before != Some(fit(&ds, new)) {
                self.queue.add(Key::of(&*ds));
            }
        }
    }

    /// The DaemonSet that controls the object, if it is still the one of that UID.
    fn owner(&self, object: &impl ResourceExt) -> Option<Key> {
        let owner = controller_of(object.meta()).filter(|o| o.kind == "DaemonSet")?;
        let ds = self.daemon_sets.get(&object.namespace()?, &owner.name)?;
        (ds.metadata.uid.as_ref() == Some(&owner.uid)).then(|| Key::of(&*ds))
    }

    /// An orphan concerns whoever might adopt it.
    fn wake_selecting<K: ResourceExt>(&self, old: Option<&K>, orphan: &K) {
        let unchanged = old
            .is_some_and(|old| old.labels() == orphan.labels() && old.owner_references() == orphan.owner_references());
        if unchanged || controller_of(orphan.meta()).is_some() {
            return;
        }
        for ds in self.daemon_sets.in_namespace(&orphan.namespace().unwrap_or_default()) {
            let selector = ds.spec.as_ref().and_then(|s| selector(&s.selector));
            if selector.is_some_and(|s| !s.selects_all() && s.matches(map(&orphan.meta().labels))) {
                self.queue.add(Key::of(&*ds));
            }
        }
    }
}
