//! The patches that clients send, but for apply.

use anyhow::Result;
use serde_json::{Value, json};

use super::config_map;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, Patch, Scope};
use crate::expect::{equal, refused, same};

pub(super) const GROUP: Group = Group {
    name: "patches",
    area: Area::Api,
    capability: "JSON patches, merge patches and strategic merge patches",
    cases: &[
        case!(each_kind_changes_what_it_says, "each kind of patch sets, adds and removes", quick),
        case!(a_failed_test_changes_nothing, "a JSON patch whose test fails is refused whole", quick),
        case!(lists_merge_by_key, "a strategic patch merges a list by its key, new elements first", quick),
        case!(directives_delete_and_replace, "$patch: delete and replace, and null, do what they say"),
        case!(merge_patches_replace_lists, "a merge patch replaces a list whole"),
        case!(wrong_media_types_are_415, "a patch of an unknown media type is a 415", quick),
        case!(identity_cannot_be_patched, "the name cannot be patched"),
        case!(status_is_patched_at_its_own_path, "a status is changed at /status alone, and labels there too", quick),
    ],
};

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
            {"name": "first", "image": "none", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}}}})
}

async fn each_kind_changes_what_it_says(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    maps.create(&config_map("one", "a", "first")).await?;
    maps.patch("one", Patch::Strategic(json!({"data": {"strategic": "yes"}}))).await?;
    maps.patch("one", Patch::Merge(json!({"data": {"merge": "yes", "key": null}}))).await?;
    let operations = json!([
        {"op": "add", "path": "/data/json", "value": "yes"},
        {"op": "copy", "from": "/data/json", "path": "/data/copy"},
        {"op": "replace", "path": "/data/merge", "value": "no"},
        {"op": "add", "path": "/metadata/annotations", "value": {"with/slash": "1"}},
        {"op": "remove", "path": "/metadata/annotations/with~1slash"}]);
    let patched = maps.patch("one", Patch::Json(operations)).await?;
    equal("data", &patched["data"], &json!({"strategic": "yes", "merge": "no", "json": "yes", "copy": "yes"}))?;
    equal("what is stored", &maps.get("one").await?, &patched)
}

async fn a_failed_test_changes_nothing(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let made = maps.create(&config_map("one", "a", "first")).await?;
    let test = |value: &str| json!([{"op": "test", "path": "/data/key", "value": value}, {"op": "replace", "path": "/data/key", "value": "x"}]);
    refused(maps.patch("one", Patch::Json(test("second"))).await, 422, "Invalid")?;
    equal("after a failed test", &maps.get("one").await?, &made)?;
    let patched = maps.patch("one", Patch::Json(test("first"))).await?;
    equal("after a test that held", &patched["data"]["key"], &json!("x"))
}

async fn lists_merge_by_key(scope: &Scope) -> Result<()> {
    scope.deployments().create(&deployment()).await?;
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "second", "image": "other"}, {"name": "first", "env": [{"name": "B", "value": "3"}]}]}}}});
    let patched = scope.deployments().patch("web", Patch::Strategic(patch)).await?;
    let containers = patched["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = containers.iter().filter_map(|one| one["name"].as_str()).collect();
    same("containers, the new one first", names, vec!["second", "first"])?;
    let env = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]);
    equal("env of the one that was there", &containers[1]["env"], &env)?;
    equal("its image", &containers[1]["image"], &json!("none"))
}

async fn directives_delete_and_replace(scope: &Scope) -> Result<()> {
    scope.deployments().create(&deployment()).await?;
    let env = |directive: Value| json!({"spec": {"template": {"spec": {"containers": [{"name": "first", "env": directive}]}}}});
    let seen = |object: &Value| object["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    let deleted =
        scope.deployments().patch("web", Patch::Strategic(env(json!([{"name": "A", "$patch": "delete"}])))).await?;
    equal("after delete", &seen(&deleted), &json!([{"name": "B", "value": "2"}]))?;
    let replace = env(json!([{"name": "C", "value": "3"}, {"$patch": "replace"}]));
    let replaced = scope.deployments().patch("web", Patch::Strategic(replace)).await?;
    equal("after replace", &seen(&replaced), &json!([{"name": "C", "value": "3"}]))?;
    let nulled = scope.deployments().patch("web", Patch::Strategic(env(Value::Null))).await?;
    equal("after null", &seen(&nulled), &Value::Null)
}

async fn merge_patches_replace_lists(scope: &Scope) -> Result<()> {
    scope.deployments().create(&deployment()).await?;
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "only", "image": "other"}]}}}});
    let patched = scope.deployments().patch("web", Patch::Merge(patch)).await?;
    let containers = &patched["spec"]["template"]["spec"]["containers"];
    same("containers", containers.as_array().map(Vec::len), Some(1))?;
    equal("name", &containers[0]["name"], &json!("only"))?;
    same("env", containers[0].get("env"), None)
}

async fn wrong_media_types_are_415(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("one", "a", "")).await?;
    let call = Call::new(http::Method::PATCH, scope.config_maps().of("one"));
    let answer = scope.cluster.call(call.body("application/json", "{}")).await?;
    refused(answer.ok(), 415, "UnsupportedMediaType").map(drop)
}

async fn identity_cannot_be_patched(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("one", "a", "")).await?;
    let renamed = Patch::Merge(json!({"metadata": {"name": "two"}}));
    let error = refused(scope.config_maps().patch("one", renamed).await, 400, "BadRequest")?;
    crate::expect::contains("message", &error.message, "does not match the name on the URL")
}

/// On a kind whose status nobody writes.
async fn status_is_patched_at_its_own_path(scope: &Scope) -> Result<()> {
    let ingresses = scope.resource("networking.k8s.io/v1", "ingresses");
    ingresses
        .create(&json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "one"},
            "spec": {"defaultBackend": {"service": {"name": "none", "port": {"number": 80}}}}}))
        .await?;
    let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    let both = json!({"spec": {"ingressClassName": "x"}, "status": status, "metadata": {"labels": {"x": "y"}}});
    let main = ingresses.patch("one", Patch::Merge(json!({"status": status}))).await?;
    equal("status after the object's own path", &main["status"]["loadBalancer"], &json!({}))?;
    let at_status = ingresses.patch("one/status", Patch::Merge(both)).await?;
    equal("status", &at_status["status"], &status)?;
    same("spec", at_status["spec"].get("ingressClassName"), None)?;
    equal("labels", &at_status["metadata"]["labels"]["x"], &json!("y"))?;
    equal("generation", &at_status["metadata"]["generation"], &json!(1))
}
