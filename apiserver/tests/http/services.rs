//! What Services are given: node ports and addresses, and what a dry run shows of them.

use serde_json::{Value, json};

use crate::client::{Reply, patch, post, put};
use crate::support::TestServer;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const DRY: &str = "/api/v1/namespaces/default/services?dryRun=All";

fn service(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn node_port(ports: &Value) -> Value {
    service("a", &json!({"type": "NodePort", "ports": ports}))
}

#[track_caller]
fn ports(answer: Reply, code: u16) -> Vec<i64> {
    let body = answer.expect(code);
    let ports = body["spec"]["ports"].as_array().expect("a list");
    ports.iter().filter_map(|port| port["nodePort"].as_i64()).collect()
}

#[track_caller]
fn is_told(answer: &Reply, field: &str, why: &str) {
    answer.refused(422, "Invalid");
    let cause = &answer.body["details"]["causes"][0];
    assert_eq!((&cause["field"], &cause["message"]), (&json!(field), &json!(why)));
}

const TAKEN: &str = "Invalid value: 30100: provided port is already allocated";

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_stand_ins_for_ports() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let two = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    for _ in 0..2 {
        assert_eq!(ports(post(client, DRY, &node_port(&two)).await, 201), [32769, 32770]);
    }
    // What is asked for need not be in the range, but nobody may have it.
    let low = json!([{"port": 80, "nodePort": 100}]);
    assert_eq!(ports(post(client, DRY, &node_port(&low)).await, 201), [100]);
    let refused = post(client, SERVICES, &node_port(&low)).await;
    let why = "Invalid value: 100: provided port is not in the valid range. The range of valid ports is 30000-32767";
    is_told(&refused, "spec.ports[0].nodePort", why);
    let own = json!([{"port": 80, "nodePort": 30100}]);
    assert_eq!(ports(post(client, SERVICES, &node_port(&own)).await, 201), [30100]);
    is_told(&post(client, DRY, &node_port(&own)).await, "spec.ports[0].nodePort", TAKEN);
    let change = json!({"spec": {"ports": [{"name": "a", "port": 80, "nodePort": 30100}, {"name": "b", "port": 81}]}});
    let changed = patch(client, &format!("{SERVICES}/a?dryRun=All"), "merge", &change).await;
    assert_eq!(ports(changed, 200), [30100, 32769]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_one_port_share_a_node_port() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let both = json!([{"name": "t", "port": 80}, {"name": "u", "port": 80, "protocol": "UDP", "nodePort": 30100}]);
    assert_eq!(ports(post(client, SERVICES, &node_port(&both)).await, 201), [30100, 30100]);
    let twice = json!([{"name": "a", "port": 80, "nodePort": 30101}, {"name": "b", "port": 81, "nodePort": 30101}]);
    let refused = post(client, SERVICES, &service("b", &json!({"type": "NodePort", "ports": twice}))).await;
    is_told(&refused, "spec.ports[1].nodePort", &TAKEN.replace("30100", "30101"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_for_health_is_refused_in_words_of_its_own() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let balancer = |port: Option<i64>| {
        let mut spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]});
        if let Some(port) = port {
            spec["healthCheckNodePort"] = json!(port);
        }
        service("b", &spec)
    };
    let shown = post(client, DRY, &balancer(None)).await.expect(201);
    let given = (&shown["spec"]["ports"][0]["nodePort"], &shown["spec"]["healthCheckNodePort"]);
    assert_eq!(given, (&json!(32769), &json!(32770)));
    let refused = post(client, SERVICES, &balancer(Some(100))).await;
    refused.refused(500, "InternalError");
    assert_eq!(
        refused.body["message"],
        "Internal error occurred: failed to allocate requested HealthCheck NodePort 100: provided port is not in the valid range. The range of valid ports is 30000-32767"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_networks_own_address() {
    let server = TestServer::start(&["--service-cluster-ip-range=10.96.0.0/16"]).await;
    let client = &server.client;
    let at = |address: &str| service("c", &json!({"ports": [{"port": 80}], "clusterIP": address}));
    let given = post(client, DRY, &at("")).await.expect(201);
    assert_eq!(given["spec"]["clusterIPs"], json!(["10.96.0.0"]));
    post(client, SERVICES, &at("10.96.3.3")).await.expect(201);
    let mut other = at("10.96.3.3");
    other["metadata"]["name"] = json!("d");
    assert_eq!(post(client, DRY, &other).await.expect(201)["spec"]["clusterIP"], "10.96.3.3");
    let why = "Invalid value: [\"10.96.3.3\"]: failed to allocate IP 10.96.3.3: provided IP is already allocated";
    is_told(&post(client, SERVICES, &other).await, "spec.clusterIPs", why);
    let why = "Invalid value: [\"10.97.0.1\"]: failed to allocate IP 10.97.0.1: the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16";
    is_told(&post(client, DRY, &at("10.97.0.1")).await, "spec.clusterIPs", why);
    // Who asks for the network's own address does not get it.
    for edge in ["10.96.0.0", "10.96.255.255"] {
        let told = |why: &str| format!("Invalid value: [\"{edge}\"]: failed to allocate IP {edge}: {why}");
        let not_valid =
            format!("the provided IP ({edge}) is not in the valid range. The range of valid IPs is 10.96.0.0/16");
        is_told(&post(client, DRY, &at(edge)).await, "spec.clusterIPs", &told(&not_valid));
        let why = told("the provided network does not match the current range");
        is_told(&post(client, SERVICES, &at(edge)).await, "spec.clusterIPs", &why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn families_are_those_of_the_cluster() {
    let server = TestServer::start(&["--service-cluster-ip-range=10.96.0.0/16"]).await;
    let client = &server.client;
    let with = |field: &str, value: Value| service("f", &json!({"ports": [{"port": 80}], field: value}));
    let why = "Invalid value: [\"fd00::1\"]: IPv6 is not configured on this cluster";
    is_told(&post(client, DRY, &with("clusterIP", json!("fd00::1"))).await, "spec.clusterIPs[0]", why);
    let why = "Invalid value: \"IPv6\": not configured on this cluster";
    is_told(&post(client, DRY, &with("ipFamilies", json!(["IPv6"]))).await, "spec.ipFamilies[0]", why);
    let why = "Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services";
    let required = with("ipFamilyPolicy", json!("RequireDualStack"));
    is_told(&post(client, DRY, &required).await, "spec.ipFamilyPolicy", why);
    let named = service("n", &json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.9"}));
    let why = "Forbidden: may not be set for ExternalName services";
    is_told(&post(client, DRY, &named).await, "spec.clusterIPs", why);
    let why = "Unsupported value: \"\": supported values: \"Cluster\", \"Local\"";
    let silent = with("internalTrafficPolicy", json!(""));
    is_told(&post(client, DRY, &silent).await, "spec.internalTrafficPolicy", why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_family_comes_and_goes() {
    let server = TestServer::start(&["--service-cluster-ip-range=10.96.0.0/16,fd00::/108"]).await;
    let client = &server.client;
    let made = post(client, SERVICES, &service("a", &json!({"ports": [{"port": 80}]}))).await.expect(201);
    let first = made["spec"]["clusterIP"].clone();
    let change = |spec: Value| json!({"spec": spec});
    let path = format!("{SERVICES}/a");
    let both = patch(client, &path, "merge", &change(json!({"ipFamilyPolicy": "PreferDualStack"}))).await.expect(200);
    let addresses = both["spec"]["clusterIPs"].as_array().expect("a list");
    assert_eq!((&both["spec"]["ipFamilies"], addresses.len()), (&json!(["IPv4", "IPv6"]), 2));
    assert!(addresses[0] == first && addresses[1].as_str().is_some_and(|address| address.starts_with("fd00::")));
    let mut fewer = both.clone();
    fewer["spec"]["ipFamilies"] = json!(["IPv4"]);
    let refused = put(client, &path, &fewer).await;
    let why = "Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary IP family";
    is_told(&refused, "spec.ipFamilyPolicy", why);
    assert_eq!(refused.body["details"]["causes"].as_array().map(Vec::len), Some(1));
    let single = patch(client, &path, "merge", &change(json!({"ipFamilyPolicy": "SingleStack"}))).await.expect(200);
    assert_eq!((&single["spec"]["ipFamilies"], &single["spec"]["clusterIPs"]), (&json!(["IPv4"]), &json!([first])));
}

/// Where no controller says whether a range may be used, it may.
#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_nobody_speaks_of_is_used() {
    let server = TestServer::start(&["--service-cluster-ip-range=10.96.0.0/16"]).await;
    let client = &server.client;
    const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    let more = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.200.0.0/24"]}});
    post(client, RANGES, &more).await.expect(201);
    let at = |name: &str, address: &str| service(name, &json!({"ports": [{"port": 80}], "clusterIP": address}));
    post(client, SERVICES, &at("a", "10.200.0.7")).await.expect(201);
    let not_ready = json!({"status": {"conditions": [{
        "type": "Ready", "status": "False", "reason": "r", "message": "", "lastTransitionTime": "2024-01-01T00:00:00Z",
    }]}});
    patch(client, &format!("{RANGES}/more/status"), "merge", &not_ready).await.expect(200);
    post(client, SERVICES, &at("b", "10.200.0.8")).await.refused(422, "Invalid");
}
