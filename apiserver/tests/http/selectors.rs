//! Field selectors: every field that upstream's kinds have, what they are when unset, and the words for others.

use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, get, patch, post};
use crate::pods::{PODS, account, pod};
use crate::support::TestServer;

fn names(list: &Value) -> String {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or("?")).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_selected_by_each_of_their_fields() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    post(client, PODS, &pod("a")).await.expect(201);
    let mut other = pod("b");
    other["spec"]["hostNetwork"] = json!(true);
    other["spec"]["restartPolicy"] = json!("Never");
    other["spec"]["schedulerName"] = json!("mine");
    other["spec"]["nodeName"] = json!("n");
    post(client, PODS, &other).await.expect(201);
    let status = json!({"status": {
        "phase": "Running", "podIP": "10.1.0.2", "podIPs": [{"ip": "10.1.0.2"}]
    }});
    patch(client, &format!("{PODS}/b/status"), "merge", &status).await.expect(200);
    let nominated = json!({"status": {"nominatedNodeName": "m"}});
    patch(client, &format!("{PODS}/a/status"), "merge", &nominated).await.expect(200);
    let table = [
        ("spec.nodeName=n", "b"),
        ("spec.host=n", "b"),
        ("spec.nodeName=", "a"),
        ("spec.restartPolicy=Always", "a"),
        ("spec.schedulerName=mine", "b"),
        ("spec.serviceAccountName=default", "a b"),
        ("spec.hostNetwork=false", "a"),
        ("spec.hostNetwork=true", "b"),
        ("status.phase=Running", "b"),
        ("status.phase!=Running", "a"),
        ("status.podIP=10.1.0.2", "b"),
        ("status.nominatedNodeName=m", "a"),
        ("metadata.namespace=default,metadata.name=a", "a"),
        ("metadata.namespace=other", ""),
    ];
    for (selector, expected) in table {
        let list = get(client, &format!("{PODS}?fieldSelector={}", selector.replace('=', "%3D"))).await.expect(200);
        assert_eq!(names(&list), expected, "{selector}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_none_are_refused_in_upstreams_words() {
    let server = TestServer::start(&[]).await;
    let plain = "is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    let table = [
        (PODS, "spec.x", "field label not supported: spec.x".to_owned()),
        ("/api/v1/nodes", "metadata.namespace", "field label not supported: metadata.namespace".to_owned()),
        ("/api/v1/namespaces", "name", "field label not supported: name".to_owned()),
        ("/api/v1/services", "spec.ports", "field label not supported: spec.ports".to_owned()),
        ("/api/v1/secrets", "data", "field label not supported: data".to_owned()),
        (CONFIG_MAPS, "data.k", format!("\"data.k\" {plain}")),
        ("/apis/apps/v1/replicasets", "status.replicas", format!("\"status.replicas\" {plain}")),
        ("/apis/batch/v1/jobs", "spec.x", "field label \"spec.x\" not supported for Job".to_owned()),
        ("/api/v1/replicationcontrollers", "spec.x", "field label not supported: spec.x".to_owned()),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", "rules", format!("\"rules\" {plain}")),
    ];
    for (path, field, words) in table {
        for watch in ["", "&watch=1"] {
            let reply = get(&server.client, &format!("{path}?fieldSelector={field}%3Da{watch}")).await;
            reply.refused(400, "BadRequest");
            assert_eq!(reply.body["message"], words.as_str(), "{path}");
        }
    }
    let known = [
        "/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse",
        "/api/v1/replicationcontrollers?fieldSelector=status.replicas%3D0",
        "/apis/batch/v1/jobs?fieldSelector=status.successful%3D1",
        "/api/v1/services?fieldSelector=spec.clusterIP%3DNone,spec.type%3DClusterIP",
        "/api/v1/secrets?fieldSelector=type%3DOpaque",
        "/api/v1/namespaces?fieldSelector=status.phase%3DActive",
        "/api/v1/events?fieldSelector=involvedObject.kind%3DPod,reason!%3DX,source%3Dkubelet,type%3DNormal",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=spec.signerName%3Dx",
    ];
    for path in known {
        get(&server.client, path).await.expect(200);
    }
    let none = "/apis/rbac.authorization.k8s.io/v1/clusterroles?fieldSelector=metadata.namespace%3Dx";
    assert_eq!(names(&get(&server.client, none).await.expect(200)), "");
    let two = format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da,metadata.name%3Db");
    assert_eq!(names(&get(&server.client, &two).await.expect(200)), "");
}
