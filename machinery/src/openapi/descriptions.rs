//! The words of the API's documentation, gathered from the k8s-openapi crate when the program was built.

use std::collections::HashMap;

use flate2::read::DeflateDecoder;

/// Deflated JSON: `{definition: [words, {property: words}]}`.
pub(super) const WORDS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.json.deflate"));

/// Descriptions by definition and property. Some megabytes: made for a document, dropped with it.
#[derive(Default)]
pub struct Descriptions {
    definitions: HashMap<String, (String, HashMap<String, String>)>,
}

impl Descriptions {
    /// No words: documents without descriptions.
    pub fn none() -> Self {
        Self::default()
    }

    /// The words of every built-in definition.
    pub fn of_all() -> Self {
        let definitions = serde_json::from_reader(std::io::BufReader::new(DeflateDecoder::new(WORDS)));
        // The file is our own build's: what it made, it can read.
        Self { definitions: definitions.unwrap_or_default() }
    }

    /// Of a definition, or of a property of it.
    pub fn get(&self, definition: &str, property: Option<&str>) -> Option<String> {
        if self.definitions.is_empty() {
            return None;
        }
        let found = self.definitions.get(definition);
        let words = match property {
            None => found.map(|(own, _)| own),
            Some(name) => found.and_then(|(_, properties)| properties.get(name)),
        };
        let words = words.filter(|words| !words.is_empty()).cloned();
        words.or_else(|| self.of_list(definition.rsplit('.').next()?, property))
    }

    /// The crate has no lists of its own: they are all alike.
    fn of_list(&self, definition: &str, property: Option<&str>) -> Option<String> {
        let kind = definition.strip_suffix("List")?;
        match property {
            None => Some(format!("{definition} is a list of {kind} objects.")),
            Some("items") => Some(format!("items is the list of {kind} objects.")),
            Some("metadata") => Some("Standard list metadata.".to_owned()),
            Some(name @ ("apiVersion" | "kind")) => self.get("io.k8s.api.core.v1.Pod", Some(name)),
            Some(_) => None,
        }
    }
}
