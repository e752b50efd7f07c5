//! Binding and unbinding: the volume first, then the claim, so that a crash in between leaves a volume that knows whose it
//! is. Each write is left out when there is nothing to write.

use std::sync::Arc;

use component::key::Key;
use component::recorder::Type;
use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
};
use kube::ResourceExt;
use kube::api::PostParams;

use super::super::facts;
use super::{Binder, volume};
use crate::common::error::{Doing, Error};

pub(super) fn reference_to(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        ..Default::default()
    }
}

/// The volume bound to the claim; None when it is already.
pub(super) fn bound_volume(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let mut bound = volume.clone();
    if facts::claim_ref(volume).is_none_or(|r| r.uid != claim.metadata.uid || !facts::is_for(volume, claim)) {
        bound.spec.get_or_insert_default().claim_ref = Some(reference_to(claim));
    }
    if !facts::is_for(volume, claim) {
        let annotations = bound.metadata.annotations.get_or_insert_default();
        annotations.entry(facts::BOUND_BY_CONTROLLER.into()).or_insert_with(|| "yes".into());
    }
    (bound != *volume).then_some(bound)
}

/// The claim bound to the volume; None when it is already.
pub(super) fn bound_claim(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<PersistentVolumeClaim> {
    let mut bound = claim.clone();
    let annotations = bound.metadata.annotations.get_or_insert_default();
    if facts::volume_name(claim) != volume.name_any() {
        annotations.entry(facts::BOUND_BY_CONTROLLER.into()).or_insert_with(|| "yes".into());
        bound.spec.get_or_insert_default().volume_name = Some(volume.name_any());
    }
    annotations.entry(facts::BIND_COMPLETED.into()).or_insert_with(|| "yes".into());
    (bound != *claim).then_some(bound)
}

/// The claim's status in a phase, over its volume when it has one. The capacity is only taken over when the claim becomes
/// bound: later it may differ on purpose, while a file system is resized.
pub(super) fn claim_status(
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> PersistentVolumeClaimStatus {
    let old = claim.status.clone().unwrap_or_default();
    let mut new = PersistentVolumeClaimStatus { phase: Some(phase.into()), ..old.clone() };
    let Some(spec) = volume.and_then(|v| v.spec.as_ref()) else {
        new.access_modes = None;
        new.capacity = None;
        new.current_volume_attributes_class_name = None;
        return new;
    };
    new.access_modes = spec.access_modes.clone();
    if old.phase.as_deref() != Some(phase) {
        new.capacity = spec.capacity.clone();
        if old.phase.as_deref() == Some("Pending") {
            new.current_volume_attributes_class_name = spec.volume_attributes_class_name.clone();
        }
    }
    new
}

impl Binder {
    pub(super) async fn bind(
        &self,
        volume: Arc<PersistentVolume>,
        claim: Arc<PersistentVolumeClaim>,
    ) -> Result<(), Error> {
        let volume = match bound_volume(&volume, &claim) {
            Some(bound) => self.replace_volume(&bound).await?,
            None => volume,
        };
        let volume = self.set_volume_phase(volume, "Bound", None).await?;
        let claim = match bound_claim(&claim, &volume) {
            Some(bound) => {
                let api = self.claim_api(&claim.namespace().unwrap_or_default());
                let written = api.replace(&claim.name_any(), &PostParams::default(), &bound).await;
                self.written_claims.wrote(written.doing("bind claim", Key::of(&*claim))?)
            }
            None => claim,
        };
        self.set_claim_status(claim, "Bound", Some(&volume)).await.map(drop)
    }

    /// Frees the volume; one that a user has reserved stays reserved.
    pub(super) async fn unbind(&self, bound: &PersistentVolume) -> Result<(), Error> {
        let free = self.replace_volume(&volume::unbound(bound)).await?;
        self.set_volume_phase(free, "Available", None).await.map(drop)
    }

    pub(super) async fn replace_volume(&self, volume: &PersistentVolume) -> Result<Arc<PersistentVolume>, Error> {
        let written = self.volume_api().replace(&volume.name_any(), &PostParams::default(), volume).await;
        Ok(self.written_volumes.wrote(written.doing("update volume", volume.name_any())?))
    }

    /// Sets a phase, and tells what led to it when it is a new one.
    pub(super) async fn set_volume_phase(
        &self,
        volume: Arc<PersistentVolume>,
        phase: &'static str,
        trouble: Option<(&'static str, String)>,
    ) -> Result<Arc<PersistentVolume>, Error> {
        if facts::volume_phase(&volume) == phase {
            return Ok(volume);
        }
        let mut changed = (*volume).clone();
        let status = changed.status.get_or_insert_default();
        status.phase = Some(phase.into());
        status.message = trouble.as_ref().map(|(_, message)| message.clone());
        let written = self.volume_api().replace_status(&volume.name_any(), &PostParams::default(), &changed).await;
        let written = written.doing("update status of volume", volume.name_any())?;
        if let Some((reason, message)) = trouble {
            self.ctx.recorder.event(&written, Type::Warning, reason, message);
        }
        Ok(self.written_volumes.wrote(written))
    }

    pub(super) async fn set_claim_status(
        &self,
        claim: Arc<PersistentVolumeClaim>,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<Arc<PersistentVolumeClaim>, Error> {
        let status = claim_status(&claim, phase, volume);
        if claim.status.as_ref() == Some(&status) {
            return Ok(claim);
        }
        let changed = PersistentVolumeClaim { status: Some(status), ..(*claim).clone() };
        let api = self.claim_api(&claim.namespace().unwrap_or_default());
        let written = api.replace_status(&claim.name_any(), &PostParams::default(), &changed).await;
        Ok(self.written_claims.wrote(written.doing("update status of claim", Key::of(&*claim))?))
    }
}
