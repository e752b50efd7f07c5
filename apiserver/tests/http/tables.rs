//! The columns of every kind's table, as upstream's server has them: `tables.txt` holds a resource a line, and a column's
//! name with its type where that is not `string`, `wide` where it is shown only then, and a `*` where it is the name.

use http::Method;
use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, call, config_map, get, get_as, patch, post};
use crate::pods::{PODS, account, pod};
use crate::support::TestServer;

fn written(column: &Value) -> String {
    let text = |field: &str| column[field].as_str().expect("a text");
    let mut written = text("name").to_owned();
    if text("type") != "string" {
        written += &format!(" {}", text("type"));
    }
    match column["priority"].as_i64() {
        Some(0) => {}
        Some(1) => written += " wide",
        other => panic!("a priority of {other:?}"),
    }
    match text("format") {
        "" => {}
        "name" => written += " *",
        other => panic!("a format {other}"),
    }
    assert!(!text("description").is_empty(), "{column}");
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_upstreams() {
    let server = TestServer::start(&[]).await;
    let mut wrong = Vec::new();
    let lines: Vec<&str> = include_str!("tables.txt").lines().collect();
    assert!(lines.len() > 50, "the list is whole");
    for line in lines {
        let (path, expected) = line.split_once(": ").expect("a path and columns");
        let table = get_as(&server.client, path, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
        let columns = table["columnDefinitions"].as_array().expect("columns");
        let found = columns.iter().map(written).collect::<Vec<_>>().join(", ");
        if found != expected {
            wrong.push(format!("{path}\n  here     {found}\n  upstream {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_shows_accounts_with_their_namespace_and_nobody_else() {
    let server = TestServer::start(&[]).await;
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [
            {"kind": "User", "name": "anna", "apiGroup": "rbac.authorization.k8s.io", "namespace": "n"},
            {"kind": "ServiceAccount", "name": "a", "namespace": "n"},
        ],
    });
    post(&server.client, path, &binding).await.expect(201);
    let kind = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = get_as(&server.client, &format!("{path}/b"), kind).await.expect(200);
    let cells = table["rows"][0]["cells"].as_array().expect("cells");
    assert_eq!(cells[3..], [json!("anna"), json!(""), json!("n/a")]);
}

/// What a row carries of its object is the client's to say, and said well.
#[tokio::test(flavor = "multi_thread")]
async fn rows_carry_what_was_asked_for() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    post(client, CONFIG_MAPS, &config_map("a", &json!({"k": "v"}))).await.expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    for (include, kind) in
        [("", "PartialObjectMetadata"), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap"), ("None", "")]
    {
        for path in [&one, CONFIG_MAPS] {
            let shown = get_as(client, &format!("{path}?includeObject={include}"), table).await.expect(200);
            let row = shown["rows"][0].get("object").expect("an object, or null");
            assert_eq!(row["kind"].as_str().unwrap_or_default(), kind, "{path} {include}");
            assert_eq!(row["data"]["k"] == "v", kind == "ConfigMap");
        }
    }
    for path in [format!("{one}?"), format!("{CONFIG_MAPS}?"), format!("{CONFIG_MAPS}?watch=1&")] {
        let refused = get_as(client, &format!("{path}includeObject=Bad"), table).await;
        refused.refused(400, "BadRequest");
        let why = "includeObject: Invalid value: \"Bad\": must be 'Metadata', 'Object', 'None', or empty";
        assert_eq!(refused.body["message"], format!("Unable to convert to Table as requested: {why}"));
        // Who asks for no table is not asked what is in one.
        if !path.contains("watch") {
            get(client, &format!("{path}includeObject=Bad")).await.expect(200);
        }
    }
    // It is asked when the answer is there, and that is after the deed.
    let bad = format!("{one}?includeObject=Bad");
    call(client, Method::DELETE, &bad, &[("accept", table)], "").await.refused(400, "BadRequest");
    get(client, &one).await.refused(404, "NotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_of_the_version_that_was_asked_for() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    for version in ["v1", "v1beta1"] {
        let views = ["Table", "PartialObjectMetadata", "PartialObjectMetadataList"]
            .map(|kind| format!("application/json;as={kind};v={version};g=meta.k8s.io"));
        let [table, partial, list] = &views;
        let asked = json!(format!("meta.k8s.io/{version}"));
        for path in [&one, CONFIG_MAPS] {
            let shown = get_as(client, path, table).await.expect(200);
            assert_eq!((&shown["apiVersion"], &shown["rows"][0]["object"]["apiVersion"]), (&asked, &asked));
        }
        let whole = get_as(client, &format!("{one}?includeObject=Object"), table).await.expect(200);
        assert_eq!(whole["rows"][0]["object"]["apiVersion"], "v1");
        let shown = get_as(client, &one, partial).await.expect(200);
        assert_eq!((&shown["apiVersion"], shown.get("rows"), shown.get("items")), (&asked, None, None));
        let shown = get_as(client, CONFIG_MAPS, list).await.expect(200);
        assert_eq!((&shown["apiVersion"], &shown["items"][0]["apiVersion"]), (&asked, &asked));
        let refused = get_as(client, CONFIG_MAPS, partial).await;
        refused.refused(406, "NotAcceptable");
        let why = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
        assert_eq!(refused.body["message"], why);
    }
}

/// The tables of a short watch.
async fn watched(client: &kube::Client, path: &str) -> Vec<Value> {
    let path = format!("{path}&watch=1&timeoutSeconds=1&allowWatchBookmarks=1");
    match get_as(client, &path, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200) {
        Value::String(lines) => lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(),
        one => vec![one],
    }
}

/// A bookmark is a row, too, of an object that has nothing but a version, and names the columns when it comes first.
#[tokio::test(flavor = "multi_thread")]
async fn a_watched_table_names_its_columns_once() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let events = async |query: &str| watched(client, &format!("{CONFIG_MAPS}?{query}")).await;
    let columns = |event: &Value| event["object"]["columnDefinitions"].as_array().map(Vec::len);
    let first = events("").await;
    assert_eq!((&first[0]["type"], columns(&first[0])), (&json!("BOOKMARK"), Some(3)));
    for name in ["a", "b"] {
        post(client, CONFIG_MAPS, &config_map(name, &json!({}))).await.expect(201);
    }
    for (include, added, last) in [
        ("Object", json!("ConfigMap"), "ConfigMap"),
        ("Metadata", json!("PartialObjectMetadata"), "PartialObjectMetadata"),
        ("None", Value::Null, "PartialObjectMetadata"),
    ] {
        let events = events(&format!("&includeObject={include}")).await;
        let kinds: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
        assert_eq!(kinds, ["ADDED", "ADDED", "BOOKMARK"]);
        assert_eq!(events.iter().map(columns).collect::<Vec<_>>(), [Some(3), None, None]);
        assert_eq!(events[1]["object"]["rows"][0]["object"]["kind"], added);
        let (table, row) = (&events[2]["object"], &events[2]["object"]["rows"][0]);
        assert_eq!((&row["cells"][0], &row["object"]["kind"]), (&json!(""), &json!(last)));
        let version = &table["metadata"]["resourceVersion"];
        assert_eq!(table["metadata"], json!({"resourceVersion": version}));
        let metadata = json!({"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}});
        assert_eq!(row["object"]["metadata"], metadata);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_of_a_pod_that_has_ended_says_so() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    account(client).await;
    post(client, PODS, &pod("a")).await.expect(201);
    for (phase, message) in [
        ("Running", None),
        ("Succeeded", Some("The pod has completed successfully.")),
        ("Failed", Some("The pod failed.")),
    ] {
        let status = json!({"status": {"phase": phase}});
        patch(client, &format!("{PODS}/a/status"), "merge", &status).await.expect(200);
        let table = get_as(client, PODS, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
        let expected = message
            .map(|message| json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]));
        assert_eq!(table["rows"][0].get("conditions"), expected.as_ref());
    }
}

/// Of what the printers say of fields that are not there; they are all there in objects that were made here.
#[tokio::test(flavor = "multi_thread")]
async fn a_bookmark_has_cells_of_nothing() {
    let server = TestServer::start(&[]).await;
    let cells = async |path: &str| {
        let told = watched(&server.client, &format!("{path}?labelSelector=a%3Dnobody")).await;
        told[0]["object"]["rows"][0]["cells"].clone()
    };
    let storage = "/apis/storage.k8s.io/v1";
    for (path, expected) in [
        ("/api/v1/limitranges", json!(["", "0001-01-01T00:00:00Z"])),
        (&format!("{storage}/csistoragecapacities"), json!(["", "0001-01-01T00:00:00Z"])),
        (&format!("{storage}/storageclasses"), json!(["", "", "Delete", "Immediate", false, "<unknown>"])),
        ("/api/v1/services", json!(["", "", "<none>", "<unknown>", "<none>", "<unknown>", "<none>"])),
        ("/apis/apps/v1/deployments", json!(["", "0/0", 0, 0, "<unknown>", "", "", ""])),
    ] {
        assert_eq!(cells(path).await, expected, "{path}");
    }
    let driver = cells(&format!("{storage}/csidrivers")).await;
    assert_eq!(driver[1], true);
    let request = cells("/apis/certificates.k8s.io/v1/certificatesigningrequests").await;
    assert_eq!(request[2], "<none>");
}

/// These are fields to upstream, so who sees an object's metadata alone does not see them.
#[tokio::test(flavor = "multi_thread")]
async fn some_annotations_belong_to_the_whole_object_alone() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let path = "/apis/apps/v1/namespaces/default/daemonsets";
    let set = json!({
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        }},
    });
    let numbered = json!({"deprecated.daemonset.template.generation": "1"});
    assert_eq!(post(client, path, &set).await.expect(201)["metadata"]["annotations"], numbered);
    let one = format!("{path}/d");
    let watch = format!("{path}?watch=1&timeoutSeconds=1");
    for (path, kind, metadata) in [
        (&one, "PartialObjectMetadata", "/metadata"),
        (&path.to_owned(), "PartialObjectMetadataList", "/items/0/metadata"),
        (&watch, "PartialObjectMetadata", "/object/metadata"),
        (&one, "Table", "/rows/0/object/metadata"),
        (&watch, "Table", "/object/rows/0/object/metadata"),
    ] {
        let shown = get_as(client, path, &format!("application/json;as={kind};v=v1;g=meta.k8s.io")).await.expect(200);
        let metadata = shown.pointer(metadata).unwrap_or_else(|| panic!("no metadata in {shown}"));
        assert_eq!((&metadata["name"], metadata.get("annotations")), (&json!("d"), None), "{path} {kind}");
    }
    let one = format!("{one}?includeObject=Object");
    let whole = get_as(client, &one, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
    assert_eq!(whole["rows"][0]["object"]["metadata"]["annotations"], numbered);
}
