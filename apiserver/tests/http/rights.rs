//! Who may do what, over TLS with certificates: RBAC, nodes, escalation.

use http::Method;
use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, apply, call, config_map, delete, get, patch, post, put};
use crate::pods::{PODS, account, pod};
use crate::secure::{Authority, Secure};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

pub async fn grant(master: &kube::Client, name: &str, user: &str, rules: Value) {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    post(master, &format!("{RBAC}/clusterroles"), &role).await.expect(201);
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": user}],
    });
    post(master, &format!("{RBAC}/clusterrolebindings"), &binding).await.expect(201);
}

/// The index of rights follows its watch: what was granted is held a moment later.
pub async fn soon(client: &kube::Client, path: &str) {
    for _ in 0..500 {
        if get(client, path).await.code == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{path} stays forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_forbidden_and_false_ones_unauthorized() {
    let tokens = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(tokens.path(), "s3cret,robot,1,system:masters\n").expect("to write");
    let flag = format!("--token-auth-file={}", tokens.path().display());
    let server = Secure::start(&["--authorization-mode=Node,RBAC", &flag]).await;
    let anonymous = server.anonymous();
    let refused = get(&anonymous, PODS).await;
    refused.refused(403, "Forbidden");
    assert_eq!(refused.headers["x-content-type-options"], "nosniff");
    assert_eq!(
        refused.body["message"],
        "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    for probe in ["/healthz", "/livez", "/readyz", "/version"] {
        get(&anonymous, probe).await.expect(200);
    }
    // What single checks find wrong is not everybody's business.
    for path in ["/metrics", "/readyz/etcd", "/livez/ping"] {
        get(&anonymous, path).await.refused(403, "Forbidden");
    }
    get(&server.bearer("nonsense"), "/livez").await.refused(401, "Unauthorized");
    let stranger = server.client_of(&Authority::new(), "admin", &["system:masters"]);
    get(&stranger, PODS).await.refused(401, "Unauthorized");
    let token = "Bearer s3cret";
    let listed = call(&stranger, Method::GET, PODS, &[("authorization", token)], "").await;
    listed.expect(200);
    call(&stranger, Method::GET, PODS, &[("authorization", "Bearer nonsense")], "").await.refused(401, "Unauthorized");
    get(&server.bearer("nonsense"), PODS).await.refused(401, "Unauthorized");
    get(&server.client("bob", &[]), PODS).await.refused(403, "Forbidden");
    get(&server.master(), PODS).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_in_one_namespace_are_none_over_another() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "bob"}],
    });
    post(&master, &bindings, &binding).await.expect(201);
    post(&master, "/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.expect(201);
    let bob = server.client("bob", &[]);
    soon(&bob, "/api/v1/namespaces/default").await;
    let inside = "/api/v1/namespaces/default/namespaces";
    let other = format!("{inside}/other");
    for path in [inside, &other] {
        get(&bob, path).await.refused(404, "NotFound");
        delete(&bob, path, &Value::Null).await.refused(404, "NotFound");
    }
    patch(&bob, &other, "merge", &json!({"metadata": {"labels": {"a": "b"}}})).await.refused(404, "NotFound");
    get(&bob, "/api/v1/namespaces/other").await.refused(403, "Forbidden");
}

