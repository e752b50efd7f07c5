//! The Services and EndpointSlices that the proxy watches.

use component::testing::FakeApi;
use serde_json::{Value, json};

use crate::net::PORT;

/// Of the Services that are asked.
pub(crate) const NAMESPACE: &str = "ns";
/// Of the Service `web`.
pub(crate) const IP: &str = "10.96.0.5";

/// Services with five endpoints each that nobody asks.
pub(crate) fn fill(api: &FakeApi, count: usize) {
    api.put(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.1.1.1"}]}}));
    for at in 0..count {
        let (name, ip) = (format!("service-{at}"), format!("10.98.{}.{}", at / 250, at % 250 + 1));
        let (high, low) = (at / 50, at % 50 * 5);
        let endpoint = |pod: usize| {
            json!({"addresses": [format!("10.{}.{}.{}", 100 + high / 250, high % 250, low + pod + 1)],
                "conditions": {"ready": true, "serving": true, "terminating": false}, "nodeName": "there",
                "targetRef": {"kind": "Pod", "namespace": "many", "name": format!("{name}-{pod}")}})
        };
        put(api, "many", &name, &ip, 80, &(0..5).map(endpoint).collect::<Vec<_>>());
    }
}

fn put(api: &FakeApi, namespace: &str, name: &str, ip: &str, port: u16, endpoints: &[Value]) {
    put_service(api, namespace, name, ip);
    put_slice(api, namespace, name, port, endpoints);
}

pub(crate) fn put_service(api: &FakeApi, namespace: &str, name: &str, ip: &str) {
    api.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
        "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "selector": {"app": name},
            "ports": [{"port": 80, "protocol": "TCP"}]}}));
}

/// One endpoint of a Service that answers.
pub(crate) fn put_endpoint(api: &FakeApi, name: &str, ip: &str) {
    let endpoint = json!({"addresses": [ip], "nodeName": "here", "conditions": {"ready": true}});
    put_slice(api, NAMESPACE, name, PORT, &[endpoint]);
}

fn put_slice(api: &FakeApi, namespace: &str, name: &str, port: u16, endpoints: &[Value]) {
    api.put(&json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": namespace, "name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "", "port": port, "protocol": "TCP"}], "endpoints": endpoints}));
}
