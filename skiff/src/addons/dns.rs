//! Cluster DNS's Service, and the slice that leads to every node that runs our DNS server.
//!
//! The Service is kubeadm's add-on of the same name, so that a CoreDNS of one's own can take its place. Each endpoint has
//! the hint that its own node should ask it: names are answered on the node where they are asked, and by another node when
//! that server is gone. [`objects`] is pure; [`keep_slice`] follows the Nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use component::informer::{Informer, Informers, Selection};
use component::random::Random;
use component::shutdown::Shutdown;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{MANAGER, NAMESPACE, PAUSE, apply_one};
use crate::flags::{DNS_LABEL, DNS_PORT};
use crate::node;
use crate::settings::Settings;

pub(super) const SLICE: &str = "kube-dns-skiff";

/// The Service, and the slice with this node alone: there may be no Node yet.
pub(super) fn objects(settings: &Settings) -> Result<[Value; 2]> {
    let address = settings.dns_address()?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "namespace": NAMESPACE, "name": "kube-dns",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {"clusterIP": address, "ports": ports("port", 53)},
    });
    Ok([service, slice(settings, &[])])
}

fn ports(number: &str, port: u16) -> Value {
    [("dns", "UDP"), ("dns-tcp", "TCP")]
        .map(|(name, protocol)| json!({"name": name, "protocol": protocol, number: port}))
        .to_vec()
        .into()
}

/// With this node, which is there whatever its Node says, and the others that run the server and are Ready.
fn slice(settings: &Settings, nodes: &[Arc<Node>]) -> Value {
    let family = |address: &IpAddr| address.is_ipv4() == settings.node_address.is_ipv4();
    let others = nodes.iter().filter(|node| node::is_ready(node)).filter_map(|node| {
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let mut internal = addresses.filter(|address| address.type_ == "InternalIP");
        Some((node.name_any(), internal.find_map(|it| it.address.parse().ok().filter(family))?))
    });
    let mut servers: BTreeMap<String, IpAddr> = others.collect();
    servers.insert(settings.node_name.clone(), settings.node_address);
    let endpoints = servers.iter().map(|(node, address)| {
        json!({
            "addresses": [address], "nodeName": node, "conditions": {"ready": true},
            "hints": {"forNodes": [{"name": node}]},
        })
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE, "name": SLICE,
            "labels": {"kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": MANAGER},
        },
        "addressType": if settings.node_address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": ports("port", DNS_PORT),
    })
}

/// Keeps the slice as the Nodes are, until shutdown.
pub(crate) async fn keep_slice(client: &kube::Client, settings: &Settings, shutdown: &Shutdown) {
    let selection = Selection::labels(format!("{DNS_LABEL}=true"));
    let nodes: Informer<Node> = Informers::new(client.clone(), Random::from_os(), shutdown.clone()).selected(selection);
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    nodes.on_event(move |event| {
        let is_same = |old: &Arc<Node>| node::is_ready(old) == node::is_ready(event.object());
        if event.old().is_none_or(|old| !is_same(old)) {
            notify.notify_one();
        }
    });
    let mut written = slice(settings, &[]);
    let work = async {
        nodes.synced().await;
        loop {
            let wanted = slice(settings, &nodes.list());
            if wanted != written {
                match apply_one(client, wanted.clone()).await {
                    Ok(()) => written = wanted,
                    Err(error) => {
                        tracing::warn!("the endpoints of cluster DNS are not written, trying again: {error:#}");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            }
            changed.notified().await;
        }
    };
    let _: Option<()> = shutdown.run_until(work).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ready_node_is_an_endpoint_with_its_own_hint() {
        let node = |name: &str, address: &str, ready: &str| -> Arc<Node> {
            let status = json!({
                "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}],
                "conditions": [{"type": "Ready", "status": ready}],
            });
            Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap())
        };
        let settings = Settings::for_tests("first", "192.0.2.1".parse().unwrap());
        let nodes = [
            node("first", "192.0.2.1", "Unknown"),
            node("second", "192.0.2.2", "True"),
            node("third", "192.0.2.3", "False"),
            node("other-family", "fd00::4", "True"),
        ];
        let slice = slice(&settings, &nodes);
        let endpoints: Vec<String> = slice["endpoints"].as_array().unwrap().iter().map(|it| it.to_string()).collect();
        assert_eq!(endpoints.len(), 2, "{endpoints:?}");
        assert!(endpoints[0].contains("192.0.2.1") && endpoints[1].contains(r#""forNodes":[{"name":"second"}]"#));
    }
}
