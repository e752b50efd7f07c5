//! `PodNodeSelector`: pods go to the nodes that their namespace has, and to no others (Kubernetes reference: "Admission
//! Controllers"). A namespace names them by an annotation; the configuration names them for all others, and which labels a
//! namespace's pods may ask for at all.

use std::collections::BTreeMap;

use async_trait::async_trait;
use machinery::meta;
use machinery::names::{label_value, qualified_name};
use machinery::status::{GroupResource, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use super::configuration::Configuration;
use super::request::bare_error;
use super::{Plugin, Request};

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
const DEFAULT: &str = "clusterDefaultNodeSelector";
const NAME: &str = "PodNodeSelector";

type Labels = BTreeMap<String, String>;

/// The selectors by namespace, and the one of namespaces without any.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodNodeSelector {
    #[serde(default)]
    pod_node_selector_plugin_config: BTreeMap<String, String>,
}

impl PodNodeSelector {
    pub fn configured(configuration: &Configuration) -> Result<Self, String> {
        let configured: Self = configuration.plain(NAME)?.unwrap_or_default();
        for selector in configured.pod_node_selector_plugin_config.values() {
            labels(selector).map_err(|error| format!("configuration of admission plugin {NAME}: {error}"))?;
        }
        Ok(configured)
    }

    fn of(&self, key: &str) -> Result<Labels, Status> {
        labels(self.pod_node_selector_plugin_config.get(key).map_or("", String::as_str)).map_err(bare_error)
    }

    async fn of_namespace(&self, request: &Request<'_>) -> Result<Labels, Status> {
        let name = request.namespace();
        let found = request.find("", "namespaces", name).await?;
        let missing = || Status::not_found(GroupResource { group: "", resource: "namespaces" }, name);
        let namespace = found.ok_or_else(missing)?;
        match meta::annotation(&namespace, ANNOTATION) {
            Some(selector) => labels(selector).map_err(bare_error),
            None => self.of(DEFAULT),
        }
    }
}

#[async_trait]
impl Plugin for PodNodeSelector {
    async fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if !request.creates("", "pods") {
            return Ok(());
        }
        let own = of_pod(pod);
        let mut all = self.of_namespace(request).await?;
        check(request, pod, &all, &own)?;
        all.extend(own);
        if !all.is_empty() {
            meta::object_mut(pod, "spec").insert("nodeSelector".into(), json!(all));
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        if !request.creates("", "pods") {
            return Ok(());
        }
        let own = of_pod(pod);
        check(request, pod, &self.of_namespace(request).await?, &own)?;
        let allowed = self.of(request.namespace())?;
        match allowed.is_empty() || own.iter().all(|(key, value)| allowed.get(key) == Some(value)) {
            true => Ok(()),
            false => {
                let why = "pod node label selector labels conflict with its namespace whitelist";
                Err(request.forbidden_object(pod, why))
            }
        }
    }
}

/// The two must not want different values of one label.
fn check(request: &Request<'_>, pod: &Value, wanted: &Labels, own: &Labels) -> Result<(), Status> {
    match own.iter().all(|(key, value)| wanted.get(key).is_none_or(|wanted| wanted == value)) {
        true => Ok(()),
        false => {
            let why = "pod node label selector conflicts with its namespace node label selector";
            Err(request.forbidden_object(pod, why))
        }
    }
}

fn of_pod(pod: &Value) -> Labels {
    let labels = meta::map(pod, "spec.nodeSelector").iter();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// `a=b,c=d`, in which there are no other operators.
fn labels(selector: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for pair in selector.split(',').filter(|_| !selector.is_empty()) {
        let parts: Vec<&str> = pair.split('=').collect();
        let [key, value] = parts[..] else { return Err(format!("invalid selector: [{}]", parts.join(" "))) };
        let (key, value) = (key.trim(), value.trim());
        let wrong = qualified_name(key).into_iter().chain(label_value(value)).next();
        if let Some(why) = wrong {
            return Err(format!("invalid selector: [{}]: {why}", parts.join(" ")));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_name_labels_and_their_values() {
        let pairs = |selector: &str| labels(selector).map(|labels| labels.into_iter().collect::<Vec<_>>());
        assert_eq!(pairs(""), Ok(Vec::new()));
        let both = vec![("a".to_owned(), "b".to_owned()), ("example.com/c".to_owned(), String::new())];
        assert_eq!(pairs("a=b, example.com/c="), Ok(both));
        assert_eq!(pairs("a").unwrap_err(), "invalid selector: [a]");
        assert_eq!(pairs("a==b").unwrap_err(), "invalid selector: [a  b]");
        assert!(pairs("a b=c").is_err() && pairs("a=-").is_err());
    }
}
