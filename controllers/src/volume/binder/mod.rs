//! The PersistentVolume binder: gives claims volumes, has volumes made where a class says how, and reclaims them.
//!
//! Enter by [`run`]. [`claim`] and [`volume`] decide, and are pure; `bind`, `provision` and `reclaim` carry out. One worker
//! for claims and one for volumes, as upstream: what one of them binds the other must not give away meanwhile.

mod bind;
mod claim;
mod plugins;
mod provision;
mod reclaim;
mod recycle;
#[cfg(test)]
mod tests;
mod volume;
mod wake;

use std::path::PathBuf;
use std::sync::Arc;

use component::context::Context;
use component::informer::Informer;
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use self::claim::Decision;
pub(crate) use self::recycle::Timeout;
use super::written::Written;
use super::{facts, pods};
use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::pod::Pod;

/// What the flags say.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Whether volumes are made at all.
    pub(crate) dynamic: bool,
    /// Where host path volumes are made; None: they are not.
    pub(crate) host_path_root: Option<PathBuf>,
    pub(crate) recycle_host_path: Timeout,
    pub(crate) recycle_nfs: Timeout,
}

struct Binder {
    ctx: Context,
    settings: Settings,
    volumes: Informer<PersistentVolume>,
    claims: Informer<PersistentVolumeClaim>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    written_volumes: Written<PersistentVolume>,
    written_claims: Written<PersistentVolumeClaim>,
    claim_queue: Queue<Key>,
    volume_queue: Queue<Key>,
}

/// Volumes by the claim that they name; those that name none by their class.
const BY_USE: &str = "use";

fn use_of(volume: &PersistentVolume) -> String {
    match facts::claim_ref(volume) {
        None => free_of(&facts::class_of_volume(volume)),
        Some(claim) => {
            named_by(&Key::new(claim.namespace.clone().unwrap_or_default(), claim.name.clone().unwrap_or_default()))
        }
    }
}

fn free_of(class: &str) -> String {
    format!("free/{class}")
}

fn named_by(claim: &Key) -> String {
    format!("claim/{}/{}", claim.namespace, claim.name)
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, settings: Settings) {
    let binder = Arc::new(Binder {
        settings,
        volumes: ctx.informers.of(),
        claims: ctx.informers.of(),
        classes: ctx.informers.of(),
        pods: ctx.informers.of(),
        written_volumes: Written::default(),
        written_claims: Written::default(),
        claim_queue: Queue::new("claims"),
        volume_queue: Queue::new("volumes"),
        ctx,
    });
    pods::index_by_claim(&binder.pods);
    binder.volumes.index(BY_USE, |volume| vec![use_of(volume)]);
    binder.subscribe();
    let synced = async {
        binder.volumes.synced().await;
        binder.claims.synced().await;
        binder.classes.synced().await;
        binder.pods.synced().await;
    };
    let shutdown = binder.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        let claims = queue::run(binder.claim_queue.clone(), 1, shutdown.clone(), |key| binder.sync_claim(key));
        let volumes = queue::run(binder.volume_queue.clone(), 1, shutdown, |key| binder.sync_volume(key));
        futures::join!(claims, volumes);
    }
}

