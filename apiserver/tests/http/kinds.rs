//! What is special about kinds, as clients see it: columns, field selectors, status, and what is there from the start.

use serde_json::{Value, json};

use crate::client::{delete, get, get_as, patch, post, put};
use crate::support::TestServer;

const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

async fn cells(client: &kube::Client, path: &str) -> (Vec<String>, Vec<Value>) {
    let table = get_as(client, path, TABLE).await.expect(200);
    let columns = table["columnDefinitions"].as_array().expect("columns").iter();
    let columns = columns.filter_map(|column| column["name"].as_str().map(str::to_owned)).collect();
    (columns, table["rows"][0]["cells"].as_array().cloned().expect("a row"))
}

/// Each kind with a good object, the columns of its table, and the cells but for the age.
#[tokio::test(flavor = "multi_thread")]
async fn tables_are_upstreams() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let volume = json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}, "storageClassName": "s"}});
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "s"}});
    let class = json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "a.io/b"});
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = json!({"spec": {"ingressClassName": "c", "rules": [{"host": "a.b"}, {"host": "c.d"}], "defaultBackend": backend, "tls": [{}]}});
    let request = json!({"name": "r", "exactly": {"deviceClassName": "c"}});
    for (path, kind, object, columns, shown) in [
        (
            "/api/v1/persistentvolumes",
            "v1/PersistentVolume",
            volume,
            "Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age,VolumeMode",
            json!(["a", "1Gi", "RWO,ROX", "Retain", "Pending", "", "s", "<unset>", "", "Filesystem"]),
        ),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            "v1/PersistentVolumeClaim",
            claim,
            "Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,VolumeMode",
            json!(["a", "Pending", "", "", "", "s", "<unset>", "Filesystem"]),
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            "storage.k8s.io/v1/StorageClass",
            class,
            "Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age",
            json!(["a (default)", "a.io/b", "Delete", "Immediate", false]),
        ),
        (
            "/apis/storage.k8s.io/v1/csidrivers",
            "storage.k8s.io/v1/CSIDriver",
            json!({"spec": {}}),
            "Name,AttachRequired,PodInfoOnMount,StorageCapacity,TokenRequests,RequiresRepublish,Modes,Age",
            json!(["a", true, false, false, "<unset>", false, "Persistent"]),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
            "networking.k8s.io/v1/Ingress",
            ingress,
            "Name,Class,Hosts,Address,Ports,Age",
            json!(["a", "c", "a.b,c.d", "", "80, 443"]),
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            "networking.k8s.io/v1/NetworkPolicy",
            json!({"spec": {"podSelector": {"matchLabels": {"x": "y"}}}}),
            "Name,Pod-Selector,Age",
            json!(["a", "x=y"]),
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses",
            "node.k8s.io/v1/RuntimeClass",
            json!({"handler": "h"}),
            "Name,Handler,Age",
            json!(["a", "h"]),
        ),
        (
            "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims",
            "resource.k8s.io/v1/ResourceClaim",
            json!({"spec": {"devices": {"requests": [request]}}}),
            "Name,State,Age",
            json!(["a", "pending"]),
        ),
    ] {
        let (version, kind) = kind.rsplit_once('/').expect("a version and a kind");
        let mut object = object;
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!("a");
        post(client, path, &object).await.expect(201);
        let (told, mut row) = cells(client, path).await;
        assert_eq!(told.join(","), columns, "{path}");
        row.remove(told.iter().position(|name| name == "Age").expect("an age"));
        assert_eq!(Value::from(row), shown, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_its_levels_and_services_of_groups() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let names = |list: Value| -> Vec<String> {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
    };
    let levels = names(get(client, &format!("{FLOW}/prioritylevelconfigurations")).await.expect(200));
    assert_eq!(
        levels,
        [
            "catch-all",
            "exempt",
            "global-default",
            "leader-election",
            "node-high",
            "system",
            "workload-high",
            "workload-low"
        ]
    );
    assert_eq!(names(get(client, &format!("{FLOW}/flowschemas")).await.expect(200)).len(), 11);
    let exempt = json!({"spec": {"matchingPrecedence": 5}});
    patch(client, &format!("{FLOW}/flowschemas/exempt"), "merge", &exempt).await.refused(422, "Invalid");
    let (columns, row) = cells(client, "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps").await;
    assert_eq!(columns, ["Name", "Service", "Available", "Age"]);
    assert_eq!(row[..3], [json!("v1.apps"), json!("Local"), json!("True")]);
    let service = get(client, "/apis/apiregistration.k8s.io/v1/apiservices/v2.autoscaling").await.expect(200);
    assert_eq!(service["spec"]["groupPriorityMinimum"], 17500);
    assert_eq!(service["spec"]["versionPriority"], 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_two_shapes() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    const OLD: &str = "/api/v1/namespaces/default/events";
    const NEW: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "a.io/b", "reportingInstance": "i",
        "action": "Do", "reason": "Why", "type": "Normal", "note": "n",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    });
    let made = post(client, NEW, &event).await.expect(201);
    assert_eq!((&made["note"], &made["apiVersion"]), (&json!("n"), &json!("events.k8s.io/v1")));
    let old = get(client, &format!("{OLD}/e")).await.expect(200);
    assert_eq!((&old["message"], &old["involvedObject"]["name"]), (&json!("n"), &json!("p")));
    for (path, selector, count) in [
        (NEW, "regarding.name%3Dp", 1),
        (NEW, "reportingController%3Da.io/b", 1),
        (NEW, "regarding.name%3Dq", 0),
        (OLD, "involvedObject.name%3Dp", 1),
    ] {
        let list = get(client, &format!("{path}?fieldSelector={selector}")).await.expect(200);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{path} {selector}");
    }
    let mut bad = event.clone();
    bad["metadata"]["name"] = json!("f");
    bad["deprecatedCount"] = json!(1);
    post(client, NEW, &bad).await.refused(422, "Invalid");
    let mut other = made.clone();
    other["note"] = json!("another");
    put(client, &format!("{NEW}/e"), &other).await.refused(422, "Invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_change_and_what_may_not() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
    const DRIVERS: &str = "/apis/storage.k8s.io/v1/csidrivers";
    const VOLUMES: &str = "/api/v1/persistentvolumes";
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "s"}, "provisioner": "a.io/b"});
    post(client, CLASSES, &class).await.expect(201);
    patch(client, &format!("{CLASSES}/s"), "merge", &json!({"reclaimPolicy": "Retain"})).await.refused(422, "Invalid");
    patch(client, &format!("{CLASSES}/s"), "merge", &json!({"allowVolumeExpansion": true})).await.expect(200);
    let gone = delete(client, &format!("{CLASSES}/s"), &Value::Null).await.expect(200);
    assert_eq!(gone["kind"], "StorageClass", "the answer is what was deleted");

    let driver =
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "d.io"}, "spec": {}});
    let made = post(client, DRIVERS, &driver).await.expect(201);
    assert_eq!(made["metadata"]["generation"], Value::Null);
    let changed = patch(client, &format!("{DRIVERS}/d.io"), "merge", &json!({"spec": {"podInfoOnMount": true}})).await;
    assert_eq!(changed.expect(200)["metadata"]["generation"], 1);

    let spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}});
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": spec});
    let made = post(client, VOLUMES, &volume).await.expect(201);
    assert!(made["status"]["lastPhaseTransitionTime"].is_string());
    let path = format!("{VOLUMES}/v");
    patch(client, &path, "merge", &json!({"spec": {"hostPath": {"path": "/y"}}})).await.refused(422, "Invalid");
    let bound = patch(client, &format!("{path}/status"), "merge", &json!({"status": {"phase": "Available"}})).await;
    assert_eq!(bound.expect(200)["status"]["phase"], "Available");
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_are_chosen_by_node_and_driver() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";
    for (name, node) in [("a", "n1"), ("b", "n2")] {
        let pool = json!({"name": node, "resourceSliceCount": 1, "generation": 0});
        let slice = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name},
            "spec": {"driver": "d.io", "nodeName": node, "pool": pool, "devices": [{"name": "x"}]},
        });
        post(client, SLICES, &slice).await.expect(201);
    }
    for (selector, count) in [("spec.nodeName%3Dn1", 1), ("spec.driver%3Dd.io", 2), ("spec.driver%3De.io", 0)] {
        let list = get(client, &format!("{SLICES}?fieldSelector={selector}")).await.expect(200);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{selector}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_to_the_devices_of_others_is_for_labelled_namespaces() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let request = json!({"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": true}});
    let claim = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "a"},
        "spec": {"devices": {"requests": [request]}},
    });
    let refused = post(client, CLAIMS, &claim).await;
    refused.refused(422, "Invalid");
    assert_eq!(refused.body["details"]["causes"][0]["field"], "spec.devices.requests[0].adminAccess");
    // Beside all else that is wrong.
    let mut wrong = claim.clone();
    wrong["spec"]["devices"]["requests"][0]["name"] = json!("R");
    let refused = post(client, CLAIMS, &wrong).await;
    let causes = refused.body["details"]["causes"].as_array().into_iter().flatten();
    let fields: Vec<_> = causes.map(|cause| cause["field"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(fields, ["spec.devices.requests[0].adminAccess", "spec.devices.requests[0].name"]);
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    patch(client, "/api/v1/namespaces/default", "merge", &label).await.expect(200);
    let made = async {
        while post(client, CLAIMS, &claim).await.code != 201 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), made).await.expect("a claim");
}
