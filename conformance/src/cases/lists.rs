//! Lists: order, chunks, versions, selectors, and the shapes they can be asked for.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::config_map;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, Resource, Scope};
use crate::expect::{contains, equal, eventually, refused, same};

pub(super) const GROUP: Group = Group {
    name: "lists",
    area: Area::Api,
    capability: "Lists in chunks, at a version, by labels and fields, as Tables and as metadata only",
    cases: &[
        case!(chunks_are_one_list, "chunks of a list have one version, are in order, and say what remains", quick),
        case!(
            expired_chunks_say_how_to_go_on,
            "a continue token that is too old is a 410 that brings a fresh one",
            slow
        ),
        case!(labels_select, "equality, sets, existence and their opposites select by label", quick),
        case!(fields_select, "metadata.name and a kind's own fields select; others are refused", quick),
        case!(an_exact_version_is_the_past, "a list at an exact version shows what was there then"),
        case!(tables_have_columns, "a list as a Table has columns, cells, and as much of objects as asked for", quick),
        case!(metadata_alone, "a list as PartialObjectMetadataList has metadata and nothing else"),
        case!(reviews_are_no_tables, "a kind that is only created is refused as a Table with 406", quick),
        case!(all_namespaces, "a list over all namespaces has the objects of this one"),
    ],
};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

async fn templates(scope: &Scope, count: usize) -> Result<()> {
    let resource = scope.resource("v1", "podtemplates");
    let make = |number: usize| {
        let resource = resource.clone();
        let object = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": format!("t-{number:04}")},
            "template": {"spec": {"containers": [{"name": "c", "image": "none"}]}}});
        async move { resource.create(&object).await.map(drop) }
    };
    futures::stream::iter(0..count).map(make).buffer_unordered(16).try_collect::<Vec<()>>().await.map(drop)
}

async fn chunks_are_one_list(scope: &Scope) -> Result<()> {
    const COUNT: usize = 400;
    templates(scope, COUNT).await?;
    let resource = scope.resource("v1", "podtemplates");
    for _ in 0..3 {
        by_chunks(&resource, COUNT).await?;
    }
    let whole = resource.list(&format!("limit={}", COUNT + 1)).await?;
    same("items of the whole list", whole["items"].as_array().map(Vec::len), Some(COUNT))?;
    equal("continue of the whole list", whole["metadata"].get("continue").unwrap_or(&json!("")), &json!(""))?;
    same("no remainingItemCount", whole["metadata"].get("remainingItemCount"), None)
}

async fn by_chunks(resource: &Resource, count: usize) -> Result<()> {
    const CHUNK: usize = 17;
    let (mut names, mut version, mut token) = (Vec::new(), None, String::new());
    loop {
        let page = resource.list(&format!("limit={CHUNK}&continue={token}")).await?;
        let items = page["items"].as_array().context("no items")?;
        names.extend(items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(String::from)));
        let seen = page["metadata"]["resourceVersion"].clone();
        let first = version.get_or_insert(seen.clone());
        same("version of a chunk", &seen, &*first)?;
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        remains(&page, count - names.len())?;
        if token.is_empty() {
            break;
        }
        same("items of a chunk", items.len(), CHUNK)?;
    }
    same("names", names, (0..count).map(|number| format!("t-{number:04}")).collect::<Vec<_>>())
}

/// The count is not there on the last page.
fn remains(page: &Value, left: usize) -> Result<()> {
    let expected = if left == 0 { Value::Null } else { json!(left) };
    equal("remainingItemCount", &page["metadata"]["remainingItemCount"], &expected)
}

async fn expired_chunks_say_how_to_go_on(scope: &Scope) -> Result<()> {
    templates(scope, 40).await?;
    let resource = scope.resource("v1", "podtemplates");
    let first = resource.list("limit=10").await?;
    let token = first["metadata"]["continue"].as_str().context("no token")?.to_owned();
    let path = format!("{}?limit=10&continue={token}", resource.path);
    // Nothing tells when a store has forgotten; upstream's does each five minutes.
    let gone = eventually("an old token expires", Duration::from_secs(660), async || {
        let answer = scope.cluster.call(Call::get(&path)).await?;
        ensure!(answer.status != 200, "the token is still good");
        refused(answer.ok(), 410, "Expired")
    })
    .await?;
    let fresh = gone.status["metadata"]["continue"].as_str().context("the 410 has no token")?.to_owned();
    let mut next = resource.list(&format!("limit=10&continue={fresh}")).await?;
    let (old, new) = (&first["metadata"]["resourceVersion"], next["metadata"]["resourceVersion"].clone());
    ensure!(*old != new, "expected a newer version than {old}");
    for (name, left) in [("t-0010", 20), ("t-0020", 10), ("t-0030", 0)] {
        same("first name of a chunk", next["items"][0]["metadata"]["name"].as_str(), Some(name))?;
        equal("version of a chunk", &next["metadata"]["resourceVersion"], &new)?;
        remains(&next, left)?;
        if let Some(token) = next["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
            next = resource.list(&format!("limit=10&continue={token}")).await?;
        }
    }
    Ok(())
}

