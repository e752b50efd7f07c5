//! The objects that are written: of the size that people's are.

use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "api-bench";

pub(crate) fn path(plural: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{plural}")
}

pub(crate) fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
}

/// A namespace's controller would make it; a server alone has none, and takes no pods without.
pub(crate) fn service_account() -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}})
}

pub(crate) fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "api-bench"}},
        "data": {"configuration": "x".repeat(512)},
    })
}

/// About 2 KB as stored. No scheduler takes it, should there be one.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"app": "api-bench", "pod-template-hash": "5d59d67564"},
        },
        "spec": {
            "schedulerName": "nobody",
            "containers": [{
                "name": "web",
                "image": "registry.example/team/web:1.2.3",
                "env": [{"name": "MODE", "value": "production"}],
                "ports": [{"containerPort": 8080, "name": "http"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            }],
        },
    })
}

/// A change that is one each time.
pub(crate) fn change(value: usize) -> Value {
    json!({"metadata": {"annotations": {"api-bench/value": value.to_string()}}})
}
