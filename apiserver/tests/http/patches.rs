//! The four kinds of patch.

use http::Method;
use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, apply, call, config_map, get, patch, post, put};
use crate::support::TestServer;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test(flavor = "multi_thread")]
async fn json_merge_and_strategic_patches() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({"x": "1", "y": "2"}))).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let ops =
        json!([{"op": "test", "path": "/data/x", "value": "1"}, {"op": "replace", "path": "/data/x", "value": "3"}]);
    assert_eq!(patch(client, &path, "json", &ops).await.expect(200)["data"]["x"], "3");
    patch(client, &path, "json", &ops).await.refused(422, "Invalid");
    let merged = patch(client, &path, "merge", &json!({"data": {"y": null, "z": "4"}})).await.expect(200);
    assert_eq!(merged["data"], json!({"x": "3", "z": "4"}));
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {}});
    patch(client, &path, "merge", &stale).await.refused(409, "Conflict");
    patch(client, &path, "strange", &json!({})).await.refused(415, "UnsupportedMediaType");

    let container = |name: &str, image: &str| json!({"name": name, "image": image});
    let deployment = json!({
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [container("one", "x"), container("two", "y")]},
            },
        },
    });
    post(client, DEPLOYMENTS, &deployment).await.expect(201);
    let change = json!({"spec": {"template": {"spec": {"containers": [container("two", "z")]}}}});
    let path = format!("{DEPLOYMENTS}/d");
    let changed = patch(client, &path, "strategic-merge", &change).await.expect(200);
    let containers = changed["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 2);
    assert!(containers.iter().any(|container| container["name"] == "two" && container["image"] == "z"));
    assert_eq!(changed["metadata"]["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn appliers_own_fields_and_conflict() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let by = |manager: &str| format!("{CONFIG_MAPS}/a?fieldManager={manager}");
    apply(client, &by("one"), &config_map("a", &json!({"x": "1", "y": "1"}))).await.expect(201);
    apply(client, &by("one"), &config_map("a", &json!({"x": "1", "y": "1"}))).await.expect(200);
    let conflict = apply(client, &by("two"), &config_map("a", &json!({"x": "2"}))).await;
    conflict.refused(409, "Conflict");
    let cause = &conflict.body["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldManagerConflict"), &json!(".data.x")));
    let forced = apply(client, &format!("{}&force=true", by("two")), &config_map("a", &json!({"x": "2"}))).await;
    assert_eq!(forced.expect(200)["data"], json!({"x": "2", "y": "1"}));
    let dropped = apply(client, &by("one"), &config_map("a", &json!({}))).await.expect(200);
    assert_eq!(dropped["data"], json!({"x": "2"}), "what one owned alone is gone, what two took is not");
    let unnamed = apply(client, &format!("{CONFIG_MAPS}/a"), &config_map("a", &json!({}))).await;
    unnamed.refused(422, "Invalid");
    let headers = [("content-type", "application/apply-patch+yaml")];
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v}\n";
    let path = format!("{CONFIG_MAPS}/b?fieldManager=one");
    call(client, http::Method::PATCH, &path, &headers, yaml).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_patch_gets_wrong_is_told_as_its_own() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({"x": "1"}))).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let failing = patch(client, &path, "json", &json!([{"op": "remove", "path": "/data/none"}])).await;
    failing.refused(422, "Invalid");
    assert_eq!(failing.body["message"], "the server rejected our request due to an error in our request");
    assert_eq!(failing.body["details"], json!({}));
    let mistyped = patch(client, &path, "strategic-merge", &json!({"data": {"x": 1}})).await;
    mistyped.refused(422, "Invalid");
    let why = " \"\" is invalid: patch: Invalid value: \"map[data:map[x:1]]\": cannot convert int64 to string";
    assert_eq!(mistyped.body["message"], why);
    assert_eq!(mistyped.body["details"]["causes"][0]["field"], "patch");
    let strict = format!("{path}?fieldValidation=Strict");
    let unknown = patch(client, &strict, "merge", &json!({"foo": 1})).await;
    unknown.refused(422, "Invalid");
    let told = unknown.body["message"].as_str().unwrap_or_default();
    assert!(told.ends_with(": strict decoding error: unknown field \"foo\""), "{told}");
    // What the patch left alone stands in its own order.
    assert!(told.contains(r#"\"metadata\":{\"name\":\"a\",\"namespace\":\"default\",\"uid\":"#), "{told}");
    let warned = patch(client, &path, "merge", &json!({"foo": 1})).await;
    assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"foo\\\"\""]);
    warned.expect(200);
    let odd = json!([{"op": "add", "path": "/data/y", "value": "2", "more": 1}]);
    let odd = patch(client, &path, "json", &odd).await;
    assert_eq!(odd.warnings(), ["299 - \"json patch unknown field \\\"[0].more\\\"\""]);
    odd.expect(200);
    let twice =
        r#"[{"op": "add", "path": "/metadata/labels", "value": {"x": "1", "x": "2"}, "less": {"y": 1, "y": 2}}]"#;
    let json_patch = [("content-type", "application/json-patch+json")];
    let twice = call(client, http::Method::PATCH, &path, &json_patch, twice).await;
    let warnings = ["json patch duplicate field \\\"[0].value.x\\\"", "json patch unknown field \\\"[0].less\\\""];
    assert_eq!(twice.warnings(), warnings.map(|text| format!("299 - \"{text}\"")));
    twice.expect(200);
    let ignored = format!("{path}?fieldValidation=Ignore");
    assert!(patch(client, &ignored, "merge", &json!({"foo": 1})).await.warnings().is_empty());
    let renamed = patch(client, &path, "merge", &json!({"metadata": {"name": "b"}})).await;
    renamed.refused(400, "BadRequest");
    assert_eq!(renamed.body["message"], "the name of the object (b) does not match the name on the URL (a)");
    let no_object = patch(client, &path, "merge", &json!([])).await;
    assert_eq!(
        no_object.body["message"],
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
    );
    patch(client, &format!("{CONFIG_MAPS}/none"), "merge", &json!({})).await.refused(404, "NotFound");
    // Nothing is no change in two notations, and no patch in the third.
    for (kind, code) in [("strategic-merge", 200), ("json", 200), ("merge", 400)] {
        let reply = patch(client, &path, kind, &json!(null)).await;
        assert_eq!(reply.code, code, "{kind}: {}", reply.body);
        assert!(code == 200 || reply.body["message"] == "Invalid JSON Patch", "{}", reply.body);
    }
}

