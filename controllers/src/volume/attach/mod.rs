//! The attach-detach controller: asks CSI drivers to attach volumes to the nodes of the pods that use them, tells kubelets
//! what is attached, and has volumes detached that no pod of the node uses any more.
//!
//! Enter by [`run`]. `plan` decides for a node at a time, `volume` knows names; both are pure. Only nodes whose kubelets
//! leave attaching to the controller are looked after, by their annotation.

mod plan;
#[cfg(test)]
mod tests;
mod volume;
mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::metrics;
use component::queue::{self, Queue};
use component::recorder::Type;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use prometheus::IntCounterVec;
use serde_json::json;

use self::plan::{Detach, News, Plan, Wanted};
use self::volume::Volume;
use super::pods as claims_of_pods;
use crate::common::error::{self, Doing, Error};
use crate::common::pod::Pod;
use crate::common::pod_status;
use crate::common::pods::node_name;

/// Attachments by the node, and by the PersistentVolume.
const BY_NODE: &str = "node";
const BY_VOLUME: &str = "volume";

static FORCED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of times the A/D Controller performed a forced detach";
    metrics::counter("attach_detach_controller_attachdetach_controller_forced_detaches", help, &["reason"])
});

#[derive(Default)]
struct Memory {
    /// Since when volumes are to be detached, by node and unique name.
    going_since: HashMap<String, BTreeMap<String, Timestamp>>,
    /// What pods were told last of a volume, by node and unique name.
    told: HashMap<String, BTreeMap<String, News>>,
    /// Attachments by name that were asked for, and that the cache has yet to show.
    made: BTreeMap<String, Made>,
}

struct Made {
    /// The PersistentVolume.
    volume: String,
    node: String,
}

struct Controller {
    ctx: Context,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    attachments: Informer<VolumeAttachment>,
    drivers: Informer<CSIDriver>,
    queue: Queue<String>,
    memory: Mutex<Memory>,
    forces_by_time: bool,
}

/// Runs until the context's shutdown. One node at a time: what one asks for is what the next must not.
pub(crate) async fn run(ctx: Context, forces_by_time: bool) {
    let controller = Arc::new(Controller {
        pods: ctx.informers.of(),
        nodes: ctx.informers.of(),
        claims: ctx.informers.of(),
        volumes: ctx.informers.of(),
        attachments: ctx.informers.of(),
        drivers: ctx.informers.of(),
        queue: Queue::new("attach_detach"),
        memory: Mutex::default(),
        forces_by_time,
        ctx,
    });
    pod_status::index_by_node(&controller.pods);
    claims_of_pods::index_by_claim(&controller.pods);
    controller.attachments.index(BY_NODE, |attachment| vec![attachment.spec.node_name.clone()]);
    controller.attachments.index(BY_VOLUME, |attachment| world::persistent_of(attachment).into_iter().collect());
    controller.watch();
    let synced = async {
        controller.pods.synced().await;
        controller.nodes.synced().await;
        controller.claims.synced().await;
        controller.volumes.synced().await;
        controller.attachments.synced().await;
        controller.drivers.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), 1, shutdown, |node| controller.sync(node)).await;
    }
}

impl Controller {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(self: &Arc<Self>) {
        self.pods.notify(self, |this, event| {
            let seen = event.old().into_iter().chain([event.object()]);
            for pod in seen.filter(|pod| claims_of_pods::volumes(pod).next().is_some()) {
                this.wake(node_name(pod));
            }
        });
        self.nodes.notify(self, |this, event| this.wake(&event.object().name_any()));
        self.claims.notify(self, |this, event| this.wake_users(&Key::of(&**event.object())));
        self.volumes.notify(self, |this, event| this.wake_users_of_volume(event.object()));
        self.drivers.notify(self, |this, _| this.nodes.list().iter().for_each(|node| this.wake(&node.name_any())));
        self.attachments.notify(self, |this, event| {
            let attachment = event.object();
            this.memory().made.remove(&attachment.name_any());
            this.wake(&attachment.spec.node_name);
            // Another node may wait for it, or has to be told that it is taken.
            let was_attached = event.old().is_some_and(|old| world::is_attached(old));
            if (matches!(event, Event::Deleted(_)) || was_attached != world::is_attached(attachment))
                && let Some(volume) = world::persistent_of(attachment).and_then(|name| this.volumes.get("", &name))
            {
                this.wake_users_of_volume(&volume);
            }
        });
    }

