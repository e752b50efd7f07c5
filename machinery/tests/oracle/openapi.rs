//! OpenAPI documents against upstream's.

use machinery::catalogue::BUILTIN;
use machinery::openapi;
use serde_json::{Map, Value};

use crate::{compare, entry};

const OWN_WORDS: &[&str] = &["v1.GroupResource", "v1.Patch", "v1.WatchEvent"];

fn swagger() -> Option<Value> {
    let path = entry("swagger.json")?;
    Some(serde_json::from_slice(&std::fs::read(path).expect("reading the oracle")).expect("oracle JSON"))
}

/// Upstream's kinds in alpha and beta versions, which are not served here.
fn without_unserved_kinds(definition: &mut Value) {
    if let Some(Value::Array(kinds)) = definition.get_mut("x-kubernetes-group-version-kind") {
        let served = machinery::schema::group_versions();
        kinds.retain(|kind| {
            served.iter().any(|(group, version)| kind["group"] == *group && kind["version"] == *version)
        });
    }
}

#[test]
fn definitions_are_upstreams() {
    let Some(swagger) = swagger() else { return };
    let ours = openapi::v2_definitions(&openapi::Descriptions::of_all());
    let theirs = swagger["definitions"].as_object().expect("definitions");
    let mut failures = Vec::new();
    let mut compared = 0;
    for (name, definition) in theirs {
        let package = name.rsplit_once('.').map_or("", |(package, _)| package);
        if package.contains("alpha") || package.contains("beta") {
            continue;
        }
        let Some(found) = ours.get(name) else {
            failures.push(format!("{name} is missing"));
            continue;
        };
        let mut expected = definition.clone();
        without_unserved_kinds(&mut expected);
        let mut all = Vec::new();
        compare("", &expected, found, &mut all);
        compared += 1;
        // The crate that gives the words has none for these; lists have words of our own.
        let own_words = name.ends_with("List") || OWN_WORDS.iter().any(|short| name.ends_with(short));
        all.retain(|text| !(own_words && text.contains("description: expected")));
        failures.extend(all.iter().map(|text| format!("{name}{text}")));
    }
    failures
        .extend(ours.keys().filter(|name| !theirs.contains_key(*name)).map(|name| format!("{name} is not upstream's")));
    println!("{compared} definitions compared");
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// What clients go by in an operation: its id, action, kind, body and answers.
fn essence(operation: &Value) -> Value {
    let body = operation["parameters"].as_array().into_iter().flatten().find(|parameter| parameter["in"] == "body");
    let codes: Map<String, Value> = operation["responses"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(code, response)| (code.clone(), response["schema"].clone()))
        .collect();
    serde_json::json!({
        "operationId": operation["operationId"],
        "action": operation["x-kubernetes-action"],
        "kind": operation["x-kubernetes-group-version-kind"],
        "description": operation["description"],
        "body": body.map(|body| body["schema"].clone()),
        "responses": codes,
    })
}

#[test]
fn paths_are_upstreams() {
    let Some(swagger) = swagger() else { return };
    let rows: Vec<_> = BUILTIN.iter().collect();
    let ours = openapi::v2(&rows, &openapi::Custom::new(), &openapi::Extra::default());
    let ours: Value = serde_json::from_slice(&ours).expect("a document is JSON");
    let theirs = swagger["paths"].as_object().expect("paths");
    let mut failures = Vec::new();
    let mut compared = 0;
    for (path, entry) in ours["paths"].as_object().expect("paths") {
        for (method, operation) in
            entry.as_object().expect("operations").iter().filter(|(method, _)| *method != "parameters")
        {
            let Some(expected) = theirs.get(path).and_then(|entry| entry.get(method)) else {
                failures.push(format!("{method} {path} is not upstream's"));
                continue;
            };
            let mut expected = expected.clone();
            expand(&mut expected, &swagger["parameters"]);
            let mut all = Vec::new();
            compare("", &essence(&expected), &essence(operation), &mut all);
            compared += 1;
            failures.extend(all.iter().map(|text| format!("{method} {path}{text}")));
        }
    }
    println!("{compared} operations compared");
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// Upstream shares parameters by reference.
fn expand(operation: &mut Value, shared: &Value) {
    let Some(Value::Array(parameters)) = operation.get_mut("parameters") else { return };
    for parameter in parameters {
        if let Some(name) = parameter["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            *parameter = shared[name].clone();
        }
    }
}

#[test]
fn every_group_version_has_a_document() {
    let rows: Vec<_> = BUILTIN.iter().collect();
    let custom = openapi::Custom::new();
    for row in &rows {
        let document = openapi::v3(&row.group, &row.version, &rows, &custom);
        let document: Value = serde_json::from_slice(&document).expect("a document is JSON");
        let name = machinery::schema::builtin(&row.gvk()).expect("a schema for every row").name.to_string();
        assert!(document["components"]["schemas"].get(&name).is_some(), "{name}");
        assert_no_dangling(&document, &document["components"]["schemas"]);
    }
    let whole = openapi::fingerprint(None, &rows, &custom);
    assert_eq!(whole, openapi::fingerprint(None, &rows, &custom));
    assert_ne!(whole, openapi::fingerprint(None, &rows[1..], &custom));
}

/// Every reference leads somewhere.
fn assert_no_dangling(value: &Value, schemas: &Value) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
                assert!(schemas.get(name).is_some(), "{name} is referred to and not there");
            }
            map.values().for_each(|value| assert_no_dangling(value, schemas));
        }
        Value::Array(list) => list.iter().for_each(|value| assert_no_dangling(value, schemas)),
        _ => {}
    }
}
