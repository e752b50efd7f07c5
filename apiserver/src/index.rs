//! Tells the watch cache what a stored key is and what to index of its object.

use bytes::Bytes;
use machinery::meta;
use serde_json::Value;

use crate::cache::{Fields, Indexed, Indexer, Labels, Resource};
use crate::catalogue::{Catalogue, Served};
use crate::stored;

/// Reads keys and objects by the catalogue.
pub struct CatalogueIndexer {
    pub catalogue: Catalogue,
}

impl Indexer for CatalogueIndexer {
    fn resource(&self, key: &str) -> Option<Resource> {
        self.catalogue.find_key(key).map(|served| served.id)
    }

    fn index(&self, resource: Resource, key: &str, value: &Bytes) -> Result<Indexed, String> {
        let served = self.catalogue.row(resource).ok_or_else(|| format!("no resource for {key}"))?;
        let object = stored::decode(value)?;
        let body = match stored::is_json(value) && value.starts_with(served.body_prefix.as_bytes()) {
            true => value.clone(),
            false => stored::canonical(object.clone(), served)?,
        };
        Ok(Indexed { body, labels: labels(&object), fields: fields(&object, served) })
    }
}

fn labels(object: &Value) -> Labels {
    let labels = meta::map(object, "metadata.labels").iter();
    Labels::from_iter(labels.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())))
}

/// Name and namespace first, then the row's own fields in their order.
fn fields(object: &Value, served: &Served) -> Fields {
    let own = served.hooks.fields.iter().map(|(_, path)| selectable(meta::at(object, path)));
    let all: Vec<String> =
        [meta::name(object).to_owned(), meta::namespace(object).to_owned()].into_iter().chain(own).collect();
    Fields::from_iter(all.iter().map(String::as_str))
}

fn selectable(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Where a selectable field stands in an item's [`Fields`]; `None` when the row does not have it.
pub fn field_position(served: &Served, name: &str) -> Option<usize> {
    match name {
        "metadata.name" => Some(0),
        "metadata.namespace" if served.row.namespaced => Some(1),
        _ => served.hooks.fields.iter().position(|(own, _)| *own == name).map(|position| position + 2),
    }
}