    fn wake(&self, node: &str) {
        if !node.is_empty() {
            self.queue.add(node.to_owned());
        }
    }

    fn wake_users(&self, claim: &Key) {
        claims_of_pods::using(&self.pods, claim).iter().for_each(|pod| self.wake(node_name(pod)));
    }

    fn wake_users_of_volume(&self, volume: &PersistentVolume) {
        if let Some(claim) = world::claim_of(volume) {
            self.wake_users(&claim);
        }
    }

    async fn sync(&self, name: String) -> Result<(), Error> {
        self.settle(&name).await?;
        let node = self.nodes.get("", &name);
        if node.as_ref().is_some_and(|node| !world::is_managed(node)) {
            return Ok(());
        }
        let wanted = node.as_ref().map(|_| self.wanted(&name)).unwrap_or_default();
        let attachments = self.attachments_of(&name, node.as_deref());
        let plan = {
            let memory = self.memory();
            let none = BTreeMap::new();
            plan::plan(&plan::World {
                node: node.as_deref(),
                wanted: &wanted,
                attachments: &attachments,
                elsewhere: &|volume| self.elsewhere(&memory, volume, &name),
                going_since: memory.going_since.get(&name).unwrap_or(&none),
                forces_by_time: self.forces_by_time,
                now: self.ctx.clock.now(),
            })
        };
        self.remember(&name, &plan);
        self.tell(&name, &wanted, &plan);
        if let Some(wait) = plan.again_in {
            self.queue.add_after(name.clone(), wait);
        }
        if let Some(node) = &node {
            // Before anything is detached: from then on the kubelet mounts it no more.
            self.report(node, &plan.attached).await?;
        }
        let mut errors = Vec::new();
        for detach in &plan.detach {
            errors.extend(self.detach(&name, detach).await.err());
        }
        for volume in &plan.attach {
            errors.extend(self.attach(&name, volume, &wanted).await.err());
        }
        error::all(errors)
    }

    /// Forgets what was asked for without an answer and never made: nobody on the node asks for it again, and other nodes
    /// wait for it to come or go.
    async fn settle(&self, node: &str) -> Result<(), Error> {
        let made: Vec<(String, String)> = {
            let memory = self.memory();
            let of_node = memory.made.iter().filter(|(_, made)| made.node == node);
            of_node.map(|(name, made)| (name.clone(), made.volume.clone())).collect()
        };
        if made.is_empty() {
            return Ok(());
        }
        let known = self.nodes.get("", node).filter(|node| world::is_managed(node));
        let wanted = known.map(|_| self.wanted(node)).unwrap_or_default();
        let is_wanted = |volume: &str| wanted.values().any(|wanted| wanted.volume.name == volume);
        let api = Api::<VolumeAttachment>::all(self.ctx.client.clone());
        for (name, volume) in made.into_iter().filter(|(_, volume)| !is_wanted(volume)) {
            // What is there, the cache will show.
            if api.get_opt(&name).await.doing("get volume attachment", &name)?.is_none() {
                self.memory().made.remove(&name);
                self.volumes.get("", &volume).into_iter().for_each(|volume| self.wake_users_of_volume(&volume));
            }
        }
        Ok(())
    }

    fn remember(&self, node: &str, plan: &Plan) {
        let now = self.ctx.clock.now();
        let mut memory = self.memory();
        let mut before = memory.going_since.remove(node).unwrap_or_default();
        if !plan.going.is_empty() {
            let since = |unique: &String| (unique.clone(), before.remove(unique).unwrap_or(now));
            let since = plan.going.iter().map(since).collect();
            memory.going_since.insert(node.to_owned(), since);
        }
    }

    /// Tells pods what is new for them.
    fn tell(&self, node: &str, wanted: &BTreeMap<String, Wanted>, plan: &Plan) {
        let told = self.memory().told.remove(node).unwrap_or_default();
        let news: BTreeMap<String, News> = plan.news.iter().cloned().collect();
        for (unique, news) in news.iter().filter(|(unique, news)| told.get(*unique) != Some(news)) {
            if let Some(wanted) = wanted.get(unique) {
                self.tell_users(node, wanted, news);
            }
        }
        // What is attached is not told again; what fails again later is.
        if !news.is_empty() {
            self.memory().told.insert(node.to_owned(), news);
        }
    }

