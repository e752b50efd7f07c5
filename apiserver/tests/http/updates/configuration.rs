//! Configuration, rights and policy.

use serde_json::json;

use super::check;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_immutable_stays() {
    const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
    const SECRETS: &str = "/api/v1/namespaces/default/secrets";
    let fixed = json!({"immutable": true, "data": {"a": "1"}});
    let secret = json!({"immutable": true, "data": {"a": "MQ=="}, "type": "x"});
    check(vec![
        (CONFIG_MAPS, "v1/ConfigMap", json!({"data": {"a": "1"}}), json!({"data": {"a": "2"}, "immutable": true}), &[]),
        (
            CONFIG_MAPS,
            "v1/ConfigMap",
            fixed.clone(),
            json!({"data": {"a": "2"}, "binaryData": {"b": "MQ=="}}),
            &[
                "data: Forbidden: field is immutable when `immutable` is set",
                "binaryData: Forbidden: field is immutable when `immutable` is set",
            ],
        ),
        (
            CONFIG_MAPS,
            "v1/ConfigMap",
            fixed.clone(),
            json!({"immutable": false}),
            &["immutable: Forbidden: field is immutable when `immutable` is set"],
        ),
        (CONFIG_MAPS, "v1/ConfigMap", fixed, json!({"metadata": {"labels": {"a": "b"}}}), &[]),
        (
            CONFIG_MAPS,
            "v1/ConfigMap",
            json!({}),
            json!({"data": {"a b": "1"}}),
            &["data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"],
        ),
        (SECRETS, "v1/Secret", secret.clone(), json!({"type": "y"}), &["type: Invalid value: \"y\": field is immutable"]),
        (
            SECRETS,
            "v1/Secret",
            secret,
            json!({"stringData": {"a": "2"}}),
            &["data: Forbidden: field is immutable when `immutable` is set"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identity() {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let binding = json!({
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "u"}],
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "a"},
    });
    check(vec![
        (
            "/api/v1/namespaces/default/serviceaccounts",
            "v1/ServiceAccount",
            json!({}),
            json!({"automountServiceAccountToken": false, "imagePullSecrets": [{"name": "x"}]}),
            &[],
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            "rbac.authorization.k8s.io/v1/RoleBinding",
            binding.clone(),
            json!({"roleRef": {"name": "b"}}),
            &["roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"b\"}: cannot change roleRef"],
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            "rbac.authorization.k8s.io/v1/ClusterRoleBinding",
            binding,
            json!({"subjects": []}),
            &[],
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "rbac.authorization.k8s.io/v1/ClusterRole",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": []}]}),
            &["rules[0].verbs: Required value: verbs must contain at least one value"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policy() {
    check(vec![
        (
            "/api/v1/namespaces/default/resourcequotas",
            "v1/ResourceQuota",
            json!({"spec": {"hard": {"pods": "1"}}}),
            json!({"spec": {"scopes": ["Terminating"]}}),
            &["spec.scopes: Invalid value: [\"Terminating\"]: field is immutable"],
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            "scheduling.k8s.io/v1/PriorityClass",
            json!({"value": 5}),
            json!({"value": 6, "preemptionPolicy": "Never", "description": "other"}),
            &[
                "value: Forbidden: may not be changed in an update.",
                "preemptionPolicy: Invalid value: \"Never\": field is immutable",
            ],
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            "coordination.k8s.io/v1/Lease",
            json!({"spec": {"leaseDurationSeconds": 5}}),
            json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
            &[
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
    ])
    .await;
}
