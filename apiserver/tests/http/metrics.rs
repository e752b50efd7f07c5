//! What `/metrics` and `/metrics/slis` tell beyond the counts of requests.
//!
//! The registry is the process's, and other tests count in it too: a series is compared with what it was before.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, Watch, config_map, delete, get, post};
use crate::secure::{Authority, Secure};
use crate::support::TestServer;

/// All that a server tells at one moment.
struct Told(String);

impl Told {
    async fn by(client: &kube::Client) -> Self {
        Self::at(client, "/metrics").await
    }

    async fn at(client: &kube::Client, path: &str) -> Self {
        Self(get(client, path).await.expect(200).as_str().expect("text").to_owned())
    }

    /// The sum of a family's series that have all these labels; `None` when there is none.
    fn find(&self, family: &str, labels: &[&str]) -> Option<f64> {
        let lines = self.0.lines().filter(|line| {
            let name = line.split(['{', ' ']).next();
            name == Some(family) && labels.iter().all(|label| line.contains(label))
        });
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|sum, value| sum + value)
    }

    fn value(&self, family: &str, labels: &[&str]) -> f64 {
        self.find(family, labels).unwrap_or(0.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_and_its_watchers_are_told() {
    let server = TestServer::start(&[]).await;
    let before = Told::by(&server.client).await;
    assert!(before.value("apiserver_storage_size_bytes", &["storage_cluster_id=\"etcd-0\""]) > 0.0);
    post(&server.client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let list = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = Watch::open(&server.client, &format!("{CONFIG_MAPS}?watch=1&{list}")).await;
    while watch.told().await != "BOOKMARK -" {}
    let after = Told::by(&server.client).await;
    let more = |family: &str, labels: &[&str]| after.value(family, labels) - before.value(family, labels);
    let maps = ["group=\"\"", "resource=\"configmaps\""];
    assert!(more("apiserver_storage_events_received_total", &maps) >= 1.0);
    assert!(more("apiserver_init_events_total", &maps) >= 1.0);
    let scoped = ["resource=\"configmaps\"", "scope=\"namespace\"", "version=\"v1\""];
    assert!(more("apiserver_watch_list_duration_seconds_count", &scoped) >= 1.0);
    let step = "apiserver_admission_step_admission_duration_seconds_count";
    for kind in ["admit", "validate"] {
        let labels = ["operation=\"CREATE\"", "rejected=\"false\"", &format!("type=\"{kind}\"")];
        assert!(more(step, &labels) >= 1.0, "{kind}");
    }
    let plugin = "apiserver_admission_controller_admission_duration_seconds_count";
    for (name, kind) in [("NamespaceLifecycle", "admit"), ("LimitRanger", "admit"), ("ResourceQuota", "validate")] {
        let labels =
            [&format!("name=\"{name}\""), "operation=\"CREATE\"", "rejected=\"false\"", &format!("type=\"{kind}\"")];
        assert!(more(plugin, &labels) >= 1.0, "{name}");
    }
    assert_eq!(after.value(plugin, &["name=\"CertificateSigning\"", "operation=\"CREATE\""]), 0.0);
    delete(&server.client, "/api/v1/namespaces/kube-system", &Value::Null).await.refused(403, "Forbidden");
    let labels = ["name=\"NamespaceLifecycle\"", "operation=\"DELETE\"", "rejected=\"true\"", "type=\"admit\""];
    assert!(Told::by(&server.client).await.value(plugin, &labels) > before.value(plugin, &labels));
    let labels = ["operation=\"DELETE\"", "rejected=\"true\"", "type=\"validate\""];
    assert!(Told::by(&server.client).await.value(step, &labels) > before.value(step, &labels));
    delete(&server.client, &format!("{CONFIG_MAPS}/a"), &Value::Null).await.expect(200);
    let admitted = ["operation=\"DELETE\"", "rejected=\"false\"", "type=\"admit\""];
    let priority = [&["name=\"Priority\""], admitted.as_slice()].concat();
    let after = Told::by(&server.client).await;
    for (family, labels) in [(step, admitted.as_slice()), (plugin, &priority)] {
        assert!(after.value(family, labels) > before.value(family, labels), "{labels:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_is_told() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let before = Told::by(&master).await;
    get(&server.client("someone@example.com", &[]), CONFIG_MAPS).await.refused(403, "Forbidden");
    get(&server.client_of(&Authority::new(), "stranger", &[]), CONFIG_MAPS).await.refused(401, "Unauthorized");
    let after = Told::by(&master).await;
    let more = |family: &str, label: &str| after.value(family, &[label]) - before.value(family, &[label]);
    assert!(more("authenticated_user_requests", "username=\"email_id\"") >= 1.0);
    assert!(more("authenticated_user_requests", "username=\"admin\"") >= 1.0);
    assert!(more("authentication_attempts", "result=\"success\"") >= 2.0);
    assert!(more("authentication_attempts", "result=\"error\"") >= 1.0);
    let lives = "apiserver_client_certificate_expiration_seconds";
    // A stranger's certificate is looked at as well.
    assert!(more(&format!("{lives}_count"), "") >= 3.0);
    let none = Secure::start(&["--anonymous-auth=false", "--authorization-mode=RBAC"]);
    let none = none.await;
    let failures = |told: &Told| told.value("authentication_attempts", &["result=\"failure\""]);
    let before = failures(&Told::by(&none.master()).await);
    get(&none.anonymous(), CONFIG_MAPS).await.refused(401, "Unauthorized");
    assert!(failures(&Told::by(&none.master()).await) > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_are_told_apart() {
    let server = TestServer::start(&[]).await;
    get(&server.client, "/readyz").await.expect(200);
    get(&server.client, "/livez").await.expect(200);
    let told = Told::at(&server.client, "/metrics/slis").await;
    for (name, kind) in [("etcd", "readyz"), ("informer-sync", "readyz"), ("ping", "livez")] {
        let labels = [format!("name=\"{name}\""), format!("type=\"{kind}\"")];
        let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert!(told.find("kubernetes_healthcheck", &labels).is_some(), "{name} of {kind}: {}", told.0);
        labels.push("status=\"success\"");
        assert!(told.value("kubernetes_healthchecks_total", &labels) >= 1.0, "{name} of {kind}");
    }
    assert!(told.value("process_start_time_seconds", &[]) > 0.0);
    assert!(!told.0.contains("apiserver_request_total"));
}

#[tokio::test(flavor = "multi_thread")]
async fn extension_servers_that_cannot_be_asked_are_told() {
    let server = TestServer::start(&[]).await;
    let (name, path) = ("v1.told.example.com", "/apis/apiregistration.k8s.io/v1/apiservices");
    let object = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name},
        "spec": {"group": "told.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "none", "port": 443}},
    });
    let mut own = object.clone();
    own["metadata"]["name"] = "v1.own.example.com".into();
    own["spec"] = json!({"group": "own.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1});
    post(&server.client, path, &own).await.expect(201);
    post(&server.client, path, &object).await.expect(201);
    let label = format!("name=\"{name}\"");
    until(&server, &label, Some(1.0)).await;
    until(&server, "name=\"v1.apps\"", Some(0.0)).await;
    until(&server, "name=\"v1.own.example.com\"", Some(0.0)).await;
    delete(&server.client, &format!("{path}/v1.own.example.com"), &Value::Null).await.expect(200);
    delete(&server.client, &format!("{path}/{name}"), &Value::Null).await.expect(200);
    until(&server, &label, None).await;
    until(&server, "name=\"v1.own.example.com\"", None).await;
}

/// Waits until the gauge of APIServices says this.
async fn until(server: &TestServer, label: &str, wanted: Option<f64>) {
    let seen = async {
        while Told::by(&server.client).await.find("aggregator_unavailable_apiservice", &[label]) != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("the gauge changes");
}
