//! OpenAPI documents made from the schema and the catalogue: v3 a group version, v2 for all.
//!
//! Start at [`v3`] and [`v2`]. Documents are made anew for every call and hold some megabytes: whoever serves them keeps
//! the encoded bytes, not the tree. How they are fetched (ETags, hashes, encodings) is not known here.

mod definitions;
mod descriptions;
mod operations;
mod paths;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::catalogue::Resource;
use crate::gvk::Gvk;
use crate::schema::{self, Schema};

pub use definitions::{v2_definitions, v3_definitions};
pub use descriptions::Descriptions;
pub use paths::index;

/// The two forms that differ in where references point and in what a property may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({ "$ref": format!("#/definitions/{name}") }),
            Self::V3 => json!({ "$ref": format!("#/components/schemas/{name}") }),
        }
    }
}

/// Definitions that come from elsewhere: of custom resources, by kind, with their name and JSON schema.
pub type Custom = BTreeMap<Gvk, (String, Value)>;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The definition name of a kind.
fn definition_name(gvk: &Gvk, custom: &Custom) -> Option<String> {
    match custom.get(gvk) {
        Some((name, _)) => Some(name.clone()),
        None => schema::builtin(gvk).map(|schema| schema.name.to_string()),
    }
}

/// What paths of these resources name: kinds, lists, subresources' kinds and the kinds that every path may carry.
fn roots(rows: &[&Resource]) -> Vec<&'static Schema> {
    let mut kinds = Vec::new();
    for row in rows {
        kinds.push(row.gvk());
        kinds.push(Gvk::new(&row.group, &row.version, &row.list_kind()));
        let bodies = row.subresources.iter().filter(|subresource| !paths::is_connect(subresource));
        kinds.extend(bodies.filter_map(|subresource| subresource.kind).map(|(g, v, kind)| Gvk::new(g, v, kind)));
    }
    let common = ["Status", "DeleteOptions", "WatchEvent", "APIResourceList"];
    let common = common.iter().filter_map(|name| schema::message(&format!("{META}.{name}")));
    kinds.iter().filter_map(schema::builtin).chain(common).collect()
}

/// The OpenAPI v3 document of a group version.
pub fn v3(group: &str, version: &str, rows: &[&Resource], custom: &Custom) -> Value {
    let own: Vec<&Resource> = rows.iter().copied().filter(|row| row.group == group && row.version == version).collect();
    let mut schemas = v3_definitions(&roots(&own), &Descriptions::of_all());
    for row in &own {
        if let Some((name, definition)) = custom.get(&row.gvk()) {
            schemas.insert(name.clone(), definition.clone());
            let list = definitions::custom_list(row, name, Dialect::V3);
            schemas.insert(format!("{name}List"), list);
        }
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths::paths(group, version, &own, custom, Dialect::V3),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
            }},
        },
    })
}

/// The OpenAPI v2 document of everything.
pub fn v2(rows: &[&Resource], custom: &Custom) -> Value {
    let mut definitions = v2_definitions(&Descriptions::of_all());
    let mut all_paths = Map::new();
    let versions: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row.group.as_ref(), row.version.as_ref())).collect();
    for (group, version) in versions {
        let own: Vec<&Resource> =
            rows.iter().copied().filter(|row| row.group == group && row.version == version).collect();
        all_paths.extend(paths::paths(group, version, &own, custom, Dialect::V2));
        for row in own {
            if let Some((name, definition)) = custom.get(&row.gvk()) {
                definitions.insert(name.clone(), definition.clone());
                definitions.insert(format!("{name}List"), definitions::custom_list(row, name, Dialect::V2));
            }
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": all_paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
        }},
        "security": [{"BearerToken": []}],
    })
}
