//! `NamespaceLifecycle`: nothing is made in a namespace that is missing or ending, and some namespaces never end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use machinery::meta;
use machinery::status::{Cause, Status};
use serde_json::Value;

use super::{Operation, Plugin, Request};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// A namespace made a moment ago by another server may not have reached this one's cache.
const MISSING_WAIT: Duration = Duration::from_millis(50);

pub struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let namespace = &request.info().namespace;
        if request.operation != Operation::Create || namespace.is_empty() || is_exempt(request) {
            return Ok(());
        }
        let Some(served) = request.api.catalogue.find("", "v1", "namespaces") else { return Ok(()) };
        let found = match request.api.peek_shared(served, "", namespace)? {
            Some(found) => Some(found),
            None => {
                let found = request.api.await_object(served, "", namespace, MISSING_WAIT).await?;
                found.map(|found| Arc::new(found.object))
            }
        };
        let Some(found) = found else { return Err(Status::not_found(served.row.group_resource(), namespace)) };
        if meta::text(&found, "status.phase") != "Terminating" {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        Err(request.forbidden_object(object, &why).with_causes(vec![Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        }]))
    }

    async fn validate(&self, request: &Request<'_>, _object: &Value) -> Result<(), Status> {
        let is_namespace = request.is("", "namespaces", "");
        if request.operation == Operation::Delete && is_namespace && IMMORTAL.contains(&request.info().name.as_str()) {
            return Err(request.forbidden("this namespace may not be deleted"));
        }
        Ok(())
    }
}

/// Namespaces themselves, and reviews: their answer would tell whether a namespace exists.
fn is_exempt(request: &Request<'_>) -> bool {
    request.is("", "namespaces", "") || request.served().row.group == "authorization.k8s.io"
}