/// What is wrong first with a request that has much wrong: each is mended in turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_refused_for_its_form_then_its_options_then_its_object_then_itself() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    for kind in ["application/merge-patch+json", "application/strategic-merge-patch+json"] {
        let (bad, none) = ("?fieldValidation=Bad", format!("{CONFIG_MAPS}/none"));
        for (path, kind, accept, code) in [
            (format!("{none}{bad}"), "text/plain", "text/plain", 415),
            (format!("{none}{bad}"), kind, "text/plain", 406),
            (format!("{none}{bad}"), kind, "application/json", 422),
            (none, kind, "application/json", 404),
            (format!("{CONFIG_MAPS}/a"), kind, "application/json", 400),
        ] {
            let headers = [("content-type", kind), ("accept", accept)];
            let reply = call(client, http::Method::PATCH, &path, &headers, "{").await;
            assert_eq!(reply.code, code, "{path}: {}", reply.body);
        }
    }
    let scale = format!("{DEPLOYMENTS}/none/scale");
    for (kind, code) in [("text/plain", 415), ("application/merge-patch+json", 406)] {
        let headers = [("content-type", kind), ("accept", "text/plain")];
        assert_eq!(call(client, http::Method::PATCH, &scale, &headers, "{").await.code, code);
    }
}

