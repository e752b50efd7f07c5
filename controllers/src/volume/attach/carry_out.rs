//! What a plan writes: nodes' lists, and VolumeAttachments.
//!
//! Enter by the methods of [`Controller`]. Decides nothing but whether the server agrees with what the caches told.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::plan::{self, Detach, News, Wanted};
use super::volume::Volume;
use super::{Controller, FORCED, Made, world};
use crate::common::error::{Doing, Error};

impl Controller {
    /// Forgets what was asked for without an answer and never made: nobody on the node asks for it again, and other nodes
    /// wait for it to come or go.
    pub(super) async fn settle(&self, node: &str) -> Result<(), Error> {
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

    pub(super) async fn report(&self, node: &Node, attached: &[String]) -> Result<(), Error> {
        let known: BTreeSet<&str> = plan::attached(Some(node)).collect();
        let now: BTreeSet<&str> = attached.iter().map(String::as_str).collect();
        // It may have been told of what the cached node does not show yet.
        let is_stale = |told: &BTreeSet<String>| told.iter().any(|unique| !now.contains(unique.as_str()));
        if known == now && !self.memory().listed.get(&node.name_any()).is_some_and(is_stale) {
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

    pub(super) async fn detach(&self, node: &str, detach: &Detach) -> Result<(), Error> {
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

    pub(super) async fn attach(
        &self,
        node: &str,
        volume: &Volume,
        wanted: &BTreeMap<String, Wanted>,
    ) -> Result<(), Error> {
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
