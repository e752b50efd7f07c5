//! Writes to a pod's status, and the index of pods by node.

use component::informer::Informer;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::error::{Doing, Error};
use super::pod::Pod;
use super::{pods, time};

/// Pods by the node they are assigned to.
pub(crate) const BY_NODE: &str = "node";

pub(crate) fn index_by_node(pods: &Informer<Pod>) {
    pods.index(BY_NODE, |pod| Some(pods::node_name(pod).to_owned()).filter(|n| !n.is_empty()).into_iter().collect());
}

/// Why a pod is being made an end of, as its condition `DisruptionTarget`.
pub(crate) fn disruption_target(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> PodCondition {
    PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        observed_generation: pod.metadata.generation,
        last_transition_time: Some(time(now)),
        ..Default::default()
    }
}

/// Sets fields of the status, and one condition. A pod that is gone, or another one by now, is left alone.
pub(crate) async fn patch(
    client: &Client,
    pod: &Pod,
    phase: Option<&str>,
    condition: Option<PodCondition>,
) -> Result<(), Error> {
    let mut status = json!({});
    if let Some(phase) = phase {
        status["phase"] = Value::from(phase);
    }
    if let Some(condition) = condition {
        status["conditions"] = json!([condition]);
    }
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    let namespace = pod.namespace().unwrap_or_default();
    let api = Api::<Pod>::namespaced(client.clone(), &namespace);
    let patched = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(&patch)).await;
    match patched.doing("update status of pod", format!("{namespace}/{}", pod.name_any())) {
        Err(e) if !(e.is_not_found() || e.is_conflict()) => Err(e),
        _ => Ok(()),
    }
}