/// A WebSocket begins with a GET.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_opens_no_streams() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let streams = ["exec", "attach", "portforward"];
    let resources = streams.map(|stream| format!("pods/{stream}"));
    let list = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]});
    for (user, verbs) in [("reader", json!(["get"])), ("user", json!(["get", "create"]))] {
        let rule = json!({"apiGroups": [""], "resources": resources, "verbs": verbs});
        grant(&master, user, user, json!([list, rule])).await;
    }
    let (reader, user) = (server.client("reader", &[]), server.client("user", &[]));
    soon(&reader, PODS).await;
    soon(&user, PODS).await;
    for stream in streams {
        let path = format!("{PODS}/p/{stream}?command=date&ports=80");
        let refused = get(&reader, &path).await;
        refused.refused(403, "Forbidden");
        assert_eq!(refused.body["message"], "pods \"p\" is forbidden: ", "{stream}");
        get(&user, &path).await.refused(404, "NotFound");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_server_still_wants_a_name() {
    let server = Secure::start(&["--authorization-mode=AlwaysAllow"]).await;
    get(&server.anonymous(), PODS).await.refused(401, "Unauthorized");
    get(&server.anonymous(), "/livez").await.refused(401, "Unauthorized");
    get(&server.client("bob", &[]), PODS).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_sees_its_pods_and_writes_itself() {
    let server = Secure::with_roles().await;
    let master = server.master();
    account(&master).await;
    for name in ["used", "unused"] {
        post(&master, CONFIG_MAPS, &config_map(name, &json!({}))).await.expect(201);
    }
    let mut own = pod("own");
    own["spec"]["nodeName"] = json!("n1");
    own["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "used"}}]);
    post(&master, PODS, &own).await.expect(201);
    let node = server.client("system:node:n1", &["system:nodes"]);
    get(&node, &format!("{PODS}?fieldSelector=spec.nodeName%3Dn1")).await.expect(200);
    get(&node, PODS).await.refused(403, "Forbidden");
    get(&node, &format!("{PODS}/own")).await.expect(200);
    get(&node, &format!("{CONFIG_MAPS}/used")).await.expect(200);
    let refused = get(&node, &format!("{CONFIG_MAPS}/unused")).await;
    refused.refused(403, "Forbidden");
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.ends_with("no relationship found between node 'n1' and this object"), "{message}");
    get(&node, CONFIG_MAPS).await.refused(403, "Forbidden");
    let nodes = "/api/v1/nodes";
    post(&node, nodes, &json!({"metadata": {"name": "n1"}})).await.expect(201);
    // Before it is looked at what else is wrong with it.
    for other in [json!({"metadata": {"name": "n2"}}), json!({"metadata": {"name": "n2"}, "spec": {"podCIDR": "x"}})] {
        post(&node, nodes, &other).await.refused(403, "Forbidden");
    }
    post(&master, nodes, &json!({"metadata": {"name": "n2"}})).await.expect(201);
    let status = json!({"status": {"phase": "Running"}});
    patch(&node, &format!("{nodes}/n1/status"), "merge", &status).await.expect(200);
    patch(&node, &format!("{nodes}/n2/status"), "merge", &status).await.refused(403, "Forbidden");
    let label = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}});
    patch(&node, &format!("{nodes}/n1"), "merge", &label).await.refused(403, "Forbidden");
    delete(&node, &format!("{nodes}/n1"), &Value::Null).await.refused(403, "Forbidden");
    let other = server.client("system:node:n2", &["system:nodes"]);
    get(&other, &format!("{PODS}/own")).await.refused(403, "Forbidden");
    delete(&other, &format!("{PODS}/own"), &Value::Null).await.refused(403, "Forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_more_than_they_hold() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let (pods, roles) = (json!(["pods"]), format!("{RBAC}/namespaces/default/roles"));
    grant(&master, "writer", "bob", json!([
        {"verbs": ["get"], "apiGroups": [""], "resources": pods},
        {"verbs": ["get", "create", "update"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]},
    ]))
    .await;
    account(&master).await;
    post(&master, PODS, &pod("seen")).await.expect(201);
    let seen = format!("{PODS}/seen");
    let bob = server.client("bob", &[]);
    soon(&bob, &seen).await;
    let role = |name: &str, verbs: &[&str]| json!({"metadata": {"name": name}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": pods}]});
    post(&bob, &roles, &role("less", &["get"])).await.expect(201);
    let refused = post(&bob, &roles, &role("more", &["get", "delete"])).await;
    refused.refused(403, "Forbidden");
    assert_eq!(
        refused.body["message"],
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"bob\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
    );
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let binding = |role: &str| {
        json!({
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": "bob"}],
        })
    };
    post(&bob, &bindings, &binding("cluster-admin")).await.refused(403, "Forbidden");
    post(&bob, &bindings, &binding("missing")).await.refused(404, "NotFound");
    grant(&master, "binder", "eve", json!([
        {"verbs": ["get", "create"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings", "roles"]},
        {"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"]},
        {"verbs": ["escalate"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": pods},
    ]))
    .await;
    let eve = server.client("eve", &[]);
    soon(&eve, &seen).await;
    post(&eve, &bindings, &binding("view")).await.expect(201);
    post(&eve, &bindings, &binding("cluster-admin")).await.refused(403, "Forbidden");
    post(&eve, &roles, &role("more", &["delete"])).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_change_may_not_thereby_make() {
    let server = Secure::with_roles().await;
    let (master, bob) = (server.master(), server.client("bob", &[]));
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]});
    grant(&master, "patches", "bob", json!([rule])).await;
    post(&master, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    soon(&bob, &format!("{CONFIG_MAPS}/a")).await;
    apply(&bob, &format!("{CONFIG_MAPS}/a?fieldManager=m"), &config_map("a", &json!({"x": "1"}))).await.expect(200);
    let refused = apply(&bob, &format!("{CONFIG_MAPS}/b?fieldManager=m"), &config_map("b", &json!({}))).await;
    refused.refused(403, "Forbidden");
    assert_eq!(
        refused.body["message"],
        "configmaps \"b\" is forbidden: User \"bob\" cannot create resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_may_make_a_role_but_no_larger_one_than_its_maker_holds() {
    let server = Secure::with_roles().await;
    let (master, bob) = (server.master(), server.client("bob", &[]));
    let roles = format!("{RBAC}/namespaces/default/roles");
    let rights = json!(["get", "create", "update"]);
    grant(
        &master,
        "writer",
        "bob",
        json!([
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": rights, "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
        ]),
    )
    .await;
    account(&master).await;
    post(&master, PODS, &pod("seen")).await.expect(201);
    soon(&bob, &format!("{PODS}/seen")).await;
    let role = |name: &str, verb: &str| json!({"metadata": {"name": name}, "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]});
    put(&bob, &format!("{roles}/less"), &role("less", "get")).await.expect(201);
    put(&bob, &format!("{roles}/less"), &role("less", "get")).await.expect(200);
    put(&bob, &format!("{roles}/more"), &role("more", "delete")).await.refused(403, "Forbidden");
    get(&master, &format!("{roles}/more")).await.refused(404, "NotFound");
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    });
    put(&master, &format!("{RBAC}/namespaces/default/rolebindings/b"), &binding).await.expect(201);
    put(&master, &format!("{RBAC}/clusterrolebindings/b"), &binding).await.expect(201);
    put(&master, &format!("{RBAC}/clusterroles/b"), &json!({"metadata": {"name": "b"}})).await.expect(201);
    let class = json!({"metadata": {"name": "b"}, "handler": "h"});
    put(&master, "/apis/node.k8s.io/v1/runtimeclasses/b", &class).await.expect(201);
    let refused = put(&master, "/apis/node.k8s.io/v1/runtimeclasses/b", &class).await;
    refused.refused(422, "Invalid");
    assert_eq!(
        refused.body["message"],
        "runtimeclasses.node.k8s.io \"b\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    assert_eq!(refused.body["details"]["kind"], "runtimeclasses");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_not_written_over_what_was_not_seen() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"maxUnavailable": 1, "selector": {}}});
    let made = post(&master, budgets, &budget).await.expect(201);
    for path in [format!("{budgets}/b"), format!("{budgets}/b/status")] {
        let refused = put(&master, &path, &budget).await;
        refused.refused(422, "Invalid");
        assert_eq!(refused.body["details"]["causes"][0]["field"], "metadata.resourceVersion");
    }
    put(&master, &format!("{budgets}/b/status"), &made).await.expect(200);
    patch(&master, &format!("{budgets}/b/status"), "merge", &json!({"status": {"disruptionsAllowed": 1}}))
        .await
        .expect(200);
}
