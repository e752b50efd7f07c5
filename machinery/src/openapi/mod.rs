//! OpenAPI documents made from the schema and the catalogue: v3 a group version, v2 for all.
//!
//! Start at [`v3`] and [`v2`]. Documents are written definition by definition, anew for every call; [`fingerprint`] names
//! one without making it. How they are fetched (ETags, encodings) is not known here.

mod definitions;
mod descriptions;
mod fingerprint;
mod gnostic;
mod gnostic3;
mod operations;
mod paths;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::catalogue::Resource;
use crate::gvk::Gvk;
use crate::schema::{self, Schema};

pub use definitions::v2_definitions;
pub use descriptions::Descriptions;
pub use fingerprint::fingerprint;
pub use gnostic::V2_PROTOBUF;
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

/// Paths and definitions of other servers, taken as they are where this one has none of the name (v2 only).
#[derive(Clone, Debug, Default)]
pub struct Extra {
    pub paths: Map<String, Value>,
    pub definitions: Map<String, Value>,
}

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

/// Hands on the paths of all these rows, with what is at them.
fn all_paths(rows: &[&Resource], custom: &Custom, dialect: Dialect, emit: &mut dyn FnMut(&str, &Value)) {
    let versions: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row.group.as_ref(), row.version.as_ref())).collect();
    for (group, version) in versions {
        let own = of_version(rows, group, version);
        let paths = paths::paths(group, version, &own, custom, dialect);
        paths.iter().for_each(|(path, item)| emit(path, item));
    }
}

/// Hands on the definitions that these rows need (v3), or all (v2), and those of custom kinds among the rows.
fn all_definitions(rows: &[&Resource], custom: &Custom, dialect: Dialect, emit: &mut dyn FnMut(&str, &Value)) {
    let roots = match dialect {
        Dialect::V2 => schema::published(),
        Dialect::V3 => roots(rows),
    };
    definitions::definitions(dialect, &roots, &Descriptions::of_all(), emit);
    for row in rows {
        if let Some((name, definition)) = custom.get(&row.gvk()) {
            emit(name, definition);
            emit(&format!("{name}List"), &definitions::custom_list(row, name, dialect));
        }
    }
}

fn of_version<'a>(rows: &[&'a Resource], group: &str, version: &str) -> Vec<&'a Resource> {
    rows.iter().copied().filter(|row| row.group == group && row.version == version).collect()
}

fn bearer_token() -> Value {
    json!({"BearerToken": {
        "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
    }})
}

/// Hands on this server's own and then, of others', what bears none of the same names.
fn with_more(
    own: impl FnOnce(&mut dyn FnMut(&str, &Value)),
    more: &Map<String, Value>,
    emit: &mut dyn FnMut(&str, &Value),
) {
    if more.is_empty() {
        return own(emit);
    }
    let mut names = BTreeSet::new();
    own(&mut |name, value| {
        names.insert(name.to_owned());
        emit(name, value);
    });
    more.iter().filter(|(name, _)| !names.contains(*name)).for_each(|(name, value)| emit(name, value));
}

/// Writes `"name":value` pairs as they come.
fn write_entries(out: &mut Vec<u8>, entries: impl FnOnce(&mut dyn FnMut(&str, &Value))) {
    out.push(b'{');
    let mut first = true;
    entries(&mut |name, value| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(Value::from(name).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(value.to_string().as_bytes());
    });
    out.push(b'}');
}

const INFO: &str = r#""info":{"title":"Kubernetes","version":"unversioned"}"#;

/// The OpenAPI v3 document of a group version, JSON.
pub fn v3(group: &str, version: &str, rows: &[&Resource], custom: &Custom) -> Vec<u8> {
    let own = of_version(rows, group, version);
    let mut out = format!(r#"{{"openapi":"3.0.0",{INFO},"paths":"#).into_bytes();
    write_entries(&mut out, |emit| all_paths(&own, custom, Dialect::V3, emit));
    out.extend_from_slice(br#","components":{"schemas":"#);
    write_entries(&mut out, |emit| all_definitions(&own, custom, Dialect::V3, emit));
    out.extend_from_slice(format!(r#","securitySchemes":{}}}}}"#, bearer_token()).as_bytes());
    out
}

/// The same in protobuf.
pub fn v3_protobuf(group: &str, version: &str, rows: &[&Resource], custom: &Custom) -> Vec<u8> {
    // What was just written is JSON.
    let document = serde_json::from_slice(&v3(group, version, rows, custom)).unwrap_or_default();
    gnostic3::document(&document)
}

/// The OpenAPI v2 document of everything, JSON.
pub fn v2(rows: &[&Resource], custom: &Custom, extra: &Extra) -> Vec<u8> {
    let mut out = format!(r#"{{"swagger":"2.0",{INFO},"paths":"#).into_bytes();
    write_entries(&mut out, |emit| with_more(|emit| all_paths(rows, custom, Dialect::V2, emit), &extra.paths, emit));
    out.extend_from_slice(br#","definitions":"#);
    let own = |emit: &mut dyn FnMut(&str, &Value)| all_definitions(rows, custom, Dialect::V2, emit);
    write_entries(&mut out, |emit| with_more(own, &extra.definitions, emit));
    let security = bearer_token();
    out.extend_from_slice(
        format!(r#","securityDefinitions":{security},"security":[{{"BearerToken":[]}}]}}"#).as_bytes(),
    );
    out
}

/// The OpenAPI v2 document of everything, in protobuf: media type [`V2_PROTOBUF`].
pub fn v2_protobuf(rows: &[&Resource], custom: &Custom, extra: &Extra) -> Vec<u8> {
    gnostic::document(
        |emit| with_more(|emit| all_paths(rows, custom, Dialect::V2, emit), &extra.paths, emit),
        |emit| with_more(|emit| all_definitions(rows, custom, Dialect::V2, emit), &extra.definitions, emit),
        &bearer_token(),
    )
}
