//! Entries from API objects.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::{Entry, entry};

fn entry_of(spec: Value, slices: &[Value]) -> Option<Entry> {
    let service: Service =
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "web"}, "spec": spec})).unwrap();
    let slices: Vec<Arc<EndpointSlice>> =
        slices.iter().map(|slice| Arc::new(serde_json::from_value(slice.clone()).unwrap())).collect();
    entry(&service, &slices)
}

#[test]
fn a_service_is_known_by_its_addresses() {
    let both = entry_of(
        json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "ports": [{"port": 80, "name": "HTTP"}]}),
        &[],
    );
    let Some(Entry::Cluster { addresses, ports }) = both else { panic!("{both:?}") };
    assert_eq!(addresses.len(), 2);
    assert_eq!((ports[0].name.as_str(), ports[0].protocol.as_str(), ports[0].number), ("http", "tcp", 80));
    assert_eq!(entry_of(json!({"type": "ClusterIP"}), &[]), None, "no address yet");
    let external = entry_of(json!({"type": "ExternalName", "externalName": "example.com"}), &[]);
    let Some(Entry::External { target }) = external else { panic!("{external:?}") };
    assert_eq!(target.to_ascii(), "example.com.");
}

#[test]
fn a_headless_service_is_its_ready_endpoints_each_once() {
    let slice = |port: &str, endpoints: Value| json!({"addressType": "IPv4", "metadata": {}, "ports": [{"name": port, "port": 80}], "endpoints": endpoints});
    let ready = |address: &str, hostname: Option<&str>| json!({"addresses": [address], "hostname": hostname});
    let not_ready = json!({"addresses": ["10.1.0.9"], "conditions": {"ready": false}});
    let headless = entry_of(
        json!({"clusterIP": "None"}),
        &[
            slice("a", json!([ready("10.1.0.2", Some("Web-0")), ready("10.1.0.3", None), not_ready])),
            slice("b", json!([ready("10.1.0.2", Some("web-0"))])),
        ],
    );
    let Some(Entry::Headless { endpoints }) = headless else { panic!("{headless:?}") };
    let shown: Vec<(&str, String, Vec<&str>)> = endpoints
        .iter()
        .map(|endpoint| {
            let ports = endpoint.ports.iter().map(|port| port.name.as_str()).collect();
            (endpoint.host.as_str(), endpoint.address.to_string(), ports)
        })
        .collect();
    assert_eq!(
        shown,
        [("10-1-0-3", "10.1.0.3".to_owned(), vec!["a"]), ("web-0", "10.1.0.2".to_owned(), vec!["a", "b"])]
    );
}
