//! Services and what else is of the network.

use serde_json::json;

use super::check;
use crate::client::{patch, post, put};
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn the_network() {
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    let ports = json!([{"port": 80}]);
    let balanced = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "a.io/x", "ports": ports}});
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    check(vec![
        (SERVICES, "v1/Service", json!({"spec": {"ports": ports}}), json!({"spec": {"type": "NodePort"}}), &[]),
        (SERVICES, "v1/Service", balanced.clone(), json!({"spec": {"type": "ClusterIP"}}), &[]),
        (
            SERVICES,
            "v1/Service",
            balanced.clone(),
            json!({"spec": {"type": "ExternalName", "externalName": "a.example"}}),
            &[],
        ),
        (
            SERVICES,
            "v1/Service",
            json!({"spec": {"ports": ports}}),
            json!({"spec": {"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]}}),
            &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.5\"]: may not change once set"],
        ),
        (
            SERVICES,
            "v1/Service",
            balanced,
            json!({"spec": {"loadBalancerClass": "a.io/y", "sessionAffinity": "Never"}}),
            &[
                "spec.loadBalancerClass: Invalid value: \"a.io/y\": may not change once set",
                "spec.sessionAffinity: Unsupported value: \"Never\": supported values: \"ClientIP\", \"None\"",
            ],
        ),
        (
            SERVICES,
            "v1/Service",
            json!({"spec": {"ports": ports}}),
            json!({"spec": {"ports": []}}),
            &["spec.ports: Required value"],
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            "networking.k8s.io/v1/NetworkPolicy",
            json!({"spec": {"podSelector": {}}}),
            json!({"spec": {"policyTypes": ["X"]}}),
            &["spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Ingress\", \"Egress\""],
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
            "networking.k8s.io/v1/Ingress",
            json!({"spec": {"defaultBackend": backend}}),
            json!({"spec": {"defaultBackend": null}}),
            &["spec: Invalid value: …: either `defaultBackend` or `rules` must be specified"],
        ),
        (
            "/apis/networking.k8s.io/v1/ingressclasses",
            "networking.k8s.io/v1/IngressClass",
            json!({"spec": {"controller": "a.io/b"}}),
            json!({"spec": {"controller": "a.io/c"}}),
            &["spec.controller: Invalid value: \"a.io/c\": field is immutable"],
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            "discovery.k8s.io/v1/EndpointSlice",
            json!({"addressType": "IPv4", "endpoints": []}),
            json!({"addressType": "IPv6"}),
            &["addressType: Invalid value: \"IPv6\": field is immutable"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_there_is_made() {
    let server = TestServer::start(&[]).await;
    let path = "/api/v1/namespaces/default/services/a";
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    let made = put(&server.client, path, &service).await.expect(201);
    let kept = put(&server.client, path, &service).await.expect(200);
    assert_eq!(made["spec"]["clusterIP"], kept["spec"]["clusterIP"]);
    assert!(made["spec"]["clusterIP"].as_str().is_some_and(|address| !address.is_empty()));
}

/// Upstream tells an empty list or map from none where it compares the desired state of a NetworkPolicy, and there alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_other_words_is_another_one() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let policy = json!({"metadata": {"name": "p"}, "spec": {"podSelector": {}}});
    post(client, policies, &policy).await.expect(201);
    for (spec, generation) in [
        (json!({"ingress": []}), 2),
        (json!({"ingress": [{}]}), 3),
        (json!({"ingress": [{"from": []}]}), 4),
        (json!({"ingress": [{"from": [{"podSelector": {}}]}]}), 5),
        (json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {}}}]}]}), 6),
        (json!({"egress": []}), 7),
        (json!({"policyTypes": null}), 7),
    ] {
        let changed = patch(client, &format!("{policies}/p"), "merge", &json!({"spec": spec})).await.expect(200);
        assert_eq!(changed["metadata"]["generation"], generation, "{spec}");
    }
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    post(client, ingresses, &json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}})).await.expect(201);
    let same = patch(client, &format!("{ingresses}/i"), "merge", &json!({"spec": {"tls": []}})).await.expect(200);
    assert_eq!(same["metadata"]["generation"], 1);
}
