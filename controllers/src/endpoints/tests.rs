//! Tables for subsets.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::plan::{subsets, updated};
use crate::common::pod::Pod;

fn service(ports: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "labels": {"a": "b"}},
        "spec": {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": ports}}))
    .unwrap()
}

fn pod(ip: &str, ready: bool, port_name: &str) -> Arc<Pod> {
    let ready = if ready { "True" } else { "False" };
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": ip, "namespace": "n", "uid": ip},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": port_name, "containerPort": 9000}]}]},
            "status": {"podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap(),
    )
}

fn shape(service: &Service, pods: &[Arc<Pod>]) -> Value {
    let subsets = subsets(service, service.spec.as_ref().unwrap(), pods);
    let ips = |list: &Option<Vec<k8s_openapi::api::core::v1::EndpointAddress>>| {
        list.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>()
    };
    let shape = subsets.iter().map(|s| {
        let ports: Vec<_> = s.ports.iter().flatten().map(|p| p.port).collect();
        json!([ips(&s.addresses), ips(&s.not_ready_addresses), ports])
    });
    shape.collect()
}

#[test]
fn addresses_that_share_ports_share_a_subset() {
    let two = service(
        json!([{"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 81, "targetPort": "named"}]),
    );
    let pods = [pod("10.1.0.2", true, "named"), pod("10.1.0.10", false, "named"), pod("10.1.0.3", true, "other")];
    assert_eq!(
        shape(&two, &pods),
        json!([[["10.1.0.2", "10.1.0.3"], ["10.1.0.10"], [8080]], [["10.1.0.2"], ["10.1.0.10"], [9000]]])
    );
    let one = service(json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]));
    assert_eq!(shape(&one, &pods[..1]), json!([[["10.1.0.2"], [], [80, 81]]]));
    assert_eq!(shape(&one, &[]), json!([]));
}

#[test]
fn written_only_when_it_says_something_new() {
    let service = service(json!([{"port": 80}]));
    let spec = service.spec.as_ref().unwrap();
    let pods = [pod("10.1.0.2", true, "x"), pod("10.1.0.3", true, "x")];
    let first = updated(&service, spec, subsets(&service, spec, &pods), None).unwrap();
    assert_eq!(
        serde_json::to_value(&first.metadata.labels).unwrap(),
        json!({"a": "b", "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
    );
    assert_eq!(updated(&service, spec, subsets(&service, spec, &pods), Some(&first)), None);
    let changed = updated(&service, spec, subsets(&service, spec, &pods[..1]), Some(&first)).unwrap();
    assert_eq!(changed.subsets.unwrap()[0].addresses.as_ref().unwrap().len(), 1);
}

#[test]
fn a_thousand_addresses_are_enough() {
    let service = service(json!([{"port": 80}]));
    let spec = service.spec.as_ref().unwrap();
    let pods: Vec<_> = (0..1200).map(|i| pod(&format!("10.1.{}.{}", i / 250, i % 250), i < 900, "x")).collect();
    let got = updated(&service, spec, subsets(&service, spec, &pods), None).unwrap();
    let subset = &got.subsets.as_ref().unwrap()[0];
    assert_eq!(subset.addresses.as_ref().unwrap().len(), 900);
    assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 100);
    assert_eq!(got.metadata.annotations.as_ref().unwrap()["endpoints.kubernetes.io/over-capacity"], "truncated");
    assert_eq!(updated(&service, spec, subsets(&service, spec, &pods), Some(&got)), None);
}
