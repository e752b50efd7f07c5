//! Has a pod's claims bound before the pod is: volumes are told their claim, claims the node that theirs is made for; then
//! the binder of the controller manager does its part, and this waits for it.

use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::Shared;
use crate::objects::{Claim, SELECTED_NODE, Volume};
use crate::snapshot::VolumePlan;

/// Returns once all claims are bound. The error is for people.
pub(super) async fn bind(shared: &Shared, plan: &VolumePlan, timeout: Duration) -> Result<(), String> {
    for (volume, claim) in &plan.bindings {
        reserve(shared, volume, claim).await.map_err(|e| format!("binding volumes: {e}"))?;
    }
    for claim in &plan.provisions {
        select_node(shared, claim, &plan.node).await.map_err(|e| format!("binding volumes: {e}"))?;
    }
    match tokio::time::timeout(timeout, bound(shared, plan)).await {
        Ok(outcome) => outcome.map_err(|why| format!("binding volumes: {why}")),
        Err(_) => Err("binding volumes: context deadline exceeded".to_owned()),
    }
}

/// One that a user has reserved for the claim only lacks the claim's UID.
async fn reserve(shared: &Shared, volume: &Volume, claim: &Claim) -> kube::Result<()> {
    let reference = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace(), "name": claim.name(),
        "uid": claim.uid(), "resourceVersion": claim.metadata.resource_version,
    });
    let mut patch = json!({
        "metadata": {"resourceVersion": volume.metadata.resource_version}, "spec": {"claimRef": reference},
    });
    if volume.claim.is_none() {
        patch["metadata"]["annotations"] = json!({"pv.kubernetes.io/bound-by-controller": "yes"});
    }
    let api = Api::<api::PersistentVolume>::all(shared.context.client.clone());
    api.patch(volume.name(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

async fn select_node(shared: &Shared, claim: &Claim, node: &str) -> kube::Result<()> {
    if *claim.selected_node == *node {
        return Ok(());
    }
    let patch: Value = json!({"metadata": {
        "resourceVersion": claim.metadata.resource_version, "annotations": {SELECTED_NODE: node},
    }});
    let api = Api::<api::PersistentVolumeClaim>::namespaced(shared.context.client.clone(), claim.namespace());
    api.patch(claim.name(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

async fn bound(shared: &Shared, plan: &VolumePlan) -> Result<(), String> {
    // The cache may not show the node that was just written: only one seen to be gone was taken back.
    let mut selected_seen = vec![false; plan.provisions.len()];
    loop {
        // Registered before the claims are looked at: a change in between is kept.
        let news = shared.prepare_news.notified();
        if all_bound(shared, plan, &mut selected_seen)? {
            return Ok(());
        }
        news.await;
    }
}

fn all_bound(shared: &Shared, plan: &VolumePlan, selected_seen: &mut [bool]) -> Result<bool, String> {
    let core = shared.core();
    let (volumes, node) = (&core.snapshot().volumes, core.snapshot().slot(&plan.node));
    let node = node.and_then(|slot| core.snapshot().node(slot).node());
    for (claim, seen) in plan.provisions.iter().zip(selected_seen) {
        let now = volumes.claim(claim.namespace(), claim.name());
        let selected = now.is_some_and(|now| now.selected_node == plan.node);
        if *seen && !selected {
            return Err(format!("provisioning failed for PVC {:?}", claim.name()));
        }
        *seen |= selected;
    }
    for claim in plan.claims() {
        let Some(now) = volumes.claim(claim.namespace(), claim.name()).filter(|now| now.uid() == claim.uid()) else {
            return Err(format!("persistentvolumeclaim {:?} not found", claim.name()));
        };
        let Some(volume) = volumes.volume(&now.volume_name).filter(|_| now.is_bound()) else { return Ok(false) };
        if node.is_none_or(|node| !volume.reachable_from(node)) {
            return Err(format!("pv {:?} node affinity doesn't match node {:?}", volume.name(), plan.node));
        }
    }
    Ok(true)
}
