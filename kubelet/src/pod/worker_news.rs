//! What the worker does with news: a new object, a mirror, an eviction, an end. Part of [`super::worker`].

use std::sync::Arc;

use component::recorder::Type;
use k8s_openapi::api::core::v1::Pod;

use super::{
    fate::{self, Stop, Why},
    inbox::{Eviction, News},
    look::Look,
    memory::Volumes,
    spec,
    worker::{Worker, version},
};

impl Worker {
    pub(super) fn apply(&mut self, news: News) {
        if news.look {
            self.look = Look::Everything;
        }
        for id in news.moved {
            self.look.add_id(&id, &self.observed);
        }
        for id in news.exited {
            // A step that stops it answers soon, and is looked at then.
            if !self.memory.stopping.contains_key(&id) && !self.memory.stopping_sandboxes.contains(&id) {
                self.look.add_id(&id, &self.observed);
            }
            self.exited.insert(id, 0);
        }
        self.refresh |= news.refresh;
        if news.refresh {
            // A start may have failed for want of what has now come.
            self.memory.failures.retain(|_, failure| failure.reason != "CreateContainerConfigError");
            if matches!(self.memory.volumes, Volumes::Failed { .. }) {
                self.memory.volumes = Volumes::Unset;
            }
        }
        for (id, probed) in news.probed {
            self.memory.probed.insert(id, probed);
        }
        if let Some(mirror) = news.mirror {
            self.take_mirror(mirror);
        }
        if let Some(object) = news.object {
            self.take_object(object);
        }
        if let Some(Eviction { reason, message, grace_period_seconds }) = news.evict {
            let why = Why::Evicted { reason, message };
            self.order_stop(Stop { why, since: self.now(), grace_period_seconds });
        }
        self.gone |= news.gone;
        self.returns = news.returns.unwrap_or(self.returns);
        if self.gone {
            let deletion = self.pod.metadata.deletion_grace_period_seconds;
            let grace = deletion.unwrap_or_else(|| spec::termination_grace_period_seconds(&self.pod));
            self.order_stop(Stop { why: Why::Removed, since: self.now(), grace_period_seconds: grace });
        } else if let Some(stop) = fate::of_object(&self.pod, self.now()) {
            if let (Why::Failed { reason, message }, None) = (&stop.why, &self.stop) {
                self.node.reporter.pod(&self.pod, Type::Normal, reason, message.clone());
            }
            self.order_stop(stop);
        }
    }

    fn take_object(&mut self, object: Arc<Pod>) {
        if version(&object) >= self.known_version && !spec::is_static(&object) {
            self.known = object.status.clone().unwrap_or_default();
            self.known_version = version(&object);
        }
        if object.spec != self.desired.spec {
            self.node.sources.claim(&object);
            self.memory.failures.clear();
            self.forget_changed_images(&object);
            // Nothing starts before the volume stands that was nobody's, and that an ephemeral container uses.
            if spec::used_volume_names(&object) != spec::used_volume_names(&self.desired) {
                self.memory.volumes = Volumes::Unset;
            }
        }
        let meta = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
        if meta(&object) != meta(&self.pod) {
            self.refresh = true;
            self.memory.failures.retain(|_, failure| failure.reason != "CreateContainerConfigError");
        }
        self.desired = object;
        self.settle_resources();
    }

    /// A new image name must be looked for anew, also while the old one's pull fails.
    fn forget_changed_images(&mut self, object: &Pod) {
        for (_, container) in spec::containers(object) {
            let before = spec::find_container(&self.pod, &container.name).and_then(|(_, it)| it.image);
            if before != container.image {
                self.memory.images.remove(&container.name);
                self.memory.backoff.forget(&container.name);
            }
        }
    }

    fn take_mirror(&mut self, mirror: Option<Arc<Pod>>) {
        if let Some(mirror) = &mirror
            && version(mirror) >= self.known_version
        {
            self.known = mirror.status.clone().unwrap_or_default();
            self.known_version = version(mirror);
        }
        self.mirror = mirror;
    }

    pub(super) fn order_stop(&mut self, stop: Stop) {
        self.stopping.trigger();
        self.stop = Some(match self.stop.take() {
            Some(before) => before.tightened(stop),
            None => stop,
        });
    }
}
