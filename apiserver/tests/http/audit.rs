//! The audit log as an administrator reads it, and the admission configuration whose findings it holds.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, call, config_map, delete, get, patch, post, put};
use crate::pods::{PODS, account, pod};
use crate::secure::Secure;
use crate::support::TestServer;

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ['*']
- level: RequestResponse
  omitManagedFields: true
  resources: [{group: '', resources: [configmaps]}]
- level: Request
  resources: [{group: '', resources: [secrets]}]
- level: Metadata
  resources: [{group: '', resources: [pods, 'pods/*', namespaces]}]
- level: None
";

struct Audited {
    server: TestServer,
    folder: tempfile::TempDir,
}

impl Audited {
    async fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("policy.yaml"), POLICY).expect("to write");
        let flag = |name: &str, file: &str| format!("--{name}={}", folder.path().join(file).display());
        let own = [flag("audit-policy-file", "policy.yaml"), flag("audit-log-path", "audit.log")];
        let flags: Vec<&str> = own.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Self { server: TestServer::start(&flags).await, folder }
    }

    fn events(&self) -> Vec<Value> {
        events(&self.folder)
    }

    async fn event(&self, id: &str, stage: &str) -> Value {
        event(&self.folder, id, stage).await
    }
}

fn events(folder: &tempfile::TempDir) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path().join("audit.log")).expect("the log");
    // What comes after the last end of a line is still being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// The event of a request, once it is there.
async fn event(folder: &tempfile::TempDir, id: &str, stage: &str) -> Value {
    let there = async {
        loop {
            let found = events(folder).into_iter().find(|event| event["auditID"] == id && event["stage"] == stage);
            match found {
                Some(event) => return event,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), there).await.unwrap_or_else(|_| panic!("no {stage} of {id}"))
}

/// The words that the client is told, and the answer itself where answers are written.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_is_written_down_as_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse}]}";
    std::fs::write(folder.path().join("policy.yaml"), policy).expect("to write");
    let flag = |name: &str, file: &str| format!("--{name}={}", folder.path().join(file).display());
    let flags = [flag("audit-policy-file", "policy.yaml"), flag("audit-log-path", "audit.log")];
    let server = Secure::start(&flags.each_ref().map(String::as_str)).await;
    let token = [("authorization", "Bearer nonsense")];
    let refused = call(&server.anonymous(), Method::GET, CONFIG_MAPS, &token, "").await;
    refused.refused(401, "Unauthorized");
    let event = event(&folder, refused.headers["audit-id"].to_str().expect("text"), "ResponseStarted").await;
    let told = json!({
        "metadata": {}, "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
    });
    assert_eq!((&event["user"], &event["responseStatus"]), (&json!({}), &told));
    assert_eq!(event["responseObject"]["message"], "Unauthorized");
    // Before it is asked who that is.
    let refused = call(&server.master(), Method::GET, &format!("{CONFIG_MAPS}?timeout=x"), &[], "").await;
    refused.refused(400, "BadRequest");
    let event = self::event(&folder, &id(&refused), "ResponseStarted").await;
    let message = "invalid timeout specified in the request URL - time: invalid duration \"x\"";
    let told = json!({"metadata": {}, "status": "Failure", "message": message, "reason": "BadRequest", "code": 400});
    assert_eq!((&event["user"], &event["responseStatus"]), (&json!({}), &told));
    let of_it = events(&folder).iter().filter(|event| event["auditID"] == id(&refused)).count();
    assert_eq!(of_it, 1);
}

