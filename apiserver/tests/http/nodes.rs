//! What a kubelet may do with what is its own, and with what is another's.

use serde_json::{Value, json};

use crate::client::{delete, get, patch, post};
use crate::pods::{PODS, account, pod};
use crate::secure::Secure;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

#[tokio::test(flavor = "multi_thread")]
async fn drivers_attachments_and_devices_are_their_nodes() {
    let server = Secure::with_roles().await;
    let (master, node) = (server.master(), server.client("system:node:n1", &["system:nodes"]));
    let drivers = "/apis/storage.k8s.io/v1/csinodes";
    let driver = |name: &str| json!({"metadata": {"name": name}, "spec": {"drivers": []}});
    post(&node, drivers, &driver("n1")).await.expect(201);
    let refused = post(&node, drivers, &driver("n2")).await;
    refused.refused(403, "Forbidden");
    let told = refused.body["message"].as_str().unwrap();
    assert!(told.ends_with("can only access CSINode with the same name as the requesting node"), "{told}");
    post(&master, drivers, &driver("n2")).await.expect(201);
    get(&node, &format!("{drivers}/n1")).await.expect(200);
    get(&node, &format!("{drivers}/n2")).await.refused(403, "Forbidden");
    delete(&node, &format!("{drivers}/n2"), &Value::Null).await.refused(403, "Forbidden");

    let attachments = "/apis/storage.k8s.io/v1/volumeattachments";
    for name in ["n1", "n2"] {
        let source = json!({"persistentVolumeName": "v"});
        let spec = json!({"attacher": "a.io", "nodeName": name, "source": source});
        post(&master, attachments, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    }
    get(&node, &format!("{attachments}/n1")).await.expect(200);
    get(&node, &format!("{attachments}/n2")).await.refused(403, "Forbidden");

    let slices = "/apis/resource.k8s.io/v1/resourceslices";
    let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 1});
    let slice =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"driver": "d.io", "nodeName": name, "pool": pool}});
    post(&node, slices, &slice("n1")).await.expect(201);
    post(&node, slices, &slice("n2")).await.refused(403, "Forbidden");
    post(&master, slices, &slice("n2")).await.expect(201);
    get(&node, slices).await.refused(403, "Forbidden");
    get(&node, &format!("{slices}/n2")).await.refused(403, "Forbidden");
    let own = format!("{slices}?fieldSelector=spec.nodeName%3Dn1");
    get(&node, &own).await.expect(200);
    delete(&node, &own, &Value::Null).await.expect(200);
    get(&master, &format!("{slices}/n1")).await.refused(404, "NotFound");
    get(&master, &format!("{slices}/n2")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_grows_on_its_node_and_its_secrets_are_read_there() {
    let server = Secure::with_roles().await;
    let (master, node) = (server.master(), server.client("system:node:n1", &["system:nodes"]));
    account(&master).await;
    for name in ["published", "staged", "other"] {
        post(&master, SECRETS, &json!({"metadata": {"name": name}})).await.expect(201);
    }
    let amount = json!({"storage": "1Gi"});
    let modes = json!(["ReadWriteOnce"]);
    let volume = json!({"metadata": {"name": "v"}, "spec": {
        "accessModes": modes, "capacity": amount, "claimRef": {"namespace": "default", "name": "c"},
        "csi": {"driver": "d.io", "volumeHandle": "h", "nodeStageSecretRef": {"name": "staged", "namespace": "default"}},
    }});
    post(&master, "/api/v1/persistentvolumes", &volume).await.expect(201);
    for name in ["c", "unused"] {
        let spec = json!({"accessModes": modes, "resources": {"requests": amount}, "volumeName": "v"});
        post(&master, CLAIMS, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    }
    let mut own = pod("own");
    own["spec"]["nodeName"] = json!("n1");
    own["spec"]["volumes"] = json!([
        {"name": "c", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "i", "csi": {"driver": "d.io", "nodePublishSecretRef": {"name": "published"}}},
    ]);
    post(&master, PODS, &own).await.expect(201);
    for (name, code) in [("published", 200), ("staged", 200), ("other", 403)] {
        assert_eq!(get(&node, &format!("{SECRETS}/{name}")).await.code, code, "{name}");
    }
    let grown = json!({"status": {"capacity": {"storage": "2Gi"}}});
    patch(&node, &format!("{CLAIMS}/c/status"), "merge", &grown).await.expect(200);
    patch(&node, &format!("{CLAIMS}/unused/status"), "merge", &grown).await.refused(403, "Forbidden");
    let lost = json!({"status": {"phase": "Lost"}});
    patch(&node, &format!("{CLAIMS}/c/status"), "merge", &lost).await.refused(403, "Forbidden");
    patch(&node, &format!("{CLAIMS}/c"), "merge", &grown).await.refused(403, "Forbidden");
}

/// Else a node could name a secret of its choice in a mirror of no pod, and read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_names_nothing_and_stays_one() {
    let server = Secure::with_roles().await;
    let (master, node) = (server.master(), server.client("system:node:n1", &["system:nodes"]));
    post(&master, SECRETS, &json!({"metadata": {"name": "s"}})).await.expect(201);
    let uid =
        post(&node, "/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await.expect(201)["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid, "controller": true});
    let mirror = |field: &str, value: Value| {
        let mut pod = pod("mirror");
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        pod["metadata"]["ownerReferences"] = json!([owner]);
        pod["spec"]["nodeName"] = json!("n1");
        pod["spec"][field] = value;
        pod
    };
    let container = |what: &str, value: Value| json!([{"name": "c", "image": "i", what: value}]);
    let volume = |kind: &str, source: Value| json!([{"name": "v", kind: source}]);
    let secret = "a mirror pod may not reference secrets";
    let variable = json!([{"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    for (field, value, why) in [
        ("imagePullSecrets", json!([{"name": "s"}]), secret),
        ("containers", container("env", variable), secret),
        ("initContainers", container("envFrom", json!([{"secretRef": {"name": "s"}}])), secret),
        ("volumes", volume("flexVolume", json!({"driver": "d.io/d", "secretRef": {"name": "s"}})), secret),
        ("serviceAccountName", json!("default"), "a mirror pod may not reference service accounts"),
        ("containers", container("envFrom", json!([{"configMapRef": {"name": "s"}}])), "configmaps"),
        ("volumes", volume("persistentVolumeClaim", json!({"claimName": "s"})), "persistentvolumeclaims"),
        ("volumes", volume("csi", json!({"driver": "d.io"})), "csidrivers (via CSI volumes)"),
    ] {
        let refused = post(&node, PODS, &mirror(field, value)).await;
        refused.refused(403, "Forbidden");
        let why = match why.starts_with("a mirror") {
            true => why.to_owned(),
            false => format!("node \"n1\" can not create pods that reference {why}"),
        };
        assert!(refused.body["message"].as_str().is_some_and(|told| told.ends_with(&why)), "{}", refused.body);
    }
    let amounts = json!({"d.io/x": "1"});
    let containers = container("resources", json!({"requests": amounts, "limits": amounts}));
    post(&node, PODS, &mirror("containers", containers)).await.expect(201);
    let status = format!("{PODS}/mirror/status");
    let unmarked = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": null}}});
    let refused = patch(&node, &status, "merge", &unmarked).await;
    refused.refused(422, "Invalid");
    let why =
        "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation";
    assert!(refused.body["message"].as_str().is_some_and(|told| told.ends_with(why)), "{}", refused.body);
    let mapping = json!({"containerName": "c", "resourceName": "d.io/x", "requestName": "r"});
    let claimed = json!({"extendedResourceClaimStatus": {"resourceClaimName": "s", "requestMappings": [mapping]}});
    let refused = patch(&node, &status, "merge", &json!({"status": claimed})).await;
    refused.refused(403, "Forbidden");
    let why = "node \"n1\" cannot update extended resource claim status";
    assert!(refused.body["message"].as_str().is_some_and(|told| told.ends_with(why)), "{}", refused.body);
    patch(&node, &status, "merge", &json!({"status": {"phase": "Running"}})).await.expect(200);
    get(&node, &format!("{SECRETS}/s")).await.refused(403, "Forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_spends_no_budget_of_anothers_pods() {
    let server = Secure::with_roles().await;
    let (master, node) = (server.master(), server.client("system:node:n1", &["system:nodes"]));
    account(&master).await;
    let mut others = pod("others");
    others["spec"]["nodeName"] = json!("n2");
    post(&master, PODS, &others).await.expect(201);
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    patch(&master, &format!("{PODS}/others/status"), "merge", &ready).await.expect(200);
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let spec = json!({"minAvailable": 0, "selector": {"matchLabels": {"app": "x"}}});
    post(&master, budgets, &json!({"metadata": {"name": "b"}, "spec": spec})).await.expect(201);
    let status = json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 1, "expectedPods": 1});
    let before = patch(&master, &format!("{budgets}/b/status"), "merge", &json!({"status": status})).await.expect(200);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "others"}});
    let refused = post(&node, &format!("{PODS}/others/eviction"), &eviction).await;
    refused.refused(403, "Forbidden");
    let why = "node \"n1\" can only evict pods with spec.nodeName set to itself";
    assert!(refused.body["message"].as_str().is_some_and(|told| told.ends_with(why)), "{}", refused.body);
    assert_eq!(get(&master, &format!("{budgets}/b")).await.expect(200)["status"], before["status"]);
}

