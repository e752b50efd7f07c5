//! PodDisruptionBudget with the eviction API, and ResourceQuota.

use kube::api::{Api, EvictParams};
use serde_json::{Value, json};

use crate::support::{Place, condition, name, story, template};

const DEVICES: &str = "resource.k8s.io/v1";

fn replication_controller(name: &str, replicas: i32) -> Value {
    json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"app": name}, "template": template(name, "Running")}})
}

#[test]
fn a_budget_lets_so_many_pods_go_and_no_more() {
    story("budgets", async |place: &Place| {
        let rc = place.create(replication_controller("web", 3)).await;
        let spec = json!({"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}});
        let budget = place
            .create(json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec}))
            .await;
        rc.until("three ready", |rc| rc["status"]["readyReplicas"] == 3).await;
        let allows = |budget: &Value| {
            let status = &budget["status"];
            (&status["expectedPods"], &status["desiredHealthy"], &status["disruptionsAllowed"])
                == (&json!(3), &json!(2), &json!(1))
        };
        budget.until("one may go", allows).await;

        // New pods stay away, so that the budget is used up by one eviction.
        let changed = rc.merge(json!({"spec": {"template": template("web", "Pending")}})).await;
        let generation = &changed["metadata"]["generation"];
        rc.until("the new template is known", |rc| rc["status"]["observedGeneration"] == *generation).await;
        let pods = place.pods("app=web").await;
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(place.cluster.client.clone(), &place.namespace);
        api.evict(name(&pods[0]), &EvictParams::default()).await.expect("the first may go");
        let used_up = |budget: &Value| budget["status"]["disruptionsAllowed"] == 0;
        budget.until("used up", used_up).await;
        match api.evict(name(&pods[1]), &EvictParams::default()).await {
            Err(kube::Error::Api(status)) => {
                assert_eq!((status.code, status.reason.as_str()), (429, "TooManyRequests"));
                let told = "Cannot evict pod as it would violate the pod's disruption budget.";
                assert_eq!(status.message, told);
            }
            other => panic!("the second may not: {other:?}"),
        }
        place.pod(name(&pods[0])).until_gone().await;
        for pod in place.pods("app=web,becomes=Pending").await {
            place.pod(name(&pod)).merge(json!({"metadata": {"labels": {"becomes": "Running"}}})).await;
        }
        budget.until("one may go again", allows).await;
    });
}

#[test]
fn a_quota_counts_what_is_used_and_refuses_the_rest() {
    story("quotas", async |place: &Place| {
        let hard = json!({"pods": "4", "requests.cpu": "1", "count/replicationcontrollers": "1"});
        let object =
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": hard}});
        let quota = place.create(object).await;
        quota.until("a first count", |quota| quota["status"]["used"]["pods"] == "0").await;
        let rc = place.create(replication_controller("web", 3)).await;
        let used = json!({"pods": "3", "requests.cpu": "300m", "count/replicationcontrollers": "1"});
        quota.until("three counted", |quota| quota["status"]["used"] == used).await;
        let refused = place.refused(replication_controller("more", 1)).await;
        assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
        assert!(refused.message.contains("exceeded quota: small"), "{}", refused.message);

        rc.merge(json!({"spec": {"replicas": 5}})).await;
        quota.until("full", |quota| quota["status"]["used"]["pods"] == "4").await;
        let failed = |rc: &Value| {
            let conditions = rc["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|c| c["type"] == "ReplicaFailure" && c["reason"] == "FailedCreate")
        };
        rc.until("what failed is told", failed).await;
        rc.merge(json!({"spec": {"replicas": 1}})).await;
        quota.until("given back", |quota| quota["status"]["used"]["pods"] == "1").await;
    });
}

#[test]
fn a_quota_counts_devices_as_the_extended_resource_that_they_serve() {
    story("device-quotas", async |place: &Place| {
        let class = json!({"apiVersion": DEVICES, "kind": "DeviceClass", "metadata": {"name": "quota-gpu"}, "spec": {
            "extendedResourceName": "quota.example.com/gpu",
            "selectors": [{"cel": {"expression": "device.driver == 'quota.example.com'"}}]}});
        let class = place.create(class).await;
        let pool = json!({"name": "quota", "generation": 1, "resourceSliceCount": 1});
        let slice = json!({"apiVersion": DEVICES, "kind": "ResourceSlice", "metadata": {"name": "quota"}, "spec": {
            "driver": "quota.example.com", "nodeName": "node-1", "pool": pool, "devices": [{"name": "gpu-0"}]}});
        let slice = place.create(slice).await;
        let hard = json!({"requests.quota.example.com/gpu": "3"});
        let object =
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": {"hard": hard}});
        let quota = place.create(object).await;
        let is_used = |count: &'static str| {
            move |quota: &Value| quota["status"]["used"]["requests.quota.example.com/gpu"] == count
        };
        quota.until("a first count", is_used("0")).await;
        let claim = |name: &str| {
            let exactly = json!({"deviceClassName": "quota-gpu", "allocationMode": "ExactCount", "count": 2});
            json!({"apiVersion": DEVICES, "kind": "ResourceClaim", "metadata": {"name": name},
                "spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}})
        };
        let first = place.create(claim("first")).await;
        quota.until("charged", is_used("2")).await;
        let refused = place.refused(claim("second")).await;
        let why = "exceeded quota: gpus, requested: requests.quota.example.com/gpu=2, \
                   used: requests.quota.example.com/gpu=2, limited: requests.quota.example.com/gpu=3";
        assert!(refused.message.contains(why), "{}", refused.message);
        first.delete().await;
        quota.until("given back", is_used("0")).await;

        // The scheduler makes a claim for it: both stand for one device.
        let resources = json!({"limits": {"quota.example.com/gpu": "1"}});
        let pod = place
            .create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "i", "resources": resources}]}}))
            .await;
        pod.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        quota.until("once", is_used("1")).await;
        pod.delete().await;
        pod.until_gone().await;
        quota.until("nobody has one", is_used("0")).await;
        slice.delete().await;
        class.delete().await;
    });
}
