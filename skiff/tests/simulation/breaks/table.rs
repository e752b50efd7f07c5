//! The faults: one for each rule.

use apiserver::store::{Change, ChangeKind};
use serde_json::{Value, json};

use super::store::Spoil;
use super::{Break, Fault, Requests};
use crate::truth::{number, text};

const fn requests(method: &'static str, part: &'static str) -> Requests {
    Requests { method, part }
}

/// Writes a field, whose parents are there.
fn set(object: &mut Value, parent: &str, field: &str, value: Value) {
    if let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        fields.insert(field.to_owned(), value);
    }
}

fn lose(object: &mut Value, parent: &str, field: &str) {
    if let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        fields.remove(field);
    }
}

/// Whether a controller of that kind has it.
fn is_of(object: &Value, kind: &str) -> bool {
    text(object, "/metadata/ownerReferences/0/kind") == kind
}

const ROLLING_UPDATE: &str = "/spec/updateStrategy/rollingUpdate";

pub(super) const BREAKS: &[Break] = &[
    // Deployments and ReplicaSets.
    Break {
        what: "the Deployment controller heeds no maxSurge",
        fault: Fault::Told("/deployments", |d| set(d, "/spec/strategy/rollingUpdate", "maxSurge", json!(5))),
        says: &["its ReplicaSets ask for"],
    },
    Break {
        what: "the Deployment controller heeds no maxUnavailable",
        fault: Fault::Told("/deployments", |d| set(d, "/spec/strategy/rollingUpdate", "maxUnavailable", json!(5))),
        says: &["pods are available,"],
    },
    Break {
        what: "the ReplicaSet controller makes each pod twice",
        fault: Fault::Twice(requests("POST", "/pods"), |pod| is_of(pod, "ReplicaSet")),
        says: &["one more pod makes"],
    },
    // Jobs.
    Break {
        what: "the count of failed pods is one bit",
        fault: Fault::Served(Spoil::Writes(|key, job| {
            if key.starts_with("/registry/jobs/") {
                let failed = number(job, "/status/failed") % 2;
                set(job, "/status", "failed", json!(failed));
            }
        })),
        says: &["were counted, and now"],
    },
    Break {
        what: "the Job controller takes pods that run for pods that succeeded",
        fault: Fault::Told("/pods", |pod| {
            // Indexed ones are counted by their index.
            let is_plain = text(pod, "/metadata/generateName").starts_with("plain-");
            if is_plain && text(pod, "/status/phase") == "Running" {
                set(pod, "/status", "phase", json!("Succeeded"));
            }
        }),
        says: &["is listed and did not end so"],
    },
    Break {
        what: "the list of pods to be counted is stored twice over",
        fault: Fault::Served(Spoil::Writes(|key, job| {
            let list = job.pointer_mut("/status/uncountedTerminatedPods/succeeded").and_then(Value::as_array_mut);
            if let Some(list) = list.filter(|_| key.starts_with("/registry/jobs/")) {
                list.extend_from_within(..);
            }
        })),
        says: &["a pod is listed twice"],
    },
    Break {
        what: "the Job controller counts one pod too many",
        fault: Fault::Asked(requests("PUT", "/jobs/"), |job| {
            let succeeded = number(job, "/status/succeeded") + 1;
            set(job, "/status", "succeeded", json!(succeeded));
        }),
        says: &["ended so"],
    },
    Break {
        what: "the Job controller makes each pod twice",
        fault: Fault::Twice(requests("POST", "/pods"), |pod| is_of(pod, "Job")),
        says: &["more run, of"],
    },
    Break {
        what: "the Job controller lets pods go before it has listed them",
        fault: Fault::Asked(requests("PUT", "/jobs/"), |job| lose(job, "/status", "uncountedTerminatedPods")),
        says: &["was let go uncounted"],
    },
    Break {
        what: "the Job controller takes one completion for enough",
        fault: Fault::Told("/jobs", |job| set(job, "/spec", "completions", json!(1))),
        says: &["succeeded by its status,"],
    },
    // StatefulSets.
    Break {
        what: "the StatefulSet controller makes pods all at once",
        fault: Fault::Told("/statefulsets", |row| set(row, "/spec", "podManagementPolicy", json!("Parallel"))),
        says: &["is made while pod"],
    },
    Break {
        what: "the StatefulSet controller takes pods that are too many all at once",
        fault: Fault::Told("/statefulsets", |row| {
            if number(row, "/spec/replicas") < number(row, "/status/replicas") {
                set(row, "/spec", "podManagementPolicy", json!("Parallel"));
            }
        }),
        says: &["goes before pod"],
    },
    Break {
        what: "the StatefulSet controller updates several pods at a time",
        fault: Fault::Told("/statefulsets", |row| {
            set(row, "/spec/updateStrategy", "rollingUpdate", json!({"partition": 0, "maxUnavailable": 3}));
        }),
        says: &["is replaced while pod"],
    },
    Break {
        what: "the StatefulSet controller begins with the first pod",
        fault: Fault::Elsewhere(requests("DELETE", "/pods/row-1"), "/api/v1/namespaces/default/pods/row-0"),
        says: &["is replaced before pod"],
    },
    // DaemonSets.
    Break {
        what: "the DaemonSet controller heeds no maxUnavailable",
        fault: Fault::Told("/daemonsets", |daemons| {
            set(daemons, "/spec/updateStrategy", "rollingUpdate", json!({"maxSurge": 0, "maxUnavailable": 3}));
        }),
        says: &["are without a pod that serves"],
    },
    Break {
        what: "the DaemonSet controller heeds no maxSurge",
        fault: Fault::Told("/daemonsets", |daemons| {
            set(daemons, ROLLING_UPDATE, "maxSurge", json!(3));
            set(daemons, ROLLING_UPDATE, "maxUnavailable", json!(0));
        }),
        says: &["pods are second ones"],
    },
    // Places.
    Break {
        what: "a pod changes its node when it runs",
        fault: Fault::Served(Spoil::Writes(|key, pod| {
            if key.starts_with("/registry/pods/") && text(pod, "/status/phase") == "Running" {
                set(pod, "/spec", "nodeName", json!("first"));
            }
        })),
        says: &["and is on \"first\""],
    },
    Break {
        what: "the scheduler names a node that is not there",
        fault: Fault::Asked(requests("POST", "/binding"), |binding| set(binding, "/target", "name", json!("fourth"))),
        says: &["there is no such node"],
    },
    Break {
        what: "the scheduler puts everything on one node",
        fault: Fault::Asked(requests("POST", "/binding"), |binding| {
            if !text(binding, "/metadata/name").starts_with("daemon-") {
                set(binding, "/target", "name", json!("first"));
            }
        }),
        says: &["in doubt) have room"],
    },
    Break {
        what: "the scheduler takes every node for full",
        fault: Fault::Told("/nodes", |node| set(node, "/status/allocatable", "pods", json!("0"))),
        says: &["never: ", "has no node"],
    },
    // All that is to come to an end.
    Break {
        what: "no status of a workload can be written",
        fault: Fault::Refused(requests("PUT", "/status")),
        says: &["never: Deployment", "StatefulSet \"row\"", "DaemonSet \"daemon\"", "Job \"plain\""],
    },
    Break {
        what: "no finalizer of a pod can be removed",
        fault: Fault::Refused(requests("PATCH", "/pods/")),
        says: &["never: ", "has its finalizer"],
    },
    // The store and the watch cache.
    Break {
        what: "the store's watch leaves revisions out",
        fault: Fault::Looked(Spoil::Watches(|batch| !batch.revision.0.is_multiple_of(100))),
        says: &["the watch goes from revision"],
    },
    Break {
        what: "the disk says that it has kept what it has not",
        fault: Fault::Unsynced,
        says: &["was told and is lost"],
    },
    Break {
        what: "the store forgets a key",
        fault: Fault::Looked(Spoil::Ranges(|range| drop(range.entries.pop()))),
        says: &["is not after the failure what it was"],
    },
    Break {
        what: "the API server does not hear of ReplicaSets that are gone",
        fault: Fault::Served(Spoil::Watches(|batch| {
            let is_heard_of = |change: &Change| {
                change.kind != ChangeKind::Delete || !change.key.starts_with("/registry/replicasets/")
            };
            batch.changes.retain(is_heard_of);
            true
        })),
        says: &["/apis/apps/v1/replicasets does not list what the store holds"],
    },
];
