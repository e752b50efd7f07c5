//! What names an object within its kind: namespace and name.

use std::{fmt, str::FromStr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;

/// Namespace and name; the namespace is empty for cluster-scoped objects.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of a cluster-scoped object.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("", name)
    }

    pub fn of(object: &impl ResourceExt) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }

    /// The key of an object's controller in the same namespace, when its kind is `kind`.
    pub fn of_controller(object: &impl ResourceExt, kind: &str) -> Option<Self> {
        let is_controller = |owner: &&OwnerReference| owner.controller == Some(true) && owner.kind == kind;
        let owner = object.owner_references().iter().find(is_controller)?;
        Some(Self::new(object.namespace().unwrap_or_default(), owner.name.clone()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// As text: keys are in logs more often than in tests.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text has more than one slash.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unexpected key format: {0:?}")]
pub struct KeyError(String);

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.split_once('/') {
            None => Ok(Self::cluster(text)),
            Some((namespace, name)) if !name.contains('/') => Ok(Self::new(namespace, name)),
            Some(_) => Err(KeyError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_as_written() {
        for text in ["a", "ns/a"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        assert!("a/b/c".parse::<Key>().is_err());
    }
}
