//! Who writes which part of a ResourceClaim's status, over TLS with RBAC.

use http::Method;
use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, Reply, call, patch, post};
use crate::rights::{grant, soon};
use crate::secure::Secure;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const STATUS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/a/status";
const ACCOUNT: &str = "system:serviceaccount:default:plugin";

/// A claim, and its status as a scheduler allocates it on node `n1`.
async fn claim(master: &kube::Client) -> Value {
    let request = json!({"name": "r", "exactly": {"deviceClassName": "c"}});
    let claim = json!({"metadata": {"name": "a"}, "spec": {"devices": {"requests": [request]}}});
    post(master, CLAIMS, &claim).await.expect(201);
    let field = json!({"key": "metadata.name", "operator": "In", "values": ["n1"]});
    let result = |driver: &str| json!({"request": "r", "driver": driver, "pool": "p", "device": "x"});
    json!({"status": {"allocation": {
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]},
        "devices": {"results": [result("d.io"), result("e.io")]},
    }}})
}

fn devices(names: &[(&str, &str)]) -> Value {
    let devices = names.iter().map(|(driver, name)| json!({"driver": driver, "pool": "p", "device": name}));
    json!({"status": {"devices": devices.collect::<Vec<_>>()}})
}

fn rule(verbs: &[&str], resource: &str) -> Value {
    json!({"verbs": verbs, "apiGroups": ["resource.k8s.io"], "resources": [resource]})
}

/// Grants rights, and waits until they hold.
async fn granted(master: &kube::Client, user: &kube::Client, name: &str, subject: &str, mark: &str, rights: Value) {
    grant(master, name, subject, rights).await;
    let mark_rule = json!([{"verbs": ["list"], "apiGroups": [""], "resources": [mark]}]);
    grant(master, mark, subject, mark_rule).await;
    soon(user, &format!("/api/v1/namespaces/default/{mark}")).await;
}

#[track_caller]
fn told(refused: &Reply, wanted: &[(&str, &str)]) {
    refused.refused(422, "Invalid");
    let causes = refused.body["details"]["causes"].as_array().into_iter().flatten();
    let causes: Vec<_> = causes.map(|cause| (cause["field"].as_str(), cause["message"].as_str())).collect();
    let wanted: Vec<_> = wanted.iter().map(|(field, why)| (Some(*field), Some(*why))).collect();
    assert_eq!(causes, wanted);
}

const NO_BINDING: &str = "Forbidden: changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"patch\" permission: resourceclaims.resource.k8s.io is forbidden: User \"bob\" cannot patch resource \"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope";

#[tokio::test(flavor = "multi_thread")]
async fn an_allocation_is_for_who_binds_and_devices_for_their_drivers() {
    let server = Secure::with_roles().await;
    let (master, bob) = (server.master(), server.client("bob", &[]));
    let allocated = claim(&master).await;
    granted(&master, &bob, "status", "bob", "pods", json!([rule(&["patch"], "resourceclaims/status")])).await;

    let mut both = allocated.clone();
    both["status"]["devices"] = devices(&[("d.io", "z")])["status"]["devices"].take();
    let no_driver = |driver: &str| {
        format!(
            "Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[arbitrary-node:patch]\" permission: resourceclaims.resource.k8s.io \"{driver}\" is forbidden: User \"bob\" cannot arbitrary-node:patch resource \"resourceclaims/driver\" in API group \"resource.k8s.io\" in the namespace \"default\""
        )
    };
    let not_allocated = "Invalid value: {\"Driver\":\"d.io\",\"Pool\":\"p\",\"Device\":\"z\",\"ShareID\":\"\"}: must be an allocated device in the claim";
    let wanted = [
        ("status.allocation", NO_BINDING),
        ("status.devices", &no_driver("d.io")),
        ("status.devices[0]", not_allocated),
    ];
    told(&patch(&bob, STATUS, "merge", &both).await, &wanted);
    patch(&bob, STATUS, "merge", &json!({"status": {}})).await.expect(200);

    granted(&master, &bob, "binding", "bob", "secrets", json!([rule(&["patch"], "resourceclaims/binding")])).await;
    patch(&bob, STATUS, "merge", &allocated).await.expect(200);
    let told_of = devices(&[("e.io", "x"), ("d.io", "x")]);
    let wanted = [("status.devices", &*no_driver("d.io")), ("status.devices", &no_driver("e.io"))];
    told(&patch(&bob, STATUS, "merge", &told_of).await, &wanted);

    let mut of_one = rule(&["arbitrary-node:patch"], "resourceclaims/driver");
    of_one["resourceNames"] = json!(["d.io"]);
    granted(&master, &bob, "driver", "bob", "services", json!([of_one])).await;
    told(&patch(&bob, STATUS, "merge", &told_of).await, &[("status.devices", &no_driver("e.io"))]);
    patch(&master, STATUS, "merge", &told_of).await.expect(200);
    patch(&bob, STATUS, "merge", &devices(&[("e.io", "x")])).await.expect(200);
    told(&patch(&bob, STATUS, "merge", &devices(&[])).await, &[("status.devices", &no_driver("e.io"))]);
    // What drivers tell goes with the devices.
    patch(&bob, STATUS, "merge", &json!({"status": {"allocation": null}})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drivers_part_on_a_node_speaks_for_what_is_there() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let allocated = claim(&master).await;
    patch(&master, STATUS, "merge", &allocated).await.expect(200);
    let rights = json!([
        rule(&["patch"], "resourceclaims/status"),
        rule(&["associated-node:patch"], "resourceclaims/driver"),
        {"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]},
    ]);
    grant(&master, "plugin", ACCOUNT, rights).await;
    let on = async |node: &str, method: Method, path: &str, body: &Value| {
        let headers = [
            ("content-type", "application/merge-patch+json"),
            ("impersonate-user", ACCOUNT),
            ("impersonate-extra-authentication.kubernetes.io%2fnode-name", node),
        ];
        call(&master, method, path, &headers, body.to_string()).await
    };
    let holds = async {
        while on("n1", Method::GET, CONFIG_MAPS, &Value::Null).await.code != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), holds).await.expect("the rights");

    let told_of = devices(&[("d.io", "x")]);
    let why = "Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[arbitrary-node:patch]\" permission: resourceclaims.resource.k8s.io \"d.io\" is forbidden: User \"system:serviceaccount:default:plugin\" cannot arbitrary-node:patch resource \"resourceclaims/driver\" in API group \"resource.k8s.io\" in the namespace \"default\"";
    told(&on("n2", Method::PATCH, STATUS, &told_of).await, &[("status.devices", why)]);
    on("n1", Method::PATCH, STATUS, &told_of).await.expect(200);
}
