//! Schemas as OpenAPI definitions.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Descriptions, Dialect, META};
use crate::catalogue::Resource;
use crate::schema::{self, DefaultValue, Field, ListType, Omit, Schema, Type};

const JSON_SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// A type that is a definition of its own though no message.
struct Leaf {
    name: String,
    v2: Value,
    v3: Value,
}

impl Leaf {
    fn same(name: String, definition: Value) -> Self {
        Self { name, v2: definition.clone(), v3: definition }
    }

    fn of(ty: &Type) -> Option<Self> {
        let text_or = |other: &str| json!({"oneOf": [{"type": "string"}, {"type": other}]});
        Some(match ty {
            Type::Quantity => Self {
                name: "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
                v2: json!({"type": "string"}),
                v3: text_or("number"),
            },
            Type::IntOrString => Self {
                name: "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
                v2: json!({"type": "string", "format": "int-or-string"}),
                v3: json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            },
            Type::Time => Self::same(format!("{META}.Time"), json!({"type": "string", "format": "date-time"})),
            Type::MicroTime => {
                Self::same(format!("{META}.MicroTime"), json!({"type": "string", "format": "date-time"}))
            }
            Type::FieldsV1 => Self::same(format!("{META}.FieldsV1"), json!({"type": "object"})),
            Type::Raw => {
                Self::same("io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(), json!({"type": "object"}))
            }
            Type::Json => Self::same(format!("{JSON_SCHEMA}.JSON"), json!({})),
            Type::SchemaOrBool(_) => Self::same(format!("{JSON_SCHEMA}.JSONSchemaPropsOrBool"), json!({})),
            Type::SchemaOrArray(_) => Self::same(format!("{JSON_SCHEMA}.JSONSchemaPropsOrArray"), json!({})),
            Type::SchemaOrStrings(_) => Self::same(format!("{JSON_SCHEMA}.JSONSchemaPropsOrStringArray"), json!({})),
            _ => return None,
        })
    }

    /// The body of every patch.
    fn patch() -> Self {
        Self::same(format!("{META}.Patch"), json!({"type": "object"}))
    }
}

/// Makes definitions, each once, with all that they refer to, and hands them on one by one: a whole document as a tree
/// would be some fifteen megabytes.
pub(super) struct Collector<'a> {
    dialect: Dialect,
    descriptions: &'a Descriptions,
    seen: BTreeSet<String>,
    emit: &'a mut dyn FnMut(&str, &Value),
}

/// Hands on the definitions of these messages and of all that they refer to.
pub(super) fn definitions(
    dialect: Dialect,
    roots: &[&Schema],
    descriptions: &Descriptions,
    emit: &mut dyn FnMut(&str, &Value),
) {
    let mut collector = Collector { dialect, descriptions, seen: BTreeSet::new(), emit };
    roots.iter().for_each(|schema| collector.message(schema));
    collector.leaf(Leaf::patch());
}

/// Every published definition, as OpenAPI v2 has them.
pub fn v2_definitions(descriptions: &Descriptions) -> Map<String, Value> {
    let mut all = Map::new();
    let mut emit = |name: &str, definition: &Value| drop(all.insert(name.to_owned(), definition.clone()));
    definitions(Dialect::V2, &schema::published(), descriptions, &mut emit);
    all
}

