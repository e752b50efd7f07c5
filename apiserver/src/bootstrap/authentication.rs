//! The ConfigMap that tells extension servers whom this server trusts (Kubernetes concept: "Configure the Aggregation
//! Layer").

use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::ensure_as;
use crate::api::Api;

pub async fn ensure(api: &Api) -> Result<(), Status> {
    let published = &api.authenticator.published;
    if published.is_empty() {
        return Ok(());
    }
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"}, "data": published,
    });
    ensure_as(api, "", "configmaps", object, |old| {
        let mut new = old.clone();
        let mut data = meta::map(old, "data").clone();
        data.extend(published.clone());
        new["data"] = Value::Object(data);
        new
    })
    .await
}