/// Upstream keeps a revision's data as bytes, and finds no field in them to merge.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_as_bytes_is_not_merged_by_its_fields() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let revision = json!({"metadata": {"name": "r"}, "data": {"spec": {"x": 1}}, "revision": 1});
    post(client, revisions, &revision).await.expect(201);
    let path = format!("{revisions}/r");
    let inner = json!({"data": {"spec": {"x": 1}}});
    let refused = patch(client, &path, "strategic-merge", &inner).await.expect(500);
    let why = "unable to find api field in struct RawExtension for the json field \"spec\"";
    assert_eq!(refused["message"], why);
    patch(client, &path, "strategic-merge", &json!({"data": {}})).await.expect(200);
    patch(client, &path, "merge", &inner).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_of_the_kind_and_fits_it() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = format!("{CONFIG_MAPS}/a?fieldManager=m");
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    let refused = apply(client, &path, &other).await;
    refused.refused(400, "BadRequest");
    assert_eq!(refused.body["message"], "invalid object type: /v1, Kind=Secret");
    let mut unknown = config_map("a", &json!({}));
    unknown["spec"] = json!({});
    let refused = apply(client, &path, &unknown).await;
    assert_eq!((refused.code, &refused.body["reason"]), (500, &json!(null)));
    assert_eq!(
        refused.body["message"],
        "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .spec: field not declared in schema"
    );
    let mut managed = config_map("a", &json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    let refused = apply(client, &path, &managed).await;
    assert_eq!(refused.body["message"], "metadata.managedFields must be nil");
    let headers = [("content-type", "application/apply-patch+yaml")];
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: v\n  l: v\n  k: w\n  l: w\n";
    let strict = call(client, http::Method::PATCH, &format!("{path}&fieldValidation=Strict"), &headers, twice).await;
    strict.refused(400, "BadRequest");
    assert_eq!(
        strict.body["message"],
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key \"k\" already set in map\n  line 8: key \"l\" already set in map"
    );
    let warned = call(client, http::Method::PATCH, &path, &headers, twice).await;
    let told = [r#"299 - "line 7: key \"k\" already set in map""#, r#"299 - "line 8: key \"l\" already set in map""#];
    assert_eq!(warned.warnings(), told);
    assert_eq!(warned.expect(201)["data"], json!({"k": "w", "l": "w"}));
    let mut strange = config_map("b", &json!({}));
    strange["metadata"]["uid"] = json!("none");
    apply(client, &format!("{CONFIG_MAPS}/b?fieldManager=m"), &strange).await.refused(409, "Conflict");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "a"},
        "spec": {"leaseDurationSeconds": (1u64 << 32) + 1},
    });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases/a?fieldManager=m";
    assert_eq!(apply(client, leases, &lease).await.expect(201)["spec"]["leaseDurationSeconds"], 1, "the lower bits");
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_is_owned_and_applied_like_the_object() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let deployment = |replicas: u32| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
                },
            },
        })
    };
    let path = format!("{DEPLOYMENTS}/d");
    apply(client, &format!("{path}?fieldManager=one"), &deployment(1)).await.expect(201);
    let scale = |replicas: u32| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}});
    let by_two = format!("{path}/scale?fieldManager=two");
    let conflict = apply(client, &by_two, &scale(3)).await;
    conflict.refused(409, "Conflict");
    assert_eq!(conflict.body["details"]["causes"][0]["field"], ".spec.replicas");
    assert_eq!(apply(client, &format!("{by_two}&force=true"), &scale(3)).await.expect(200)["spec"]["replicas"], 3);
    let stored = get(client, &path).await.expect(200);
    let entries = stored["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let of = |manager: &str| entries.iter().find(|entry| entry["manager"] == manager).cloned().unwrap_or_default();
    assert_eq!(of("two")["subresource"], "scale");
    assert_eq!(of("two")["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert!(of("one")["fieldsV1"]["f:spec"]["f:replicas"].is_null(), "{stored}");
    let three = format!("{path}/scale?fieldManager=three");
    patch(client, &three, "merge", &json!({"spec": {"replicas": 4}})).await.expect(200);
    let owned = apply(client, &format!("{path}?fieldManager=one"), &deployment(1)).await;
    assert_eq!(
        owned.body["message"],
        "Apply failed with 1 conflict: conflict with \"three\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

/// What a client says of owners at versions that no object of the kind was ever in is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn owners_at_unknown_versions_are_gone() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let entry = |version: &str, manager: &str| {
        json!({
            "manager": manager, "operation": "Update", "apiVersion": version, "time": "2020-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}},
        })
    };
    let owned = |entries: &Value, data: &Value| {
        let mut map = config_map("a", data);
        map["metadata"]["managedFields"] = entries.clone();
        map
    };
    let owners = |object: &Value| {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let owners = entries.iter().map(|entry| (entry["manager"].clone(), entry["fieldsV1"]["f:data"].clone()));
        owners.collect::<Vec<_>>()
    };
    let strangers = json!([entry("v9", "x"), entry("apps/v1", "y")]);
    let made = post(client, &format!("{CONFIG_MAPS}?fieldManager=me"), &owned(&strangers, &json!({"a": "1"}))).await;
    assert_eq!(owners(&made.expect(201)), [(json!("me"), json!({".": {}, "f:a": {}}))]);
    let path = format!("{CONFIG_MAPS}/a?fieldManager=me");
    let both = json!({"a": "1", "b": "2"});
    let changed = put(client, &path, &owned(&strangers, &both)).await.expect(200);
    assert_eq!(owners(&changed), [(json!("me"), json!({"f:b": {}}))]);
    let with_known = json!([entry("v9", "x"), entry("v1", "z")]);
    let same = put(client, &path, &owned(&with_known, &both)).await.expect(200);
    assert_eq!(owners(&same), [(json!("z"), json!({"f:a": {}}))]);
}

/// Owners at the other version of a kind are asked what they own there.
#[tokio::test(flavor = "multi_thread")]
async fn owners_are_compared_at_their_own_version() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = |version: &str, manager: &str| {
        format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers/h?fieldManager={manager}")
    };
    let configuration = |version: &str, spec: Value| {
        let mut object = json!({
            "apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}},
        });
        object["spec"].as_object_mut().expect("a spec").extend(spec.as_object().cloned().unwrap_or_default());
        object
    };
    let cpu = |percent: u32| {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]})
    };
    let owned = |object: &Value, manager: &str| {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let entry = entries.iter().find(|entry| entry["manager"] == manager).cloned().unwrap_or_default();
        (entry["apiVersion"].clone(), entry["fieldsV1"]["f:spec"].clone())
    };
    let applied = apply(client, &path("v2", "new"), &configuration("v2", cpu(60))).await.expect(201);
    assert!(owned(&applied, "new").1["f:metrics"].is_object());
    // The share of CPU that v1 has is v2's list of metrics.
    let change = json!({"spec": {"targetCPUUtilizationPercentage": 70}});
    let changed = patch(client, &path("v1", "old"), "merge", &change).await.expect(200);
    assert_eq!(owned(&changed, "old"), (json!("autoscaling/v1"), json!({"f:targetCPUUtilizationPercentage": {}})));
    assert_eq!(owned(&changed, "new").1["f:metrics"], Value::Null);
    assert!(owned(&changed, "new").1["f:maxReplicas"].is_object());
    let refused = apply(client, &path("v2", "new"), &configuration("v2", cpu(60))).await;
    refused.refused(409, "Conflict");
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!(
        (&cause["message"], &cause["field"]),
        (&json!("conflict with \"old\" using autoscaling/v1"), &json!(".spec.targetCPUUtilizationPercentage"))
    );
    // What was applied in one version, and in the other no more, goes.
    let few = configuration("v1", json!({"minReplicas": 2}));
    assert_eq!(apply(client, &path("v1", "new"), &few).await.expect(200)["spec"]["minReplicas"], 2);
    let fewer = apply(client, &path("v2", "new"), &configuration("v2", json!({}))).await.expect(200);
    assert_eq!((&fewer["spec"]["minReplicas"], &owned(&fewer, "new").0), (&json!(1), &json!("autoscaling/v2")));
    assert_eq!(owned(&fewer, "old").0, "autoscaling/v1");
    assert_eq!(fewer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
}

