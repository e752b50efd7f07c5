//! Workloads over HTTP: one store in two shapes, statuses, what a change leaves alone, and subresources of pods.

use serde_json::{Value, json};

use crate::client::{Watch, apply, delete, get, get_as, patch, post, put};
use crate::pods::{PODS, account, pod};
use crate::support::TestServer;

const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

fn autoscaler(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_one_object_in_two_shapes() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let mut old = autoscaler("a");
    old["spec"]["targetCPUUtilizationPercentage"] = json!(50);
    let made = post(client, V1, &old).await.expect(201);
    assert_eq!((&made["apiVersion"], &made["spec"]["minReplicas"]), (&json!("autoscaling/v1"), &json!(1)));
    let seen = get(client, &format!("{V2}/a")).await.expect(200);
    assert_eq!(seen["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    assert_eq!(seen["metadata"]["managedFields"][0]["apiVersion"], "autoscaling/v1");
    let mut watch = Watch::open(client, &format!("{V1}?watch=1&resourceVersion=0")).await;
    let (kind, shown) = watch.next().await.expect("an event");
    assert_eq!((kind.as_str(), &shown["spec"]["targetCPUUtilizationPercentage"]), ("ADDED", &json!(50)));
    let memory = json!({"type": "Resource", "resource": {
        "name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"},
    }});
    patch(client, &format!("{V2}/a"), "merge", &json!({"spec": {"metrics": [memory]}})).await.expect(200);
    let (_, shown) = watch.next().await.expect("an event");
    let note = "autoscaling.alpha.kubernetes.io/metrics";
    assert!(shown["metadata"]["annotations"][note].as_str().is_some_and(|text| text.contains("memory")));
    // What the older version has no field for survives a change made in it.
    let changed = patch(client, &format!("{V1}/a"), "merge", &json!({"spec": {"maxReplicas": 7}})).await.expect(200);
    assert_eq!((&changed["apiVersion"], &changed["spec"]["maxReplicas"]), (&json!("autoscaling/v1"), &json!(7)));
    let stored = get(client, &format!("{V2}/a")).await.expect(200);
    assert_eq!(stored["spec"]["metrics"], json!([memory]));
    assert!(stored["metadata"].get("annotations").is_none());
    let list = get(client, V1).await.expect(200);
    assert_eq!((&list["apiVersion"], &list["items"][0]["spec"]["maxReplicas"]), (&json!("autoscaling/v1"), &json!(7)));
    let table = get_as(client, V1, TABLE).await.expect(200);
    assert_eq!(table["rows"][0]["cells"][2], "memory: <unknown>/1Gi");
    delete(client, &format!("{V1}/a"), &Value::Null).await.expect(200);
    get(client, &format!("{V2}/a")).await.refused(404, "NotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_applied_and_refused_in_the_newer() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let mut config = autoscaler("a");
    config["apiVersion"] = json!("autoscaling/v1");
    config["kind"] = json!("HorizontalPodAutoscaler");
    let path = format!("{V1}/a?fieldManager=me");
    apply(client, &path, &config).await.expect(201);
    config["spec"]["targetCPUUtilizationPercentage"] = json!(60);
    let applied = apply(client, &path, &config).await.expect(200);
    assert_eq!(applied["spec"]["targetCPUUtilizationPercentage"], 60);
    let mut broken = autoscaler("b");
    broken["spec"]["targetCPUUtilizationPercentage"] = json!(0);
    let refused = post(client, V1, &broken).await;
    refused.refused(422, "Invalid");
    let causes = refused.body["details"]["causes"].to_string();
    assert!(causes.contains("spec.metrics[0].resource.target.averageUtilization"), "{causes}");
    let status = json!({"status": {"currentReplicas": 2, "desiredReplicas": 2}});
    let told = patch(client, &format!("{V1}/a/status"), "merge", &status).await.expect(200);
    assert_eq!((&told["status"]["currentReplicas"], &told["spec"]["maxReplicas"]), (&json!(2), &json!(3)));
}

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn template(policy: &str) -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {
        "restartPolicy": policy, "containers": [{"name": "c", "image": "i"}],
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_keeps_to_itself() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": template("Never")}});
    let made = post(client, JOBS, &job).await.expect(201);
    let uid = &made["metadata"]["uid"];
    assert_eq!(&made["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], uid);
    let path = format!("{JOBS}/j");
    let suspended = patch(client, &path, "merge", &json!({"spec": {"suspend": true}})).await.expect(200);
    assert_eq!(suspended["metadata"]["generation"], 2);
    let steered = json!({"spec": {"template": {"spec": {"nodeSelector": {"zone": "a"}}}}});
    patch(client, &path, "merge", &steered).await.expect(200);
    patch(client, &path, "merge", &json!({"spec": {"completions": 2}})).await.refused(422, "Invalid");
    let unstarted = json!({"status": {"conditions": [
        {"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"},
    ]}});
    patch(client, &format!("{path}/status"), "merge", &unstarted).await.refused(422, "Invalid");
    let marked = delete(client, &path, &Value::Null).await.expect(200);
    assert_eq!(marked["metadata"]["finalizers"], json!(["orphan"]), "a job's pods stay unless asked otherwise");
    patch(client, &path, "merge", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    post(client, JOBS, &job).await.expect(201);
    let gone = delete(client, &path, &json!({"propagationPolicy": "Background"})).await.expect(200);
    assert_eq!(gone["status"], "Success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_old_is_scaled() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = "/api/v1/namespaces/default/replicationcontrollers";
    let controller = json!({"metadata": {"name": "r"}, "spec": {"template": template("Always")}});
    let made = post(client, path, &controller).await.expect(201);
    assert_eq!(made["spec"]["selector"], json!({"app": "x"}));
    let scale = format!("{path}/r/scale?fieldManager=me");
    let scaled = patch(client, &scale, "merge", &json!({"spec": {"replicas": 4}})).await.expect(200);
    assert_eq!(scaled["status"]["selector"], "app=x");
    let seen = get(client, &format!("{path}/r")).await.expect(200);
    let entries = seen["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let entry = entries.iter().find(|entry| entry["subresource"] == "scale").expect("who scaled it");
    assert_eq!(entry["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!((&entry["manager"], &seen["metadata"]["generation"]), (&json!("me"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_sets_template_is_numbered_and_a_stateful_set_stays() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let selector = json!({"matchLabels": {"app": "x"}});
    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    let set = json!({"metadata": {"name": "s"}, "spec": {"selector": selector, "template": template("Always")}});
    post(client, sets, &set).await.expect(201);
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}});
    let changed = patch(client, &format!("{sets}/s"), "strategic-merge", &image).await.expect(200);
    let annotations = &changed["metadata"]["annotations"];
    assert_eq!(annotations["deprecated.daemonset.template.generation"], "2");
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    post(client, sets, &set).await.expect(201);
    patch(client, &format!("{sets}/s"), "merge", &json!({"spec": {"serviceName": "t"}})).await.refused(422, "Invalid");
    let status = json!({"status": {"replicas": 1, "readyReplicas": 2}});
    patch(client, &format!("{sets}/s/status"), "merge", &status).await.refused(422, "Invalid");
}

/// Upstream keeps both sides of a rolling update as plain numbers, and shows them whatever the strategy is.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_set_that_waits_for_deletion_shows_zeroes() {
    let server = TestServer::start(&[]).await;
    let sets = "/apis/apps/v1/namespaces/default/daemonsets?dryRun=All";
    for (asked, shown) in [
        (json!({"type": "OnDelete"}), json!({"type": "OnDelete"})),
        (
            json!({"type": "OnDelete", "rollingUpdate": {}}),
            json!({"type": "OnDelete", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        ),
        (
            json!({"type": "OnDelete", "rollingUpdate": {"maxUnavailable": "10%"}}),
            json!({"type": "OnDelete", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}),
        ),
        (json!({}), json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}})),
    ] {
        let selector = json!({"matchLabels": {"app": "x"}});
        let spec = json!({"selector": selector, "template": template("Always"), "updateStrategy": asked});
        let made = post(&server.client, sets, &json!({"metadata": {"name": "s"}, "spec": spec})).await.expect(201);
        assert_eq!(made["spec"]["updateStrategy"], shown);
    }
}

/// What is behind a gate that is off is taken out of what was sent, and owned by who sent it.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_behind_a_gate_is_owned_and_gone() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let lifecycle = |object: &Value, path: &str| {
        let owned = "/metadata/managedFields/0/fieldsV1";
        let owned = object.pointer(&format!("{owned}{}/f:containers/k:{{\"name\":\"c\"}}", path.replace('/', "/f:")));
        let kept = object.pointer(&format!("{path}/containers/0")).map(|container| container["lifecycle"].clone());
        (kept, owned.map(|owned| owned["f:lifecycle"].clone()))
    };
    let wanted = (Some(Value::Null), Some(json!({".": {}, "f:stopSignal": {}})));
    let mut spec = pod("p")["spec"].clone();
    spec["os"] = json!({"name": "linux"});
    spec["containers"][0]["lifecycle"] = json!({"stopSignal": "SIGTERM"});
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": spec});
    let deployment = json!({
        "metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template},
    });
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let mut made = post(client, deployments, &deployment).await.expect(201);
    assert_eq!(lifecycle(&made, "/spec/template/spec"), wanted);
    let job = json!({"template": {"metadata": {"labels": {"app": "x"}}, "spec": spec}});
    let mut cron = json!({"metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}});
    cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    let cron = post(client, "/apis/batch/v1/namespaces/default/cronjobs", &cron).await.expect(201);
    assert_eq!(lifecycle(&cron, "/spec/jobTemplate/spec/template/spec"), wanted);
    // An update is no other than a create: the field is not there before, and is not after.
    made["metadata"]["managedFields"] = json!([{}]);
    made["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = json!({"stopSignal": "SIGTERM"});
    let updated = put(client, &format!("{deployments}/d"), &made).await.expect(200);
    assert_eq!(lifecycle(&updated, "/spec/template/spec").0, Some(Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_looked_into_and_resized() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    post(client, PODS, &pod("p")).await.expect(201);
    let path = format!("{PODS}/p");
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "i", "targetContainerName": "c"}]}});
    patch(client, &path, "strategic-merge", &debugger).await.refused(422, "Invalid");
    let looked = patch(client, &format!("{path}/ephemeralcontainers"), "strategic-merge", &debugger).await.expect(200);
    assert_eq!(
        (&looked["spec"]["ephemeralContainers"][0]["name"], &looked["metadata"]["generation"]),
        (&json!("d"), &json!(2))
    );
    let none = json!({"spec": {"ephemeralContainers": []}});
    patch(client, &format!("{path}/ephemeralcontainers"), "merge", &none).await.refused(422, "Invalid");
    let more =
        json!({"spec": {"containers": [{"name": "c", "image": "other", "resources": {"requests": {"cpu": "1"}}}]}});
    patch(client, &format!("{path}/resize"), "strategic-merge", &more).await.refused(422, "Invalid");
    let mut sized = pod("q");
    sized["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    post(client, PODS, &sized).await.expect(201);
    let twice = json!({"name": "c", "image": "other", "resources": {"requests": {"cpu": "2"}}});
    let change = json!({"spec": {"containers": [twice]}});
    let resized = patch(client, &format!("{PODS}/q/resize"), "strategic-merge", &change).await.expect(200);
    let container = &resized["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["resources"]["requests"]["cpu"]), (&json!("i"), &json!("2")));
    for subresource in ["resize", "ephemeralcontainers"] {
        let prefixed = json!({"metadata": {"generateName": "A"}, "spec": {}});
        let refused = patch(client, &format!("{PODS}/q/{subresource}"), "merge", &prefixed).await;
        refused.refused(422, "Invalid");
        assert_eq!(refused.body["details"]["causes"][0]["field"], "metadata.generateName", "{subresource}");
    }
    let mut whole = get(client, &format!("{PODS}/q")).await.expect(200);
    whole["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "3"}});
    put(client, &format!("{PODS}/q"), &whole).await.refused(422, "Invalid");
}

/// Upstream fills the labels in as it reads the template's, and again as it answers: between the two it judges.
#[tokio::test(flavor = "multi_thread")]
async fn labels_that_a_job_takes_over_are_judged_where_it_had_some_to_take() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let job = |name: &str, metadata: Value| {
        let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"template": {"metadata": metadata, "spec": spec}}})
    };
    let labels = json!({"labels": {"a": "b"}});
    for (metadata, is_told) in [(json!({}), false), (labels, true)] {
        let refused = post(client, JOBS, &job("-a", metadata)).await;
        refused.refused(422, "Invalid");
        let mut causes = refused.body["details"]["causes"].as_array().into_iter().flatten();
        assert_eq!(causes.any(|cause| cause["field"] == "metadata.labels"), is_told);
    }
    let made = post(client, JOBS, &job("a", json!({}))).await.expect(201);
    assert_eq!(made["metadata"]["labels"]["job-name"], "a");
    assert_eq!(get(client, &format!("{JOBS}/a")).await.expect(200)["metadata"]["labels"], made["metadata"]["labels"]);
}
