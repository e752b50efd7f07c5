//! `RuntimeClass`: the overhead and the scheduling of a pod's runtime (Kubernetes concept: "Runtime Class").

use std::sync::Arc;

use async_trait::async_trait;
use machinery::field::quote;
use machinery::meta;
use machinery::resources::ResourceList;
use machinery::status::Status;
use serde_json::Value;

use super::{Plugin, Request};

pub struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    async fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if !request.creates("", "pods") {
            return Ok(());
        }
        let Some(class) = class_of(request, pod).await? else { return Ok(()) };
        let refuse = |pod: &Value, why: &str| request.forbidden_object(pod, why);
        let overhead = &class["overhead"]["podFixed"];
        if class["overhead"].is_object() {
            let own = &pod["spec"]["overhead"];
            if own.as_object().is_some_and(|own| !own.is_empty()) && !is_same(own, overhead) {
                return Err(refuse(pod, MISMATCH));
            }
            pod["spec"]["overhead"] = overhead.clone();
        }
        if class["scheduling"].is_object() {
            let nodes =
                merge_selectors(meta::map(pod, "spec.nodeSelector"), meta::map(&class, "scheduling.nodeSelector"));
            let nodes = nodes.map_err(|why| refuse(pod, &why))?;
            let tolerations =
                merge_tolerations(meta::list(pod, "spec.tolerations"), meta::list(&class, "scheduling.tolerations"));
            let spec = meta::object_mut(pod, "spec");
            spec.insert("nodeSelector".into(), Value::Object(nodes));
            spec.insert("tolerations".into(), Value::Array(tolerations));
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        if !request.creates("", "pods") {
            return Ok(());
        }
        let class = class_of(request, pod).await?;
        let own = meta::at(pod, "spec.overhead");
        match class.as_ref().map(|class| &class["overhead"]).filter(|overhead| overhead.is_object()) {
            Some(overhead) if !is_same(own, &overhead["podFixed"]) => Err(request.forbidden_object(pod, MISMATCH)),
            None if !own.is_null() => {
                let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(request.forbidden_object(pod, why))
            }
            _ => Ok(()),
        }
    }
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

async fn class_of(request: &Request<'_>, pod: &Value) -> Result<Option<Arc<Value>>, Status> {
    let Some(name) = meta::at(pod, "spec.runtimeClassName").as_str() else { return Ok(None) };
    if name.is_empty() {
        return Err(Status::unexplained("resource name may not be empty"));
    }
    let found = request.find("node.k8s.io", "runtimeclasses", name).await?;
    let missing = || request.forbidden_object(pod, &format!("pod rejected: RuntimeClass {} not found", quote(name)));
    found.ok_or_else(missing).map(Some)
}

fn is_same(one: &Value, other: &Value) -> bool {
    ResourceList::from_value(one) == ResourceList::from_value(other)
}

type Labels = serde_json::Map<String, Value>;

fn merge_selectors(own: &Labels, class: &Labels) -> Result<Labels, String> {
    let mut merged = own.clone();
    for (key, value) in class {
        let told = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(conflicting) = own.get(key).filter(|own| *own != value) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                told(value),
                told(conflicting)
            ));
        }
        merged.insert(key.clone(), value.clone());
    }
    Ok(merged)
}

/// Both, without those that another one includes; of equal ones the first stays.
fn merge_tolerations(own: &[Value], class: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = own.iter().chain(class).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (position, toleration) in all.iter().enumerate() {
        let earlier = merged.iter().any(|other| includes(other, toleration));
        let later = all[position + 1..].iter().any(|other| other != toleration && includes(other, toleration));
        if !earlier && !later {
            merged.push((*toleration).clone());
        }
    }
    merged
}

/// Whether whatever `inner` tolerates `outer` tolerates too.
fn includes(outer: &Value, inner: &Value) -> bool {
    if outer == inner {
        return true;
    }
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let (key, effect, operator) = (text(outer, "key"), text(outer, "effect"), text(outer, "operator"));
    let takes_any_key = key.is_empty() && operator == "Exists";
    if text(inner, "key") != key && !takes_any_key {
        return false;
    }
    if !effect.is_empty() && text(inner, "effect") != effect {
        return false;
    }
    if effect == "NoExecute"
        && let Some(seconds) = outer["tolerationSeconds"].as_i64()
        && inner["tolerationSeconds"].as_i64().is_none_or(|inner| inner > seconds)
    {
        return false;
    }
    match operator.as_str() {
        "" | "Equal" => text(inner, "operator") == "Equal" && inner["value"] == outer["value"],
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_that_another_includes_go() {
        let narrow = json!({"key": "a", "operator": "Equal", "value": "x", "effect": "NoSchedule"});
        let wide = json!({"key": "a", "operator": "Exists"});
        let timed = json!({"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let longer = json!({"key": "b", "operator": "Exists", "effect": "NoExecute"});
        let merge = |own: &[&Value], class: &[&Value]| {
            let owned = |list: &[&Value]| list.iter().map(|item| (*item).clone()).collect::<Vec<_>>();
            merge_tolerations(&owned(own), &owned(class))
        };
        assert_eq!(merge(&[&narrow, &timed], &[&wide]), [timed.clone(), wide.clone()]);
        assert_eq!(merge(&[&wide], &[&narrow, &wide]), std::slice::from_ref(&wide));
        assert_eq!(merge(&[&timed], &[&longer]), [longer]);
    }

    #[test]
    fn selectors_may_not_contradict() {
        let map = |value: Value| value.as_object().cloned().unwrap();
        let merged = merge_selectors(&map(json!({"a": "1"})), &map(json!({"a": "1", "b": "2"})));
        assert_eq!(merged.unwrap(), map(json!({"a": "1", "b": "2"})));
        let refused = merge_selectors(&map(json!({"a": "1"})), &map(json!({"a": "2"}))).unwrap_err();
        assert_eq!(refused, "conflict: runtimeClass.scheduling.nodeSelector[a] = 2; pod.spec.nodeSelector[a] = 1");
    }
}
