//! Deletion: preconditions, finalizers, grace, propagation, collections.

use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, Watch, config_map, delete, get, patch, post, put};
use crate::pods::{PODS, account, pod};
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn preconditions_and_finalizers_hold_it_back() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let mut object = config_map("a", &json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let made = post(client, CONFIG_MAPS, &object).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    delete(client, &path, &json!({"preconditions": {"uid": "other"}})).await.refused(409, "Conflict");
    delete(client, &path, &json!({"preconditions": {"resourceVersion": "1"}})).await.refused(409, "Conflict");
    for query in ["uid=other", "resourceVersion=1"] {
        delete(client, &format!("{path}?dryRun=All&{query}"), &Value::Null).await.refused(409, "Conflict");
    }
    delete(client, &format!("{path}?dryRun=All"), &Value::Null).await.expect(200);
    let uid = json!({"preconditions": {"uid": made["metadata"]["uid"]}});
    let marked = delete(client, &path, &uid).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(get(client, &path).await.expect(200)["metadata"]["deletionGracePeriodSeconds"], 0);
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/new"]}});
    patch(client, &path, "merge", &more).await.refused(422, "Invalid");
    let last = patch(client, &path, "merge", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    assert_eq!(last["metadata"]["resourceVersion"], marked["metadata"]["resourceVersion"], "its end is no version");
    get(client, &path).await.refused(404, "NotFound");
    delete(client, &path, &Value::Null).await.refused(404, "NotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_until_its_holder_is_gone() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let mut object = config_map("a", &json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    post(client, CONFIG_MAPS, &object).await.expect(201);
    const TAKEN: &str = "configmaps \"a\" already exists";
    let words = async |query: &str| {
        let refused = post(client, &format!("{CONFIG_MAPS}{query}"), &config_map("a", &json!({}))).await;
        refused.refused(409, "AlreadyExists");
        refused.body["message"].clone()
    };
    assert_eq!(words("").await, TAKEN);
    delete(client, &format!("{CONFIG_MAPS}/a"), &Value::Null).await.expect(200);
    for query in ["", "?dryRun=All"] {
        assert_eq!(words(query).await, format!("object is being deleted: {TAKEN}"));
    }
}

/// The pods of a Job stay where nothing is said of them: who says nothing is told.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_jobs_pods_behind_is_warned() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
    post(client, jobs, &json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": spec}}})).await.expect(201);
    let path = format!("{jobs}/j?dryRun=All");
    let unsaid = delete(client, &path, &Value::Null).await;
    let why = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
    assert_eq!(unsaid.warnings(), [format!("299 - \"{why}\"")]);
    for said in [json!({"propagationPolicy": "Orphan"}), json!({"orphanDependents": false})] {
        assert!(delete(client, &path, &said).await.warnings().is_empty(), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn propagation_is_written_as_finalizers() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
        let path = format!("{CONFIG_MAPS}/a");
        let marked = delete(client, &path, &json!({"propagationPolicy": policy})).await.expect(200);
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
        patch(client, &path, "merge", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    }
    post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    delete(client, &path, &json!({"propagationPolicy": "Sideways"})).await.refused(422, "Invalid");
    let gone = delete(client, &path, &json!({"propagationPolicy": "Background"})).await.expect(200);
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
}

/// By the old name of a cascading deletion the code tells that the object is still there.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_in_the_old_words_is_accepted() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let mut object = config_map("a", &json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    post(client, CONFIG_MAPS, &object).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let cascading = json!({"orphanDependents": false});
    let marked = delete(client, &path, &cascading).await.expect(202);
    assert_eq!(marked["metadata"]["finalizers"], json!(["example.com/hold"]));
    delete(client, &format!("{path}?orphanDependents=0"), &Value::Null).await.expect(202);
    delete(client, &path, &json!({"propagationPolicy": "Background"})).await.expect(200);
    let left = delete(client, &format!("{path}?orphanDependents="), &Value::Null).await.expect(200);
    assert_eq!(left["metadata"]["finalizers"], json!(["example.com/hold", "orphan"]));
    post(client, CONFIG_MAPS, &config_map("b", &json!({}))).await.expect(201);
    delete(client, &format!("{CONFIG_MAPS}/b"), &cascading).await.expect(200);
}

/// Nothing belongs to an event: it goes at once, whatever is asked of what belongs to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_no_dependents() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    const EVENTS: &str = "/api/v1/namespaces/default/events";
    for policy in ["Orphan", "Foreground"] {
        let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}});
        post(client, EVENTS, &event).await.expect(201);
        let gone = delete(client, &format!("{EVENTS}/e"), &json!({"propagationPolicy": policy})).await.expect(200);
        assert_eq!(gone["kind"], "Status");
        get(client, &format!("{EVENTS}/e")).await.refused(404, "NotFound");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_end_with_grace_once_they_run_somewhere() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    let free = post(client, PODS, &pod("free")).await.expect(201);
    let since = free["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut watch = Watch::open(client, &format!("{PODS}?watch=1&resourceVersion={since}")).await;
    let gone = delete(client, &format!("{PODS}/free"), &Value::Null).await.expect(200);
    get(client, &format!("{PODS}/free")).await.refused(404, "NotFound");
    // Who watches sees that it is on its way before it is gone.
    let marks = |pod: &Value| json!([pod["metadata"]["deletionGracePeriodSeconds"], pod["metadata"]["generation"]]);
    for kind in ["MODIFIED", "DELETED"] {
        let (told, pod) = watch.next().await.expect("an event");
        assert_eq!((&*told, marks(&pod)), (kind, json!([0, 2])), "{pod}");
    }
    assert_eq!(marks(&gone), json!([0, 2]));
    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = json!("n");
    post(client, PODS, &bound).await.expect(201);
    let path = format!("{PODS}/bound");
    let marked = delete(client, &path, &Value::Null).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = delete(client, &path, &json!({"gracePeriodSeconds": 5})).await.expect(200);
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    // Who says nothing of grace leaves what was said before, also of a pod that has ended meanwhile.
    let ended = json!({"status": {"phase": "Succeeded"}});
    let ended = patch(client, &format!("{path}/status"), "merge", &ended).await.expect(200);
    assert_eq!(delete(client, &path, &json!({"propagationPolicy": "Orphan"})).await.expect(200), ended);
    delete(client, &format!("{path}?gracePeriodSeconds=0"), &Value::Null).await.expect(200);
    get(client, &path).await.refused(404, "NotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_goes_by_its_selectors() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    for (name, on) in [("a", "yes"), ("b", "no"), ("c", "yes")] {
        let mut object = config_map(name, &json!({}));
        object["metadata"]["labels"] = json!({"on": on});
        post(client, CONFIG_MAPS, &object).await.expect(201);
    }
    let left = async || {
        let list = get(client, CONFIG_MAPS).await.expect(200);
        list["items"].as_array().map_or(0, Vec::len)
    };
    delete(client, &format!("{CONFIG_MAPS}?labelSelector=on%3Dyes&dryRun=All"), &Value::Null).await.expect(200);
    assert_eq!(left().await, 3);
    let gone = delete(client, &format!("{CONFIG_MAPS}?labelSelector=on%3Dyes"), &Value::Null).await.expect(200);
    assert_eq!((&gone["kind"], left().await), (&json!("ConfigMapList"), 1));
    delete(client, &format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Db"), &Value::Null).await.expect(200);
    assert_eq!(left().await, 0);
}

/// Options may say nothing of their kind or version; what says that it is something else is refused.
#[tokio::test(flavor = "multi_thread")]
async fn options_of_another_kind_are_refused() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let unregistered = |kind: &str, version: &str| {
        format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        )
    };
    let unconvertible = |kind: &str| format!("converting (v1.{kind}) to (v1.DeleteOptions): unknown conversion");
    for (kind, version, why) in [
        ("Pod", "v1", unregistered("Pod", "v1")),
        ("PatchOptions", "v1", unregistered("PatchOptions", "v1")),
        ("PatchOptions", "meta.k8s.io/v1", unconvertible("PatchOptions")),
        ("CreateOptions", "apps/v1", unconvertible("CreateOptions")),
        ("DeleteOptions", "a/b/c", "unexpected GroupVersion string: a/b/c".to_owned()),
    ] {
        let options = json!({"kind": kind, "apiVersion": version});
        for path in [&format!("{CONFIG_MAPS}/a"), CONFIG_MAPS] {
            let refused = delete(client, path, &options).await;
            refused.refused(400, "BadRequest");
            assert_eq!(refused.body["message"], why, "{path}");
        }
    }
    for options in
        [json!({"kind": "DeleteOptions", "apiVersion": "apps/v2", "dryRun": ["All"]}), json!({"apiVersion": "zz/v1"})]
    {
        delete(client, &format!("{CONFIG_MAPS}/a"), &options).await.expect(200);
    }
}

/// A namespace ends by its finalizers: it has no time to wait for.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_has_no_grace() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = "/api/v1/namespaces/a";
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
    post(client, "/api/v1/namespaces", &space).await.expect(201);
    let marked = delete(client, path, &Value::Null).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string() && marked["status"]["phase"] == "Terminating");
    assert!(marked["metadata"].get("deletionGracePeriodSeconds").is_none());
    let mut last = space.clone();
    last["spec"] = json!({"finalizers": ["example.com/a", "mine"]});
    let wrong = put(client, &format!("{path}/finalize"), &last).await;
    wrong.refused(422, "Invalid");
    assert_eq!(wrong.body["details"]["causes"][0]["field"], "spec.finalizers[1]");
    (last["spec"], last["status"]) = (json!({"finalizers": ["example.com/a"]}), json!({"phase": "Odd"}));
    let owners = put(client, &format!("{path}/finalize"), &last).await.expect(200)["metadata"]["managedFields"].take();
    let owned = owners.as_array().expect("owners").iter().find(|entry| entry["subresource"] == "finalize");
    assert_eq!(owned.expect("the finalizers' owner")["fieldsV1"], json!({"f:spec": {"f:finalizers": {}}}));
}
