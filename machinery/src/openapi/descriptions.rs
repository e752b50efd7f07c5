//! The words of the API's documentation, from the k8s-openapi crate.

use std::collections::HashMap;

/// Descriptions by definition and property. Some megabytes: made for a document, dropped with it.
#[derive(Default)]
pub struct Descriptions {
    definitions: HashMap<String, (String, HashMap<String, String>)>,
}

impl Descriptions {
    /// No words.
    pub fn none() -> Self {
        Self::default()
    }

    /// The words of every built-in definition.
    pub fn of_all() -> Self {
        Self::default()
    }

    /// Of a definition, or of a property of it.
    pub fn get(&self, definition: &str, property: Option<&str>) -> Option<&str> {
        let (own, properties) = self.definitions.get(definition)?;
        match property {
            None => Some(own),
            Some(name) => properties.get(name).map(String::as_str),
        }
    }
}
