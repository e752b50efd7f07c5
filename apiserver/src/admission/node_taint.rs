//! `TaintNodesByCondition`: a new node takes no pods until it has said that it is ready.

use async_trait::async_trait;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Plugin, Request};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    async fn mutate(&self, request: &Request<'_>, node: &mut Value) -> Result<(), Status> {
        if !request.creates("", "nodes") {
            return Ok(());
        }
        let mut taints = meta::list(node, "spec.taints").to_vec();
        if !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule") {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            meta::object_mut(node, "spec").insert("taints".into(), Value::Array(taints));
        }
        Ok(())
    }
}
