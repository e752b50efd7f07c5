//! Lists: selectors, chunks of one revision, views.

use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, apply, call, config_map, delete, get, get_as, post};
use crate::support::TestServer;

async fn filled(server: &TestServer) {
    for (name, tier) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")] {
        let mut object = config_map(name, &json!({"k": name}));
        object["metadata"]["labels"] = json!({"tier": tier});
        post(&server.client, CONFIG_MAPS, &object).await.expect(201);
    }
}

fn names(list: &Value) -> String {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or("?")).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_of_one_revision() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    filled(&server).await;
    let first = get(client, &format!("{CONFIG_MAPS}?limit=2")).await.expect(200);
    assert_eq!((names(&first).as_str(), &first["metadata"]["remainingItemCount"]), ("a b", &json!(3)));
    delete(client, &format!("{CONFIG_MAPS}/c"), &Value::Null).await.expect(200);
    post(client, CONFIG_MAPS, &config_map("f", &json!({}))).await.expect(201);
    let mut page = first.clone();
    let mut seen = Vec::new();
    while let Some(token) = page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
        page = get(client, &format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.expect(200);
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        seen.push(names(&page));
    }
    assert_eq!(seen, ["c d", "e"]);
    let exact = format!(
        "{CONFIG_MAPS}?resourceVersion={}&resourceVersionMatch=Exact",
        first["metadata"]["resourceVersion"].as_str().unwrap()
    );
    assert_eq!(names(&get(client, &exact).await.expect(200)), "a b c d e");
    get(client, &format!("{CONFIG_MAPS}?continue=nonsense")).await.refused(400, "BadRequest");
    get(client, &format!("{CONFIG_MAPS}?limit=x")).await.refused(400, "BadRequest");
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_choose() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    filled(&server).await;
    let table = [
        ("labelSelector=tier%3Dx", "a c e"),
        ("labelSelector=tier%20in%20(y)", "b d"),
        ("labelSelector=!tier", ""),
        ("fieldSelector=metadata.name%3Db", "b"),
        ("fieldSelector=metadata.name!%3Db&labelSelector=tier%3Dy", "d"),
        ("labelSelector=tier%3Dx&limit=2", "a c"),
    ];
    for (query, expected) in table {
        let list = get(client, &format!("{CONFIG_MAPS}?{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{query}");
        assert!(list["metadata"].get("remainingItemCount").is_none(), "{query}");
    }
    get(client, &format!("{CONFIG_MAPS}?fieldSelector=data.k%3Da")).await.refused(400, "BadRequest");
    get(client, &format!("{CONFIG_MAPS}?labelSelector=a%20of%20b")).await.refused(400, "BadRequest");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_show_metadata_or_columns() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    filled(&server).await;
    let of = |kind: &str| format!("application/json;as={kind};g=meta.k8s.io;v=v1");
    let partial = get_as(client, CONFIG_MAPS, &of("PartialObjectMetadataList")).await.expect(200);
    assert_eq!((partial["kind"].as_str(), names(&partial).as_str()), (Some("PartialObjectMetadataList"), "a b c d e"));
    assert!(partial["items"][0].get("data").is_none());
    let one = get_as(client, &format!("{CONFIG_MAPS}/a"), &of("PartialObjectMetadata")).await.expect(200);
    assert_eq!((&one["kind"], &one["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("a")));
    let table = get_as(client, CONFIG_MAPS, &of("Table")).await.expect(200);
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().filter_map(|column| column["name"].as_str()).collect();
    assert_eq!(columns, ["Name", "Data", "Age"]);
    assert_eq!(table["rows"][0]["cells"][1], 1);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = get_as(client, &format!("{CONFIG_MAPS}?includeObject=Object"), &of("Table")).await.expect(200);
    assert_eq!(whole["rows"][0]["object"]["data"]["k"], "a");
    let yaml = get_as(client, &format!("{CONFIG_MAPS}/a"), "application/yaml").await.expect(200);
    assert!(yaml.as_str().unwrap().contains("kind: ConfigMap"));
    // A view is also what writes answer with, when that is asked for.
    apply(client, &format!("{CONFIG_MAPS}/z?fieldManager=m"), &config_map("z", &json!({}))).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_parameters_are_told_in_upstreams_words_and_order() {
    let server = TestServer::start(&[]).await;
    let number = |function: &str, text: &str, why: &str| format!("strconv.{function}: parsing \"{text}\": {why}");
    let (syntax, range) = ("invalid syntax", "value out of range");
    let huge = "99999999999999999999";
    let one = format!("{CONFIG_MAPS}/a");
    let token = |why: &str| format!("invalid continue token: continue key is not valid: {why}");
    let invalid = |why: &str| format!("ListOptions.meta.k8s.io \"\" is invalid: {why}");
    let version = number("ParseUint", "x", syntax);
    for (path, query, code, want) in [
        (CONFIG_MAPS, "timeoutSeconds=", 400, number("ParseInt", "", syntax)),
        (CONFIG_MAPS, &format!("labelSelector=(&limit={huge}"), 400, number("ParseInt", huge, range)),
        (CONFIG_MAPS, "limit=x&timeoutSeconds=1.5", 400, number("ParseInt", "1.5", syntax)),
        (CONFIG_MAPS, "continue=%2500", 400, token("illegal base64 data at input byte 0")),
        (CONFIG_MAPS, "continue=AAAA", 400, token("invalid character '\\x00' looking for beginning of value")),
        (
            CONFIG_MAPS,
            "sendInitialEvents=",
            422,
            invalid("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ),
        (
            CONFIG_MAPS,
            "resourceVersionMatch=exact",
            422,
            invalid(
                "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, resourceVersionMatch: Unsupported value: \"exact\": supported values: \"Exact\", \"NotOlderThan\", \"\"]",
            ),
        ),
        (
            CONFIG_MAPS,
            "watch=1&timeoutSeconds=1&sendInitialEvents=1&resourceVersionMatch=x",
            422,
            invalid(
                "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: \"x\": supported values: \"NotOlderThan\"]",
            ),
        ),
        (CONFIG_MAPS, "watch=1&resourceVersion=x", 500, format!("resourceVersion: Invalid value: \"x\": {version}")),
        (&one, "resourceVersion=x", 500, format!("resourceVersion: Invalid value: \"x\": {version}")),
        (
            &one,
            "resourceVersion=%2B1",
            500,
            format!("resourceVersion: Invalid value: \"+1\": {}", number("ParseUint", "+1", syntax)),
        ),
    ] {
        let answer = get(&server.client, &format!("{path}?{query}")).await;
        assert_eq!((answer.code, answer.body["message"].as_str()), (code, Some(want.as_str())), "{query}");
    }
    delete(&server.client, "/api/v1/configmaps", &Value::Null).await.refused(405, "MethodNotAllowed");
    get(&server.client, &format!("{CONFIG_MAPS}?timeout=-1s")).await.expect(200);
    get(&server.client, &format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=-1")).await.expect(200);
    let list = get_as(&server.client, CONFIG_MAPS, "application/*").await;
    list.refused(406, "NotAcceptable");
    assert!(list.body["message"].as_str().is_some_and(|told| told.starts_with("406: Not Acceptable\n\nAvailable")));
    let space = "/api/v1/namespaces/default";
    let lists = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let told = get_as(&server.client, space, lists).await.body["message"].take();
    assert_eq!(
        told,
        "you requested PartialObjectMetadataList, but the requested object is not a list (*core.Namespace)"
    );
}

/// Selectors come before versions, and a version is looked at only when objects are looked for.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_mistakes_upstreams_first_is_told() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    filled(&server).await;
    let token = get(client, &format!("{CONFIG_MAPS}?limit=2")).await.expect(200)["metadata"]["continue"].take();
    let resumed = format!("continue={}", token.as_str().expect("a token"));
    let field = "\"a.b\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    let no_version = "specifying resource version is not allowed when using continue";
    let watched = "/api/v1/watch/namespaces/default/configmaps";
    for (method, path, query, told) in [
        ("GET", CONFIG_MAPS, "fieldSelector=a.b%3Dc&resourceVersion=x", field),
        ("DELETE", CONFIG_MAPS, "fieldSelector=a.b%3Dc&resourceVersion=x", field),
        ("GET", CONFIG_MAPS, "watch=1&fieldSelector=a.b%3Dc&resourceVersion=x", field),
        ("GET", CONFIG_MAPS, "fieldSelector=a.b%3Dc&continue=x&resourceVersion=5", field),
        ("GET", CONFIG_MAPS, "continue=x&resourceVersion=5", "invalid continue token: continue key is not valid"),
        ("GET", CONFIG_MAPS, &format!("{resumed}&resourceVersion=x"), no_version),
        ("GET", CONFIG_MAPS, &format!("{resumed}&resourceVersion=00"), no_version),
        ("DELETE", CONFIG_MAPS, "resourceVersion=x&propagationPolicy=x", "DeleteOptions.meta.k8s.io"),
        ("DELETE", CONFIG_MAPS, "resourceVersion=x", "invalid resource version: resourceVersion: Invalid value"),
        // Where no parameter says that it is a watch, it is checked as a list.
        ("GET", watched, "sendInitialEvents=1", "sendInitialEvents is forbidden for list"),
        ("DELETE", CONFIG_MAPS, "watch=1&sendInitialEvents=1", "sendInitialEvents requires setting"),
        ("GET", CONFIG_MAPS, "watch=1&continue=x", "resourceVersionMatch is forbidden when continue is provided"),
        (
            "GET",
            &format!("{watched}/a"),
            "fieldSelector=metadata.name%3Db&resourceVersion=x",
            "fieldSelector metadata.name doesn't match requested name",
        ),
    ] {
        let method = method.parse().expect("a method");
        let answer = call(client, method, &format!("{path}?{query}"), &[], "").await;
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!((400..500).contains(&answer.code) && message.contains(told), "{query}: {} {message}", answer.code);
    }
    assert_eq!(names(&get(client, &format!("{CONFIG_MAPS}?{resumed}&resourceVersion=0")).await.expect(200)), "c d e");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_version_is_told_whole_and_one_object_is_not_cut() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let begun = get(client, CONFIG_MAPS).await.expect(200)["metadata"]["resourceVersion"].take();
    let begun = begun.as_str().expect("a version");
    filled(&server).await;
    for (query, want) in [
        ("resourceVersion=0&limit=2", "a b c d e"),
        ("resourceVersion=00&limit=2", "a b"),
        ("resourceVersion=00&resourceVersionMatch=Exact", "a b c d e"),
        (&format!("resourceVersion={begun}&limit=2"), ""),
        (&format!("resourceVersion={begun}&limit=2&fieldSelector=metadata.name%3Db"), "b"),
    ] {
        let list = get(client, &format!("{CONFIG_MAPS}?{query}")).await.expect(200);
        assert_eq!(names(&list), want, "{query}");
    }
    let everywhere = format!("/api/v1/configmaps?resourceVersion={begun}&limit=2&fieldSelector=metadata.name%3Db");
    assert_eq!(names(&get(client, &everywhere).await.expect(200)), "");
}
