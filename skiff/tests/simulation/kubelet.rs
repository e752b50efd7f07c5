//! The nodes, and who looks after pods that never get one: each pod comes a step further when its turn comes.

use component::clock::Clock;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::truth::{is_terminal, text};

/// What a pod of a Job comes to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fate {
    Success,
    Failure,
}

/// Takes one step with a pod as the store has it. Errors are those of a server that is down: the pod has its turn again.
pub(crate) async fn step(client: &Client, clock: &Clock, pod: &Value, fate: Fate) {
    let (name, node) = (text(pod, "/metadata/name"), text(pod, "/spec/nodeName"));
    let api: Api<Pod> = Api::namespaced(client.clone(), "default");
    let deleting = pod.pointer("/metadata/deletionTimestamp").is_some();
    let runs_once = text(pod, "/spec/restartPolicy") == "Never";
    let phase = match text(pod, "/status/phase") {
        _ if deleting && is_terminal(pod) => {
            let uid = Some(text(pod, "/metadata/uid").to_owned());
            let preconditions = Some(Preconditions { uid, resource_version: None });
            if pod.pointer("/metadata/deletionGracePeriodSeconds") != Some(&json!(0)) {
                let now = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
                let _ = api.delete(name, &now).await;
            }
            return;
        }
        _ if deleting => "Failed",
        // The scheduler's turn.
        _ if node.is_empty() => return,
        "Pending" => "Running",
        "Running" if runs_once && fate == Fate::Success => "Succeeded",
        "Running" if runs_once => "Failed",
        _ => return,
    };
    let ready = if phase == "Running" { "True" } else { "False" };
    let now = clock.now().to_string();
    let conditions = json!([{"type": "Ready", "status": ready, "lastTransitionTime": now}]);
    let status = json!({"metadata": {"uid": text(pod, "/metadata/uid")},
        "status": {"phase": phase, "conditions": conditions, "startTime": now}});
    let _ = api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
}
