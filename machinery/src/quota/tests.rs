//! What an object costs its namespace.

use serde_json::{Value, json};

use super::{Devices, Evaluator};

fn usage(plural: &str, object: &Value) -> String {
    Evaluator::of("", plural).map(|evaluator| evaluator.usage(object, 1000).to_string()).unwrap_or_default()
}

fn pod(resources: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": resources}]}})
}

#[test]
fn pods_are_charged_until_they_end() {
    let asked =
        json!({"requests": {"cpu": "1", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}, "limits": {"memory": "1Gi"}});
    let mut pod = pod(asked);
    assert_eq!(
        usage("pods", &pod),
        "count/pods=1,cpu=1,hugepages-2Mi=4Mi,limits.memory=1Gi,pods=1,requests.cpu=1,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi"
    );
    pod["status"] = json!({"phase": "Succeeded"});
    assert_eq!(usage("pods", &pod), "count/pods=1");
    pod["status"] = json!({"phase": "Running"});
    pod["metadata"] = json!({"deletionTimestamp": "1970-01-01T00:10:00Z", "deletionGracePeriodSeconds": 30});
    assert_eq!(usage("pods", &pod), "count/pods=1", "its deletion is overdue");
}

#[test]
fn quotas_of_compute_want_each_container_to_name_it() {
    let mut pod = pod(json!({"requests": {"cpu": "1"}}));
    let require = |pod: &Value, names: &[&str]| Evaluator::Pods.require(names.iter().copied(), pod);
    assert_eq!(require(&pod, &["cpu", "pods", "requests.example.com/gpu"]), Ok(()));
    let refused = require(&pod, &["limits.cpu", "memory"]).unwrap_err();
    assert_eq!(refused, "must specify limits.cpu for: c; memory for: c");
    pod["spec"]["resources"] = json!({"limits": {"memory": "1Gi"}});
    assert_eq!(require(&pod, &["limits.cpu"]), Ok(()));
}

#[test]
fn services_count_the_ports_that_they_will_get() {
    let service = |spec: Value| usage("services", &json!({"spec": spec}));
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    let with = |node_ports: u32, balancers: u32| {
        format!("count/services=1,services=1,services.loadbalancers={balancers},services.nodeports={node_ports}")
    };
    assert_eq!(service(json!({"type": "ClusterIP", "ports": ports})), with(0, 0));
    assert_eq!(service(json!({"type": "NodePort", "ports": ports})), with(2, 0));
    assert_eq!(service(json!({"type": "LoadBalancer", "ports": ports})), with(2, 1));
    let without = json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false});
    assert_eq!(service(without), with(1, 1));
}

#[test]
fn claims_count_in_all_and_by_class() {
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1.5"}}}});
    assert_eq!(
        usage("persistentvolumeclaims", &claim),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2"
    );
    assert!(Evaluator::Claims.counts("x.storageclass.storage.k8s.io/requests.storage"));
    assert!(!Evaluator::Claims.counts("requests.cpu"));
}

#[test]
fn claims_of_devices_count_by_class() {
    let exactly = |class: &str, more: Value| {
        let mut form = json!({"deviceClassName": class});
        form.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        form
    };
    let either =
        json!([exactly("gpu", json!({"count": 3})), exactly("gpu", json!({"count": 1})), exactly("nic", json!({}))]);
    let requests = json!([
        {"name": "a", "exactly": exactly("gpu", json!({"count": 2, "allocationMode": "ExactCount"}))},
        {"name": "b", "firstAvailable": either},
        {"name": "c", "exactly": exactly("disk", json!({"allocationMode": "All"}))},
    ]);
    let claims = Evaluator::of("resource.k8s.io", "resourceclaims").unwrap();
    let usage = claims.usage(&json!({"spec": {"devices": {"requests": requests}}}), 0).to_string();
    let by_class = |class: &str, n: u8| format!(",{class}.deviceclass.resource.k8s.io/devices={n}");
    let classes = by_class("disk", 32) + &by_class("gpu", 5) + &by_class("nic", 1);
    let implicit = |class: &str, n: u8| format!(",requests.deviceclass.resource.kubernetes.io/{class}={n}");
    let resources = implicit("disk", 32) + &implicit("gpu", 5) + &implicit("nic", 1);
    let parts = |text: &str| text.split(',').map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(parts(&usage), parts(&format!("count/resourceclaims.resource.k8s.io=1{classes}{resources}")));
    assert!(claims.counts("gpu.deviceclass.resource.k8s.io/devices") && !claims.counts("requests.cpu"));
}

