//! The environment of a container, from all its sources.
//!
//! Enter at [`variables`]. ConfigMaps and Secrets come through [`Sources`], which answers from the kubelet's watches.
//! Pure; knows no runtime.

pub mod downward;
pub mod expand;
mod file;
pub mod services;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use crate::pod::{configs::NodeFacts, spec};

/// The objects that a pod refers to; `Ok(None)` where the API has none.
pub trait Sources: Send + Sync {
    /// # Errors
    /// What keeps the kubelet from knowing.
    fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, String>;
    /// # Errors
    /// What keeps the kubelet from knowing.
    fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, String>;
}

/// What variables are made from.
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub pod_ips: &'a [String],
    pub services: &'a [Arc<Service>],
    pub sources: &'a dyn Sources,
    pub facts: &'a NodeFacts,
    /// Reads a file of one of the pod's volumes, by the volume's name and the path in it.
    pub read_file: &'a (dyn Fn(&str, &str) -> Result<String, String> + Sync),
}

/// The variables, in the order: what the container names (in its order), the rest of `envFrom`, Services.
///
/// # Errors
/// What is missing, in upstream's words, for `CreateContainerConfigError`.
pub fn variables(inputs: &Inputs<'_>) -> Result<Vec<(String, String)>, String> {
    let namespace = inputs.pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = spec::spec(inputs.pod).enable_service_links.unwrap_or(true);
    let services = services::variables(inputs.services, namespace, links);
    let from = from_objects(inputs, namespace)?;
    let mut own: Vec<(String, String)> = Vec::new();
    for variable in inputs.container.env.iter().flatten() {
        let lookup = |name: &str| {
            let named = own.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value);
            named.or_else(|| from.get(name)).or_else(|| services.get(name)).cloned()
        };
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => Some(expand::expand(value, lookup)),
            (_, Some(source)) => from_source(inputs, source, namespace)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            own.retain(|(key, _)| *key != variable.name);
            own.push((variable.name.clone(), value));
        }
    }
    let rest = |map: BTreeMap<String, String>, out: &mut Vec<(String, String)>| {
        for (key, value) in map {
            if !out.iter().any(|(existing, _)| *existing == key) {
                out.push((key, value));
            }
        }
    };
    rest(from, &mut own);
    rest(services, &mut own);
    Ok(own)
}

fn from_objects(inputs: &Inputs<'_>, namespace: &str) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for source in inputs.container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match inputs.sources.config_map(namespace, &reference.name)? {
                Some(map) => variables
                    .extend(map.data.iter().flatten().map(|(key, value)| (format!("{prefix}{key}"), value.clone()))),
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match inputs.sources.secret(namespace, &reference.name)? {
                Some(secret) => {
                    variables.extend(
                        secret.data.iter().flatten().map(|(key, value)| {
                            (format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned())
                        }),
                    )
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
    }
    Ok(variables)
}

/// None for an optional reference to what is not there: the variable is left out.
fn from_source(inputs: &Inputs<'_>, source: &EnvVarSource, namespace: &str) -> Result<Option<String>, String> {
    if let Some(selector) = &source.field_ref {
        return downward::field(&selector.field_path, inputs.pod, inputs.pod_ips, inputs.facts).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return downward::resource(selector, inputs.pod, &inputs.container.name, inputs.facts).map(Some);
    }
    if let Some(selector) = &source.config_map_key_ref {
        let optional = selector.optional == Some(true);
        let found = inputs.sources.config_map(namespace, &selector.name)?;
        let value = found.as_ref().and_then(|map| map.data.as_ref()?.get(&selector.key).cloned());
        return match (value, found.is_some()) {
            (Some(value), _) => Ok(Some(value)),
            (None, _) if optional => Ok(None),
            (None, false) => Err(format!("configmap {:?} not found", selector.name)),
            (None, true) => {
                Err(format!("couldn't find key {} in ConfigMap {namespace}/{}", selector.key, selector.name))
            }
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let optional = selector.optional == Some(true);
        let found = inputs.sources.secret(namespace, &selector.name)?;
        let value = found.as_ref().and_then(|secret| secret.data.as_ref()?.get(&selector.key));
        return match (value, found.is_some()) {
            (Some(value), _) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            (None, _) if optional => Ok(None),
            (None, false) => Err(format!("secret {:?} not found", selector.name)),
            (None, true) => Err(format!("couldn't find key {} in Secret {namespace}/{}", selector.key, selector.name)),
        };
    }
    let Some(selector) = &source.file_key_ref else { return Ok(Some(String::new())) };
    let optional = selector.optional == Some(true);
    let found = (inputs.read_file)(&selector.volume_name, &selector.path)
        .and_then(|text| file::value(&text, &selector.key))
        .map_err(|error| format!("couldn't parse env file: {error}"));
    match found?.as_str() {
        "" if optional => Ok(None),
        "" => Err(format!("environment variable key {:?} not found in file {:?}", selector.key, selector.path)),
        value => Ok(Some(value.to_owned())),
    }
}
