//! One kind in one namespace (or none): its verbs, and waiting for what becomes of its objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::Method;
use serde_json::{Value, json};

use super::call::encode;
use super::{ApiError, Call, Cluster, SOON, Watch};
use crate::expect::show;

/// The path of a collection, with the cluster it is in.
#[derive(Clone)]
pub(crate) struct Resource {
    pub(crate) cluster: Arc<Cluster>,
    /// `/apis/apps/v1/namespaces/x/deployments`
    pub(crate) path: String,
}

/// A patch, by its media type.
pub(crate) enum Patch {
    Merge(Value),
    Strategic(Value),
    Json(Value),
    /// By this field manager, with force or without.
    Apply(&'static str, bool, Value),
}

impl Resource {
    pub(crate) fn new(cluster: Arc<Cluster>, group_version: &str, namespace: Option<&str>, plural: &str) -> Self {
        let root = if group_version.contains('/') { "apis" } else { "api" };
        let within = namespace.map(|name| format!("namespaces/{name}/")).unwrap_or_default();
        Self { cluster, path: format!("/{root}/{group_version}/{within}{plural}") }
    }

    /// Path of an object, or of its subresource when `name` is `object/subresource`.
    pub(crate) fn of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    pub(crate) async fn create(&self, object: &Value) -> Result<Value> {
        self.cluster.object(Call::post(&self.path, object)).await
    }

    /// With parameters such as `dryRun=All`.
    pub(crate) async fn create_with(&self, query: &str, object: &Value) -> Result<Value> {
        self.cluster.object(Call::post(format!("{}?{query}", self.path), object)).await
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Value> {
        self.cluster.object(Call::get(self.of(name))).await
    }

    /// The whole list, with parameters such as `labelSelector=…`.
    pub(crate) async fn list(&self, query: &str) -> Result<Value> {
        self.cluster.object(Call::get(format!("{}?{query}", self.path))).await
    }

    pub(crate) async fn items(&self, query: &str) -> Result<Vec<Value>> {
        let mut list = self.list(query).await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("GET {}: items are {other}", self.path),
        }
    }

    pub(crate) async fn names(&self, query: &str) -> Result<Vec<String>> {
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(self.items(query).await?.iter().map(name).collect())
    }

    /// Puts an object at its own name.
    pub(crate) async fn replace(&self, object: &Value) -> Result<Value> {
        let name = object["metadata"]["name"].as_str().context("an object to put has a name")?;
        self.cluster.object(Call::put(self.of(name), object)).await
    }

    /// Puts an object at a name with a subresource.
    pub(crate) async fn put(&self, name: &str, object: &Value) -> Result<Value> {
        self.cluster.object(Call::put(self.of(name), object)).await
    }

    pub(crate) async fn post(&self, name: &str, object: &Value) -> Result<Value> {
        self.cluster.object(Call::post(self.of(name), object)).await
    }

    pub(crate) async fn patch(&self, name: &str, patch: Patch) -> Result<Value> {
        let path = self.of(name);
        let (content_type, path, body) = match patch {
            Patch::Merge(body) => ("application/merge-patch+json", path, body),
            Patch::Strategic(body) => ("application/strategic-merge-patch+json", path, body),
            Patch::Json(body) => ("application/json-patch+json", path, body),
            Patch::Apply(manager, force, body) => {
                ("application/apply-patch+yaml", format!("{path}?fieldManager={manager}&force={force}"), body)
            }
        };
        self.cluster.object(Call::new(Method::PATCH, path).body(content_type, body.to_string())).await
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<Value> {
        self.cluster.object(Call::delete(self.of(name))).await
    }

    /// With DeleteOptions, such as `{"propagationPolicy": "Orphan"}`.
    pub(crate) async fn delete_with(&self, name: &str, options: Value) -> Result<Value> {
        self.cluster.object(Call::delete(self.of(name)).json(&options)).await
    }

    pub(crate) async fn delete_collection(&self, query: &str) -> Result<Value> {
        self.cluster.object(Call::delete(format!("{}?{query}", self.path))).await
    }

    pub(crate) async fn watch(&self, query: &str) -> Result<Watch> {
        self.cluster.watch(&format!("{}?watch=true&{query}", self.path)).await
    }

    /// A watch of one object from its state of now.
    pub(crate) async fn watch_one(&self, name: &str) -> Result<Watch> {
        self.watch(&format!("fieldSelector={}", encode(&format!("metadata.name={name}")))).await
    }

    /// Waits until the object is there and `holds`.
    pub(crate) async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        self.until_within(SOON, name, what, holds).await
    }

    pub(crate) async fn until_within(
        &self,
        limit: Duration,
        name: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut watch = self.watch_one(name).await?;
        let mut last = Value::Null;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let Ok(event) = watch.next(left).await else {
                bail!("{name}: expected within {} s: {what}; saw {}", limit.as_secs(), show(&last))
            };
            if event.kind != "DELETED" && holds(&event.object) {
                return Ok(event.object);
            }
            last = if event.kind == "DELETED" { json!("that it is deleted") } else { event.object };
        }
    }

    /// Waits until the object is not there.
    pub(crate) async fn until_gone(&self, name: &str) -> Result<()> {
        self.until_gone_within(SOON, name).await
    }

    pub(crate) async fn until_gone_within(&self, limit: Duration, name: &str) -> Result<()> {
        let selector = format!("fieldSelector={}", encode(&format!("metadata.name={name}")));
        let what = format!("{name} is gone");
        self.until_all_within(limit, &selector, &what, <[Value]>::is_empty).await.map(drop)
    }

    /// Waits until the objects that a query selects are as `holds` says; returns them by name.
    pub(crate) async fn until_all(
        &self,
        query: &str,
        what: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        self.until_all_within(SOON, query, what, holds).await
    }

    pub(crate) async fn until_all_within(
        &self,
        limit: Duration,
        query: &str,
        what: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let deadline = tokio::time::Instant::now() + limit;
        let list = self.list(query).await?;
        let key = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let mut objects: BTreeMap<String, Value> = items.into_iter().map(|item| (key(&item), item)).collect();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let mut watch = self.watch(&format!("{query}&resourceVersion={version}")).await?;
        loop {
            let now: Vec<Value> = objects.values().cloned().collect();
            if holds(&now) {
                return Ok(now);
            }
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let Ok(event) = watch.next(left).await else {
                let seen: Vec<String> = now.iter().map(show).collect();
                bail!("{}: expected within {} s: {what}; saw {seen:?}", self.path, limit.as_secs())
            };
            match event.kind.as_str() {
                "DELETED" => objects.remove(&key(&event.object)),
                _ => objects.insert(key(&event.object), event.object),
            };
        }
    }

    /// Whether a GET answers 404.
    pub(crate) async fn is_absent(&self, name: &str) -> Result<bool> {
        match self.get(name).await {
            Ok(_) => Ok(false),
            Err(error) if error.downcast_ref::<ApiError>().is_some_and(|error| error.code == 404) => Ok(true),
            Err(error) => Err(error),
        }
    }
}
