//! Claims of devices on their way to the API.

use k8s_openapi::api::resource::v1::ResourceClaim;
use serde_json::{Value, json};

use super::{Cluster, node, pod};

const API: &str = "resource.k8s.io/v1";

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A node with one device, and a claim of such a device.
fn world() -> [Value; 4] {
    let slice = json!({"driver": "d.example.com", "nodeName": "n", "devices": [{"name": "only"}],
        "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1}});
    let requests = json!([{"name": "r", "exactly": {"deviceClassName": "any"}}]);
    let mut claim = object("ResourceClaim", "c", &json!({"devices": {"requests": requests}}));
    claim["metadata"] = json!({"name": "c", "namespace": "default", "uid": "c"});
    [node("n", "2"), object("DeviceClass", "any", &json!({})), object("ResourceSlice", "s", &slice), claim]
}

fn user() -> Value {
    pod("p", "1", json!({"spec": {"resourceClaims": [{"name": "e", "resourceClaimName": "c"}]}}))
}

#[tokio::test(start_paused = true)]
async fn a_claim_gets_its_device_before_its_pod_is_bound() {
    let cluster = Cluster::start(&world());
    cluster.fake.fail("update", "resourceclaims", 1, 409, "Conflict");
    cluster.fake.put(&user());
    cluster.until_bound("p").await;
    let told: k8s_openapi::api::core::v1::Pod = cluster.fake.get("default", "p").unwrap();
    assert_eq!(told.status.unwrap().nominated_node_name.as_deref(), Some("n"), "others know before it is bound");
    let claim: ResourceClaim = cluster.fake.get("default", "c").unwrap();
    assert_eq!(claim.metadata.finalizers.unwrap(), ["resource.kubernetes.io/delete-protection"]);
    let status = claim.status.unwrap();
    assert_eq!(status.reserved_for.unwrap()[0].uid, "p");
    let allocation = status.allocation.unwrap();
    assert!(allocation.allocation_timestamp.is_some());
    assert_eq!(allocation.devices.unwrap().results.unwrap()[0].device, "only");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_bound_is_taken_off_its_claims() {
    let cluster = Cluster::start(&world());
    cluster.fake.fail("create", "pods", 1, 500, "InternalError");
    cluster.fake.put(&user());
    let taken_off = json!([{"$patch": "delete", "uid": "p"}]);
    let is_taken_off = |body: &Value| body["status"]["reservedFor"] == taken_off;
    cluster.until(|all| all.iter().any(|r| r.resource == "resourceclaims" && is_taken_off(&r.body))).await;
    let binding = |all: &Vec<super::Received>| all.iter().filter(|r| r.subresource == "binding").count();
    cluster.until(|all| binding(all) == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_until_its_claim_is_there() {
    let [node, class, slice, claim] = world();
    let cluster = Cluster::start(&[node, class, slice, user()]);
    let message = cluster.until_event("FailedScheduling").await;
    assert!(message.contains("resourceclaim.resource.k8s.io \"c\" not found"), "{message}");
    cluster.fake.put(&claim);
    cluster.until_bound("p").await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_made_for_extended_resources() {
    let [node, mut class, slice, _] = world();
    class["spec"]["extendedResourceName"] = "example.com/device".into();
    let cluster = Cluster::start(&[node, class, slice]);
    cluster.fake.fail("create", "pods", 1, 500, "InternalError");
    let requests = json!({"requests": {"example.com/device": "1"}});
    cluster.fake.put(&pod("p", "1", json!({"spec": {"containers": [{"name": "c", "resources": requests}]}})));
    // The first binding fails: its claim goes, and another is made.
    let binding = |all: &Vec<super::Received>| all.iter().filter(|r| r.subresource == "binding").count();
    cluster.until(|all| binding(all) == 2).await;
    let claims = cluster.fake.list::<ResourceClaim>();
    let [claim] = claims.as_slice() else { panic!("not one claim: {claims:?}") };
    assert_eq!(claim.metadata.annotations.as_ref().unwrap()["resource.kubernetes.io/extended-resource-claim"], "true");
    let status = claim.status.as_ref().unwrap();
    assert_eq!(
        status.allocation.as_ref().unwrap().devices.as_ref().unwrap().results.as_ref().unwrap()[0].device,
        "only"
    );
    let told: k8s_openapi::api::core::v1::Pod = cluster.fake.get("default", "p").unwrap();
    let told = told.status.unwrap().extended_resource_claim_status.unwrap();
    assert_eq!(Some(&told.resource_claim_name), claim.metadata.name.as_ref());
    assert_eq!(told.request_mappings[0].request_name, "container-0-request-0");
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_until_its_device_is_ready() {
    let [node, class, mut slice, claim] = world();
    slice["spec"]["devices"] =
        json!([{"name": "only", "bindingConditions": ["Ready"], "bindingFailureConditions": ["Broken"]}]);
    let cluster = Cluster::start(&[node, class, slice, claim, user()]);
    let message = cluster.until_event("BindingConditionsPending").await;
    assert_eq!(message, "waiting for binding conditions for device on node n");
    let tell = |kind: &str| {
        let mut claim = serde_json::to_value(cluster.fake.get::<ResourceClaim>("default", "c").unwrap()).unwrap();
        let condition = json!({"type": kind, "status": "True", "reason": "Told", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        claim["apiVersion"] = API.into();
        claim["kind"] = "ResourceClaim".into();
        let driver = json!({"driver": "d.example.com", "pool": "n", "device": "only", "conditions": [condition]});
        claim["status"]["devices"] = json!([driver]);
        cluster.fake.put(&claim);
    };
    tell("Broken");
    let message = cluster.until_event("FailedScheduling").await;
    assert!(message.contains("device binding failed: claim=c, reason=Told"), "{message}");
    // The device is given back, and tried again.
    let is_again =
        |r: &super::Received| r.body["count"] == 2 && r.body["message"].as_str().unwrap().starts_with("waiting");
    cluster.until(|all| all.iter().any(is_again)).await;
    tell("Ready");
    cluster.until_bound("p").await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_given_up_stays_while_others_hold_it() {
    let [node, mut class, slice, mut claim] = world();
    class["spec"]["extendedResourceName"] = "example.com/device".into();
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true});
    let held = json!(["resource.kubernetes.io/delete-protection", "example.com/hold"]);
    claim["metadata"] = json!({"name": "c", "namespace": "default", "uid": "c", "ownerReferences": [owner],
        "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"}, "finalizers": held});
    let cluster = Cluster::start(&[node, class, slice, claim]);
    let requests = json!({"requests": {"example.com/device": "1"}});
    cluster.fake.put(&pod("p", "1", json!({"spec": {"containers": [{"name": "c", "resources": requests}]}})));
    cluster.until(|all| all.iter().any(|r| r.verb == "delete" && r.resource == "resourceclaims")).await;
    let all = cluster.fake.received();
    let removal = all.iter().find(|r| r.verb == "delete").unwrap();
    assert_eq!(removal.body["preconditions"]["uid"], "c");
    let claim: ResourceClaim = cluster.fake.get("default", "c").unwrap();
    assert_eq!(claim.metadata.finalizers.unwrap(), ["example.com/hold"]);
}
