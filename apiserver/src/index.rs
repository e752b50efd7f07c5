//! Tells the watch cache what a stored key is and what to index of its object.

use bytes::Bytes;
use machinery::gvk::{Gvk, split_api_version};
use machinery::meta;
use serde_json::Value;

use crate::cache::{Indexed, Indexer, Paths, Resource};
use crate::catalogue::{Catalogue, Served};
use crate::stored;

/// Reads keys and objects by the catalogue.
pub struct CatalogueIndexer {
    catalogue: Catalogue,
    /// Where each resource's fields lie, by its number.
    paths: Vec<Paths>,
}

impl CatalogueIndexer {
    pub fn new(catalogue: Catalogue) -> Self {
        let paths = catalogue.rows().iter().map(|served| {
            let own = served.hooks.fields.iter().map(|(_, path)| *path);
            // Name and namespace first, then the row's own fields in their order.
            Paths::new(["metadata.name", "metadata.namespace"].into_iter().chain(own))
        });
        Self { paths: paths.collect(), catalogue }
    }
}

impl CatalogueIndexer {
    /// What another server stored in the shape of another version.
    fn in_home_shape(&self, mut object: Value) -> Value {
        let kind = split_api_version(meta::text(&object, "apiVersion"))
            .map(|(group, version)| Gvk::new(group, version, meta::text(&object, "kind")));
        if let Some(view) = kind.and_then(|kind| self.catalogue.find_kind(&kind)) {
            view.to_stored(&mut object);
        }
        object
    }
}

impl Indexer for CatalogueIndexer {
    fn resource(&self, key: &str) -> Option<Resource> {
        self.catalogue.find_key(key).map(|served| served.id)
    }

    fn index(&self, resource: Resource, key: &str, value: &Bytes) -> Result<Indexed, String> {
        let served = self.catalogue.row(resource).ok_or_else(|| format!("no resource for {key}"))?;
        let paths = &self.paths[resource.0 as usize];
        let body = match stored::is_json(value) && value.starts_with(served.body_prefix.as_bytes()) {
            true => value.clone(),
            false => stored::encode(&self.in_home_shape(stored::decode(value)?)).map_err(|error| error.to_string())?,
        };
        let (labels, fields) = paths.extract(&body).map_err(|error| error.to_string())?;
        Ok(Indexed { body, labels, fields })
    }
}

/// Where a selectable field stands in an item's [`Fields`](crate::cache::Fields); `None` when the row does not have it.
pub fn field_position(served: &Served, name: &str) -> Option<usize> {
    match name {
        "metadata.name" => Some(0),
        "metadata.namespace" if served.row.namespaced => Some(1),
        _ => {
            let (_, path) = served.hooks.fields.iter().find(|(own, _)| *own == name)?;
            let stored = served.home().hooks.fields;
            stored.iter().position(|(_, own)| own == path).map(|position| position + 2)
        }
    }
}
