//! The Pod Security Standards by labels of the namespace.

use serde_json::{Value, json};

use crate::client::{get, patch, post};
use crate::pods::pod;
use crate::support::TestServer;

const NAMESPACES: &str = "/api/v1/namespaces";
const PODS: &str = "/api/v1/namespaces/guarded/pods";

fn namespace(labels: &[(&str, &str)]) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(mode, value)| (format!("pod-security.kubernetes.io/{mode}"), json!(value))).collect();
    json!({"metadata": {"name": "guarded", "labels": labels}})
}

async fn guarded(client: &kube::Client, labels: &[(&str, &str)]) {
    post(client, NAMESPACES, &namespace(labels)).await.expect(201);
    let account = json!({"metadata": {"name": "default"}});
    post(client, "/api/v1/namespaces/guarded/serviceaccounts", &account).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_checked_where_they_change() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let wrong = post(client, NAMESPACES, &namespace(&[("enforce", "strict"), ("warn-version", "1.30")])).await;
    wrong.refused(422, "Invalid");
    assert_eq!(
        wrong.body["message"],
        "Namespace \"guarded\" is invalid: \
         [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted, \
         metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.30\": must be \"latest\" or \"v1.x\"]"
    );
    guarded(client, &[("enforce", "baseline")]).await;
    let path = format!("{NAMESPACES}/guarded");
    let label = |value: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/audit": value}}});
    patch(client, &path, "merge", &label("x")).await.refused(422, "Invalid");
    patch(client, &path, "merge", &label("restricted")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_refused_or_warned_of() {
    let server = TestServer::start(&["--allow-privileged"]).await;
    let client = &server.client;
    guarded(client, &[("enforce", "baseline"), ("enforce-version", "v1.33"), ("warn", "restricted")]).await;
    let mut privileged = pod("p");
    privileged["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    privileged["spec"]["hostPID"] = json!(true);
    privileged["spec"]["volumes"] = json!([{"name": "v", "gitRepo": {"repository": "r"}}]);
    let refused = post(client, PODS, &privileged).await;
    refused.refused(403, "Forbidden");
    // What is said of the object itself comes first, and whether or not it is let in.
    let of_volume = "299 - \"spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+\"";
    assert_eq!(refused.warnings(), [of_volume]);
    assert_eq!(
        refused.body["message"],
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:v1.33\": host namespaces (hostPID=true), \
         privileged (container \"c\" must not set securityContext.privileged=true)"
    );
    assert_eq!(refused.body["details"], json!({"name": "p", "kind": "pods"}));
    let warned = post(client, PODS, &pod("q")).await;
    let warning = "299 - \"would violate PodSecurity \\\"restricted:latest\\\": allowPrivilegeEscalation != false (container \\\"c\\\" must set";
    assert!(warned.warnings().iter().any(|told| told.starts_with(warning)), "{:?}", warned.warnings());
    warned.expect(201);
    // Neither a status nor a label can break what was let in.
    let status = json!({"status": {"phase": "Running"}});
    let told = patch(client, &format!("{PODS}/q/status"), "merge", &status).await;
    assert!(told.warnings().is_empty());
    told.expect(200);
    let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "j"}]);
    assert_eq!(patch(client, &format!("{PODS}/q"), "json", &image).await.warnings().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_pods_is_only_warned_of() {
    let server = TestServer::start(&["--allow-privileged"]).await;
    let client = &server.client;
    guarded(client, &[("enforce", "baseline")]).await;
    let mut spec = pod("-")["spec"].clone();
    spec["hostNetwork"] = json!(true);
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec},
    }});
    let made = post(client, "/apis/apps/v1/namespaces/guarded/deployments", &deployment).await;
    let told: Vec<String> = made.warnings().iter().map(|told| (*told).to_owned()).collect();
    made.expect(201);
    assert_eq!(
        told,
        ["299 - \"would violate PodSecurity \\\"baseline:latest\\\": host namespaces (hostNetwork=true)\""]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stricter_level_tells_which_pods_break_it() {
    let server = TestServer::start(&["--allow-privileged"]).await;
    let client = &server.client;
    guarded(client, &[]).await;
    for name in ["b", "a"] {
        let mut open = pod(name);
        open["spec"]["hostIPC"] = json!(true);
        post(client, PODS, &open).await.expect(201);
    }
    // A consistent read: what it saw, the cache has.
    get(client, PODS).await.expect(200);
    let path = format!("{NAMESPACES}/guarded");
    let enforce = |level: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let stricter = patch(client, &path, "merge", &enforce("baseline")).await;
    assert_eq!(
        stricter.warnings(),
        [
            "299 - \"existing pods in namespace \\\"guarded\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "299 - \"a (and 1 other pod): host namespaces\"",
        ]
    );
    stricter.expect(200);
    let looser = patch(client, &path, "merge", &enforce("privileged")).await;
    assert!(looser.warnings().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_switched_off() {
    let server = TestServer::start(&["--allow-privileged", "--disable-admission-plugins=PodSecurity"]).await;
    let client = &server.client;
    guarded(client, &[("enforce", "whatever")]).await;
    let mut open = pod("p");
    open["spec"]["hostIPC"] = json!(true);
    post(client, PODS, &open).await.expect(201);
}
