//! Field validation: unknown, duplicate and wrong fields.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::catalogue::{Area, Group, case};
use crate::cluster::{Answer, Call, Scope};
use crate::expect::{contains, refused, same};

pub(super) const GROUP: Group = Group {
    name: "fields",
    area: Area::Api,
    capability: "Unknown, duplicate and wrong fields: refused, warned of or ignored, as asked",
    cases: &[
        case!(
            strict_names_unknown_and_duplicate_fields,
            "Strict refuses with the path of each such field, unknown first",
            quick
        ),
        case!(strict_looks_at_metadata, "Strict refuses unknown fields of metadata", quick),
        case!(warn_warns_and_stores, "Warn, also when nothing is asked, stores and sends a Warning header each", quick),
        case!(ignore_is_silent, "Ignore stores without a word", quick),
        case!(wrong_types_are_refused, "a field of the wrong type is a 400", quick),
        case!(missing_fields_are_named, "each required field that is missing is a cause of the 422"),
        case!(unsupported_values_name_what_is_supported, "a value outside an enumeration is refused with those inside"),
    ],
};

/// With an unknown field and one that is there twice; JSON values cannot hold the second.
const DEPLOYMENT: &str = r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
    "unknownField": "x", "replicas": 0, "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "none"}]}}}}"#;

async fn send(scope: &Scope, query: &str, body: &str) -> Result<Answer> {
    let path = format!("{}?{query}", scope.deployments().path);
    scope.cluster.call(Call::post(path, &Value::Null).body("application/json", body)).await
}

fn without_duplicate() -> String {
    DEPLOYMENT.replace(r#""replicas": 0, "#, "").replace(r#""unknownField": "x", "#, "")
}

async fn strict_names_unknown_and_duplicate_fields(scope: &Scope) -> Result<()> {
    let error = refused(send(scope, "fieldValidation=Strict", DEPLOYMENT).await?.ok(), 400, "BadRequest")?;
    let words = r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#;
    contains("message", &error.message, words)?;
    ensure!(scope.deployments().is_absent("web").await?, "expected nothing to be stored");
    Ok(())
}

async fn strict_looks_at_metadata(scope: &Scope) -> Result<()> {
    let body = without_duplicate().replace(r#""name": "web""#, r#""name": "web", "unknownMeta": "x""#);
    let error = refused(send(scope, "fieldValidation=Strict", &body).await?.ok(), 400, "BadRequest")?;
    contains("message", &error.message, r#"strict decoding error: unknown field "metadata.unknownMeta""#)
}

fn warnings(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("warning").iter();
    all.map(|value| value.to_str().unwrap_or_default().to_owned()).collect()
}

async fn warn_warns_and_stores(scope: &Scope) -> Result<()> {
    for (query, name) in [("", "web"), ("fieldValidation=Warn", "other")] {
        let answer = send(scope, query, &DEPLOYMENT.replace("\"web\"", &format!("\"{name}\""))).await?.ok()?;
        let seen = warnings(&answer);
        let expected = [
            r#"299 - "unknown field \"spec.unknownField\"""#.to_owned(),
            r#"299 - "duplicate field \"spec.replicas\"""#.to_owned(),
        ];
        same("warnings", &seen[..], &expected[..])?;
        same("the last of two wins", scope.deployments().get(name).await?["spec"]["replicas"].as_i64(), Some(1))?;
    }
    Ok(())
}

async fn ignore_is_silent(scope: &Scope) -> Result<()> {
    let answer = send(scope, "fieldValidation=Ignore", DEPLOYMENT).await?.ok()?;
    same("warnings", warnings(&answer), Vec::<String>::new())?;
    let stored = scope.deployments().get("web").await?;
    same("the unknown field", stored["spec"].get("unknownField"), None)
}

async fn wrong_types_are_refused(scope: &Scope) -> Result<()> {
    for (from, to) in
        [(r#""replicas": 1"#, r#""replicas": "many""#), (r#"[{"name": "c", "image": "none"}]"#, r#""none""#)]
    {
        let answer = send(scope, "", &without_duplicate().replace(from, to)).await?;
        refused(answer.ok(), 400, "BadRequest")?;
    }
    let answer = send(scope, "", "{\"apiVersion\": ").await?;
    refused(answer.ok(), 400, "BadRequest")?;
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}});
    refused(scope.deployments().create(&other).await, 400, "BadRequest").map(drop)
}

async fn missing_fields_are_named(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}});
    let error = refused(scope.deployments().create(&object).await, 422, "Invalid")?;
    let causes = error.status["details"]["causes"].as_array().cloned().unwrap_or_default();
    for field in ["spec.selector", "spec.template.spec.containers"] {
        let found = causes.iter().find(|cause| cause["field"] == field);
        let Some(cause) = found else { anyhow::bail!("expected a cause for {field}, saw {causes:?}") };
        same(field, cause["reason"].as_str(), Some("FieldValueRequired"))?;
    }
    contains("message", &error.message, "spec.template.spec.containers: Required value")
}

async fn unsupported_values_name_what_is_supported(scope: &Scope) -> Result<()> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"restartPolicy": "Sometimes", "containers": [{"name": "c", "image": "none"}]}});
    let error = refused(scope.create_pod(&pod).await, 422, "Invalid")?;
    let words =
        r#"spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure""#;
    let seen = error.message.replace(r#""OnFailure", "Never""#, r#""Never", "OnFailure""#);
    contains("message", &seen, words)
}