    fn tell_users(&self, node: &str, wanted: &Wanted, news: &News) {
        let name = &wanted.volume.name;
        for pod in &wanted.pods {
            let (kind, reason, message) = match news {
                News::Attached => {
                    let message = format!("AttachVolume.Attach succeeded for volume {name:?} ");
                    (Type::Normal, "SuccessfulAttachVolume", message)
                }
                News::Exclusive => {
                    let users = self.users_elsewhere(name, node);
                    let why = plan::taken_by(&users, pod.metadata.namespace.as_deref());
                    (Type::Warning, "FailedAttachVolume", format!("Multi-Attach error for volume {name:?} {why}"))
                }
                News::Failed(why) => {
                    let message = format!("AttachVolume.Attach failed for volume {name:?} : {why}");
                    (Type::Warning, "FailedAttachVolume", message)
                }
            };
            self.ctx.recorder.event(&**pod, kind, reason, message);
        }
    }

    async fn report(&self, node: &Node, attached: &[String]) -> Result<(), Error> {
        let known: BTreeSet<&str> = plan::attached(Some(node)).collect();
        if known == attached.iter().map(String::as_str).collect() {
            return Ok(());
        }
        let listed: Vec<_> = attached.iter().map(|unique| json!({"name": unique, "devicePath": ""})).collect();
        let patch = json!({"metadata": {"uid": node.metadata.uid},
            "status": {"volumesAttached": if listed.is_empty() { None } else { Some(listed) }}});
        let api = Api::<Node>::all(self.ctx.client.clone());
        let patched = api.patch_status(&node.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await;
        match patched.doing("tell node what is attached", node.name_any()) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    async fn detach(&self, node: &str, detach: &Detach) -> Result<(), Error> {
        let Some(name) = &detach.attachment else { return Ok(()) };
        if detach.verify {
            let api = Api::<Node>::all(self.ctx.client.clone());
            let there = api.get_opt(node).await.doing("get node", node)?;
            let why = match &there {
                Some(there) if plan::is_in_use(there, &detach.unique) => {
                    Some("volume is still in use by node, according to Node status")
                }
                // The cached node was behind when the list was compared.
                Some(there) if plan::attached(Some(there)).any(|listed| listed == detach.unique) => {
                    Some("node is still told that the volume is attached")
                }
                _ => None,
            };
            if let Some(why) = why {
                return Err(Error::refused("detach volume", &detach.unique, why));
            }
        }
        if let Some(reason) = detach.forced {
            tracing::info!(node, volume = detach.unique, reason, "detaching by force");
            FORCED.with_label_values(&[reason]).inc();
        }
        let api = Api::<VolumeAttachment>::all(self.ctx.client.clone());
        match api.delete(name, &DeleteParams::default()).await.doing("delete volume attachment", name) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    async fn attach(&self, node: &str, volume: &Volume, wanted: &BTreeMap<String, Wanted>) -> Result<(), Error> {
        let Some(csi) = &volume.csi else { return Ok(()) };
        let name = csi.attachment_name(node);
        let attachment = json!({
            "metadata": {"name": name},
            "spec": {"attacher": csi.driver, "nodeName": node, "source": {"persistentVolumeName": volume.name}},
        });
        let attachment = serde_json::from_value::<VolumeAttachment>(attachment)
            .map_err(|why| Error::refused("make volume attachment", &name, why.to_string()))?;
        let made = Made { volume: volume.name.clone(), node: node.to_owned() };
        self.memory().made.insert(name.clone(), made);
        let api = Api::<VolumeAttachment>::all(self.ctx.client.clone());
        match api.create(&PostParams::default(), &attachment).await.doing("create volume attachment", &name) {
            Err(error) if !error.is_already_exists() => {
                // Without an answer it may have been made: then the cache will show it.
                if error.status().is_some_and(|status| status.code < 500) {
                    self.memory().made.remove(&name);
                }
                if let Some(wanted) = wanted.get(&volume.unique) {
                    self.tell_users(node, wanted, &News::Failed(error.api_message()));
                }
                Err(error)
            }
            _ => Ok(()),
        }
    }
}
