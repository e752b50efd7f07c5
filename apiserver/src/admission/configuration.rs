//! `--admission-control-config-file`: what plug-ins are told beyond flags (`apiserver.config.k8s.io/v1`
//! AdmissionConfiguration).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1alpha1", "apiserver.k8s.io/v1alpha1"];

#[derive(Debug, Default, Deserialize)]
pub struct Configuration {
    #[serde(default)]
    plugins: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    name: String,
    /// A file with the plug-in's own configuration, beside this one when it is no whole path.
    #[serde(default)]
    path: PathBuf,
    #[serde(default)]
    configuration: Option<Value>,
}

impl Configuration {
    pub fn load(path: &Path) -> Result<Self, String> {
        let mut read: Self = component::config::load(path, "AdmissionConfiguration", &VERSIONS)
            .map_err(|error| format!("unable to read admission control configuration: {error}"))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for entry in &mut read.plugins {
            if !entry.path.as_os_str().is_empty() {
                entry.path = folder.join(&entry.path);
            }
        }
        Ok(read)
    }

    /// Plug-ins that a configuration is given for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().map(|entry| entry.name.as_str())
    }

    /// The configuration, if there is one, of a plug-in whose file upstream reads without kind and version.
    pub fn plain<T: DeserializeOwned>(&self, plugin: &str) -> Result<Option<T>, String> {
        let Some(entry) = self.plugins.iter().find(|entry| entry.name == plugin) else { return Ok(None) };
        let problem = |error: &dyn std::fmt::Display| format!("configuration of admission plugin {plugin}: {error}");
        if let Some(inner) = &entry.configuration {
            return serde_json::from_value(inner.clone()).map(Some).map_err(|error| problem(&error));
        }
        if entry.path.as_os_str().is_empty() {
            return Ok(None);
        }
        let text = std::fs::read(&entry.path).map_err(|error| problem(&error))?;
        serde_yaml_ng::from_slice(&text).map(Some).map_err(|error| problem(&error))
    }

    /// A plug-in's configuration, if there is one.
    pub fn of<T: DeserializeOwned>(&self, plugin: &str, kind: &str, versions: &[&str]) -> Result<Option<T>, String> {
        let Some(entry) = self.plugins.iter().find(|entry| entry.name == plugin) else { return Ok(None) };
        let problem = |error: &dyn std::fmt::Display| format!("configuration of admission plugin {plugin}: {error}");
        if let Some(inner) = &entry.configuration {
            let parsed = component::config::parse(&inner.to_string(), kind, versions);
            return parsed.map(Some).map_err(|error| problem(&error));
        }
        if entry.path.as_os_str().is_empty() {
            return Ok(None);
        }
        component::config::load(&entry.path, kind, versions).map(Some).map_err(|error| problem(&error))
    }
}
