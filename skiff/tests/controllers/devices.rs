//! Devices that pods claim.

use serde_json::{Value, json};

use crate::support::{Place, condition, story};

const API: &str = "resource.k8s.io/v1";

/// A device of a node, with its taints. Stories share a cluster: each has a driver of its own, `NAME.example.com`.
fn slice(name: &str, node: &str, taints: &Value) -> Value {
    let devices = json!([{"name": "gpu-0", "taints": taints, "attributes": {"model": {"string": "large"}}}]);
    let pool = json!({"name": name, "generation": 1, "resourceSliceCount": 1});
    let spec = json!({"driver": format!("{name}.example.com"), "nodeName": node, "pool": pool, "devices": devices});
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
        let result = json!({"request": "gpu", "driver": "tainted.example.com", "pool": "tainted", "device": "gpu-0"});
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

/// A pod of which a template makes the claim.
fn pod_with(name: &str, template: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": template}],
        "containers": [{"name": "c", "image": "i", "resources": {"claims": [{"name": "gpu"}]}}]}})
}

#[test]
fn a_pod_goes_where_the_device_is_that_it_claims() {
    story("claimed-devices", async |place: &Place| {
        let class = json!({"apiVersion": API, "kind": "DeviceClass", "metadata": {"name": "large-gpu"}, "spec": {
            "selectors": [{"cel": {"expression": "device.driver == 'only.example.com'"}}]}});
        let class = place.create(class).await;
        let slice = place.create(slice("only", "node-2", &json!([]))).await;
        let large = json!([{"cel": {"expression": "device.attributes['only.example.com'].model == 'large'"}}]);
        let request = json!({"name": "gpu", "exactly": {"deviceClassName": "large-gpu", "selectors": large}});
        let spec = json!({"spec": {"devices": {"requests": [request]}}});
        place
            .create(
                json!({"apiVersion": API, "kind": "ResourceClaimTemplate", "metadata": {"name": "gpu"}, "spec": spec}),
            )
            .await;
        let first = place.create(pod_with("first", "gpu")).await;
        let running = first.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        assert_eq!(running["spec"]["nodeName"], "node-2");
        let name = running["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_str().unwrap();
        let claim = place.object(API, "ResourceClaim", name).get().await;
        let result = &claim["status"]["allocation"]["devices"]["results"][0];
        assert_eq!(
            (&result["pool"], &result["device"], &result["request"]),
            (&json!("only"), &json!("gpu-0"), &json!("gpu"))
        );
        assert_eq!(claim["status"]["reservedFor"][0]["uid"], running["metadata"]["uid"]);
        assert_eq!(claim["metadata"]["finalizers"], json!(["resource.kubernetes.io/delete-protection"]));

        let second = place.create(pod_with("second", "gpu")).await;
        let waits = |pod: &Value| pod["status"]["conditions"].to_string().contains("cannot allocate all claims");
        second.until("told that there is no device left", waits).await;
        first.delete().await;
        let running = second.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        assert_eq!(running["spec"]["nodeName"], "node-2");
        second.delete().await;
        second.until_gone().await;
        slice.delete().await;
        class.delete().await;
    });
}

#[test]
fn an_extended_resource_is_a_device_where_a_class_says_so() {
    story("extended-devices", async |place: &Place| {
        let class = json!({"apiVersion": API, "kind": "DeviceClass", "metadata": {"name": "extended-gpu"}, "spec": {
            "extendedResourceName": "example.com/gpu",
            "selectors": [{"cel": {"expression": "device.driver == 'extended.example.com'"}}]}});
        let class = place.create(class).await;
        let slice = place.create(slice("extended", "node-0", &json!([]))).await;
        let amounts = json!({"example.com/gpu": "1"});
        let pod = |name: &str| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "i", "resources": {"requests": amounts, "limits": amounts}}]}})
        };
        let first = place.create(pod("first")).await;
        let running = first.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        assert_eq!(running["spec"]["nodeName"], "node-0");
        let told = &running["status"]["extendedResourceClaimStatus"];
        assert_eq!(told["requestMappings"][0]["resourceName"], "example.com/gpu");
        let claim = place.object(API, "ResourceClaim", told["resourceClaimName"].as_str().unwrap());
        assert_eq!(claim.get().await["status"]["allocation"]["devices"]["results"][0]["device"], "gpu-0");
        let second = place.create(pod("second")).await;
        let waits = |pod: &Value| pod["status"]["conditions"].to_string().contains("cannot allocate all claims");
        second.until("told that there is no device left", waits).await;
        first.delete().await;
        claim.until_gone().await;
        second.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        second.delete().await;
        second.until_gone().await;
        slice.delete().await;
        class.delete().await;
    });
}