impl Collector<'_> {
    fn message(&mut self, schema: &Schema) {
        if !self.seen.insert(schema.name.to_string()) {
            return;
        }
        let mut properties = Map::new();
        for field in &schema.fields {
            properties.insert(field.name.to_string(), self.property(schema, field));
        }
        let mut definition = json!({"type": "object"});
        self.describe(&mut definition, &schema.name, None);
        let required: Vec<&str> =
            schema.fields.iter().filter(|field| field.required).map(|field| field.name.as_ref()).collect();
        if !required.is_empty() {
            definition["required"] = required.into();
        }
        if !properties.is_empty() {
            definition["properties"] = properties.into();
        }
        if schema.kind {
            definition["x-kubernetes-group-version-kind"] = kinds_of(schema).into();
        }
        if schema.atomic {
            definition["x-kubernetes-map-type"] = "atomic".into();
        }
        if let Some(Ok(unions)) = schema.unions.as_ref().map(|text| serde_json::from_str::<Value>(text)) {
            definition["x-kubernetes-unions"] = unions;
        }
        (self.emit)(&schema.name, &definition);
    }

    fn leaf(&mut self, leaf: Leaf) {
        if !self.seen.insert(leaf.name.clone()) {
            return;
        }
        let mut definition = if self.dialect == Dialect::V2 { leaf.v2 } else { leaf.v3 };
        self.describe(&mut definition, &leaf.name, None);
        (self.emit)(&leaf.name, &definition);
    }

    fn describe(&self, value: &mut Value, definition: &str, property: Option<&str>) {
        if let Some(text) = self.descriptions.get(definition, property) {
            value["description"] = text.into();
        }
    }

    fn property(&mut self, schema: &Schema, field: &Field) -> Value {
        let mut value = self.ty(&field.ty);
        let mut marks = Value::Object(marks(field));
        self.describe(&mut marks, &schema.name, Some(&field.name));
        if self.dialect == Dialect::V3 {
            enumerate(&mut value, &mut marks, field);
            if let Some(default) = default_of(field) {
                marks["default"] = default;
            }
            // A reference may not stand beside anything.
            if value.get("$ref").is_some() && marks.as_object().is_some_and(|marks| !marks.is_empty()) {
                value = json!({ "allOf": [value] });
            }
        }
        if let (Value::Object(value), Value::Object(marks)) = (&mut value, marks) {
            value.extend(marks);
        }
        value
    }

    fn ty(&mut self, ty: &Type) -> Value {
        if let Some(leaf) = Leaf::of(ty) {
            let reference = self.dialect.reference(&leaf.name);
            self.leaf(leaf);
            if let Some(message) = ty.message() {
                self.message(message);
            }
            return reference;
        }
        match ty {
            Type::Bool => json!({"type": "boolean"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Double => json!({"type": "number", "format": "double"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
            Type::List(element) | Type::WrappedList(element) => {
                json!({"type": "array", "items": self.ty(element)})
            }
            Type::Map(element) => json!({"type": "object", "additionalProperties": self.ty(element)}),
            Type::Message(message) => {
                self.message(message);
                self.dialect.reference(&message.name)
            }
            _ => json!({"type": "string"}),
        }
    }
}

/// What stands above the values of an enumeration in a field's words.
pub(super) const VALUES_FOLLOW: &str = "Possible enum values:";

/// Tells the values of an enumeration, where it stands: as the field itself, its elements, or its members. The field's
/// own words tell them too, for people: upstream does so of none but the first.
fn enumerate(value: &mut Value, marks: &mut Value, field: &Field) {
    let Some(values) = field.go.as_deref().and_then(schema::enumeration) else { return };
    let place = match field.ty {
        Type::List(_) => &mut value["items"],
        Type::Map(_) => &mut value["additionalProperties"],
        _ => {
            if let Some(words) = marks["description"].as_str() {
                let lines: String = values.iter().map(|one| format!("\n - `{one:?}`")).collect();
                marks["description"] = format!("{words}\n\n{VALUES_FOLLOW}{lines}").into();
            }
            value
        }
    };
    place["enum"] = values.into();
}

fn zero_default(ty: &Type) -> Option<Value> {
    match ty {
        Type::String => Some("".into()),
        Type::Bool => Some(false.into()),
        Type::Int32 | Type::Int64 | Type::Double => Some(0.into()),
        _ => None,
    }
}

fn default_of(field: &Field) -> Option<Value> {
    match &field.default {
        DefaultValue::Stated(text) => serde_json::from_str(text).ok(),
        DefaultValue::None => None,
        DefaultValue::Implied if field.pointer => None,
        DefaultValue::Implied if matches!(field.ty, Type::Message(_)) => Some(json!({})),
        DefaultValue::Implied if field.omit == Omit::Never => zero_default(&field.ty),
        DefaultValue::Implied => None,
    }
}

fn marks(field: &Field) -> Map<String, Value> {
    let mut marks = Map::new();
    let mut mark = |name: &str, value: Value| drop(marks.insert(name.to_owned(), value));
    match &field.list {
        ListType::Unstated => {}
        ListType::Atomic => mark("x-kubernetes-list-type", "atomic".into()),
        ListType::Set => mark("x-kubernetes-list-type", "set".into()),
        ListType::Map(keys) => {
            mark("x-kubernetes-list-type", "map".into());
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            mark("x-kubernetes-list-map-keys", keys.into());
        }
    }
    if field.atomic || field.granular {
        mark("x-kubernetes-map-type", if field.atomic { "atomic" } else { "granular" }.into());
    }
    let patch = &field.patch;
    let strategies = [(patch.merge, "merge"), (patch.replace, "replace"), (patch.retain_keys, "retainKeys")];
    let strategies: Vec<&str> = strategies.iter().filter(|(stated, _)| *stated).map(|(_, name)| *name).collect();
    if !strategies.is_empty() {
        mark("x-kubernetes-patch-strategy", strategies.join(",").into());
    }
    if let Some(key) = &patch.merge_key {
        mark("x-kubernetes-patch-merge-key", key.as_ref().into());
    }
    marks
}

/// The group versions in which a message is a kind: its own, or every one for the options and events of meta/v1.
fn kinds_of(schema: &Schema) -> Vec<Value> {
    let short = schema.short_name();
    let groups = match schema::kind_of(schema) {
        Some(own) if own.group != "meta.k8s.io" => return vec![kind_json(&own.group, &own.version, short)],
        Some(_) if matches!(short, "DeleteOptions" | "WatchEvent") => schema::group_versions(),
        Some(_) => vec![("", "v1")],
        None => Vec::new(),
    };
    let groups: BTreeSet<(&str, &str)> = groups.into_iter().collect();
    groups.into_iter().map(|(group, version)| kind_json(group, version, short)).collect()
}

fn kind_json(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

/// A custom resource's list.
pub(super) fn custom_list(row: &Resource, name: &str, dialect: Dialect) -> Value {
    let text = json!({"type": "string"});
    json!({
        "description": format!("{} is a list of {}", row.list_kind(), row.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text,
            "kind": text,
            "items": {"type": "array", "items": dialect.reference(name)},
            "metadata": dialect.reference(&format!("{META}.ListMeta")),
        },
        "x-kubernetes-group-version-kind": [
            {"group": row.group, "kind": row.list_kind(), "version": row.version},
        ],
    })
}
