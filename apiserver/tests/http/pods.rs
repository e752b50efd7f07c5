//! What pods have beside the common verbs: scale of what makes them, binding, eviction, tokens bound to them.

use serde_json::{Value, json};

use crate::client::{get, get_as, patch, post, put};
use crate::support::TestServer;

pub const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

pub fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    })
}

/// The account that pods run as, which a controller would make.
pub async fn account(client: &kube::Client) {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    post(client, accounts, &json!({"metadata": {"name": "default"}})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_once() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    post(client, PODS, &pod("p")).await.expect(201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let path = format!("{PODS}/p/binding");
    let refused = async |given: &Value, code: u16, message: &str| {
        let answer = post(client, &path, given).await;
        assert_eq!((answer.code, answer.body["message"].as_str()), (code, Some(message)));
    };
    let target = &binding["target"];
    refused(&json!({"metadata": {"name": "p"}, "target": {}}), 500, "target.name: Required value").await;
    let unnamed = "name in URL does not match name in Binding object";
    refused(&json!({"metadata": {"name": "q"}, "target": target}), 400, unnamed).await;
    let other = json!({"metadata": {"name": "p", "resourceVersion": "1"}, "target": target});
    let stale = post(client, &path, &other).await;
    stale.refused(409, "Conflict");
    assert!(stale.body["message"].as_str().is_some_and(|text| text.contains("ResourceVersion in precondition: 1,")));
    let promised = json!({"status": {"nominatedNodeName": "n"}});
    patch(client, &format!("{PODS}/p/status"), "merge", &promised).await.expect(200);
    let before = get(client, &format!("{PODS}/p")).await.expect(200);
    post(client, &path, &binding).await.expect(201);
    let taken = r#"Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n""#;
    refused(&binding, 409, taken).await;
    let bound = get(client, &format!("{PODS}/p")).await.expect(200);
    for kept in ["generation", "managedFields", "uid"] {
        assert_eq!(bound["metadata"][kept], before["metadata"][kept]);
    }
    assert_eq!(bound["spec"]["nodeName"], "n");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert!(bound["status"]["nominatedNodeName"].is_null());
    let chosen = get(client, &format!("{PODS}?fieldSelector=spec.nodeName%3Dn")).await.expect(200);
    assert_eq!(chosen["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streams_container_is_judged_before_its_node() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    post(client, PODS, &pod("p")).await.expect(201);
    let ask = async |path: &str| get(client, &format!("{PODS}/p/{path}")).await;
    for stream in ["exec", "attach"] {
        let unknown = ask(&format!("{stream}?container=none&command=date")).await.expect(400);
        assert_eq!(unknown["message"], "container none is not valid for pod p", "{stream}");
        let unbound = ask(&format!("{stream}?command=date")).await.expect(400);
        assert_eq!(unbound["message"], "pod p does not have a host assigned", "{stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_spends_the_budget() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}});
    post(client, BUDGETS, &budget).await.expect(201);
    for name in ["one", "two"] {
        post(client, PODS, &pod(name)).await.expect(201);
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        patch(client, &format!("{PODS}/{name}/status"), "merge", &ready).await.expect(200);
    }
    let evict = async |name: &str| {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        post(client, &format!("{PODS}/{name}/eviction"), &eviction).await
    };
    let allow = async |disruptions: u32| {
        let status = json!({"status": {
            "observedGeneration": 1, "disruptionsAllowed": disruptions,
            "currentHealthy": 1 + disruptions, "desiredHealthy": 1, "expectedPods": 2,
        }});
        patch(client, &format!("{BUDGETS}/b/status"), "merge", &status).await.expect(200);
    };
    allow(0).await;
    let refused = evict("one").await;
    refused.refused(429, "TooManyRequests");
    // With one, clients would wait and try again by themselves.
    assert!(refused.headers.get("retry-after").is_none());
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(cause["message"], "The disruption budget b needs 1 healthy pods and has 1 currently");
    allow(1).await;
    evict("one").await.expect(201);
    get(client, &format!("{PODS}/one")).await.refused(404, "NotFound");
    evict("two").await.refused(429, "TooManyRequests");
    evict("none").await.refused(404, "NotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_is_a_view_of_replicas() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = "/apis/apps/v1/namespaces/default/replicasets";
    let set = json!({
        "metadata": {"name": "r"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": pod("-")["spec"]},
        },
    });
    post(client, path, &set).await.expect(201);
    let scale = format!("{path}/r/scale");
    let mut seen = get(client, &scale).await.expect(200);
    let told = (&seen["kind"], &seen["apiVersion"], &seen["spec"]["replicas"], &seen["status"]["selector"]);
    assert_eq!(told, (&json!("Scale"), &json!("autoscaling/v1"), &json!(2), &json!("app=x")));
    seen["spec"]["replicas"] = json!(5);
    assert_eq!(put(client, &scale, &seen).await.expect(200)["spec"]["replicas"], 5);
    put(client, &scale, &seen).await.refused(409, "Conflict");
    patch(client, &scale, "merge", &json!({"spec": {"replicas": 1}})).await.expect(200);
    patch(client, &scale, "merge", &json!({"spec": {"replicas": -1}})).await.refused(422, "Invalid");
    assert_eq!(get(client, &format!("{path}/r")).await.expect(200)["spec"]["replicas"], 1);

    let shape = |name: &str| format!("application/json;as={name};g=meta.k8s.io;v=v1");
    let partial = get_as(client, &scale, &shape("PartialObjectMetadata")).await.expect(200);
    assert_eq!((&partial["kind"], &partial["spec"]), (&json!("PartialObjectMetadata"), &json!(null)));
    let list = get_as(client, &scale, &shape("PartialObjectMetadataList")).await;
    list.refused(406, "NotAcceptable");
    let why = "you requested PartialObjectMetadataList, but the requested object is not a list (*autoscaling.Scale)";
    assert_eq!(list.body["message"], why);
    let table = get_as(client, &format!("{scale}?includeObject=Object"), &shape("Table")).await.expect(200);
    let row = &table["rows"][0];
    assert_eq!((&row["object"]["kind"], &row["cells"][1]), (&json!("Scale"), &json!(1)));
    assert_eq!(table["columnDefinitions"][0]["format"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scales_metadata_is_judged() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": pod("-")["spec"]});
    let deployment =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template}});
    post(client, path, &deployment).await.expect(201);
    let metadata = json!({"name": "d", "generateName": "A", "finalizers": ["own"]});
    let refused =
        put(client, &format!("{path}/d/scale"), &json!({"metadata": metadata, "spec": {"replicas": -1}})).await;
    refused.refused(422, "Invalid");
    let causes = refused.body["details"]["causes"].as_array().into_iter().flatten();
    let fields: Vec<&str> = causes.filter_map(|cause| cause["field"].as_str()).collect();
    assert_eq!(fields, ["metadata.generateName", "metadata.finalizers[0]", "spec.replicas"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_eviction_says_twice_must_agree() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    post(client, PODS, &pod("p")).await.expect(201);
    let eviction = |dry_run: Value| json!({"metadata": {"name": "p"}, "deleteOptions": {"dryRun": dry_run}});
    let path = format!("{PODS}/p/eviction?dryRun=All");
    let torn = post(client, &path, &eviction(json!(["All", "Some"]))).await.expect(500);
    assert_eq!(torn["message"], "Non-matching dry-run options in request and content: [All] and [All Some]");
    post(client, &path, &eviction(json!(["All"]))).await.expect(201);
    let other = json!({"metadata": {"name": "p"}, "deleteOptions": {"preconditions": {"uid": "other"}}});
    let refused = post(client, &path, &other).await;
    refused.refused(409, "Conflict");
    let told = refused.body["message"].as_str().unwrap_or_default();
    assert!(told.contains("on Pod \"p\": the UID in the precondition (other)"), "{told}");
    get(client, &format!("{PODS}/p")).await.expect(200);
}

/// What kubectl's drain sent before 1.22.
#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_of_the_old_version_is_taken() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    post(client, PODS, &pod("old")).await.expect(201);
    let eviction = |version: &str| json!({"apiVersion": version, "kind": "Eviction", "metadata": {"name": "old"}});
    let path = format!("{PODS}/old/eviction");
    post(client, &path, &eviction("policy/v1alpha1")).await.refused(400, "BadRequest");
    post(client, &path, &eviction("policy/v1beta1")).await.expect(201);
}

/// Amounts are kept in thousandths at the finest, wherever they stand.
#[tokio::test(flavor = "multi_thread")]
async fn fine_amounts_are_rounded_up() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    let mut fine = pod("fine");
    fine["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1n", "memory": "0.1m"}});
    let made = post(client, PODS, &fine).await.expect(201);
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources, &json!({"limits": {"cpu": "1m", "memory": "1m"}, "requests": {"cpu": "1m", "memory": "1m"}}));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1n"}}}});
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    assert_eq!(post(client, claims, &claim).await.expect(201)["spec"]["resources"]["requests"]["storage"], "1m");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_be_nothing_is_said() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    let mut silent = pod("silent");
    silent["spec"]["preemptionPolicy"] = json!("");
    post(client, PODS, &silent).await.refused(403, "Forbidden");
    let mut placed = pod("placed");
    let field = json!({"key": "metadata.name", "operator": "In", "values": ["n", "A_b"]});
    let terms = json!([{"matchFields": [field]}]);
    placed["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] =
        terms;
    let refused = post(client, PODS, &placed).await;
    refused.refused(422, "Invalid");
    let causes = refused.body["details"]["causes"].as_array().into_iter().flatten();
    let fields: Vec<&str> = causes.filter_map(|cause| cause["field"].as_str()?.rsplit('.').next()).collect();
    assert_eq!(fields, ["values", "values[1]"]);
}