async fn labels_select(scope: &Scope) -> Result<()> {
    for (name, set) in [("one", "a"), ("two", "b"), ("three", "c")] {
        scope.config_maps().create(&config_map(name, set, "")).await?;
    }
    for (selector, expected) in [
        ("set%3Da", &["one"][..]),
        ("set%3D%3Db", &["two"]),
        ("set%20in%20(a,b)", &["one", "two"]),
        ("set,set%20notin%20(a,b)", &["three"]),
        ("set,set!%3Da", &["three", "two"]),
        ("set%20in%20(a,b),set!%3Da", &["two"]),
        ("set%3Dnone", &[]),
    ] {
        let names = scope.config_maps().names(&format!("labelSelector={selector}")).await?;
        same(selector, names, expected.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    }
    let absent = scope.config_maps().names("labelSelector=!set").await?;
    ensure!(!absent.iter().any(|name| name == "one"), "expected !set to leave out what has the label, saw {absent:?}");
    refused(scope.config_maps().list("labelSelector=a%20in").await, 400, "BadRequest").map(drop)
}

async fn fields_select(scope: &Scope) -> Result<()> {
    for name in ["one", "two"] {
        scope.config_maps().create(&config_map(name, "a", "")).await?;
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": format!("x/{name}")});
        scope.secrets().create(&secret).await?;
    }
    same(
        "metadata.name",
        scope.config_maps().names("fieldSelector=metadata.name%3Dtwo").await?,
        vec!["two".to_owned()],
    )?;
    let others = scope.config_maps().names("fieldSelector=metadata.name!%3Dtwo&labelSelector=set%3Da").await?;
    same("metadata.name!=", others, vec!["one".to_owned()])?;
    same("a Secret's type", scope.secrets().names("fieldSelector=type%3Dx/one").await?, vec!["one".to_owned()])?;
    let refusal = refused(scope.config_maps().list("fieldSelector=data.key%3Dx").await, 400, "BadRequest")?;
    contains("message", &refusal.message, "\"data.key\" is not a known field selector")
}

async fn an_exact_version_is_the_past(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("one", "a", "")).await?;
    let past = scope.config_maps().list("labelSelector=set").await?;
    let version = past["metadata"]["resourceVersion"].as_str().context("no version")?.to_owned();
    scope.config_maps().create(&config_map("two", "a", "")).await?;
    let names = |query: String| async move { scope.config_maps().names(&format!("labelSelector=set&{query}")).await };
    let then = names(format!("resourceVersion={version}&resourceVersionMatch=Exact")).await?;
    same("names then", then, vec!["one".to_owned()])?;
    let now = names(format!("resourceVersion={version}&resourceVersionMatch=NotOlderThan")).await?;
    ensure!(now.contains(&"one".to_owned()), "expected one in what is not older, saw {now:?}");
    same("names now", names(String::new()).await?, vec!["one".to_owned(), "two".to_owned()])?;
    let invalid = scope.config_maps().list("resourceVersionMatch=Exact").await;
    refused(invalid, 422, "Invalid").map(drop)
}

async fn tables_have_columns(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("one", "a", "")).await?;
    let path = scope.config_maps().path;
    for (include, kind) in [("", "PartialObjectMetadata"), ("&includeObject=Object", "ConfigMap")] {
        let call = Call::get(format!("{path}?labelSelector=set{include}")).accept(TABLE);
        let table = scope.cluster.object(call).await?;
        same("kind", table["kind"].as_str(), Some("Table"))?;
        let columns = table["columnDefinitions"].as_array().context("no columns")?;
        let names: Vec<&str> = columns.iter().filter_map(|column| column["name"].as_str()).collect();
        same("columns", names, vec!["Name", "Data", "Age"])?;
        let rows = table["rows"].as_array().context("no rows")?;
        same("rows", rows.len(), 1)?;
        equal("first cell", &rows[0]["cells"][0], &json!("one"))?;
        equal("second cell", &rows[0]["cells"][1], &json!(1))?;
        same("object's kind", rows[0]["object"]["kind"].as_str(), Some(kind))?;
        same("object's labels", rows[0]["object"]["metadata"]["labels"]["set"].as_str(), Some("a"))?;
    }
    let none = scope.cluster.object(Call::get(format!("{path}?includeObject=None")).accept(TABLE)).await?;
    same("no object", none["rows"][0].get("object").filter(|object| !object.is_null()), None)
}

async fn metadata_alone(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("one", "a", "x")).await?;
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let call = Call::get(format!("{}?labelSelector=set", scope.config_maps().path)).accept(accept);
    let list = scope.cluster.object(call).await?;
    same("kind", list["kind"].as_str(), Some("PartialObjectMetadataList"))?;
    same("items", list["items"].as_array().map(Vec::len), Some(1))?;
    same("name", list["items"][0]["metadata"]["name"].as_str(), Some("one"))?;
    same("data", list["items"][0].get("data"), None)
}

async fn reviews_are_no_tables(scope: &Scope) -> Result<()> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = scope.cluster.call(Call::post(path, &review).accept(TABLE)).await?;
    same("status as a Table", answer.status, 406)?;
    let plain = scope.cluster.object(Call::post(path, &review)).await?;
    equal("the administrator may", &plain["status"]["allowed"], &json!(true))
}

async fn all_namespaces(scope: &Scope) -> Result<()> {
    let set = scope.unique("all");
    scope.config_maps().create(&config_map("one", &set, "")).await?;
    let items = scope.global("v1", "configmaps").items(&format!("labelSelector=set%3D{set}")).await?;
    same("items", items.len(), 1)?;
    same("namespace", items[0]["metadata"]["namespace"].as_str(), Some(scope.namespace.as_str()))
}
