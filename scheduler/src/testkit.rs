//! Objects for tests, short to write.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::objects::{Node, Pod};

/// A node with 4 CPUs, 8Gi, room for 110 pods and its hostname label; `fields` are merged over that.
pub(crate) fn node(name: &str, fields: Value) -> Arc<Node> {
    let mut node = json!({
        "metadata": {"name": name, "uid": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110"}},
    });
    merge(&mut node, fields);
    Arc::new(serde_json::from_value(node).expect("a node"))
}

/// A pod in `default` with one container that asks for nothing; `fields` are merged over that.
pub(crate) fn pod(name: &str, fields: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"schedulerName": "default-scheduler", "containers": [{"name": "c", "image": "nginx"}]},
    });
    merge(&mut pod, fields);
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

/// A pod's fields that ask for CPU and memory.
pub(crate) fn asks(cpu: &str, memory: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}})
}

/// A pod's fields that place it.
pub(crate) fn on(node: &str) -> Value {
    json!({"spec": {"nodeName": node}})
}

/// Merges objects; everything else is replaced.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

/// All of several fields.
pub(crate) fn all<const N: usize>(parts: [Value; N]) -> Value {
    let mut merged = json!({});
    parts.into_iter().for_each(|part| merge(&mut merged, part));
    merged
}
