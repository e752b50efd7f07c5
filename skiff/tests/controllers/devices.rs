//! Devices that pods claim.

use serde_json::{Value, json};

use crate::support::{Place, condition, story};

const API: &str = "resource.k8s.io/v1";

/// A device of a node, with its taints.
fn slice(name: &str, node: &str, taints: &Value) -> Value {
    let devices = json!([{"name": "gpu-0", "taints": taints, "attributes": {"model": {"string": "large"}}}]);
    let pool = json!({"name": name, "generation": 1, "resourceSliceCount": 1});
    let spec = json!({"driver": "gpu.example.com", "nodeName": node, "pool": pool, "devices": devices});
    json!({"apiVersion": API, "kind": "ResourceSlice", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn a_taint_of_a_device_drives_out_who_uses_it() {
    story("device-taints", async |place: &Place| {
        let slice = place.create(slice("tainted", "node-1", &json!([]))).await;
        let request = json!({"name": "gpu", "exactly": {"deviceClassName": "none"}});
        let claim = json!({"apiVersion": API, "kind": "ResourceClaim", "metadata": {"name": "gpu"},
            "spec": {"devices": {"requests": [request]}}});
        let claim = place.create(claim).await;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": {
            "nodeName": "node-1", "terminationGracePeriodSeconds": 1,
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}],
            "containers": [{"name": "c", "image": "i", "resources": {"claims": [{"name": "gpu"}]}}]}});
        let pod = place.create(pod).await;
        let running = pod.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        let result = json!({"request": "gpu", "driver": "gpu.example.com", "pool": "tainted", "device": "gpu-0"});
        let user = json!({"resource": "pods", "name": "user", "uid": running["metadata"]["uid"]});
        let status = json!({"allocation": {"devices": {"results": [result]}}, "reservedFor": [user]});
        claim.merge_subresource("status", json!({"status": status})).await;
        let taint = json!({"key": "example.com/broken", "effect": "NoExecute"});
        slice.merge(json!({"spec": {"devices": [{"name": "gpu-0", "taints": [taint]}]}})).await;
        pod.until_gone().await;
        place.until_told("user", "DeviceTaintManagerEviction").await;
        claim.until("nobody uses it", |claim| claim["status"]["reservedFor"].is_null()).await;
        slice.delete().await;
    });
}
