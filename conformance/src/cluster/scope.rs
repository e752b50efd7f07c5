//! What one case has to itself: an empty namespace, and a list of what it made elsewhere.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::kubectl::Output;
use super::{Call, Cluster, Resource};

/// Label of the namespaces of a run.
pub(crate) const RUN_LABEL: &str = "skiff-conformance-run";

pub(crate) struct Scope {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) namespace: String,
    /// Pods are refused before their ServiceAccount is there.
    pub(super) account: OnceCell<()>,
}

impl Scope {
    pub(crate) async fn create(cluster: Arc<Cluster>) -> Result<Self> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "generateName": "conformance-",
            "labels": {RUN_LABEL: cluster.run, "pod-security.kubernetes.io/enforce": "privileged"}}});
        let made = cluster.object(Call::post("/api/v1/namespaces", &object)).await.context("make a namespace")?;
        let namespace = made["metadata"]["name"].as_str().context("the namespace has no name")?.to_owned();
        Ok(Self { cluster, namespace, account: OnceCell::new() })
    }

    /// The same, in another namespace that the case made.
    pub(crate) fn at(&self, namespace: &str) -> Self {
        Self { cluster: self.cluster.clone(), namespace: namespace.to_owned(), account: OnceCell::new() }
    }

    /// A kind in the namespace.
    pub(crate) fn resource(&self, group_version: &str, plural: &str) -> Resource {
        Resource::new(self.cluster.clone(), group_version, Some(&self.namespace), plural)
    }

    /// A kind without namespaces, or in all of them. What a case makes of it has to be given to [`Scope::remove_later`].
    pub(crate) fn global(&self, group_version: &str, plural: &str) -> Resource {
        Resource::new(self.cluster.clone(), group_version, None, plural)
    }

    pub(crate) fn pods(&self) -> Resource {
        self.resource("v1", "pods")
    }

    pub(crate) fn services(&self) -> Resource {
        self.resource("v1", "services")
    }

    pub(crate) fn config_maps(&self) -> Resource {
        self.resource("v1", "configmaps")
    }

    pub(crate) fn secrets(&self) -> Resource {
        self.resource("v1", "secrets")
    }

    pub(crate) fn deployments(&self) -> Resource {
        self.resource("apps/v1", "deployments")
    }

    /// A name that no other case has, for objects without a namespace.
    pub(crate) fn unique(&self, name: &str) -> String {
        format!("{name}-{}", self.namespace)
    }

    /// Has an object that is in no namespace deleted when the case ends, however it ends.
    pub(crate) fn remove_later(&self, resource: &Resource, name: &str) {
        let mut leftovers = self.cluster.leftovers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        leftovers.push((self.namespace.clone(), resource.of(name)));
    }

    /// Makes an object without a namespace that is deleted when the case ends.
    pub(crate) async fn create_global(&self, resource: &Resource, object: &Value) -> Result<Value> {
        if let Some(name) = object["metadata"]["name"].as_str() {
            self.remove_later(resource, name);
        }
        let made = resource.create(object).await?;
        if object["metadata"]["name"].is_null() {
            self.remove_later(resource, made["metadata"]["name"].as_str().context("the object has no name")?);
        }
        Ok(made)
    }

    /// Standard output of a kubectl that must succeed.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, None).await
    }

    /// With standard input.
    pub(crate) async fn kubectl_with(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let output = self.cluster.kubectl.output(&self.namespace, arguments, input).await?;
        let line = arguments.join(" ");
        ensure!(output.code == 0, "kubectl {line}: exit code {}: {}{}", output.code, output.stdout, output.stderr);
        Ok(output.stdout)
    }

    /// A kubectl, whatever its exit code.
    pub(crate) async fn kubectl_output(&self, arguments: &[&str]) -> Result<Output> {
        self.cluster.kubectl.output(&self.namespace, arguments, None).await
    }

    /// Deletes what the case made, without waiting for its end.
    pub(crate) async fn clean(&self) -> Result<()> {
        self.cluster.clean(&self.namespace).await
    }
}

impl Cluster {
    /// Deletes the namespace of a case and what the case made outside of it; tries everything.
    pub(crate) async fn clean(&self, namespace: &str) -> Result<()> {
        let mine: Vec<String> = {
            let mut all = self.leftovers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (mine, others) = all.drain(..).partition(|(owner, _)| owner == namespace);
            *all = others;
            let mine: Vec<(String, String)> = mine;
            mine.into_iter().map(|(_, path)| path).collect()
        };
        let mut problem = Ok(());
        for path in mine.into_iter().rev().chain([format!("/api/v1/namespaces/{namespace}")]) {
            let answer = self.call(Call::delete(&path)).await;
            let result = answer.and_then(|answer| if answer.status == 404 { Ok(answer) } else { answer.ok() });
            problem = problem.and(result.map(drop).context("clean up"));
        }
        problem
    }

    /// Deletes every namespace of this run that is there still, and waits until they are gone.
    pub(crate) async fn sweep(self: &Arc<Self>, limit: std::time::Duration) -> Result<()> {
        let namespaces = Resource::new(self.clone(), "v1", None, "namespaces");
        let selector = format!("labelSelector={RUN_LABEL}%3D{}", self.run);
        for namespace in namespaces.items(&selector).await? {
            if namespace["metadata"]["deletionTimestamp"].is_null() {
                self.clean(namespace["metadata"]["name"].as_str().unwrap_or_default()).await?;
            }
        }
        namespaces.until_all_within(limit, &selector, "no namespace is left", <[Value]>::is_empty).await.map(drop)
    }
}
