//! The APIServices of the groups that this server answers for itself.
//!
//! Made at start and mended while they bear the label of the automatic ones; one without it is somebody's own.

use machinery::catalogue::priorities;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::ensure_as;
use crate::api::Api;

const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

pub async fn ensure(api: &Api) -> Result<(), Status> {
    let mut versions: Vec<(&str, &str)> =
        api.catalogue.offered().map(|served| (served.row.group.as_ref(), served.row.version.as_ref())).collect();
    versions.sort_unstable();
    versions.dedup();
    for (group, version) in versions {
        let Some(priority) = priorities::of(group, version) else { continue };
        let spec = json!({
            "group": group, "version": version,
            "groupPriorityMinimum": priority.group, "versionPriority": priority.version,
        });
        let object = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("{version}.{group}"), "labels": {AUTOMANAGED: "onstart"}}, "spec": spec,
        });
        ensure_as(api, "apiregistration.k8s.io", "apiservices", object, |old| mended(old, &spec)).await?;
    }
    Ok(())
}

fn mended(old: &Value, spec: &Value) -> Value {
    let mut new = old.clone();
    if meta::label(old, AUTOMANAGED).is_some() {
        new["spec"] = spec.clone();
    }
    new
}
