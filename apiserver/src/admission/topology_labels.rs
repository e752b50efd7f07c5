//! `PodTopologyLabels`: a pod bears the zone and the region of its node (Kubernetes concept: "Assigning Pods to Nodes",
//! topology labels).

use async_trait::async_trait;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Request};

pub struct PodTopologyLabels;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

#[async_trait]
impl Plugin for PodTopologyLabels {
    /// `object` is a pod, or the Binding that puts one on a node and whose labels become the pod's.
    async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if request.operation != Operation::Create {
            return Ok(());
        }
        let node = if request.is("", "pods", "") {
            meta::text(object, "spec.nodeName")
        } else if request.is("", "pods", "binding") && object["target"]["kind"] == "Node" {
            meta::text(object, "target.name")
        } else {
            return Ok(());
        };
        if node.is_empty() {
            return Ok(());
        }
        // A node that is not known is no reason to refuse the pod.
        let Some(node) = request.api.peek_named("", "nodes", "", node) else { return Ok(()) };
        for label in LABELS {
            if let Some(value) = meta::label(&node, label) {
                meta::object_mut(&mut object["metadata"], "labels").insert(label.into(), value.into());
            }
        }
        Ok(())
    }
}
