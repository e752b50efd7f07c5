//! The Job controller's writes, over the API.

use component::recorder::Type;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1 as api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::facts::TRACKING_FINALIZER;
use super::sync::{When, Writes};
use crate::common::error::{Doing, Error};
use crate::common::pod::Pod;
use crate::common::pod_control::PodControl;

pub(super) struct ApiWrites(pub(super) PodControl);

impl Writes for ApiWrites {
    async fn create(&self, job: &Job, pod: &api::Pod) -> Result<(), Error> {
        self.0.create_pod(job, pod).await.map(drop)
    }

    async fn delete(&self, job: &Job, pod: &Pod) -> Result<(), Error> {
        self.0.delete(job, &pod.name_any()).await
    }

    async fn remove_finalizer(&self, pod: &Pod, when: When) -> Result<(), Error> {
        remove_finalizer(&self.0.client, pod, when).await
    }

    async fn write_status(&self, job: &Job) -> Result<Job, Error> {
        let api = Api::<Job>::namespaced(self.0.client.clone(), &job.namespace().unwrap_or_default());
        let written = api.replace_status(&job.name_any(), &PostParams::default(), job).await;
        written.doing("update status of job", job.name_any())
    }

    fn tell(&self, job: &Job, kind: Type, reason: &str, message: &str) {
        self.0.recorder.event(job, kind, reason, message);
    }
}

/// Names the pod by its UID too: another of the same name keeps its finalizer.
pub(super) async fn remove_finalizer(client: &Client, pod: &Pod, when: When) -> Result<(), Error> {
    let mut patch = json!({"metadata": {
        "uid": pod.metadata.uid,
        "$deleteFromPrimitiveList/finalizers": [TRACKING_FINALIZER],
    }});
    if when == When::Unchanged {
        patch["metadata"]["resourceVersion"] = json!(pod.metadata.resource_version);
    }
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let patched = api.patch_metadata(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await;
    patched.map(drop).doing("remove finalizer of pod", pod.name_any())
}
