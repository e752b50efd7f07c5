//! Create, get, update, dry run, generated names, field validation.

use http::Method;
use serde_json::json;

use crate::client::{CONFIG_MAPS, call, config_map, get, post, put};
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_read_and_updated() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let made = post(client, CONFIG_MAPS, &config_map("a", &json!({"x": "1"}))).await.expect(201);
    assert_eq!((&made["kind"], &made["metadata"]["namespace"]), (&json!("ConfigMap"), &json!("default")));
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Update");
    post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.refused(409, "AlreadyExists");
    let path = format!("{CONFIG_MAPS}/a");
    assert_eq!(get(client, &path).await.expect(200), made);

    let mut newer = made.clone();
    newer["data"]["x"] = json!("2");
    let newer = put(client, &path, &newer).await.expect(200);
    assert_ne!(newer["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let same = put(client, &path, &newer).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], newer["metadata"]["resourceVersion"], "no change, no write");
    let stale = put(client, &path, &made).await;
    stale.refused(409, "Conflict");
    assert_eq!(
        stale.body["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    put(client, &format!("{CONFIG_MAPS}/none"), &config_map("none", &json!({}))).await.refused(404, "NotFound");
    put(client, &path, &config_map("b", &json!({}))).await.refused(400, "BadRequest");
    let mut other = newer.clone();
    other["metadata"]["uid"] = json!("another");
    put(client, &path, &other).await.refused(409, "Conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_means_the_same_however_it_is_written() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let made = post(client, CONFIG_MAPS, &config_map("proxy-a", &json!({}))).await.expect(201);
    for path in ["/proxy%2Da", "%2Fproxy-a", "/%70roxy-a"] {
        assert_eq!(get(client, &format!("{CONFIG_MAPS}{path}")).await.expect(200), made, "{path}");
    }
    assert_eq!(get(client, "/%76ersion").await.expect(200), get(client, "/version").await.expect(200));
    let refused = get(client, "/api/v1/nodes/n%6Fne/proxy/a%2Fb").await;
    refused.refused(404, "NotFound");
    assert_eq!(refused.body["message"], "nodes \"none\" not found");
}

/// What Go prints can name who writes, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn writers_have_names_that_can_be_read() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let refused = post(client, &format!("{CONFIG_MAPS}?fieldManager=a%E2%80%8B"), &config_map("a", &json!({}))).await;
    refused.refused(422, "Invalid");
    let why = "fieldManager: Invalid value: \"a\\u200b\": invalid character U+200B (at position 1)";
    let message = refused.body["message"].as_str().expect("a message");
    assert!(message.ends_with(why), "{message}");
    let long = ["Größ".as_bytes(), b"\xff", "x".repeat(200).as_bytes(), b"/1.0"].concat();
    let mut request = http::Request::post(CONFIG_MAPS)
        .body(kube::client::Body::from(config_map("a", &json!({"k": "v"})).to_string().into_bytes()));
    let headers = request.as_mut().expect("a request").headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    headers.insert("user-agent", http::HeaderValue::from_bytes(&long).expect("a value"));
    client.send(request.expect("a request")).await.expect("an answer");
    let made = get(client, &format!("{CONFIG_MAPS}/a")).await.expect(200);
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], format!("Größ\u{fffd}{}", "x".repeat(119)));
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_stores_nothing_and_names_are_generated() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    let made = post(client, &dry, &config_map("a", &json!({}))).await.expect(201);
    assert!(made["metadata"].get("resourceVersion").is_none());
    get(client, &format!("{CONFIG_MAPS}/a")).await.refused(404, "NotFound");
    let path = format!("{CONFIG_MAPS}?dryRun=Some");
    post(client, &path, &config_map("a", &json!({}))).await.refused(422, "Invalid");

    let generated = json!({"metadata": {"generateName": "pre-"}});
    let one = post(client, CONFIG_MAPS, &generated).await.expect(201);
    let two = post(client, CONFIG_MAPS, &generated).await.expect(201);
    let name = one["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("pre-") && name.len() == 9, "{name}");
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);

    let both = json!({"metadata": {"generateName": "pre-", "name": name}});
    let taken = post(client, CONFIG_MAPS, &both).await;
    taken.refused(409, "AlreadyExists");
    assert_eq!(taken.headers["retry-after"], "1");
    let why = "already exists, the server was not able to generate a unique name for the object";
    assert_eq!(taken.body["message"], format!("configmaps \"{name}\" {why}"));

    let namespace = post(client, "/api/v1/namespaces", &generated).await.expect(201);
    assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], namespace["metadata"]["name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_ignored_told_or_refused() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let mut wrong = config_map("a", &json!({}));
    wrong["dta"] = json!({"x": "y"});
    let with = |validation: &str| format!("{CONFIG_MAPS}?fieldValidation={validation}&dryRun=All");
    let ignored = post(client, &with("Ignore"), &wrong).await;
    assert!(ignored.warnings().is_empty() && ignored.body.get("dta").is_none());
    ignored.expect(201);
    for told in [post(client, &with("Warn"), &wrong).await, post(client, CONFIG_MAPS, &wrong).await] {
        assert_eq!(told.warnings(), ["299 - \"unknown field \\\"dta\\\"\""]);
        told.expect(201);
    }
    let strict = post(client, &with("Strict"), &wrong).await;
    strict.refused(400, "BadRequest");
    let message = strict.body["message"].as_str().unwrap();
    assert!(message.ends_with("strict decoding error: unknown field \"dta\""), "{message}");
    post(client, &with("Loose"), &wrong).await.refused(422, "Invalid");
}

/// YAML is turned into JSON first. That names each key that is there twice, with the line of its later value.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_yaml_gives_twice_are_told_by_their_lines() {
    let server = TestServer::start(&[]).await;
    let text = "kind: ConfigMap\nmetadata: {name: a}\nbad: 1\nalso: 1\ndata:\n  k: v\n  l: v\n  k: w\n  l:\n    x\n";
    let post = async |validation: &str| {
        let path = format!("{CONFIG_MAPS}?fieldValidation={validation}&dryRun=All");
        call(&server.client, Method::POST, &path, &[("content-type", "application/yaml")], text).await
    };
    let warned = post("Warn").await;
    let told = [
        r#"299 - "line 8: key \"k\" already set in map""#,
        r#"299 - "line 10: key \"l\" already set in map""#,
        r#"299 - "unknown field \"also\"""#,
        r#"299 - "unknown field \"bad\"""#,
    ];
    assert_eq!(warned.warnings(), told);
    assert_eq!(warned.expect(201)["data"], json!({"k": "w", "l": "x"}));
    let strict = post("Strict").await;
    strict.refused(400, "BadRequest");
    assert_eq!(
        strict.body["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  line 8: key \"k\" already set in map\n  line 10: key \"l\" already set in map, unknown field \"also\", unknown field \"bad\""
    );
    assert!(post("Ignore").await.warnings().is_empty());
}

/// Nothing is stored, so nothing has a version of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_version_that_it_was_sent() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    for (version, code) in [("12", 500), ("x", 201)] {
        let mut map = config_map("a", &json!({}));
        map["metadata"]["resourceVersion"] = json!(version);
        let shown = post(client, &format!("{CONFIG_MAPS}?dryRun=All"), &map).await.expect(201);
        assert_eq!(shown["metadata"]["resourceVersion"], version);
        assert_eq!(post(client, CONFIG_MAPS, &map).await.code, code);
    }
}
