//! Creates and deletes pods for an owner, and tells it in the owner's events.

use component::recorder::{Recorder, Type};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt};

use super::claim::Namespaced;
use super::error::{Doing, Error};
use super::owner::controller_ref;
use super::template::pod_from;

#[derive(Clone)]
pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
}

impl PodControl {
    /// Creates one pod from the owner's template.
    pub(crate) async fn create<O: Namespaced>(&self, owner: &O, template: &PodTemplateSpec) -> Result<Pod, Error> {
        self.create_pod(owner, &pod_from(template, controller_ref(owner))).await
    }

    /// Creates a pod that the owner has made up itself.
    pub(crate) async fn create_pod<O: Namespaced>(&self, owner: &O, pod: &Pod) -> Result<Pod, Error> {
        let created =
            self.api(owner).create(&PostParams::default(), pod).await.doing("create pod for", owner.name_any());
        match &created {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name_any());
                self.recorder.event(owner, Type::Normal, "SuccessfulCreate", &message);
            }
            Err(e) if e.is_namespace_terminating() => {}
            Err(e) => {
                let message = format!("Error creating: {}", e.api_message());
                self.recorder.event(owner, Type::Warning, "FailedCreate", &message);
            }
        }
        created
    }

    /// Asks for a pod's deletion; one that is gone already is an error that says so.
    pub(crate) async fn delete<O: Namespaced>(&self, owner: &O, name: &str) -> Result<(), Error> {
        let deleted = self.api(owner).delete(name, &DeleteParams::default()).await.doing("delete pod", name);
        match &deleted {
            Ok(_) => self.recorder.event(owner, Type::Normal, "SuccessfulDelete", format!("Deleted pod: {name}")),
            Err(e) if e.is_not_found() => {}
            Err(e) => {
                let message = format!("Error deleting: {}", e.api_message());
                self.recorder.event(owner, Type::Warning, "FailedDelete", &message);
            }
        }
        deleted.map(drop)
    }

    fn api<O: Namespaced>(&self, owner: &O) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &owner.namespace().unwrap_or_default())
    }
}
