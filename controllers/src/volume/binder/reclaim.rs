//! What happens to a volume whose claim is gone: it is kept, deleted or cleaned, by its policy.

use std::sync::Arc;

use component::key::Key;
use component::recorder::Type;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};

use super::super::{facts, pods};
use super::Binder;
use super::plugins::{self, Deleter};
use super::recycle::{self, Step};
use crate::common::error::{Doing, Error};

impl Binder {
    /// A volume that failed stays `Failed`, so that people see it, while it is tried again.
    pub(super) async fn release(&self, volume: Arc<PersistentVolume>) -> Result<(), Error> {
        let volume = match facts::volume_phase(&volume) {
            "Released" | "Failed" => volume,
            _ => self.set_volume_phase(volume, "Released", None).await?,
        };
        if facts::has_annotation(&*volume, facts::MIGRATED_TO) {
            return Ok(());
        }
        match facts::reclaim_policy(&volume) {
            "Retain" => Ok(()),
            "Delete" => self.delete_behind(volume).await,
            "Recycle" => self.recycle(volume).await,
            _ => {
                let message = "Volume has unrecognized PersistentVolumeReclaimPolicy".to_owned();
                self.set_volume_phase(volume, "Failed", Some(("VolumeUnknownReclaimPolicy", message))).await.map(drop)
            }
        }
    }

    /// Deletes what lies behind the volume, then the volume.
    async fn delete_behind(&self, volume: Arc<PersistentVolume>) -> Result<(), Error> {
        let name = volume.name_any();
        let outcome = match plugins::deleter_of(&volume) {
            Deleter::External => return Ok(()),
            Deleter::None(why) => {
                // Nothing here will ever change that: no further try.
                let failed = self.set_volume_phase(volume, "Failed", Some(("VolumeFailedDelete", why))).await;
                return failed.map(drop);
            }
            Deleter::HostPath(path) => tokio::task::spawn_blocking(move || plugins::delete_host_path(&path)).await,
        };
        let outcome = outcome.unwrap_or_else(|panic| Err(panic.to_string()));
        if let Err(why) = outcome {
            self.set_volume_phase(volume, "Failed", Some(("VolumeFailedDelete", why.clone()))).await?;
            return Err(Error::refused("delete what lies behind volume", name, why));
        }
        if volume.finalizers().iter().any(|f| f == facts::IN_TREE_FINALIZER) {
            let mut changed = (*volume).clone();
            changed.finalizers_mut().retain(|f| f != facts::IN_TREE_FINALIZER);
            self.replace_volume(&changed).await?;
        }
        match self.volume_api().delete(&name, &DeleteParams::default()).await.doing("delete volume", &name) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    async fn recycle(&self, volume: Arc<PersistentVolume>) -> Result<(), Error> {
        let name = recycle::pod_name(&volume.name_any());
        let cleaner = self.pods.get(recycle::NAMESPACE, &name);
        let (host_path, nfs) = (self.settings.recycle_host_path, self.settings.recycle_nfs);
        match recycle::step(&volume, cleaner.as_deref(), host_path, nfs) {
            Step::Wait => Ok(()),
            Step::Start(pod) => self.start_cleaning(&volume, &pod).await,
            Step::Done => {
                self.remove_cleaner(&name).await?;
                self.ctx.recorder.event(&*volume, Type::Normal, "VolumeRecycled", "Volume recycled");
                self.unbind(&volume).await
            }
            Step::Failed(why) => {
                self.remove_cleaner(&name).await?;
                self.set_volume_phase(volume, "Failed", Some(("VolumeFailedRecycle", why.clone()))).await?;
                Err(Error::refused("recycle volume", name, why))
            }
            Step::Unknown => {
                let why = "No recycler plugin found for the volume!".to_owned();
                self.set_volume_phase(volume, "Failed", Some(("VolumeFailedRecycle", why))).await.map(drop)
            }
        }
    }

    /// Not while a pod of the former claim still writes; its end wakes the volume again.
    async fn start_cleaning(&self, volume: &PersistentVolume, cleaner: &Pod) -> Result<(), Error> {
        let reference = facts::claim_ref(volume).cloned().unwrap_or_default();
        let claim = Key::new(reference.namespace.unwrap_or_default(), reference.name.unwrap_or_default());
        let users = pods::using(&self.pods, &claim);
        let users: Vec<String> =
            users.iter().filter(|p| !crate::common::pods::is_terminal(p)).map(|p| Key::of(&**p).to_string()).collect();
        if !users.is_empty() && self.claim(&claim).is_none() {
            let message = format!("Volume is used by pods: {}", users.join(","));
            self.ctx.recorder.event(volume, Type::Normal, "VolumeFailedRecycle", message);
            return Ok(());
        }
        let api = Api::<Pod>::namespaced(self.ctx.client.clone(), recycle::NAMESPACE);
        match api.create(&PostParams::default(), cleaner).await.doing("create recycler pod", cleaner.name_any()) {
            Err(e) if !e.is_already_exists() => Err(e),
            _ => Ok(()),
        }
    }

    async fn remove_cleaner(&self, name: &str) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.ctx.client.clone(), recycle::NAMESPACE);
        match api.delete(name, &DeleteParams::default()).await.doing("delete recycler pod", name) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}
