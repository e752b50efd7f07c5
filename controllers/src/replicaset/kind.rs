//! What a ReplicaSet and a ReplicationController have in common, and where it stands in each.
//!
//! Pure. The older kind has the same fields under another selector; its status has no count of terminating pods.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use serde::Serialize;

use crate::common::claim::Namespaced;
use crate::common::owner::selector;

pub(crate) trait ReplicaKind: Namespaced + Serialize {
    /// The name of the work queue, as upstream's metrics have it.
    const QUEUE: &'static str;
    /// The operation, in errors.
    const SYNC: &'static str;

    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// None: it selects nothing.
    fn selector(&self) -> Option<Selector>;
    fn status(&self) -> ReplicaSetStatus;
    /// The object with that status; None when it has it already.
    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self>;
}

impl ReplicaKind for ReplicaSet {
    const QUEUE: &'static str = "replicaset";
    const SYNC: &'static str = "sync replica set";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn selector(&self) -> Option<Selector> {
        self.spec.as_ref().and_then(|s| selector(&s.selector))
    }

    fn status(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self> {
        (self.status.as_ref() != Some(&status)).then(|| ReplicaSet { status: Some(status), ..self.clone() })
    }
}

impl ReplicaKind for ReplicationController {
    const QUEUE: &'static str = "replicationmanager";
    const SYNC: &'static str = "sync replication controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn selector(&self) -> Option<Selector> {
        let match_labels = self.spec.as_ref()?.selector.clone()?;
        selector(&LabelSelector { match_labels: Some(match_labels), ..Default::default() })
    }

    fn status(&self) -> ReplicaSetStatus {
        let status = self.status.clone().unwrap_or_default();
        let condition = |c: ReplicationControllerCondition| ReplicaSetCondition {
            type_: c.type_,
            status: c.status,
            reason: c.reason,
            message: c.message,
            last_transition_time: c.last_transition_time,
        };
        ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            terminating_replicas: None,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        }
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self> {
        let condition = |c: ReplicaSetCondition| ReplicationControllerCondition {
            type_: c.type_,
            status: c.status,
            reason: c.reason,
            message: c.message,
            last_transition_time: c.last_transition_time,
        };
        let status = ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        };
        (self.status.as_ref() != Some(&status)).then(|| ReplicationController { status: Some(status), ..self.clone() })
    }
}
