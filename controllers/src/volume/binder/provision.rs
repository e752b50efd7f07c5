//! Has a volume made for a claim: by an external provisioner, who is told by annotations, or here.

use std::path::Path;
use std::sync::Arc;

use component::key::Key;
use component::recorder::Type;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeStatus};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::PostParams;

use super::super::facts;
use super::Binder;
use super::bind::reference_to;
use super::plugins::{self, HOST_PATH, Provisioner};
use crate::common::error::{Doing, Error};

impl Binder {
    pub(super) async fn provision(
        &self,
        claim: Arc<PersistentVolumeClaim>,
        classes: &[Arc<StorageClass>],
    ) -> Result<(), Error> {
        if !self.settings.dynamic {
            return Ok(());
        }
        let name = facts::class_of_claim(&claim);
        let Some(class) = classes.iter().find(|c| c.name_any() == name) else {
            self.failed(&claim, format!("storageclass.storage.k8s.io {name:?} not found"));
            return Ok(());
        };
        match plugins::provisioner_of(class) {
            Provisioner::None(why) => {
                self.failed(&claim, why);
                Ok(())
            }
            Provisioner::External(name) => self.ask_external(claim, &name).await,
            Provisioner::HostPath => self.make_host_path(claim, class).await,
        }
    }

    fn failed(&self, claim: &PersistentVolumeClaim, why: impl Into<String>) {
        self.ctx.recorder.event(claim, Type::Warning, "ProvisioningFailed", why);
    }

    async fn ask_external(&self, claim: Arc<PersistentVolumeClaim>, provisioner: &str) -> Result<(), Error> {
        let claim = self.name_provisioner(claim, provisioner).await?;
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        );
        self.ctx.recorder.event(&*claim, Type::Normal, "ExternalProvisioning", message);
        Ok(())
    }

    async fn name_provisioner(
        &self,
        claim: Arc<PersistentVolumeClaim>,
        provisioner: &str,
    ) -> Result<Arc<PersistentVolumeClaim>, Error> {
        let mut named = (*claim).clone();
        let annotations = named.metadata.annotations.get_or_insert_default();
        for key in facts::PROVISIONER {
            annotations.insert(key.into(), provisioner.into());
        }
        if named == *claim {
            return Ok(claim);
        }
        let api = self.claim_api(&claim.namespace().unwrap_or_default());
        let written = api.replace(&claim.name_any(), &PostParams::default(), &named).await;
        Ok(self.written_claims.wrote(written.doing("name provisioner of claim", Key::of(&*claim))?))
    }

    /// The volume's name follows from the claim: a second try finds what the first has made.
    async fn make_host_path(&self, claim: Arc<PersistentVolumeClaim>, class: &StorageClass) -> Result<(), Error> {
        if claim.spec.as_ref().is_some_and(|s| s.data_source.is_some()) {
            let why = format!(
                "plugin {HOST_PATH:?} is not a CSI plugin. Only CSI plugin can provision a claim with a datasource"
            );
            self.failed(&claim, &why);
            return Err(Error::refused("provision volume for claim", Key::of(&*claim), why));
        }
        let claim = self.name_provisioner(claim, HOST_PATH).await?;
        let name = format!("pvc-{}", claim.uid().unwrap_or_default());
        if self.volume_api().get_opt(&name).await.doing("get volume", &name)?.is_some() {
            return Ok(());
        }
        let refuse = |why: String| Error::refused("provision volume for claim", Key::of(&*claim), why);
        let options = class.mount_options.clone().unwrap_or_default();
        let Some(root) = self.settings.host_path_root.as_deref() else {
            let why = format!("provisioning in volume plugin {HOST_PATH:?} is disabled");
            self.failed(&claim, format!("Failed to create provisioner: {why}"));
            return Err(refuse(why));
        };
        if !options.is_empty() {
            let (class, options) = (class.name_any(), options.join(" "));
            let why = format!(
                "Mount options are not supported by the provisioner but StorageClass {class:?} has mount options [{options}]"
            );
            self.failed(&claim, &why);
            return Err(refuse(why));
        }
        match plugins::provision_host_path(&claim, class, root, &self.ctx.random) {
            Ok(made) => self.save(&claim, named_volume(made, name, &claim)).await,
            Err(why) => {
                self.reschedule(&claim).await;
                let class = class.name_any();
                self.failed(&claim, format!("Failed to provision volume with StorageClass {class:?}: {why}"));
                Err(refuse(why))
            }
        }
    }

    /// What cannot be recorded is deleted again: nobody would ever find it.
    async fn save(&self, claim: &PersistentVolumeClaim, volume: PersistentVolume) -> Result<(), Error> {
        let name = volume.name_any();
        let created = self.volume_api().create(&PostParams::default(), &volume).await;
        match created.doing("create volume", &name) {
            Ok(created) => {
                self.written_volumes.wrote(created);
                let message = format!("Successfully provisioned volume {name} using {HOST_PATH}");
                self.ctx.recorder.event(claim, Type::Normal, "ProvisioningSucceeded", message);
                Ok(())
            }
            Err(e) => {
                let (key, why) = (Key::of(claim), e.api_message());
                if !e.is_already_exists() {
                    let message =
                        format!("Error creating provisioned PV object for claim {key}: {why}. Deleting the volume.");
                    self.failed(claim, message);
                }
                self.clean_up(claim, &volume);
                if e.is_already_exists() { Ok(()) } else { Err(e) }
            }
        }
    }

    fn clean_up(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) {
        let path = volume.spec.as_ref().and_then(|s| s.host_path.as_ref()).map(|h| h.path.clone()).unwrap_or_default();
        if let Err(why) = plugins::delete_host_path(Path::new(&path)) {
            let key = Key::of(claim);
            let message = format!("Error cleaning provisioned volume for claim {key}: {why}. Please delete manually.");
            self.ctx.recorder.event(claim, Type::Warning, "ProvisioningCleanupFailed", message);
        }
    }

    /// Gives the choice of a node back to the scheduler; without success the next try is for the same node.
    async fn reschedule(&self, claim: &PersistentVolumeClaim) {
        let mut changed = claim.clone();
        let annotations = changed.metadata.annotations.get_or_insert_default();
        if annotations.remove(facts::SELECTED_NODE).is_some() {
            let api = self.claim_api(&claim.namespace().unwrap_or_default());
            match api.replace(&claim.name_any(), &PostParams::default(), &changed).await {
                Ok(written) => drop(self.written_claims.wrote(written)),
                Err(error) => tracing::debug!(claim = %Key::of(claim), %error, "the node stays selected"),
            }
        }
    }
}

/// A volume that was made for a claim is the claim's from the start.
fn named_volume(made: PersistentVolume, name: String, claim: &PersistentVolumeClaim) -> PersistentVolume {
    let mut volume = made;
    volume.metadata.name = Some(name);
    let annotations = volume.metadata.annotations.get_or_insert_default();
    annotations.insert(facts::BOUND_BY_CONTROLLER.into(), "yes".into());
    annotations.insert(facts::PROVISIONED_BY.into(), HOST_PATH.into());
    let spec = volume.spec.get_or_insert_default();
    spec.claim_ref = Some(reference_to(claim));
    spec.storage_class_name = Some(facts::class_of_claim(claim));
    if spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete") {
        volume.metadata.finalizers = Some(vec![facts::IN_TREE_FINALIZER.into()]);
    }
    volume.status = Some(PersistentVolumeStatus { phase: Some("Bound".into()), ..Default::default() });
    volume
}
