//! Tells the watch cache what a stored key is and what to index of its object.

use bytes::Bytes;
use machinery::gvk::{Gvk, split_api_version};
use machinery::meta;
use machinery::schema::{Schema, Type};
use serde_json::Value;

use crate::cache::{Fields, Indexed, Indexer, Paths, Resource};
use crate::catalogue::{Catalogue, Served};
use crate::go_json;
use crate::stored;

/// Reads keys and objects by the catalogue.
pub struct CatalogueIndexer {
    catalogue: Catalogue,
    /// Where each resource's fields lie, by its number.
    paths: Vec<Paths>,
    /// What each resource's fields are when they are absent, after the metadata's two.
    zeros: Vec<Vec<&'static str>>,
}

impl CatalogueIndexer {
    pub fn new(catalogue: Catalogue) -> Self {
        let paths = catalogue.rows().iter().map(|served| {
            let own = served.hooks.fields.iter().map(|(_, path)| *path);
            // Name and namespace first, then the row's own fields in their order.
            Paths::new(["metadata.name", "metadata.namespace"].into_iter().chain(own))
        });
        let zeros = catalogue
            .rows()
            .iter()
            .map(|served| served.hooks.fields.iter().map(|(_, path)| zero_at(served.schema, path)).collect::<Vec<_>>());
        Self { paths: paths.collect(), zeros: zeros.collect(), catalogue }
    }
}

impl CatalogueIndexer {
    fn filled(&self, resource: Resource, fields: Fields) -> Fields {
        let zeros = &self.zeros[resource.0 as usize];
        if zeros.iter().all(|zero| zero.is_empty()) { fields } else { with_zeros(&fields, zeros) }
    }

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
            // Other servers wrote some of it, without the escapes.
            true => go_json::escaped(value).map_or_else(|| value.clone(), Bytes::from),
            false => stored::encode(&self.in_home_shape(stored::decode(value)?)).map_err(|error| error.to_string())?,
        };
        let (labels, fields) = paths.extract(&body).map_err(|error| error.to_string())?;
        Ok(Indexed { body, labels, fields: self.filled(resource, fields) })
    }

    fn index_object(&self, resource: Resource, object: &Value, value: &Bytes) -> Option<Indexed> {
        let served = self.catalogue.row(resource)?;
        if !stored::is_json(value) || !value.starts_with(served.body_prefix.as_bytes()) {
            return None;
        }
        let (labels, fields) = self.paths[resource.0 as usize].of(object);
        Some(Indexed { body: value.clone(), labels, fields: self.filled(resource, fields) })
    }
}

/// What a selector sees where nothing is written: Go's zero value as text.
fn zero_at(schema: &Schema, path: &str) -> &'static str {
    let field = match path.rsplit_once('.') {
        Some((parent, name)) => schema.at(parent).and_then(|schema| schema.field(name)),
        None => schema.field(path),
    };
    match field.map(|field| &field.ty) {
        Some(Type::Bool) => "false",
        Some(Type::Int32 | Type::Int64) => "0",
        _ => "",
    }
}

fn with_zeros(fields: &Fields, zeros: &[&'static str]) -> Fields {
    let zeros = ["", ""].iter().chain(zeros);
    fields.iter().zip(zeros).map(|(value, zero)| if value.is_empty() { *zero } else { value }).collect()
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

/// Whether a selector may name the field. A kind without fields of its own takes both of the metadata's, whatever its
/// scope.
pub fn is_selectable(served: &Served, name: &str) -> bool {
    let is_plain = served.hooks.fields.is_empty() && name == "metadata.namespace";
    is_plain || field_position(served, name).is_some()
}

/// Upstream's words for a field that is not; they differ with whoever wrote the kind.
pub fn refusal(served: &Served, name: &str) -> String {
    let (row, quoted) = (&served.row, machinery::field::quote(name));
    match (row.group.as_ref(), row.plural.as_ref()) {
        _ if served.hooks.fields.is_empty() => {
            format!("{quoted} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        }
        ("batch", "jobs") => format!("field label {quoted} not supported for {}", row.kind),
        ("resource.k8s.io", "resourceslices") => {
            format!("field label not supported for {}, Kind={}: {name}", row.api_version(), row.kind)
        }
        _ => format!("field label not supported: {name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gates::Gates;
    use crate::runtime_config::RuntimeConfig;

    #[test]
    fn what_is_at_hand_is_indexed_as_what_is_read() {
        let catalogue = Catalogue::builtin("/registry", Gates::default(), &RuntimeConfig::default());
        let indexer = CatalogueIndexer::new(catalogue.clone());
        let metadata = json!({"name": "a", "namespace": "n", "labels": {"app": "web", "zone": ""}});
        for (group, plural, mut object) in [
            ("", "pods", json!({"spec": {"nodeName": "m", "hostNetwork": true}, "status": {"phase": "Pending"}})),
            ("", "pods", json!({"spec": {}})),
            ("", "events", json!({"involvedObject": {"kind": "Pod"}, "reportingComponent": "r", "source": {}})),
            ("", "namespaces", json!({"status": {"phase": "Active"}})),
            ("batch", "jobs", json!({"status": {"succeeded": 2}})),
        ] {
            let served = catalogue.find(group, "v1", plural).unwrap();
            object["apiVersion"] = served.row.api_version().into();
            object["kind"] = served.row.kind.to_string().into();
            object["metadata"] = metadata.clone();
            let value = stored::encode(&object).unwrap();
            let read = indexer.index(served.id, &catalogue.key(served, "n", "a"), &value).unwrap();
            let at_hand = indexer.index_object(served.id, &object, &value).unwrap();
            assert_eq!(
                (read.body, read.labels, read.fields),
                (at_hand.body, at_hand.labels, at_hand.fields),
                "{object}"
            );
        }
        let served = catalogue.find("", "v1", "pods").unwrap();
        assert!(indexer.index_object(served.id, &json!({}), &Bytes::from_static(b"{}")).is_none());
    }
}
