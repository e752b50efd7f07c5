//! Rolls a Deployment out anew, and scales it, again and again.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{Phase, Shared, patiently};
use crate::chaos::record::Records;
use crate::chaos::scene::ROLLING;

/// Between two changes: a rollout takes about as long.
const PACE: Duration = Duration::from_secs(5);

pub(super) async fn run(shared: Shared) -> Records {
    let deployments: Api<Deployment> = Api::default_namespaced(shared.client.clone());
    let mut records = Records::default();
    for round in 1.. {
        shared.pause(PACE).await;
        if *shared.phase.borrow() != Phase::Work {
            break;
        }
        let change = match round % 3 {
            0 => json!({"spec": {"replicas": 2 + shared.random.below(3)}}),
            _ => json!({"spec": {"template": {"metadata": {"annotations": {"round": round.to_string()}}}}}),
        };
        let patch = Patch::Merge(change);
        let answer = patiently(deployments.patch(ROLLING, &PatchParams::default(), &patch)).await;
        records.rollouts += usize::from(matches!(answer, Ok(Ok(_))));
    }
    records
}
