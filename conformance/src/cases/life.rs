//! One life for any kind: what every kind has in common, checked step by step with a watch beside it.
//!
//! [`life`] is called by the cases of `kinds`, each with an object of its kind.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::cluster::{Call, Patch, Resource, SOON, Scope, Watch};
use crate::expect::{equal, same, show};

/// A kind, and an object of it.
pub(super) struct Kind {
    pub(super) plural: &'static str,
    pub(super) is_namespaced: bool,
    /// With `apiVersion`, `kind` and all fields but `metadata`.
    pub(super) object: Value,
    /// What to put into the status of an object; null for a kind without.
    pub(super) status: Value,
    /// For kinds whose names mean something; made up where empty.
    pub(super) names: &'static [&'static str],
}

impl Kind {
    pub(super) fn new(plural: &'static str, object: Value) -> Self {
        Self { plural, is_namespaced: true, object, status: Value::Null, names: &[] }
    }

    pub(super) fn global(self) -> Self {
        Self { is_namespaced: false, ..self }
    }

    pub(super) fn with_status(self, status: Value) -> Self {
        Self { status, ..self }
    }

    fn resource(&self, scope: &Scope) -> Resource {
        let group_version = self.object["apiVersion"].as_str().unwrap_or_default();
        let make = if self.is_namespaced { Scope::resource } else { Scope::global };
        make(scope, group_version, self.plural)
    }

    fn named(&self, scope: &Scope, number: usize) -> Value {
        let name =
            self.names.get(number).map_or_else(|| scope.unique(&format!("life-{number}")), |name| (*name).into());
        let mut object = self.object.clone();
        object["metadata"] = json!({"name": name, "labels": {"life": scope.namespace}});
        object
    }
}

/// Created, read, listed, patched in every way, replaced and deleted, alone and as a collection, with every event seen.
pub(super) async fn life(scope: &Scope, kind: Kind) -> Result<()> {
    let resource = kind.resource(scope);
    verbs_are_listed(scope, &kind).await?;
    let selector = format!("labelSelector=life%3D{}", scope.namespace);
    let list = resource.list(&selector).await?;
    same("objects before", list["items"].as_array().map(Vec::len), Some(0))?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list without a version")?;
    let mut watch = resource.watch(&format!("{selector}&resourceVersion={version}")).await?;

    let object = kind.named(scope, 0);
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    scope.remove_later(&resource, &name);
    let made = resource.create_with("fieldValidation=Strict", &object).await?;
    includes("what was made", &made, &kind.object)?;
    let added = watch.next(SOON).await?;
    same("first event", added.brief(), format!("ADDED {name}"))?;
    includes("what is read", &resource.get(&name).await?, &kind.object)?;
    same("objects in a list", resource.names(&selector).await?, vec![name.clone()])?;

    let patched =
        resource.patch(&name, Patch::Merge(json!({"metadata": {"annotations": {"life": "patched"}}}))).await?;
    equal("annotation", &patched["metadata"]["annotations"]["life"], &json!("patched"))?;
    modified(&mut watch, "the patch", |object| object["metadata"]["annotations"]["life"] == "patched").await?;
    patches(&resource, &kind, &name).await?;
    let replaced = replace(&resource, &name, |object| object["metadata"]["labels"]["step"] = "replaced".into()).await?;
    equal("label", &replaced["metadata"]["labels"]["step"], &json!("replaced"))?;
    modified(&mut watch, "the replacement", |object| object["metadata"]["labels"]["step"] == "replaced").await?;
    if !kind.status.is_null() {
        status(&resource, &name, &kind.status).await?;
        modified(&mut watch, "the status", |object| is_within(&kind.status, &object["status"])).await?;
    }
    resource.delete(&name).await?;
    deleted(&mut watch, &name).await?;
    resource.until_gone(&name).await?;
    collection(scope, &kind, &resource, &selector).await
}

