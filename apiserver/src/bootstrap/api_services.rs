//! The APIServices of the groups that this server answers for itself.
//!
//! Made at start, mended while they bear the label of the automatic ones, and taken away where an earlier start answered
//! and this one does not (`--runtime-config`). One without the label is somebody's own.

use machinery::catalogue::priorities;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{ensure_as, own_call, row};
use crate::api::Api;
use crate::rest::current::Current;
use crate::rest::delete::delete_object;
use crate::rest::params::DeleteOptions;

const GROUP: &str = "apiregistration.k8s.io";
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

pub async fn ensure(api: &Api) -> Result<(), Status> {
    let mut versions: Vec<(&str, &str)> =
        api.catalogue.offered().map(|served| (served.row.group.as_ref(), served.row.version.as_ref())).collect();
    versions.sort_unstable();
    versions.dedup();
    take_away_others(api, &versions).await?;
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
        ensure_as(api, GROUP, "apiservices", object, |old| mended(old, &spec)).await?;
    }
    Ok(())
}

async fn take_away_others(api: &Api, offered: &[(&str, &str)]) -> Result<(), Status> {
    let served = row(api, GROUP, "apiservices")?;
    for item in api.cache.list(served.id, &api.catalogue.prefix(served, "")).iter() {
        let object = Current::from_item(item)?.object;
        let is_offered = offered.iter().any(|(group, version)| meta::name(&object) == format!("{version}.{group}"));
        if is_offered || meta::label(&object, AUTOMANAGED) != Some("onstart") {
            continue;
        }
        let call = own_call(served, "delete", "", meta::name(&object));
        let options = DeleteOptions { uid: Some(meta::uid(&object).to_owned()), ..DeleteOptions::default() };
        match delete_object(api, &call, meta::name(&object), &options).await {
            // Somebody else was faster.
            Err(status) if !matches!(status.code, 404 | 409) => return Err(status),
            _ => {}
        }
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
