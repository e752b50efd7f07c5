//! Plug-ins by flag, and what a pod's node gives it.

use serde_json::{Value, json};

use crate::client::{get, post};
use crate::pods::{PODS, account, pod};
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn plug_ins_are_switched_by_name() {
    let flags = [
        "--enable-admission-plugins=AlwaysPullImages,DenyServiceExternalIPs",
        "--disable-admission-plugins=DefaultTolerationSeconds,Priority",
    ];
    let server = TestServer::start(&flags).await;
    let client = &server.client;
    account(client).await;
    let mut cached = pod("p");
    cached["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    let made = post(client, PODS, &cached).await.expect(201);
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!((&made["spec"]["tolerations"], &made["spec"]["priority"]), (&Value::Null, &Value::Null));
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.7"]}});
    let refused = post(client, "/api/v1/namespaces/default/services", &service).await;
    refused.refused(403, "Forbidden");
    assert_eq!(
        refused.body["message"],
        "services \"s\" is forbidden: Use of external IPs is denied by admission control"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_bears_its_nodes_zone_and_stays_as_long_as_told() {
    let server = TestServer::start(&["--default-unreachable-toleration-seconds=7"]).await;
    let client = &server.client;
    account(client).await;
    let labels = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o"});
    post(client, "/api/v1/nodes", &json!({"metadata": {"name": "n", "labels": labels}})).await.expect(201);
    get(client, "/api/v1/nodes/n").await.expect(200);
    let made = post(client, PODS, &pod("p")).await.expect(201);
    let seconds: Vec<&Value> = made["spec"]["tolerations"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|toleration| &toleration["tolerationSeconds"])
        .collect();
    assert_eq!(seconds, [&json!(300), &json!(7)]);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    post(client, &format!("{PODS}/p/binding"), &binding).await.expect(201);
    let bound = get(client, &format!("{PODS}/p")).await.expect(200);
    let expected = json!({"app": "x", "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"});
    assert_eq!(bound["metadata"]["labels"], expected);
}
