//! What the files of a configMap, secret, downwardAPI or projected volume are. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccountTokenProjection,
};

use super::atomic::{File, Payload};
use crate::{
    env::{Sources, downward},
    pod::configs::NodeFacts,
};

/// What payloads are made from.
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub pod_ips: &'a [String],
    pub sources: &'a dyn Sources,
    pub facts: &'a NodeFacts,
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// The files of a ConfigMap.
///
/// # Errors
/// A ConfigMap or key that is not there and not optional.
pub fn config_map(
    inputs: &Inputs<'_>,
    name: &str,
    items: &Option<Vec<KeyToPath>>,
    default_mode: i32,
    optional: bool,
) -> Result<Payload, String> {
    let Some(map) = inputs.sources.config_map(namespace(inputs.pod), name)? else {
        return if optional { Ok(Payload::new()) } else { Err(format!("configmap {name:?} not found")) };
    };
    select(&config_map_values(&map), items, default_mode, optional)
        .map_err(|key| format!("configmap references non-existent config key: {key}"))
}

fn config_map_values(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

/// The files of a Secret.
///
/// # Errors
/// A Secret or key that is not there and not optional.
pub fn secret(
    inputs: &Inputs<'_>,
    name: &str,
    items: &Option<Vec<KeyToPath>>,
    default_mode: i32,
    optional: bool,
) -> Result<Payload, String> {
    let Some(secret) = inputs.sources.secret(namespace(inputs.pod), name)? else {
        return if optional { Ok(Payload::new()) } else { Err(format!("secret {name:?} not found")) };
    };
    select(&secret_values(&secret), items, default_mode, optional)
        .map_err(|key| format!("references non-existent secret key: {key}"))
}

fn secret_values(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// All values under their keys, or the items under their paths. The error is the key that is missing.
fn select(
    values: &BTreeMap<String, Vec<u8>>,
    items: &Option<Vec<KeyToPath>>,
    default_mode: i32,
    optional: bool,
) -> Result<Payload, String> {
    let items = items.as_deref().unwrap_or_default();
    if items.is_empty() {
        return Ok(values.iter().map(|(key, value)| (key.clone(), file(value.clone(), default_mode))).collect());
    }
    let mut payload = Payload::new();
    for item in items {
        match values.get(&item.key) {
            Some(value) => {
                payload.insert(item.path.clone(), file(value.clone(), item.mode.unwrap_or(default_mode)));
            }
            None if optional => {}
            None => return Err(item.key.clone()),
        }
    }
    Ok(payload)
}

/// The files of a downward API volume.
///
/// # Errors
/// Fields and containers that are not there.
pub fn downward_api(
    inputs: &Inputs<'_>,
    items: &[DownwardAPIVolumeFile],
    default_mode: i32,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(selector), _) => downward::field(&selector.field_path, inputs.pod, inputs.pod_ips, inputs.facts)?,
            (None, Some(selector)) => downward::resource(selector, inputs.pod, "", inputs.facts)?,
            (None, None) => String::new(),
        };
        payload.insert(item.path.clone(), file(text.into_bytes(), item.mode.unwrap_or(default_mode)));
    }
    Ok(payload)
}

/// The file of a ServiceAccount token. Readable by its owner only where the owner can be made the pod's user.
pub fn token(projection: &ServiceAccountTokenProjection, token: &str, default_mode: i32, has_owner: bool) -> Payload {
    let mode = if has_owner { 0o600 } else { default_mode };
    Payload::from([(projection.path.clone(), file(token.as_bytes().to_vec(), mode))])
}

fn file(content: Vec<u8>, mode: i32) -> File {
    File { content, mode: mode.unsigned_abs() & 0o777 }
}
