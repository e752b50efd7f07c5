//! The flags of the controllers that run workloads and keep them in bounds.

use component::flags::{Group, Kind::*, flag};

use super::NO_RESYNC;

pub(super) fn group() -> Group {
    Group::new(
        "Workload flags",
        [
            flag("concurrent-resourceclaim-syncs", Int, "50", "ResourceClaims worked on at the same time."),
            flag(
                "concurrent-device-taint-eviction-syncs",
                Int,
                "8",
                "Pods of tainted devices evicted at the same time.",
            ),
            flag("concurrent-deployment-syncs", Int, "5", "Deployments worked on at the same time."),
            flag("concurrent-replicaset-syncs", Int, "5", "ReplicaSets worked on at the same time."),
            flag("concurrent-daemonset-syncs", Int, "2", "DaemonSets worked on at the same time."),
            flag("concurrent-statefulset-syncs", Int, "5", "StatefulSets worked on at the same time."),
            flag("concurrent-job-syncs", Int, "5", "Jobs worked on at the same time."),
            flag("concurrent-cron-job-syncs", Int, "5", "CronJobs worked on at the same time."),
            flag("concurrent-rc-syncs", Int, "5", "ReplicationControllers worked on at the same time."),
            flag("concurrent-ttl-after-finished-syncs", Int, "5", "Ended Jobs worked on at the same time."),
            flag("concurrent-resource-quota-syncs", Int, "5", "ResourceQuotas worked on at the same time."),
            flag("resource-quota-sync-period", Duration, "5m0s", "How often quotas are counted anew."),
            flag("concurrent-horizontal-pod-autoscaler-syncs", Int, "5", "Autoscalers worked on at the same time."),
            flag("horizontal-pod-autoscaler-sync-period", Duration, "15s", "How often autoscalers look."),
            flag(
                "horizontal-pod-autoscaler-downscale-stabilization",
                Duration,
                "5m0s",
                "How long a higher recommendation holds.",
            ),
            flag("horizontal-pod-autoscaler-tolerance", Float, "0.1", "The change that is too small to act on."),
            flag(
                "horizontal-pod-autoscaler-cpu-initialization-period",
                Duration,
                "5m0s",
                "How long a new pod's CPU use may be skipped.",
            ),
            flag(
                "horizontal-pod-autoscaler-initial-readiness-delay",
                Duration,
                "30s",
                "How long readiness counts as the first.",
            ),
            flag("concurrent-namespace-syncs", Int, "10", "Namespaces worked on at the same time."),
            flag("namespace-sync-period", Duration, "5m0s", "How often namespaces were looked at.")
                .without_effect(NO_RESYNC),
            flag(
                "enable-garbage-collector",
                Bool,
                "true",
                "Delete objects whose owners are gone. Must be as the API server's.",
            ),
            flag("concurrent-gc-syncs", Int, "20", "Objects the garbage collector works on at the same time."),
        ],
    )
}
