//! Server-side apply on built-in kinds.

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, Patch, Scope};
use crate::expect::{contains, equal, refused, same};

pub(super) const GROUP: Group = Group {
    name: "apply",
    area: Area::Api,
    capability: "Server-side apply: owners of fields, conflicts, force, and removal of what is applied no more",
    cases: &[
        case!(apply_creates_and_owns, "an apply creates the object and its manager owns the fields", quick),
        case!(conflicts_name_the_owner, "a field of another manager's is a 409 with the manager and the field", quick),
        case!(force_takes_over, "force takes the field over", quick),
        case!(what_is_applied_no_more_goes, "a field that its only manager leaves out is removed", quick),
        case!(equal_values_are_shared, "two managers who say the same own it together"),
        case!(lists_merge_by_their_keys, "elements of a list with keys belong to who applied them"),
        case!(unknown_fields_are_refused, "Strict refuses a field that the schema does not have"),
        case!(keys_given_twice_are_told, "Strict refuses YAML with a key twice, and tells the line", quick),
        case!(a_manager_is_required, "an apply without a field manager is refused"),
        case!(updates_take_ownership, "a change by other means is recorded as an Update of that client's"),
    ],
};

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data})
}

fn manager<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["metadata"]["managedFields"].as_array()?.iter().find(|entry| entry["manager"] == name)
}

async fn apply_creates_and_owns(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let made = maps.patch("one", Patch::Apply("first", false, map(json!({"a": "1", "b": "2"})))).await?;
    equal("data", &made["data"], &json!({"a": "1", "b": "2"}))?;
    let entry = manager(&made, "first").cloned().unwrap_or_default();
    equal("operation", &entry["operation"], &json!("Apply"))?;
    equal("fieldsType", &entry["fieldsType"], &json!("FieldsV1"))?;
    equal("fields", &entry["fieldsV1"], &json!({"f:data": {"f:a": {}, "f:b": {}}}))?;
    let again = maps.patch("one", Patch::Apply("first", false, map(json!({"a": "1", "b": "2"})))).await?;
    equal("version after the same again", &again["metadata"]["resourceVersion"], &made["metadata"]["resourceVersion"])
}

