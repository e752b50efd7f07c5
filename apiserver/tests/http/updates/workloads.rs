//! What makes pods.

use serde_json::{Value, json};

use super::{Case, check};

fn template(labels: &Value) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_stay() {
    let labels = json!({"app": "a"});
    let spec = json!({"spec": {"selector": {"matchLabels": labels}, "template": template(&labels)}});
    let other = json!({"app": "a", "x": "y"});
    let reselected = json!({"spec": {"selector": {"matchLabels": other}, "template": {"metadata": {"labels": other}}}});
    const FIXED: &[&str] =
        &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"a\",\"x\":\"y\"}}: field is immutable"];
    let mut cases: Vec<Case> = Vec::new();
    for (path, kind) in [
        ("/apis/apps/v1/namespaces/default/deployments", "apps/v1/Deployment"),
        ("/apis/apps/v1/namespaces/default/daemonsets", "apps/v1/DaemonSet"),
        ("/apis/apps/v1/namespaces/default/replicasets", "apps/v1/ReplicaSet"),
    ] {
        cases.push((path, kind, spec.clone(), reselected.clone(), FIXED));
        cases.push((path, kind, spec.clone(), json!({"spec": {"minReadySeconds": 3}}), &[]));
        cases.push((
            path,
            kind,
            spec.clone(),
            json!({"spec": {"template": {"metadata": {"labels": {"app": "b"}}}}}),
            &["spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"],
        ));
    }
    check(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_of_a_workload_stays() {
    let labels = json!({"app": "a"});
    let spec = json!({"spec": {"selector": {"matchLabels": labels}, "template": template(&labels)}});
    let mut set = spec.clone();
    set["spec"]["serviceName"] = json!("s");
    let cases: Vec<Case> = vec![
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            "apps/v1/StatefulSet",
            set.clone(),
            json!({"spec": {"serviceName": "t", "podManagementPolicy": "Parallel"}}),
            &[
                "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            ][..],
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            "apps/v1/StatefulSet",
            set,
            json!({"spec": {"replicas": 3, "revisionHistoryLimit": 2, "ordinals": {"start": 1}}}),
            &[],
        ),
        (
            "/apis/apps/v1/namespaces/default/controllerrevisions",
            "apps/v1/ControllerRevision",
            json!({"data": {"a": "b"}, "revision": 1}),
            json!({"data": {"a": "c"}}),
            &["data: Invalid value: …: field is immutable"],
        ),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            "v1/ReplicationController",
            json!({"spec": {"selector": labels, "template": template(&labels)}}),
            json!({"spec": {"replicas": -1}}),
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            "autoscaling/v2/HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
            json!({"spec": {"minReplicas": 5}}),
            &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            "policy/v1/PodDisruptionBudget",
            json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}}),
            json!({"spec": {"minAvailable": -1, "selector": {"matchLabels": {"x": "y"}}}}),
            &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"],
        ),
    ];
    check(cases).await;
}
