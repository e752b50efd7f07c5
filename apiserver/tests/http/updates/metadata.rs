//! What belongs to the server or is told once more by each of a kind's rules.

use serde_json::{Value, json};

use super::{Case, check};
use crate::client::{apply, get, patch, post, put};
use crate::support::TestServer;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A finalizer without a group is told by each round of a kind's own rules, and a prefix that makes no names by those
/// that judge the metadata as on a create.
#[tokio::test(flavor = "multi_thread")]
async fn each_round_of_a_kinds_rules_tells_what_is_wrong() {
    const FINALIZER: &str = "metadata.finalizers[0]: Invalid value: \"mine\": …";
    const PREFIX: &str = "metadata.generateName: Invalid value: \"A\": …";
    let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/x"}}});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let limits = json!({"spec": {"limits": []}});
    let change = json!({"metadata": {"finalizers": ["mine"], "generateName": "A"}});
    let cases: Vec<Case> = vec![
        (
            "/api/v1/persistentvolumes",
            "v1/PersistentVolume",
            volume,
            change.clone(),
            &[PREFIX, FINALIZER, PREFIX, FINALIZER],
        ),
        (CONFIG_MAPS, "v1/ConfigMap", json!({}), change.clone(), &[PREFIX, FINALIZER, FINALIZER]),
        ("/api/v1/namespaces/default/limitranges", "v1/LimitRange", limits, change.clone(), &[PREFIX, FINALIZER]),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            "apps/v1/Deployment",
            deployment,
            change.clone(),
            &[FINALIZER],
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            "policy/v1/PodDisruptionBudget",
            json!({"spec": {}}),
            change,
            &[],
        ),
    ];
    check(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_has_not_begun_is_not_told() {
    const END: &str = "metadata.deletionTimestamp: Invalid value: \"2020-01-01T00:00:00Z\": field is immutable";
    const GRACE: &str = "metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable";
    let change = json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}});
    check(vec![(CONFIG_MAPS, "v1/ConfigMap", json!({}), change, &[END, GRACE, END, GRACE])]).await;
}

/// What an update or an applied configuration makes was made from no version: one that is named need only be a number.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_object_needs_no_version_that_holds() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let body = |api_version: &str, kind: &str, version: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "resourceVersion": version}});
    let maps = &format!("{CONFIG_MAPS}/a?fieldManager=m");
    let leases = &format!("{leases}/a?fieldManager=m");
    for (version, code) in [("x", 500), ("99", 201)] {
        let applied = apply(client, maps, &body("v1", "ConfigMap", version)).await;
        let lease = body("coordination.k8s.io/v1", "Lease", version);
        let made = put(client, leases, &lease).await;
        assert_eq!((applied.code, made.code), (code, code));
        if code == 500 {
            let why = "strconv.ParseUint: parsing \"x\": invalid syntax";
            assert_eq!((&applied.body["message"], &made.body["message"]), (&json!(why), &json!(why)));
        }
    }
    apply(client, maps, &body("v1", "ConfigMap", "99")).await.refused(409, "Conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_names_its_object_and_version() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let map = |metadata: Value| {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        map["metadata"]["name"] = json!("a");
        map
    };
    post(client, CONFIG_MAPS, &map(json!({}))).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let uid = get(client, &path).await.expect(200)["metadata"]["uid"].clone();
    let own = uid.as_str().expect("a uid");
    for (query, key) in [("", "/registry/configmaps/default/a"), ("?dryRun=All", "/configmaps/default/a")] {
        let refused = put(client, &format!("{path}{query}"), &map(json!({"uid": "b", "resourceVersion": "x"}))).await;
        assert_eq!(refused.code, 409);
        let why = format!(
            "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: b, UID in object meta: {own}"
        );
        assert_eq!(refused.body["message"], why);
    }
    let unread = put(client, &path, &map(json!({"resourceVersion": "x"}))).await;
    assert_eq!(
        (unread.code, &unread.body["message"]),
        (500, &json!("strconv.ParseUint: parsing \"x\": invalid syntax"))
    );
    // The same where the update would be a create.
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "a", "resourceVersion": "99999999999999999999"}, "spec": {}});
    let unread = put(client, "/apis/coordination.k8s.io/v1/namespaces/default/leases/a", &lease).await;
    assert_eq!(
        (unread.code, &unread.body["message"]),
        (500, &json!("strconv.ParseUint: parsing \"99999999999999999999\": value out of range"))
    );
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
    let owned = json!({"metadata": {"ownerReferences": [owner, owner]}});
    let patched = patch(client, &path, "merge", &owned).await;
    assert_eq!(patched.body["metadata"]["ownerReferences"], json!([owner]));
}