async fn conflicts_name_the_owner(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    maps.patch("one", Patch::Apply("first", false, map(json!({"a": "1"})))).await?;
    let other = maps.patch("one", Patch::Apply("second", false, map(json!({"a": "2", "c": "3"})))).await;
    let error = refused(other, 409, "Conflict")?;
    contains("message", &error.message, r#"conflict with "first": .data.a"#)?;
    let cause = &error.status["details"]["causes"][0];
    equal("cause", &cause["reason"], &json!("FieldManagerConflict"))?;
    equal("field", &cause["field"], &json!(".data.a"))?;
    equal("data", &maps.get("one").await?["data"], &json!({"a": "1"}))
}

async fn force_takes_over(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    maps.patch("one", Patch::Apply("first", false, map(json!({"a": "1", "b": "2"})))).await?;
    let forced = maps.patch("one", Patch::Apply("second", true, map(json!({"a": "2"})))).await?;
    equal("data", &forced["data"], &json!({"a": "2", "b": "2"}))?;
    let fields =
        |name: &str| manager(&forced, name).map(|entry| entry["fieldsV1"]["f:data"].clone()).unwrap_or_default();
    equal("the first's", &fields("first"), &json!({"f:b": {}}))?;
    equal("the second's", &fields("second"), &json!({"f:a": {}}))
}

async fn what_is_applied_no_more_goes(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    maps.patch("one", Patch::Apply("first", false, map(json!({"a": "1", "b": "2"})))).await?;
    maps.patch("one", Patch::Apply("second", false, map(json!({"c": "3"})))).await?;
    let fewer = maps.patch("one", Patch::Apply("first", false, map(json!({"a": "1"})))).await?;
    equal("data", &fewer["data"], &json!({"a": "1", "c": "3"}))
}

async fn equal_values_are_shared(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    maps.patch("one", Patch::Apply("first", false, map(json!({"a": "1"})))).await?;
    maps.patch("one", Patch::Apply("second", false, map(json!({"a": "1"})))).await?;
    let left = maps.patch("one", Patch::Apply("first", false, map(json!({})))).await?;
    equal("kept by the second", &left["data"], &json!({"a": "1"}))?;
    let none = maps.patch("one", Patch::Apply("second", false, map(json!({})))).await?;
    ensure!(none["data"].as_object().is_none_or(serde_json::Map::is_empty), "expected no data, saw {}", none["data"]);
    Ok(())
}

async fn lists_merge_by_their_keys(scope: &Scope) -> Result<()> {
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one"}, "spec": {"ports": ports}});
    let services = scope.services();
    services.patch("one", Patch::Apply("first", false, service(json!([{"name": "a", "port": 80}])))).await?;
    let both =
        services.patch("one", Patch::Apply("second", false, service(json!([{"name": "b", "port": 81}])))).await?;
    let names = |object: &Value| {
        let ports = object["spec"]["ports"].as_array().cloned().unwrap_or_default();
        ports
            .iter()
            .map(|port| format!("{}={}", port["name"].as_str().unwrap_or_default(), port["port"]))
            .collect::<Vec<_>>()
    };
    same("ports of both", names(&both), vec!["a=80".to_owned(), "b=81".to_owned()])?;
    let one = services.patch("one", Patch::Apply("second", false, service(json!([{"name": "c", "port": 82}])))).await?;
    same("ports after the second's change", names(&one), vec!["a=80".to_owned(), "c=82".to_owned()])
}

async fn unknown_fields_are_refused(scope: &Scope) -> Result<()> {
    let path = format!("{}?fieldManager=first&fieldValidation=Strict", scope.config_maps().of("one"));
    let mut object = map(json!({"a": "1"}));
    object["unknownField"] = "x".into();
    let call = Call::new(Method::PATCH, path).body("application/apply-patch+yaml", object.to_string());
    let answer = scope.cluster.call(call).await?;
    ensure!(answer.status >= 400, "expected a refusal, saw {}", answer.status);
    contains("message", &answer.error().message, ".unknownField: field not declared in schema")
}

/// The lines are those of the body as it is sent, whose first is empty.
async fn keys_given_twice_are_told(scope: &Scope) -> Result<()> {
    let text = "\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\ndata:\n  foo: a\n  bar: b\n  foo: c\n";
    let path = format!("{}?fieldManager=first&fieldValidation=Strict", scope.config_maps().of("one"));
    let call = Call::new(Method::PATCH, path).body("application/apply-patch+yaml", text);
    let error = refused(scope.cluster.call(call).await?.ok(), 400, "BadRequest")?;
    contains("message", &error.message, r#"line 9: key "foo" already set in map"#)?;
    ensure!(scope.config_maps().is_absent("one").await?, "expected nothing to be stored");
    Ok(())
}

async fn a_manager_is_required(scope: &Scope) -> Result<()> {
    let call = Call::new(Method::PATCH, scope.config_maps().of("one"));
    let answer = scope.cluster.call(call.body("application/apply-patch+yaml", map(json!({})).to_string())).await?;
    let error = refused(answer.ok(), 422, "Invalid")?;
    contains("message", &error.message, "fieldManager: Required value")
}

async fn updates_take_ownership(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    maps.patch("one", Patch::Apply("first", false, map(json!({"a": "1"})))).await?;
    let path = format!("{}?fieldManager=editor", maps.of("one"));
    let body = json!({"data": {"a": "2"}}).to_string();
    let call = Call::new(Method::PATCH, path).body("application/merge-patch+json", body);
    let changed = scope.cluster.object(call).await?;
    let entry = manager(&changed, "editor").cloned().unwrap_or_default();
    equal("operation", &entry["operation"], &json!("Update"))?;
    equal("fields", &entry["fieldsV1"], &json!({"f:data": {"f:a": {}}}))?;
    let back = maps.patch("one", Patch::Apply("first", false, map(json!({"a": "1"})))).await;
    contains("message", &refused(back, 409, "Conflict")?.message, r#"conflict with "editor""#)
}
