//! Plug-ins that say where a namespace's pods may go, and one that makes the namespace.

use serde_json::{Value, json};

use crate::client::{config_map, get, post};
use crate::pods::pod;
use crate::support::TestServer;

const NAMESPACES: &str = "/api/v1/namespaces";

async fn namespace(client: &kube::Client, name: &str, annotations: &Value) {
    let object = json!({"metadata": {"name": name, "annotations": annotations}});
    post(client, NAMESPACES, &object).await.expect(201);
    let account = json!({"metadata": {"name": "default"}});
    post(client, &format!("{NAMESPACES}/{name}/serviceaccounts"), &account).await.expect(201);
}

async fn made(client: &kube::Client, namespace: &str, name: &str, more: &Value) -> crate::client::Reply {
    let mut object = pod(name);
    for (field, value) in more.as_object().expect("fields") {
        object["spec"][field] = value.clone();
    }
    post(client, &format!("{NAMESPACES}/{namespace}/pods"), &object).await
}

/// A server with one plug-in and its configuration.
async fn start(plugin: &str, configuration: &Value) -> TestServer {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admission.yaml");
    let file = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": plugin, "configuration": configuration}],
    });
    std::fs::write(&path, file.to_string()).expect("to write a file");
    let file = format!("--admission-control-config-file={}", path.display());
    TestServer::start(&[&format!("--enable-admission-plugins={plugin}"), &file]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_to_the_nodes_of_their_namespace() {
    let selectors = json!({"clusterDefaultNodeSelector": "pool=all", "limited": "pool=all,disk=ssd"});
    let server = start("PodNodeSelector", &json!({"podNodeSelectorPluginConfig": selectors})).await;
    let client = &server.client;
    namespace(client, "own", &json!({"scheduler.alpha.kubernetes.io/node-selector": "pool=mine, zone=a"})).await;
    namespace(client, "limited", &json!({})).await;
    let both = made(client, "own", "a", &json!({"nodeSelector": {"disk": "ssd"}})).await.expect(201);
    assert_eq!(both["spec"]["nodeSelector"], json!({"disk": "ssd", "pool": "mine", "zone": "a"}));
    let refused = made(client, "own", "b", &json!({"nodeSelector": {"pool": "other"}})).await;
    refused.refused(403, "Forbidden");
    let why = "pods \"b\" is forbidden: pod node label selector conflicts with its namespace node label selector";
    assert_eq!(refused.body["message"], why);
    let filled = made(client, "limited", "a", &json!({})).await.expect(201);
    assert_eq!(filled["spec"]["nodeSelector"], json!({"pool": "all"}));
    let refused = made(client, "limited", "b", &json!({"nodeSelector": {"zone": "a"}})).await;
    refused.refused(403, "Forbidden");
    let why = "pods \"b\" is forbidden: pod node label selector labels conflict with its namespace whitelist";
    assert_eq!(refused.body["message"], why);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_tolerate_what_their_namespace_may() {
    let allowed = json!([{"operator": "Exists", "key": "ours"}, {"operator": "Exists", "effect": "NoExecute"}]);
    let configuration = json!({
        "apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": "Configuration", "whitelist": allowed,
        "default": [{"key": "ours", "operator": "Equal", "value": "v", "effect": "NoSchedule"}],
    });
    let server = start("PodTolerationRestriction", &configuration).await;
    let client = &server.client;
    let own = json!([{"key": "mine", "operator": "Exists"}]);
    let annotations = json!({
        "scheduler.alpha.kubernetes.io/defaultTolerations": own.to_string(),
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist": "",
    });
    namespace(client, "free", &annotations).await;
    namespace(client, "limited", &json!({})).await;
    let keys = |pod: &Value| -> Vec<String> {
        let all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| one["key"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let free =
        made(client, "free", "a", &json!({"tolerations": [{"key": "x", "operator": "Exists"}]})).await.expect(201);
    assert!(keys(&free).starts_with(&["x".to_owned()]) && keys(&free).contains(&"mine".to_owned()), "{free}");
    let wide = made(client, "limited", "a", &json!({"tolerations": [{"key": "ours", "operator": "Exists"}]}))
        .await
        .expect(201);
    assert_eq!(keys(&wide).iter().filter(|key| *key == "ours").count(), 1, "the wider one covers the default: {wide}");
    let refused = made(client, "limited", "b", &json!({"tolerations": [{"key": "x", "operator": "Exists"}]})).await;
    let why =
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its cluster whitelist";
    assert_eq!((refused.code, &refused.body["message"]), (500, &json!(why)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_made_for_what_is_to_be_in_it() {
    let server = TestServer::start(&["--enable-admission-plugins=NamespaceAutoProvision"]).await;
    let path = format!("{NAMESPACES}/new/configmaps");
    post(&server.client, &format!("{path}?dryRun=All"), &config_map("a", &json!({}))).await.refused(404, "NotFound");
    post(&server.client, &path, &config_map("a", &json!({}))).await.expect(201);
    assert_eq!(get(&server.client, &format!("{NAMESPACES}/new")).await.expect(200)["status"]["phase"], "Active");
    let server = TestServer::start(&[
        "--disable-admission-plugins=NamespaceLifecycle",
        "--enable-admission-plugins=NamespaceExists",
    ])
    .await;
    post(&server.client, &path, &config_map("a", &json!({}))).await.refused(404, "NotFound");
}