/// What nobody can be said to own, and what only Go tells apart.
#[tokio::test(flavor = "multi_thread")]
async fn odd_lists_have_owners_as_upstreams_have() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let owned = |object: &Value| object["metadata"]["managedFields"][0]["fieldsV1"].clone();
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let role =
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "a"}, "rules": []});
    let made = post(client, roles, &role).await.expect(201);
    assert_eq!((&made["rules"], owned(&made)), (&Value::Null, json!({"f:rules": {}})));
    let mut none = role.clone();
    (none["rules"], none["metadata"]["name"]) = (Value::Null, json!("b"));
    assert_eq!(owned(&post(client, roles, &none).await.expect(201)), Value::Null);
    none["rules"] = json!([]);
    assert_eq!(owned(&put(client, &format!("{roles}/b"), &none).await.expect(200)), Value::Null);
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "labels": {"a": "b"}},
        "secrets": [{}]});
    assert_eq!(post(client, accounts, &account).await.expect(201)["metadata"].get("managedFields"), None);
}

/// Who scales owns the replicas in an entry of its own, and everyone else is left with the rest.
#[tokio::test(flavor = "multi_thread")]
async fn who_scales_owns_the_replicas_apart() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    post(client, path, &deployment).await.expect(201);
    let scale = json!({"spec": {"replicas": 3}});
    patch(client, &format!("{path}/a/scale"), "merge", &scale).await.expect(200);
    let scaled = get(client, &format!("{path}/a")).await.expect(200);
    let owners = scaled["metadata"]["managedFields"].as_array().expect("owners");
    let of_scale = owners.iter().find(|entry| entry["subresource"] == "scale").expect("who scaled");
    assert_eq!(of_scale["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert!(of_scale.get("time").is_none(), "{of_scale}");
    let other = owners.iter().find(|entry| entry.get("subresource").is_none()).expect("who made it");
    assert!(other["fieldsV1"]["f:spec"].get("f:replicas").is_none() && other["time"].is_string());
}

/// A reading of an autoscaler is a number and an annotation in the older version, and who writes the one owns both.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_version_tells_in_two_places_is_owned_in_both() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let object = json!({
        "metadata": {"name": "a", "annotations": {"autoscaling.alpha.kubernetes.io/behavior": "none"}},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    });
    let made = post(client, path, &object).await.expect(201);
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"].get("f:metadata"), None, "{made}");
    let read = json!({"status": {"currentReplicas": 1, "desiredReplicas": 1, "currentCPUUtilizationPercentage": 2}});
    let read = patch(client, &format!("{path}/a/status"), "merge", &read).await.expect(200);
    let owned = &read["metadata"]["managedFields"][1];
    let annotation = "autoscaling.alpha.kubernetes.io/current-metrics";
    assert!(read["metadata"]["annotations"][annotation].is_string());
    assert!(owned["fieldsV1"]["f:metadata"]["f:annotations"][format!("f:{annotation}")].is_object(), "{owned}");
    assert!(owned["fieldsV1"]["f:status"]["f:currentCPUUtilizationPercentage"].is_object(), "{owned}");
}
