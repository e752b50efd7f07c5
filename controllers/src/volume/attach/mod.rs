//! The attach-detach controller: asks CSI drivers to attach volumes to the nodes of the pods that use them, tells kubelets
//! what is attached, and has volumes detached that no pod of the node uses any more.
//!
//! Enter by [`run`]. `plan` decides for a node at a time, `volume` knows names; both are pure. `carry_out` writes. Only nodes whose kubelets
//! leave attaching to the controller are looked after, by their annotation.

mod carry_out;
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
use kube::ResourceExt;
use prometheus::IntCounterVec;

use self::plan::{News, Plan, Wanted};
use self::volume::Csi;
use super::pods as claims_of_pods;
use crate::common::error::{self, Error};
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
    /// What nodes were told last of volumes that no driver is asked for, by unique name. The cache may be behind.
    listed: HashMap<String, BTreeSet<String>>,
    /// What deleted nodes used last, as long as anything is attached there.
    last_in_use: HashMap<String, BTreeSet<String>>,
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
        queue: Queue::new("pvcs"),
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
        self.nodes.notify(self, Self::on_node);
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

    fn on_node(&self, event: &Event<Node>) {
        let (node, is_gone) = (event.object(), matches!(event, Event::Deleted(_)));
        let name = node.name_any();
        let used = plan::in_use(node).map(str::to_owned).collect();
        match is_gone {
            true => self.memory().last_in_use.insert(name.clone(), used),
            false => self.memory().last_in_use.remove(&name),
        };
        let before = if is_gone { Some(node) } else { event.old() };
        let now: BTreeSet<&str> = plan::attached(Some(&**node).filter(|_| !is_gone)).collect();
        let lost = plan::attached(before.map(|node| &**node)).filter(|unique| !now.contains(unique));
        self.wake_users_of(&lost.map(str::to_owned).collect());
        self.wake(&name);
    }

    /// Nodes that wait for volumes that no driver is asked for.
    fn wake_users_of(&self, lost: &BTreeSet<String>) {
        if lost.iter().all(|unique| Csi::of_unique(unique).is_some()) {
            return;
        }
        let is_lost = |volume: &PersistentVolume| {
            volume::of_persistent(volume, |_| false).is_some_and(|volume| lost.contains(&volume.unique))
        };
        let all = self.volumes.list();
        all.iter().filter(|volume| is_lost(volume)).for_each(|volume| self.wake_users_of_volume(volume));
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
                last_in_use: memory.last_in_use.get(&name),
                going_since: memory.going_since.get(&name).unwrap_or(&none),
                forces_by_time: self.forces_by_time,
                now: self.ctx.clock.now(),
            })
        };
        self.remember(&name, &plan);
        if node.is_none() && attachments.is_empty() {
            self.memory().last_in_use.remove(&name);
        }
        self.tell(&name, &wanted, &plan);
        if let Some(wait) = plan.again_in {
            self.queue.add_after(name.clone(), wait);
        }
        self.remember_listed(&name, &plan.attached, false);
        if let Some(node) = &node {
            // Before anything is detached: from then on the kubelet mounts it no more.
            self.report(node, &plan.attached).await?;
        }
        self.remember_listed(&name, &plan.attached, true);
        let mut errors = Vec::new();
        for detach in &plan.detach {
            errors.extend(self.detach(&name, detach).await.err());
        }
        for volume in &plan.attach {
            errors.extend(self.attach(&name, volume, &wanted).await.err());
        }
        error::all(errors)
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

    /// What the node is to be told, and what it was told before until it `is_told` otherwise: others wait for both.
    fn remember_listed(&self, node: &str, attached: &[String], is_told: bool) {
        let listed = attached.iter().filter(|unique| Csi::of_unique(unique).is_none());
        let mut listed: BTreeSet<String> = listed.cloned().collect();
        let mut memory = self.memory();
        let mut before = memory.listed.remove(node).unwrap_or_default();
        if !is_told {
            listed.append(&mut before);
        }
        before.retain(|unique| !listed.contains(unique));
        if !listed.is_empty() {
            memory.listed.insert(node.to_owned(), listed);
        }
        drop(memory);
        self.wake_users_of(&before);
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
}
