//! Tables for the slices of a Service.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::plan::{Nodes, Plan, Planning, plan};
use crate::common::pod::Pod;

struct Zoned;

impl Nodes for Zoned {
    fn zone(&self, node: &str) -> Option<Option<String>> {
        (node == "n1").then(|| Some("z1".into()))
    }
}

fn service(more: Value) -> Service {
    let mut value = json!({"metadata": {"name": "web", "namespace": "n", "uid": "s", "labels": {"a": "b"}},
        "spec": {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}});
    json_patch(&mut value["spec"], more);
    serde_json::from_value(value).unwrap()
}

fn json_patch(target: &mut Value, more: Value) {
    for (key, value) in more.as_object().unwrap() {
        target[key] = value.clone();
    }
}

fn pod(index: usize, ready: bool) -> Arc<Pod> {
    let ip = format!("10.1.{}.{}", index / 250, index % 250 + 1);
    let ready = if ready { "True" } else { "False" };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("p{index:04}"), "namespace": "n", "uid": format!("u{index}")},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}, {"ip": format!("fd00::{index:x}")}],
                "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap(),
    )
}

fn pods(count: usize) -> Vec<Arc<Pod>> {
    (0..count).map(|i| pod(i, true)).collect()
}

fn run(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>]) -> Plan {
    plan(service, service.spec.as_ref().unwrap(), pods, slices, &Zoned, Planning { endpoints_max: 100, hinted: false })
}

/// What the server would hold after the plan.
fn apply(slices: &[Arc<EndpointSlice>], plan: Plan) -> Vec<Arc<EndpointSlice>> {
    let mut all: BTreeMap<String, Arc<EndpointSlice>> =
        slices.iter().map(|s| (s.metadata.name.clone().unwrap(), s.clone())).collect();
    for slice in plan.delete {
        all.remove(&slice.metadata.name.unwrap());
    }
    for slice in plan.update {
        all.insert(slice.metadata.name.clone().unwrap(), Arc::new(slice));
    }
    for (i, mut slice) in plan.create.into_iter().enumerate() {
        let name = format!("web-{}-{i}", all.len());
        slice.metadata.name = Some(name.clone());
        all.insert(name, Arc::new(slice));
    }
    all.into_values().collect()
}

fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
    let mut sizes: Vec<_> = slices.iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect();
    sizes.sort();
    sizes
}

#[test]
fn one_slice_with_its_labels() {
    let plan = run(&service(json!({})), &[pod(0, true), pod(1, false)], &[]);
    let slice = serde_json::to_value(&plan.create[0]).unwrap();
    assert_eq!(slice["metadata"]["generateName"], "web-");
    assert_eq!(
        slice["metadata"]["labels"],
        json!({"a": "b", "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"})
    );
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    assert_eq!(slice["ports"], json!([{"name": "", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(
        slice["endpoints"][0],
        json!({"addresses": ["10.1.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "n1", "zone": "z1", "targetRef": {"kind": "Pod", "namespace": "n", "name": "p0000", "uid": "u0"}})
    );
    assert_eq!(slice["endpoints"][1]["conditions"]["ready"], false);
}

#[test]
fn slices_are_filled_and_kept() {
    let service = service(json!({}));
    let full = apply(&[], run(&service, &pods(250), &[]));
    assert_eq!(sizes(&full), [50, 100, 100]);
    assert_eq!(run(&service, &pods(250), &full), Plan::default(), "nothing to do");

    let one_more = run(&service, &pods(251), &full);
    assert_eq!((one_more.create.len(), one_more.update.len()), (0, 1));
    let fewer = run(&service, &pods(249), &full);
    assert_eq!((fewer.create.len(), fewer.update.len(), fewer.delete.len()), (0, 1, 0));
    assert_eq!(sizes(&apply(&full, run(&service, &pods(320), &full))), [50, 70, 100, 100]);
}

#[test]
fn a_service_without_pods_has_an_empty_slice() {
    let service = service(json!({}));
    let empty = apply(&[], run(&service, &[], &[]));
    assert_eq!(sizes(&empty), [0]);
    assert_eq!(run(&service, &[], &empty), Plan::default());
    let first = run(&service, &pods(1), &empty);
    assert_eq!((first.create.len(), first.update.len(), first.delete.len()), (0, 1, 0), "it is used again");
    let filled = apply(&empty, first);
    assert_eq!(sizes(&filled), [1]);
    let emptied = run(&service, &[], &filled);
    assert_eq!((emptied.create.len(), emptied.update.len(), emptied.delete.len()), (0, 1, 0));
}

#[test]
fn families_and_headless() {
    let dual = service(json!({"ipFamilies": ["IPv4", "IPv6"], "clusterIP": "None"}));
    let plan = run(&dual, &pods(1), &[]);
    let mut got: Vec<_> = plan
        .create
        .iter()
        .map(|s| (s.address_type.as_str(), s.endpoints.as_ref().unwrap()[0].addresses[0].as_str()))
        .collect();
    got.sort();
    assert_eq!(got, [("IPv4", "10.1.0.1"), ("IPv6", "fd00::")]);
    assert!(plan.create[0].metadata.labels.as_ref().unwrap().contains_key("service.kubernetes.io/headless"));
    let only_v4 = service(json!({}));
    let both = apply(&[], plan);
    assert_eq!(run(&only_v4, &pods(1), &both).delete[0].address_type, "IPv6");
}

#[test]
fn conditions() {
    let mut going = (*pod(0, true)).clone();
    going.metadata.deletion_timestamp = Some(crate::common::time(jiff::Timestamp::UNIX_EPOCH));
    let going = [Arc::new(going)];
    let condition = |s: &Service, p: &[Arc<Pod>]| {
        serde_json::to_value(run(s, p, &[]).create[0].endpoints.as_ref().unwrap()[0].conditions.clone()).unwrap()
    };
    let plain = service(json!({}));
    let publishing = service(json!({"publishNotReadyAddresses": true}));
    assert_eq!(condition(&plain, &going), json!({"ready": false, "serving": true, "terminating": true}));
    assert_eq!(condition(&publishing, &going), json!({"ready": true, "serving": true, "terminating": true}));
    assert_eq!(
        condition(&publishing, &[pod(0, false)]),
        json!({"ready": true, "serving": false, "terminating": false})
    );
}

#[test]
fn unknown_nodes_and_hints() {
    let mut lost = (*pod(0, true)).clone();
    lost.spec.as_mut().unwrap().node_name = Some("lost".into());
    let plan = run(&service(json!({})), &[Arc::new(lost)], &[]);
    assert_eq!(plan.nodes_missing, [("p0000".to_owned(), "lost".to_owned())]);

    let near = service(json!({"trafficDistribution": "PreferClose"}));
    let slices = apply(&[], run(&near, &pods(1), &[]));
    assert_eq!(
        serde_json::to_value(&slices[0].endpoints.as_ref().unwrap()[0].hints).unwrap(),
        json!({"forZones": [{"name": "z1"}]})
    );
    assert_eq!(run(&near, &pods(1), &slices), Plan::default());
    assert_eq!(run(&service(json!({})), &pods(1), &slices).update.len(), 1, "hints go with the setting");
}