impl Binder {
    fn claim(&self, key: &Key) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get_key(key).map(|claim| self.written_claims.newest(claim))
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get("", name).map(|volume| self.written_volumes.newest(volume))
    }

    /// Those that the claim may get: the one it names, else the free ones of its class and those that name it.
    fn volumes_for(&self, claim: &PersistentVolumeClaim) -> Vec<Arc<PersistentVolume>> {
        let name = facts::volume_name(claim);
        if !name.is_empty() {
            return self.volume(name).into_iter().collect();
        }
        let (free, own) = (free_of(&facts::class_of_claim(claim)), named_by(&Key::of(claim)));
        let cached = [free, own].into_iter().flat_map(|value| self.volumes.by_index(BY_USE, &value));
        cached.map(|volume| self.written_volumes.newest(volume)).collect()
    }

    fn claim_api(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.ctx.client.clone(), namespace)
    }

    fn volume_api(&self) -> Api<PersistentVolume> {
        Api::all(self.ctx.client.clone())
    }

    async fn sync_claim(&self, key: Key) -> Result<(), Error> {
        let Some(claim) = self.claim(&key) else { return Ok(()) };
        let volumes = self.volumes_for(&claim);
        let waiting =
            |pod: &&Arc<Pod>| !crate::common::pods::is_terminal(pod) && crate::common::pods::node_name(pod).is_empty();
        let pods = pods::using(&self.pods, &key);
        let waiting_pods: Vec<String> = pods.iter().filter(waiting).map(|p| p.name_any()).collect();
        let classes = self.classes.list();
        let world = claim::World { volumes: &volumes, classes: &classes, waiting_pods: &waiting_pods };
        let done = match claim::decide(&claim, &world) {
            Decision::Bind(volume) => self.bind(volume, claim).await,
            Decision::Wait(told) => {
                self.tell(&*claim, told);
                self.set_claim_status(claim, "Pending", None).await.map(drop)
            }
            Decision::AssignClass(class) => self.assign_class(&claim, class).await,
            Decision::Provision => self.provision(claim, &classes).await,
            Decision::Lost(told) if facts::claim_phase(&claim) != "Lost" => {
                let lost = self.set_claim_status(claim, "Lost", None).await;
                lost.map(|claim| self.tell(&*claim, Some(told)))
            }
            Decision::Lost(_) => Ok(()),
            Decision::Refuse(told) => {
                let why = told.2.clone();
                self.tell(&*claim, Some(told));
                Err(Error::refused("bind claim", &key, why))
            }
        };
        wait_for_event(done)
    }

    async fn assign_class(&self, claim: &PersistentVolumeClaim, class: String) -> Result<(), Error> {
        let mut changed = claim.clone();
        changed.spec.get_or_insert_default().storage_class_name = Some(class);
        let api = self.claim_api(&claim.namespace().unwrap_or_default());
        let written = api.replace(&claim.name_any(), &PostParams::default(), &changed).await;
        written.map(drop).doing("assign default storage class to claim", Key::of(claim))
    }

    async fn sync_volume(&self, key: Key) -> Result<(), Error> {
        let Some(volume) = self.volume(&key.name) else { return Ok(()) };
        let done = async {
            let volume = self.keep_finalizers(volume).await?;
            let claim = self.claim_of(&volume).await?;
            match volume::decide(&volume, claim.as_deref()) {
                volume::Decision::Phase(phase) => self.set_volume_phase(volume, phase, None).await.map(drop),
                volume::Decision::WakeClaim => {
                    claim.iter().for_each(|claim| self.claim_queue.add(Key::of(&**claim)));
                    Ok(())
                }
                volume::Decision::Mismatch(of_volume, of_claim) => {
                    self.tell(&*volume, Some(of_volume));
                    claim.iter().for_each(|claim| self.tell(&**claim, Some(of_claim.clone())));
                    Ok(())
                }
                volume::Decision::Release => self.release(volume).await,
                volume::Decision::Unbind => self.unbind(&volume).await,
            }
        };
        wait_for_event(done.await)
    }

    async fn keep_finalizers(&self, volume: Arc<PersistentVolume>) -> Result<Arc<PersistentVolume>, Error> {
        let Some(finalizers) = volume::finalizers(&volume) else { return Ok(volume) };
        let mut changed = (*volume).clone();
        changed.metadata.finalizers = Some(finalizers);
        self.replace_volume(&changed).await
    }

    /// The claim that the volume refers to. None only when it is gone for sure: the cache may be behind, and a volume
    /// that is released in error loses its data.
    async fn claim_of(&self, volume: &PersistentVolume) -> Result<Option<Arc<PersistentVolumeClaim>>, Error> {
        let Some(reference) = facts::claim_ref(volume) else { return Ok(None) };
        let (namespace, name) =
            (reference.namespace.clone().unwrap_or_default(), reference.name.clone().unwrap_or_default());
        let key = Key::new(namespace, name);
        let right = |claim: &PersistentVolumeClaim| claim.metadata.uid == reference.uid;
        if let Some(claim) = self.claim(&key).filter(|claim| right(claim)) {
            return Ok(Some(claim));
        }
        let released = matches!(facts::volume_phase(volume), "Released" | "Failed");
        if facts::claim_uid(reference).is_empty() || (released && self.claim(&key).is_none()) {
            return Ok(None);
        }
        let fresh = self.claim_api(&key.namespace).get_opt(&key.name).await.doing("get claim", &key)?;
        Ok(fresh.filter(right).map(Arc::new))
    }

    fn tell<K: kube::Resource<DynamicType = ()>>(&self, object: &K, told: Option<claim::Told>) {
        if let Some((kind, reason, message)) = told {
            self.ctx.recorder.event(object, kind, reason, message);
        }
    }
}
