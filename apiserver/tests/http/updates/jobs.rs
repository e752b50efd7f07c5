//! Jobs, and pods themselves.

use serde_json::json;

use super::check;

#[tokio::test(flavor = "multi_thread")]
async fn jobs() {
    const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
    let job = |suspend: bool| {
        json!({"spec": {"completions": 2, "suspend": suspend, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
        }}}})
    };
    let other_image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}});
    check(vec![
        (
            JOBS,
            "batch/v1/Job",
            job(false),
            json!({"spec": {"completions": 3, "parallelism": 2}}),
            &["spec.completions: Invalid value: 3: field is immutable"],
        ),
        (JOBS, "batch/v1/Job", job(false), json!({"spec": {"parallelism": 5, "activeDeadlineSeconds": 9}}), &[]),
        (JOBS, "batch/v1/Job", job(false), other_image, &["spec.template: Invalid value: …: field is immutable"]),
        (
            JOBS,
            "batch/v1/Job",
            job(false),
            json!({"spec": {"completionMode": "Indexed"}}),
            &["spec.completionMode: Invalid value: \"Indexed\": field is immutable"],
        ),
        (
            JOBS,
            "batch/v1/Job",
            job(true),
            json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}),
            &[],
        ),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            "batch/v1/CronJob",
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": job(false)}}),
            json!({"spec": {"schedule": "x", "concurrencyPolicy": "Never"}}),
            &[
                "spec.schedule: Invalid value: \"x\": expected exactly 5 fields, found 1: [x]",
                "spec.concurrencyPolicy: Unsupported value: \"Never\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            ],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods() {
    const PODS: &str = "/api/v1/namespaces/default/pods";
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    check(vec![
        (PODS, "v1/Pod", pod.clone(), json!({"spec": {"containers": [{"name": "c", "image": "j"}]}}), &[]),
        (PODS, "v1/Pod", pod.clone(), json!({"spec": {"activeDeadlineSeconds": 5}}), &[]),
        (
            PODS,
            "v1/Pod",
            pod.clone(),
            json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}}),
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        (
            PODS,
            "v1/Pod",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always"}]}}),
            json!({"spec": {"containers": [{"name": "c", "image": " j", "imagePullPolicy": "Always"}]}}),
            // Told by the rules of a container, and by those of a change.
            &["spec.containers[0].image: Invalid value: \" j\": must not have leading or trailing whitespace"; 2],
        ),
        (
            PODS,
            "v1/Pod",
            pod,
            json!({"spec": {"hostNetwork": true}}),
            &["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n@@ -…\n  \"AutomountServiceAccountToken\": null,\n  \"NodeName\": \"\",\n  \"SecurityContext\": {\n-  \"HostNetwork\": false,\n+  \"HostNetwork\": true,\n   \"HostPID\": false,\n   \"HostIPC\": false,\n   \"ShareProcessNamespace\": null,\n"],
        ),
    ])
    .await;
}