fn id(reply: &crate::client::Reply) -> String {
    reply.headers["audit-id"].to_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_written_as_the_policy_says() {
    let audited = Audited::start(&[]).await;
    let client = &audited.server.client;
    let made = post(client, CONFIG_MAPS, &config_map("a", &json!({"k": "v"}))).await;
    let event = audited.event(&id(&made), "ResponseComplete").await;
    assert_eq!((&event["kind"], &event["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
    assert_eq!((&event["level"], &event["verb"]), (&json!("RequestResponse"), &json!("create")));
    assert_eq!((&event["requestURI"], &event["user"]["username"]), (&json!(CONFIG_MAPS), &json!("system:unsecured")));
    assert_eq!(event["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(
        event["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"})
    );
    assert_eq!(event["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(event["requestObject"]["data"], json!({"k": "v"}));
    assert_eq!(event["responseObject"]["metadata"]["uid"], made.body["metadata"]["uid"]);
    assert!(event["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
    assert!(event["stageTimestamp"].as_str() >= event["requestReceivedTimestamp"].as_str());

    let own = "own-number-".repeat(10);
    let missing = call(client, Method::GET, &format!("{CONFIG_MAPS}/none"), &[("audit-id", &own)], "").await;
    assert_eq!(id(&missing), own);
    let event = audited.event(&own, "ResponseComplete").await;
    assert_eq!(event["responseStatus"]["reason"], "NotFound");
    assert_eq!(
        (&event["responseStatus"]["status"], &event["responseStatus"]["code"]),
        (&json!("Failure"), &json!(404))
    );

    let acting = async |extra: &str| {
        let headers = [("impersonate-user", "bob"), (extra, "x")];
        let seen = call(client, Method::GET, CONFIG_MAPS, &headers, "").await;
        let event = audited.event(&id(&seen), "ResponseComplete").await;
        assert_eq!(
            (&event["user"]["username"], &event["impersonatedUser"]["username"]),
            (&json!("system:unsecured"), &json!("bob"))
        );
        event["authenticationMetadata"].clone()
    };
    let by_mode = json!({"impersonationConstraint": "impersonate:user-info"});
    assert_eq!(acting("impersonate-extra-acme.io%2fscope").await, by_mode);
    assert_eq!(acting("impersonate-extra-scope").await, Value::Null, "only the legacy mode takes such a key");

    let watch = get(client, "/api/v1/namespaces?watch=1&timeoutSeconds=1").await;
    let started = audited.event(&id(&watch), "ResponseStarted").await;
    assert_eq!((&started["level"], started.get("responseObject")), (&json!("Metadata"), None));
    audited.event(&id(&watch), "ResponseComplete").await;

    let version = get(client, "/version").await;
    assert!(
        audited.events().iter().all(|event| event["auditID"] != id(&version) && event["stage"] != "RequestReceived")
    );
}

/// What came is told as it was read; of what could not be read nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_written_as_they_are_read() {
    let audited = Audited::start(&[]).await;
    let client = &audited.server.client;
    let sent = json!({"metadata": {"name": "a"}, "data": {"k": "v"}, "immutable": false});
    let made = audited.event(&id(&post(client, CONFIG_MAPS, &sent).await), "ResponseComplete").await;
    let mut read = sent.clone();
    (read["kind"], read["apiVersion"]) = (json!("ConfigMap"), json!("v1"));
    assert_eq!(made["requestObject"], read);
    let unread = post(client, CONFIG_MAPS, &json!({"metadata": {"name": "b"}, "data": [1]})).await;
    unread.refused(400, "BadRequest");
    let unread = audited.event(&id(&unread), "ResponseComplete").await;
    assert_eq!((unread.get("requestObject"), unread["objectRef"].get("name")), (None, None));
    let path = format!("{CONFIG_MAPS}/a");
    let change = json!({"metadata": {"managedFields": [], "uid": made["responseObject"]["metadata"]["uid"]}});
    let patched = audited.event(&id(&patch(client, &path, "merge", &change).await), "ResponseComplete").await;
    assert_eq!((&patched["requestObject"], patched["objectRef"].get("uid")), (&change, None));
    let options = json!({"propagationPolicy": "Background"});
    let deleted = audited.event(&id(&delete(client, &path, &options).await), "ResponseComplete").await;
    let read = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "propagationPolicy": "Background"});
    assert_eq!((&deleted["requestObject"], &deleted["responseObject"]["kind"]), (&read, &json!("Status")));
}

/// A success that is told by a Status is written down where answers are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_written_whole() {
    let audited = Audited::start(&[]).await;
    let client = &audited.server.client;
    account(client).await;
    post(client, PODS, &pod("a")).await.expect(201);
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    let bound = post(client, &format!("{PODS}/a/binding"), &binding).await;
    let bound = audited.event(&id(&bound), "ResponseComplete").await;
    assert_eq!(bound["responseStatus"], json!({"metadata": {}, "status": "Success", "code": 201}));
    assert_eq!((&bound["level"], bound.get("requestObject")), (&json!("Metadata"), None));
    let secrets = "/api/v1/namespaces/default/secrets";
    let made = post(client, secrets, &json!({"metadata": {"name": "a"}})).await;
    let event = audited.event(&id(&made), "ResponseComplete").await;
    assert_eq!(event["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!((&event["requestObject"]["type"], event.get("responseObject")), (&json!("Opaque"), None));
    let gone = delete(client, &format!("{secrets}/a"), &Value::Null).await;
    let gone = audited.event(&id(&gone), "ResponseComplete").await;
    let details = json!({"name": "a", "kind": "secrets", "uid": made.body["metadata"]["uid"]});
    let told = json!({"metadata": {}, "status": "Success", "details": details, "code": 200});
    assert_eq!((&gone["responseStatus"], gone.get("responseObject")), (&told, None));
}

fn root_pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_security_has_defaults_exemptions_and_a_word_in_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admission.yaml");
    let configuration = "
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, audit: restricted, warn: privileged}
    exemptions: {namespaces: [free]}
";
    std::fs::write(&path, configuration).expect("to write");
    let flag = format!("--admission-control-config-file={}", path.display());
    let audited = Audited::start(&[&flag, "--disable-admission-plugins=ServiceAccount"]).await;
    let client = &audited.server.client;
    for name in ["bound", "free"] {
        post(client, "/api/v1/namespaces", &json!({"metadata": {"name": name}})).await.expect(201);
    }
    let refused = post(client, "/api/v1/namespaces/bound/pods", &root_pod("a")).await;
    refused.refused(403, "Forbidden");
    let event = audited.event(&id(&refused), "ResponseComplete").await;
    assert_eq!(event["annotations"]["pod-security.kubernetes.io/enforce-policy"], "baseline:latest");
    let words = event["annotations"]["pod-security.kubernetes.io/audit-violations"].as_str().unwrap_or_default();
    assert!(
        words.starts_with("would violate PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)"),
        "{words}"
    );
    let taken = post(client, "/api/v1/namespaces/free/pods", &root_pod("a")).await;
    assert_eq!(taken.code, 201, "{}", taken.body);
    let event = audited.event(&id(&taken), "ResponseComplete").await;
    assert_eq!(event["annotations"]["pod-security.kubernetes.io/exempt"], "namespace");
    let mut namespace = get(client, "/api/v1/namespaces/free").await.expect(200);
    namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("restricted");
    let warned = put(client, "/api/v1/namespaces/free", &namespace).await;
    let told = "namespace \\\"free\\\" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored";
    assert!(warned.warnings().iter().any(|warning| warning.contains(told)), "{:?}", warned.warnings());
    delete(client, "/api/v1/namespaces/free/pods/a", &json!({"gracePeriodSeconds": 0})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_batches_is_whole_at_the_end() {
    let flags = ["--audit-log-mode=batch", "--audit-log-batch-max-size=3", "--audit-log-batch-max-wait=1h"];
    let audited = Audited::start(&flags).await;
    for name in ["a", "b", "c", "d"] {
        post(&audited.server.client, CONFIG_MAPS, &config_map(name, &json!({}))).await.expect(201);
    }
    let third = async {
        while audited.events().len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), third).await.expect("a batch");
    let names = |events: Vec<Value>| -> Vec<String> {
        events.iter().map(|event| event["objectRef"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    // The fourth waits for an hour, or for the end.
    assert_eq!(names(audited.events()), ["a", "b", "c"]);
    let Audited { server, folder } = audited;
    server.stop().await;
    let text = std::fs::read_to_string(folder.path().join("audit.log")).expect("the log");
    assert_eq!(text.lines().count(), 4);
}