/// A Scale is a kind of its own to those who own its fields: unknown ones are refused, no replicas are nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_scale_is_applied_as_a_kind_of_its_own() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec});
    post(client, DEPLOYMENTS, &deployment).await.expect(201);
    let path = format!("{DEPLOYMENTS}/d/scale");
    let by = |manager: &str| format!("{path}?fieldManager={manager}");
    let scale = |metadata: &Value, spec: &Value| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec});
    let named = json!({"name": "d"});
    patch(client, &by("u"), "merge", &json!({"spec": {"replicas": 3}})).await.expect(200);
    let conflict = apply(client, &by("m"), &scale(&named, &json!({"replicas": 4}))).await;
    conflict.refused(409, "Conflict");
    let why = "conflict with \"u\" with subresource \"scale\" using autoscaling/v1";
    assert_eq!(conflict.body["details"]["causes"][0]["message"], why);
    put(client, &by("u"), &scale(&named, &json!({"replicas": 0}))).await.expect(200);
    apply(client, &by("m"), &scale(&json!({}), &json!({"replicas": 4}))).await.expect(200);

    let four = json!({"replicas": 4});
    let unknown = apply(client, &by("m"), &scale(&named, &json!({"replicas": 4, "x": 1}))).await.expect(500);
    let why =
        "failed to create typed patch object (/d; autoscaling/v1, Kind=Scale): .spec.x: field not declared in schema";
    assert_eq!(unknown["message"], why);
    for (metadata, code, reason) in [
        (json!({"name": "e"}), 400, "BadRequest"),
        (json!({"name": "d", "namespace": "other"}), 400, "BadRequest"),
        (json!({"name": "d", "managedFields": [{"manager": "x"}]}), 400, "BadRequest"),
        (json!({"name": "d", "resourceVersion": "1"}), 409, "Conflict"),
        (json!({"name": "d", "uid": "x"}), 409, "Conflict"),
    ] {
        let refused = apply(client, &by("m"), &scale(&metadata, &four)).await;
        refused.refused(code, reason);
        let kind = &refused.body["details"]["kind"];
        assert!(metadata["uid"].is_null() || kind == "deployments/scale", "{}", refused.body);
    }
    let nothing = call(client, Method::PATCH, &by("m"), &[("content-type", "application/apply-patch+yaml")], "").await;
    nothing.refused(400, "BadRequest");
    assert_eq!(nothing.body["message"], "invalid object type: /, Kind=");
    let wrong = patch(client, &by("u"), "merge", &json!({"spec": {"replicas": "x"}})).await;
    wrong.refused(422, "Invalid");
    assert!(wrong.body["message"].as_str().is_some_and(|text| text.contains("managedFields")), "{}", wrong.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_is_nothing_written() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = format!("{CONFIG_MAPS}/a?fieldManager=one");
    let first = apply(client, &path, &config_map("a", &json!({"x": "1"}))).await.expect(201);
    let again = apply(client, &path, &config_map("a", &json!({"x": "1"}))).await.expect(200);
    assert_eq!(first["metadata"], again["metadata"]);
    let dry = format!("{path}&dryRun=All");
    let tried = apply(client, &dry, &config_map("a", &json!({"x": "2"}))).await.expect(200);
    assert_eq!(tried["data"]["x"], "2");
    assert_eq!(get(client, &format!("{CONFIG_MAPS}/a")).await.expect(200)["data"]["x"], "1");
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"});
    let mut owned = config_map("c", &json!({}));
    owned["metadata"]["ownerReferences"] = json!([owner, owner]);
    let made = post(client, CONFIG_MAPS, &owned).await;
    assert!(made.warnings()[0].contains(".metadata.ownerReferences contains duplicate entries"));
    assert_eq!(made.expect(201)["metadata"]["ownerReferences"], json!([owner]));
}