/// Pod and claim of an extended resource stand for the same devices.
#[test]
fn devices_count_as_extended_resources_unless_their_pod_does() {
    let class =
        |name: &str, resource: Value| json!({"metadata": {"name": name}, "spec": {"extendedResourceName": resource}});
    let classes = [class("gpu", json!("example.com/gpu")), class("nic", Value::Null)];
    let devices = Devices::new(&classes);
    let claims = Evaluator::DeviceClaims(devices.clone());
    for (name, counts) in [
        ("requests.example.com/gpu", true),
        ("requests.example.com/tpu", false),
        ("example.com/gpu", false),
        ("requests.deviceclass.resource.kubernetes.io/nic", true),
        ("requests.deviceclass.resource.kubernetes.io/none", false),
    ] {
        assert_eq!(claims.counts(name), counts, "{name}");
    }
    let claim = |name: &str, created: &str, annotated: &str| {
        json!({"metadata": {"name": name, "creationTimestamp": created,
            "annotations": {"resource.kubernetes.io/extended-resource-claim": annotated},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "controller": true}]},
            "spec": {"devices": {"requests": [{"name": "a",
                "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 3}}]}}})
    };
    let (its, older) = (claim("c", "2026-01-02T00:00:00Z", "true"), claim("b", "2026-01-01T00:00:00Z", "true"));
    let mut pod = pod(json!({"requests": {"example.com/gpu": "2"}}));
    pod["metadata"] = json!({"name": "p", "uid": "1"});
    let named = |name: &str| json!({"phase": "Pending", "extendedResourceClaimStatus": {"resourceClaimName": name}});
    let other = |uid: &str| {
        let mut other = pod.clone();
        other["metadata"]["uid"] = json!(uid);
        other
    };
    let with_status = |status: Value| {
        let mut pod = pod.clone();
        pod["status"] = status;
        pod
    };
    let rows = [
        ("its only claim", &its, pod.clone(), vec![its.clone()], 1),
        ("not marked", &claim("c", "2026-01-02T00:00:00Z", "false"), pod.clone(), vec![], 3),
        ("another pod of that name", &its, other("2"), vec![], 3),
        ("an older claim is the pod's", &its, pod.clone(), vec![its.clone(), older.clone()], 3),
        ("the pod names it", &its, with_status(named("c")), vec![older], 1),
        ("the pod names another", &its, with_status(named("b")), vec![], 3),
        ("the pod has ended", &its, with_status(json!({"phase": "Failed"})), vec![], 3),
    ];
    for (what, claim, pod, all, want) in rows {
        let mut devices = devices.clone();
        devices.charge([&pod], all.iter().chain([claim]), 0);
        let usage = Evaluator::DeviceClaims(devices).usage(claim, 0);
        let used = |name: &str| usage.get(name).map_or(0, |quantity| quantity.value());
        assert_eq!(used("requests.example.com/gpu"), want, "{what}");
        assert_eq!(used("requests.deviceclass.resource.kubernetes.io/gpu"), 3, "{what}");
        assert_eq!(used("gpu.deviceclass.resource.k8s.io/devices"), 3, "{what}");
    }
}

#[test]
fn everything_else_is_counted_by_number() {
    assert_eq!(usage("configmaps", &Value::Null), "configmaps=1,count/configmaps=1");
    let deployments = Evaluator::of("apps", "deployments").unwrap();
    assert!(deployments.counts("count/deployments.apps") && !deployments.counts("deployments"));
    assert_eq!(Evaluator::of("", "events"), None);
}

#[test]
fn scopes_choose_pods() {
    let quota = |scope: Value| json!({"spec": scope, "status": {"hard": {"pods": "1"}}});
    let scoped = |name: &str| quota(json!({"scopes": [name]}));
    let selected = |operator: &str, values: Value| {
        let expression = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        quota(json!({"scopeSelector": {"matchExpressions": [expression]}}))
    };
    let mut object = pod(json!({}));
    let check = |object: &Value, quota: &Value, wanted: bool| {
        assert_eq!(Evaluator::Pods.matches(quota, object), wanted, "{quota}");
    };
    for (name, wanted) in
        [("BestEffort", true), ("NotBestEffort", false), ("Terminating", false), ("NotTerminating", true)]
    {
        check(&object, &scoped(name), wanted);
    }
    check(&object, &selected("Exists", json!([])), false);
    check(&object, &selected("NotIn", json!(["high"])), true);
    object["spec"]["priorityClassName"] = json!("high");
    object["spec"]["activeDeadlineSeconds"] = json!(5);
    check(&object, &selected("In", json!(["high"])), true);
    check(&object, &selected("NotIn", json!(["high"])), false);
    check(&object, &scoped("Terminating"), true);
    check(&object, &scoped("CrossNamespacePodAffinity"), false);
    let term = json!({"topologyKey": "x", "namespaces": ["other"]});
    object["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!([term]);
    check(&object, &scoped("CrossNamespacePodAffinity"), true);
    let services = json!({"spec": {"scopes": ["BestEffort"]}, "status": {"hard": {"services": "1"}}});
    assert!(!Evaluator::Services.matches(&services, &json!({})), "scopes are about pods");
}
