//! The system's namespaces (Kubernetes concept: "Initial namespaces").

use machinery::status::Status;
use serde_json::json;

use super::ensure as ensure_object;
use crate::api::Api;

const NAMES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

async fn ensure_one(api: &Api, name: &str) -> Result<(), Status> {
    ensure_object(api, "", "namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .await?;
    Ok(())
}

pub async fn ensure(api: &Api) -> Result<(), Status> {
    for name in NAMES {
        ensure_one(api, name).await?;
    }
    Ok(())
}
