//! Writes to a pod's status, and the index of pods by node.

use component::informer::Informer;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::error::{Doing, Error, wait_for_event};
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
    send(client, pod, json!({"uid": pod.metadata.uid}), status).await
}

/// As [`patch`], and only over the version of the pod that the condition was decided on: any later one wakes its
/// controller again.
pub(crate) async fn patch_as_seen(client: &Client, pod: &Pod, condition: PodCondition) -> Result<(), Error> {
    let seen = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
    send(client, pod, seen, json!({"conditions": [condition]})).await
}

async fn send(client: &Client, pod: &Pod, metadata: Value, status: Value) -> Result<(), Error> {
    let patch = json!({"metadata": metadata, "status": status});
    let namespace = pod.namespace().unwrap_or_default();
    let api = Api::<Pod>::namespaced(client.clone(), &namespace);
    let patched = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(&patch)).await;
    let patched = patched.doing("update status of pod", format!("{namespace}/{}", pod.name_any()));
    wait_for_event(patched.map(drop))
}

#[cfg(test)]
mod tests {
    use component::testing::FakeApi;

    use super::*;

    #[tokio::test]
    async fn a_condition_that_was_set_again_stays() {
        let fake = FakeApi::new();
        let pod = |at: &str| {
            let target = json!({"type": "DisruptionTarget", "status": "True", "lastTransitionTime": at});
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "n", "name": "p"},
                "status": {"conditions": [target]}})
        };
        let status = || fake.get::<Pod>("n", "p").and_then(|pod| pods::condition(&pod, "DisruptionTarget").cloned());
        let over = PodCondition { type_: "DisruptionTarget".into(), status: "False".into(), ..Default::default() };
        fake.put(&pod("2026-01-01T00:00:00Z"));
        let seen = fake.get::<Pod>("n", "p").unwrap();
        fake.put(&pod("2026-01-01T00:10:00Z"));
        patch_as_seen(&fake.client(), &seen, over.clone()).await.unwrap();
        assert_eq!(status().unwrap().status, "True", "decided on an older pod");
        let seen = fake.get::<Pod>("n", "p").unwrap();
        patch_as_seen(&fake.client(), &seen, over).await.unwrap();
        assert_eq!(status().unwrap().status, "False");
    }
}
