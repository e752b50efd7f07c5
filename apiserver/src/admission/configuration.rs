//! `--admission-control-config-file`: what plug-ins are told beyond flags (`apiserver.config.k8s.io/v1`
//! AdmissionConfiguration).

use std::fmt::Display;
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
    /// One with nothing in it is none.
    pub fn plain<T: DeserializeOwned>(&self, plugin: &str) -> Result<Option<T>, String> {
        self.read(plugin, |text| {
            let tree: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
            serde_json::from_value(tree).map_err(|error| error.to_string())
        })
        .map(Option::flatten)
    }

    /// A plug-in's configuration, if there is one.
    pub fn of<T: DeserializeOwned>(&self, plugin: &str, kind: &str, versions: &[&str]) -> Result<Option<T>, String> {
        self.read(plugin, |text| component::config::parse(text, kind, versions))
    }

    /// What is written here of a plug-in, or in a file of its own.
    fn read<T>(&self, plugin: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        let Some(entry) = self.plugins.iter().find(|entry| entry.name == plugin) else { return Ok(None) };
        let read = match &entry.configuration {
            Some(inner) => parse(&inner.to_string()),
            None if entry.path.as_os_str().is_empty() => return Ok(None),
            None => {
                let problem =
                    |error: &dyn Display| format!("failed to load config file {}: {error}", entry.path.display());
                let text = std::fs::read_to_string(&entry.path).map_err(|error| problem(&error));
                text.and_then(|text| parse(&text).map_err(|error| problem(&error)))
            }
        };
        read.map(Some).map_err(|error| format!("configuration of admission plugin {plugin}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_with_nothing_in_it_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let plain = |text: &str| {
            std::fs::write(folder.path().join("own.yaml"), text).unwrap();
            let plugins = json!({"plugins": [{"name": "A", "path": folder.path().join("own.yaml")}]});
            let configuration: Configuration = serde_json::from_value(plugins).unwrap();
            configuration.plain::<BTreeMap<String, String>>("A")
        };
        for nothing in ["", "# nothing\n", "null\n"] {
            assert_eq!(plain(nothing), Ok(None), "{nothing:?}");
        }
        assert_eq!(plain("a: b\n").unwrap().unwrap()["a"], "b");
        assert!(
            plain("[]").unwrap_err().starts_with("configuration of admission plugin A: failed to load config file")
        );
    }
}