async fn verbs_are_listed(scope: &Scope, kind: &Kind) -> Result<()> {
    let group_version = kind.object["apiVersion"].as_str().unwrap_or_default();
    let root = if group_version.contains('/') { "apis" } else { "api" };
    let list = scope.cluster.object(Call::get(format!("/{root}/{group_version}"))).await?;
    let all = list["resources"].as_array().cloned().unwrap_or_default();
    let find = |name: &str| all.iter().find(|one| one["name"] == name).cloned();
    let row = find(kind.plural).with_context(|| format!("{group_version} does not list {}", kind.plural))?;
    same("namespaced", row["namespaced"].as_bool(), Some(kind.is_namespaced))?;
    equal("kind", &row["kind"], &kind.object["kind"])?;
    let mut verbs: Vec<&str> = row["verbs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    verbs.sort_unstable();
    let expected = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    same("verbs", &verbs[..], &expected[..])?;
    let has_status = find(&format!("{}/status", kind.plural)).is_some();
    ensure!(has_status || kind.status.is_null(), "expected {}/status to be listed", kind.plural);
    Ok(())
}

/// An annotation by each kind of patch but the merge patch.
async fn patches(resource: &Resource, kind: &Kind, name: &str) -> Result<()> {
    let annotate = |word: &str| json!({"metadata": {"name": name, "annotations": {word: "yes"}}});
    let mut applied = annotate("applied");
    for field in ["apiVersion", "kind"] {
        applied[field] = kind.object[field].clone();
    }
    let add = json!([{"op": "add", "path": "/metadata/annotations/json", "value": "yes"}]);
    for (word, patch) in [
        ("strategic", Patch::Strategic(annotate("strategic"))),
        ("json", Patch::Json(add)),
        ("applied", Patch::Apply("life", false, applied)),
    ] {
        let patched = resource.patch(name, patch).await?;
        equal(word, &patched["metadata"]["annotations"][word], &json!("yes"))?;
    }
    Ok(())
}

/// Reads, changes and writes an object, or a subresource of it. Controllers may write in between.
pub(super) async fn replace(resource: &Resource, name: &str, change: impl Fn(&mut Value)) -> Result<Value> {
    for _ in 0..5 {
        let mut object = resource.get(name).await?;
        change(&mut object);
        match resource.put(name, &object).await {
            Err(error) if error.to_string().contains(" 409 Conflict") => {}
            result => return result,
        }
    }
    bail!("{name}: five writes in a row found the object changed")
}

async fn status(resource: &Resource, name: &str, status: &Value) -> Result<()> {
    let before = resource.get(name).await?;
    let refused = resource.patch(name, Patch::Merge(json!({"status": status}))).await?;
    ensure!(!is_within(status, &refused["status"]), "expected the object's own path to leave the status alone");
    let at = format!("{name}/status");
    let patched = resource.patch(&at, Patch::Merge(json!({"status": status}))).await?;
    includes("the status", &patched["status"], status)?;
    equal("kind at /status", &patched["kind"], &before["kind"])?;
    equal("uid at /status", &resource.get(&at).await?["metadata"]["uid"], &before["metadata"]["uid"])?;
    let back = replace(resource, &at, |object| object["status"] = before["status"].clone()).await?;
    ensure!(!is_within(status, &back["status"]), "expected the status of before to be put back, saw {}", show(&back));
    Ok(())
}

async fn collection(scope: &Scope, kind: &Kind, resource: &Resource, selector: &str) -> Result<()> {
    for number in [1, 2] {
        let object = kind.named(scope, number);
        scope.remove_later(resource, object["metadata"]["name"].as_str().unwrap_or_default());
        resource.create(&object).await?;
    }
    same("objects before the collection goes", resource.names(selector).await?.len(), 2)?;
    resource.delete_collection(selector).await?;
    resource.until_all(selector, "none is left", <[Value]>::is_empty).await.map(drop)
}

/// Reads on until the event that shows a change; others may write to the object meanwhile.
pub(super) async fn modified(watch: &mut Watch, what: &str, shows: impl Fn(&Value) -> bool) -> Result<()> {
    loop {
        let event = watch.next(SOON).await.with_context(|| format!("expected an event of {what}"))?;
        ensure!(event.kind == "MODIFIED", "expected MODIFIED by {what}, saw {}", event.brief());
        if shows(&event.object) {
            return Ok(());
        }
    }
}

async fn deleted(watch: &mut Watch, name: &str) -> Result<()> {
    loop {
        let event = watch.next(SOON).await.context("expected the event of the deletion")?;
        if event.kind == "DELETED" {
            return same("last event", event.brief(), format!("DELETED {name}"));
        }
        ensure!(event.kind == "MODIFIED", "expected DELETED {name}, saw {}", event.brief());
    }
}

pub(super) fn includes(what: &str, seen: &Value, expected: &Value) -> Result<()> {
    ensure!(is_within(expected, seen), "{what}: expected all of {}, saw {}", show(expected), show(seen));
    Ok(())
}

/// Whether all that is in `part` is in `whole`; lists as long as each other.
fn is_within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|other| is_within(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(one, other)| is_within(one, other))
        }
        (part, whole) => part == whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_within_its_whole() {
        let whole = json!({"a": 1, "b": {"c": [1, {"d": 2, "e": 3}]}});
        for part in [json!({}), json!({"a": 1}), json!({"b": {"c": [1, {"d": 2}]}})] {
            assert!(is_within(&part, &whole), "{part}");
        }
        for other in [json!({"a": 2}), json!({"b": {"c": [1]}}), json!({"f": null}), json!([])] {
            assert!(!is_within(&other, &whole), "{other}");
        }
    }
}
