//! Tells why a pod found no node, and asks pods of lower priority to make room.

use std::sync::Arc;

use component::recorder::Type;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use super::{Shared, bind::recorder};
use crate::core::Nominate;
use crate::framework::{Message, cut};
use crate::objects::Pod;
use crate::preemption::Preemption;

/// Upstream's limit of an event's note.
const NOTE_BYTES_MAX: usize = 1024;

pub(super) async fn unschedulable(
    shared: &Shared,
    pod: Arc<Pod>,
    message: &Message,
    preemption: Option<Preemption>,
    nominated: Nominate,
) {
    tracing::info!(pod = pod.name(), namespace = pod.namespace(), reason = %message, "unable to schedule pod; waiting");
    recorder(shared, &pod).event(&*pod, Type::Warning, "FailedScheduling", message.cut_to(NOTE_BYTES_MAX));
    tell_condition(shared, &pod, "Unschedulable", &message.to_string(), &nominated).await;
    if let Some(preemption) = preemption
        && let Err(error) = make_room(shared, &pod, &preemption).await
    {
        tracing::warn!(pod = pod.name(), namespace = pod.namespace(), %error, "preemption failed");
        shared.change(|core, now| core.preemption_failed(&pod, now));
    }
}

/// Tells others where the pod will be, when that takes a while.
pub(super) async fn nominate(shared: &Shared, pod: &Pod, node: &str) {
    if *pod.nominated_node_name == *node {
        return;
    }
    if let Err(error) = patch_status(shared, pod, json!({ "nominatedNodeName": node })).await {
        tracing::warn!(pod = pod.name(), namespace = pod.namespace(), %error, "telling a pod's node failed");
    }
}

/// A node was chosen, and the pod cannot go there: it is tried again.
pub(super) async fn binding_failed(shared: &Shared, pod: &Pod, message: &str, is_nominated: bool) {
    recorder(shared, pod).event(pod, Type::Warning, "FailedScheduling", cut(message, NOTE_BYTES_MAX));
    // What the API was told since the pod was taken up.
    let node = if is_nominated { "nominated".into() } else { pod.nominated_node_name.clone() };
    let pod = Pod { nominated_node_name: node, ..pod.clone() };
    tell_condition(shared, &pod, "SchedulerError", message, &Nominate::Clear).await;
}

/// Says in the pod's condition that it was not even tried.
pub(super) async fn tell_error(shared: &Shared, pod: &Pod, message: &str) {
    tell_condition(shared, pod, "SchedulerError", message, &Nominate::Clear).await;
}

/// The `PodScheduled` condition and the nominated node, if they are news.
async fn tell_condition(shared: &Shared, pod: &Pod, reason: &str, message: &str, nominated: &Nominate) {
    let known = pod.scheduled.as_ref();
    let same = known.is_some_and(|c| &*c.status == "False" && &*c.reason == reason && &*c.message == message);
    let nominated = match nominated {
        Nominate::Node(node) if *node != pod.nominated_node_name => Some(json!(node)),
        Nominate::Clear if !pod.nominated_node_name.is_empty() => Some(json!(null)),
        _ => None,
    };
    if same && nominated.is_none() {
        return;
    }
    let mut condition = json!({
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        "observedGeneration": pod.metadata.generation, "lastProbeTime": null,
    });
    if known.is_none_or(|c| &*c.status != "False") {
        condition["lastTransitionTime"] = json!(format!("{:.0}", shared.now()));
    }
    let mut status = json!({ "conditions": [condition] });
    if let Some(node) = nominated {
        status["nominatedNodeName"] = node;
    }
    patch_status(shared, pod, status).await.unwrap_or_else(|error| {
        tracing::warn!(pod = pod.name(), namespace = pod.namespace(), %error, "updating pod condition failed");
    });
}

/// Patches a pod's status; a pod that is gone needs none. The UID keeps it off a later pod of the same name.
async fn patch_status(shared: &Shared, pod: &Pod, status: serde_json::Value) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(shared.context.client.clone(), pod.namespace());
    let patch = Patch::Strategic(json!({ "metadata": { "uid": pod.uid() }, "status": status }));
    gone_is_fine(api.patch_status(pod.name(), &PatchParams::default(), &patch).await.map(drop))
}

async fn make_room(shared: &Shared, pod: &Pod, preemption: &Preemption) -> kube::Result<()> {
    for displaced in &preemption.displaced {
        patch_status(shared, displaced, json!({ "nominatedNodeName": null })).await?;
    }
    for victim in preemption.victims.iter().filter(|victim| !victim.is_terminating()) {
        let message = format!("{}: preempting to accommodate a higher priority pod", pod.scheduler_name);
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": message,
            "lastTransitionTime": format!("{:.0}", shared.now()), "observedGeneration": victim.metadata.generation,
        });
        patch_status(shared, victim, json!({ "conditions": [condition] })).await?;
        let api: Api<Pod> = Api::namespaced(shared.context.client.clone(), victim.namespace());
        let uid = Preconditions { uid: victim.metadata.uid.clone(), resource_version: None };
        let delete = DeleteParams { preconditions: Some(uid), ..DeleteParams::default() };
        gone_is_fine(api.delete(victim.name(), &delete).await.map(drop))?;
        let message = format!("Preempted by pod {} on node {}", pod.uid(), preemption.node);
        recorder(shared, pod).event(&**victim, Type::Normal, "Preempted", message);
    }
    Ok(())
}

/// Not found, or another pod by now: the one that was meant is gone.
fn gone_is_fine(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other,
    }
}