/// A node asks tokens for whom its pod's volumes name, their drivers included, and for whom it was given the right.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_for_whom_the_pod_names() {
    let server = Secure::with_roles().await;
    let (master, node) = (server.master(), server.client("system:node:n1", &["system:nodes"]));
    account(&master).await;
    let driver = json!({"metadata": {"name": "d.io"}, "spec": {"tokenRequests": [{"audience": "of-driver"}]}});
    post(&master, "/apis/storage.k8s.io/v1/csidrivers", &driver).await.expect(201);
    let mut own = pod("own");
    own["spec"]["nodeName"] = json!("n1");
    own["spec"]["volumes"] = json!([
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "of-volume"}}]}},
        {"name": "i", "csi": {"driver": "d.io"}},
    ]);
    let uid = post(&master, PODS, &own).await.expect(201)["metadata"]["uid"].clone();
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "own", "uid": uid});
    let ask = async |audiences: Value| {
        let request = json!({"spec": {"audiences": audiences, "boundObjectRef": bound}});
        post(&node, "/api/v1/namespaces/default/serviceaccounts/default/token", &request).await
    };
    // The last is the API server's own: each pod has a token for it.
    for audiences in [json!(["of-volume"]), json!(["of-driver"]), json!([])] {
        assert_eq!(ask(audiences.clone()).await.code, 201, "{audiences}");
    }
    let refused = ask(json!(["vault"])).await;
    refused.refused(403, "Forbidden");
    let why = "audience \"vault\" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience";
    assert!(refused.body["message"].as_str().is_some_and(|told| told.ends_with(why)), "{}", refused.body);
    let refused = ask(json!(["of-volume", "of-driver"])).await;
    refused.refused(403, "Forbidden");
    assert!(
        refused.body["message"].as_str().is_some_and(|told| told.ends_with("node may only request 0 or 1 audiences"))
    );
    let rights = "/apis/rbac.authorization.k8s.io/v1";
    let verb = "request-serviceaccounts-token-audience";
    let rule = json!({"apiGroups": [""], "resources": ["vault"], "verbs": [verb], "resourceNames": ["default"]});
    post(&master, &format!("{rights}/clusterroles"), &json!({"metadata": {"name": "ask"}, "rules": [rule]}))
        .await
        .expect(201);
    let binding = json!({"metadata": {"name": "ask"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ask"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}]});
    post(&master, &format!("{rights}/clusterrolebindings"), &binding).await.expect(201);
    // The index of rights follows its watch: what was granted is held a moment later.
    for _ in 0..500 {
        if ask(json!(["vault"])).await.code == 201 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the right to ask for an audience is not heeded");
}
