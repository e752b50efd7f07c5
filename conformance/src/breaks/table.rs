//! The faults, at least one for each group of cases.

use serde_json::{Value, json};

use super::Break;
use super::fault::Fault::{Answered, Asked, Header, Path, Status};

/// Takes a member away, if the object has it.
fn lose(object: &mut Value, parent: &str, member: &str) {
    if let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        fields.remove(member);
    }
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = object.pointer_mut(pointer) {
        *place = value;
    }
}

pub(super) const BREAKS: &[Break] = &[
    Break {
        case: "discovery/version_is_told",
        what: "the version has a major of two digits",
        requests: "^GET /version",
        fault: Answered(|version| version["major"] = "12".into()),
        says: "major: expected to match",
    },
    Break {
        case: "discovery/aggregated_documents",
        what: "the aggregated document is not there",
        requests: "^GET /apis?$",
        fault: Header("accept", "application/json"),
        says: "content-type: expected to contain",
    },
    Break {
        case: "lists/chunks_are_one_list",
        what: "chunks are smaller than asked",
        requests: "^GET .*/podtemplates",
        fault: Path("limit=17", "limit=16"),
        says: "items of a chunk: expected 17, saw 16",
    },
    Break {
        case: "lists/labels_select",
        what: "label selectors are not heeded",
        requests: "^GET .*/configmaps",
        fault: Path("labelSelector", "ignored"),
        says: "set%3Da: expected",
    },
    Break {
        case: "watch/shows_adds_changes_and_deletions",
        what: "an event has another object than the write returned",
        requests: "watch=true",
        fault: Answered(|object| lose(object, "/metadata", "managedFields")),
        says: "ADDED one: expected",
    },
    Break {
        case: "watch/leaving_a_selector_is_a_deletion",
        what: "an object that leaves the selector of a watch is shown on",
        requests: "watch=true",
        fault: Path("labelSelector=set%3Da", "labelSelector=set"),
        says: "expected DELETED one, saw MODIFIED one",
    },
    Break {
        case: "objects/a_taken_name_is_refused",
        what: "a taken name is answered with another code",
        requests: "^POST",
        fault: Status(409, 400),
        says: "expected 409 AlreadyExists",
    },
    Break {
        case: "objects/a_rehearsal_stores_nothing",
        what: "a rehearsal is taken for the real thing",
        requests: "dryRun=All",
        fault: Path("dryRun=All", "x=y"),
        says: "expected nothing to be stored",
    },
    Break {
        case: "fields/strict_looks_at_metadata",
        what: "strict validation is not heeded",
        requests: "fieldValidation=Strict",
        fault: Path("fieldValidation=Strict", "x=y"),
        says: "expected 400 BadRequest, saw success",
    },
    Break {
        case: "patches/lists_merge_by_key",
        what: "a strategic patch is taken for a merge patch",
        requests: "^PATCH",
        fault: Header("content-type", "application/merge-patch+json"),
        says: "422 Invalid",
    },
    Break {
        case: "apply/conflicts_name_the_owner",
        what: "conflicts are overridden unasked",
        requests: "^PATCH",
        fault: Path("force=false", "force=true"),
        says: "expected 409 Conflict, saw success",
    },
    Break {
        case: "apply/keys_given_twice_are_told",
        what: "a key that is given twice is taken as it comes",
        requests: "fieldValidation=Strict",
        fault: Path("fieldValidation=Strict", "x=y"),
        says: "expected 400 BadRequest, saw success",
    },
    Break {
        case: "aggregation/another_server_answers",
        what: "another server is told of somebody else",
        requests: "^GET /apis/.*/things",
        fault: Header("impersonate-user", "bob"),
        says: "user: expected Some(\"alice\")",
    },
    Break {
        case: "kinds/config_maps",
        what: "a kind does not list a verb",
        requests: "^GET /api/v1$",
        fault: Answered(|list| {
            for resource in list["resources"].as_array_mut().into_iter().flatten() {
                resource["verbs"].as_array_mut().map(Vec::pop);
            }
        }),
        says: "verbs: expected",
    },
    Break {
        case: "kinds/ingresses",
        what: "the status cannot be changed at its own path",
        requests: "^PATCH .*/status",
        fault: Path("/status", ""),
        says: "the status: expected",
    },
    Break {
        case: "events/both_views_show_one_event",
        what: "the message is not shown in the other group",
        requests: "^GET /api/v1/.*/events",
        fault: Answered(|event| lose(event, "", "message")),
        says: "message: expected",
    },
    Break {
        case: "tokens/tokens_are_made_on_request",
        what: "reviews authenticate nobody",
        requests: "tokenreviews",
        fault: Answered(|review| lose(review, "/status", "authenticated")),
        says: "authenticated: expected true",
    },
    Break {
        case: "access/nobody_may_anything",
        what: "impersonation is not heeded",
        requests: "^GET",
        fault: Header("impersonate-user", ""),
        says: "expected 403 Forbidden, saw success",
    },
    Break {
        case: "garbage/dependents_go_first_in_the_foreground",
        what: "the foreground is taken for the background",
        requests: "^DELETE .*/configmaps/owner",
        fault: Asked(|options| set(options, "/propagationPolicy", json!("Background"))),
        says: "404 NotFound",
    },
    Break {
        case: "namespaces/namespaces_are_changed",
        what: "conditions of a namespace are lost",
        requests: "^PATCH .*/status",
        fault: Asked(|patch| lose(patch, "/status", "conditions")),
        says: "condition: expected",
    },
    Break {
        case: "replicas/scale_is_a_subresource",
        what: "a scale has no selector",
        requests: "^GET .*/scale",
        fault: Answered(|scale| lose(scale, "/status", "selector")),
        says: "selector: expected",
    },
    Break {
        case: "deployments/a_rollout_completes",
        what: "ReplicaSets have no hash of their template",
        requests: "^GET .*/replicasets",
        fault: Answered(|set| lose(set, "/metadata/labels", "pod-template-hash")),
        says: "expected a pod-template-hash",
    },
    Break {
        case: "statefulsets/ordinals_start_in_order",
        what: "pods do not wait for those before them",
        requests: "^POST .*/statefulsets",
        fault: Asked(|set| set["spec"]["podManagementPolicy"] = "Parallel".into()),
        says: "expected db-1 once db-0 is ready",
    },
    Break {
        case: "daemonsets/taken_names_are_left_alone",
        what: "each collision of names is counted twice",
        requests: "^GET .*/daemonsets",
        fault: Answered(|daemons| {
            let twice = daemons["status"]["collisionCount"].as_u64().unwrap_or_default() * 2;
            set(daemons, "/status/collisionCount", twice.into());
        }),
        says: "collisionCount: expected 1, saw 2",
    },
    Break {
        case: "daemonsets/every_node_has_a_pod",
        what: "pods are said to be where they should not",
        requests: "^GET .*/daemonsets",
        fault: Answered(|agents| set(agents, "/status/numberMisscheduled", json!(1))),
        says: "numberMisscheduled",
    },
    Break {
        case: "jobs/a_job_completes",
        what: "a Job runs fewer pods than asked",
        requests: "^POST .*/jobs",
        fault: Asked(|job| set(job, "/spec/completions", json!(2))),
        says: "succeeded: expected 3, saw 2",
    },
    Break {
        case: "cronjobs/schedules_are_checked",
        what: "any schedule will do",
        requests: "^POST .*/cronjobs",
        fault: Asked(|cron| set(cron, "/spec/schedule", json!("0 0 1 1 *"))),
        says: "expected 422 Invalid, saw success",
    },
    Break {
        case: "disruption/evictions_are_refused",
        what: "an eviction deletes whatever the budget says",
        requests: "^POST .*/eviction",
        fault: Status(429, 201),
        says: "expected 429 TooManyRequests, saw success",
    },
    Break {
        case: "disruption/status_is_a_subresource",
        what: "the status cannot be changed at its own path",
        requests: "^PUT .*/status",
        fault: Path("/status", ""),
        says: "disruptedPods: expected",
    },
    Break {
        case: "pods/quality_of_service_is_told",
        what: "requests and limits are lost",
        requests: "^POST .*/pods",
        fault: Asked(|pod| lose(pod, "/spec/containers/0", "resources")),
        says: "burstable: expected",
    },
    Break {
        case: "pods/a_pod_runs_and_is_told",
        what: "a condition of pods is not told",
        requests: "^GET .*/pods",
        fault: Answered(|pod| {
            if let Some(all) = pod.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
                all.retain(|one| one["type"] != "PodReadyToStartContainers");
            }
        }),
        says: "PodReadyToStartContainers: expected",
    },
    Break {
        case: "containers/config_maps_and_secrets_are_variables",
        what: "envFrom is not heeded",
        requests: "^POST .*/pods",
        fault: Asked(|pod| lose(pod, "/spec/containers/0", "envFrom")),
        says: "expected p-key=from-map",
    },
    Break {
        case: "containers/users_and_groups_are_set",
        what: "containers run as their image says",
        requests: "^POST .*/pods",
        fault: Asked(|pod| lose(pod, "/spec", "securityContext")),
        says: "user and group of the pod",
    },
    Break {
        case: "lifecycle/init_containers_run_in_order",
        what: "init containers run in another order",
        requests: "^POST .*/pods",
        fault: Asked(|pod| {
            if let Some(all) = pod.pointer_mut("/spec/initContainers").and_then(Value::as_array_mut) {
                all.reverse();
            }
        }),
        says: "log: expected",
    },
    Break {
        case: "volumes/empty_dirs_are_shared",
        what: "memory as a medium is not heeded",
        requests: "^POST .*/pods",
        fault: Asked(|pod| lose(pod, "/spec/volumes/0/emptyDir", "medium")),
        says: "a mount in memory",
    },
    Break {
        case: "volumes/secrets_are_files",
        what: "the mode of files is not heeded",
        requests: "^POST .*/pods",
        fault: Asked(|pod| lose(pod, "/spec/volumes/0/secret", "defaultMode")),
        says: "log: expected",
    },
    Break {
        case: "paths/sub_paths_mount_a_part",
        what: "a part of a volume is taken for the whole",
        requests: "^POST .*/pods",
        fault: Asked(|pod| lose(pod, "/spec/containers/0/volumeMounts/0", "subPath")),
        says: "log: expected",
    },
    Break {
        case: "changes/resizes_need_no_restart",
        what: "a resize is not heeded",
        requests: "^PATCH .*/resize",
        fault: Asked(|pod| lose(pod, "/spec", "containers")),
        says: "generation: expected",
    },
    Break {
        case: "changes/resizes_keep_the_class",
        what: "resources are changed at the pod's own path",
        requests: "^PATCH .*/pods/one$",
        fault: Path("/pods/one", "/pods/one/resize"),
        says: "a resize at the pod's own path",
    },
    Break {
        case: "kubectl/rehearsals_change_nothing",
        what: "a rehearsal is taken for the real thing",
        requests: "dryRun=All",
        fault: Path("dryRun=All", "x=y"),
        says: "what is: expected",
    },
    Break {
        case: "streams/exec_passes_streams_and_codes",
        what: "standard error is not passed on",
        requests: "/exec",
        fault: Path("stderr=true", "stderr=false"),
        says: "standard error: expected",
    },
    Break {
        case: "podnetwork/the_api_server_leads_to_pods",
        what: "the proxy does not lead to the folder",
        requests: "/proxy$",
        fault: Status(301, 200),
        says: "without a slash: expected 301",
    },
    Break {
        case: "services/addresses_are_allocated",
        what: "an address that is asked for is not heeded",
        requests: "^POST .*/services",
        fault: Asked(|service| lose(service, "/spec", "clusterIP")),
        says: "expected 422 Invalid, saw success",
    },
    Break {
        case: "services/custom_slices_are_served",
        what: "slices of others are not served",
        requests: "^POST .*/endpointslices",
        fault: Asked(|slice| lose(slice, "/metadata", "labels")),
        says: "expected to end within",
    },
    Break {
        case: "endpoints/pods_become_endpoints",
        what: "an endpoint does not say which pod it is",
        requests: "^GET .*/endpointslices",
        fault: Answered(|slice| lose(slice, "/endpoints/0", "targetRef")),
        says: "targetRef: expected",
    },
    Break {
        case: "names/resolvers_are_written",
        what: "pods are given the node's resolvers",
        requests: "^POST .*/pods",
        fault: Asked(|pod| pod["spec"]["dnsPolicy"] = "Default".into()),
        says: "search path: expected",
    },
    Break {
        case: "scheduling/pods_that_do_not_fit_wait",
        what: "it is not told why a pod waits",
        requests: "^GET .*/pods",
        fault: Answered(|pod| {
            for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
                lose(condition, "", "message");
            }
        }),
        says: "message: expected to contain",
    },
    Break {
        case: "limits/limit_ranges_set_defaults",
        what: "a largest value is not heeded",
        requests: "^POST .*/limitranges",
        fault: Asked(|range| lose(range, "/spec/limits/0", "max")),
        says: "expected 403 Forbidden, saw success",
    },
];
