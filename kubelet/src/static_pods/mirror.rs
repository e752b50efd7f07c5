//! Mirror pods: the API's images of static pods, made anew when they are deleted or differ. Part of [`super`].
//!
//! A mirror stays as long as anything of its pod does: the API shows what runs, also while it ends.

use std::{sync::Arc, time::Duration};

use component::{informer::Informer, shutdown::Shutdown};
use k8s_openapi::{
    api::core::v1::{Node as ApiNode, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
};
use tokio::sync::{Notify, watch};

use super::Pods;
use crate::{
    dispatch::Dispatcher,
    pod::{
        node::Node,
        spec::{self, CONFIG_HASH, CONFIG_MIRROR},
    },
};

const RETRY: Duration = Duration::from_secs(5);

/// Keeps the mirrors of `wanted` until shutdown. Does nothing without an API server.
pub(super) async fn keep(
    node: Arc<Node>,
    pods: Option<Informer<Pod>>,
    dispatch: Dispatcher,
    mut wanted: watch::Receiver<Pods>,
    shutdown: Shutdown,
) {
    let (Some(client), Some(pods)) = (node.client.clone(), pods) else { return };
    let moved = Arc::new(Notify::new());
    let bell = moved.clone();
    pods.on_event(move |_| bell.notify_one());
    if shutdown.run_until(pods.synced()).await.is_none() {
        return;
    }
    loop {
        let statics = wanted.borrow_and_update().clone();
        let settled = reconcile(&client, &node.facts.node_name, &pods, &dispatch, &statics).await;
        tokio::select! {
            () = moved.notified() => {}
            changed = wanted.changed() => if changed.is_err() { return },
            () = dispatch.static_pod_ended() => {}
            () = tokio::time::sleep(RETRY), if !settled => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// True when every static pod has its mirror and every mirror its static pod.
async fn reconcile(
    client: &Client,
    node_name: &str,
    pods: &Informer<Pod>,
    dispatch: &Dispatcher,
    statics: &Pods,
) -> bool {
    let mut settled = true;
    for mirror in pods.list().into_iter().filter(|pod| spec::is_mirror(pod)) {
        let is_own = |pod: &Pod| spec::is_mirror_of(&mirror, pod);
        let is_wanted = statics.values().any(|pod| is_own(pod)) || dispatch.holds_static(is_own);
        if !is_wanted || mirror.metadata.deletion_timestamp.is_some() {
            settled &= told("delete", &mirror, remove(client, &mirror).await);
        }
    }
    for pod in statics.values() {
        let identity = spec::identity(pod);
        match pods.get(&identity.namespace, &identity.name) {
            Some(mirror) if spec::is_mirror_of(&mirror, pod) => dispatch.mirror(&mirror, Some(mirror.clone())),
            // Another object of that name: its end is waited for, as is that of the pod before this one.
            Some(_) => {}
            None if !dispatch.has(spec::uid(pod)) => {}
            None => settled &= told("create", pod, create(client, node_name, pod).await),
        }
    }
    settled
}

fn told(operation: &str, pod: &Pod, result: Result<(), kube::Error>) -> bool {
    if let Err(error) = &result {
        tracing::warn!(pod = %spec::identity(pod), %error, "cannot {operation} a mirror pod");
    }
    result.is_ok()
}

async fn remove(client: &Client, mirror: &Pod) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), mirror.metadata.namespace.as_deref().unwrap_or_default());
    let preconditions = Preconditions { uid: mirror.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }.grace_period(0);
    match api.delete(mirror.metadata.name.as_deref().unwrap_or_default(), &params).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}

async fn create(client: &Client, node_name: &str, pod: &Pod) -> Result<(), kube::Error> {
    let node = Api::<ApiNode>::all(client.clone()).get(node_name).await?;
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    if let Some(hash) = annotations.get(CONFIG_HASH).cloned() {
        annotations.insert(CONFIG_MIRROR.into(), hash);
    }
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node_name.to_owned(),
        uid: node.metadata.uid.unwrap_or_default(),
        controller: Some(true),
        ..OwnerReference::default()
    };
    let mirror = Pod {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            labels: pod.metadata.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: pod.spec.clone(),
        status: None,
    };
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
    match api.create(&PostParams::default(), &mirror).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}
