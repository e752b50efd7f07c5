//! The schema of a custom resource, from the structural OpenAPI v3 schema of its definition.
//!
//! Pruning, defaulting and server-side apply then work as for built-in kinds. Values are not validated here: the types of
//! scalars serve merge and apply only. In such a schema a field's `pointer` says that it is `nullable`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{DefaultValue, Field, ListType, Omit, Patch, Ref, Schema, Text, Type};
use crate::gvk::Gvk;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// A custom kind's schema. Without one (`None`) everything is kept.
pub fn custom(gvk: &Gvk, open_api: Option<&Value>) -> Arc<Schema> {
    let name = definition_name(gvk);
    let go = format!("{}.{}", gvk.version, gvk.kind);
    let mut schema = match open_api {
        Some(properties) => object(properties, &name),
        None => Schema { preserve_unknown: true, ..blank(&name) },
    };
    schema.go = go.into();
    schema.kind = true;
    add_type_and_metadata(&mut schema, OBJECT_META);
    Arc::new(schema.seal())
}

/// The list kind of a custom kind.
pub fn custom_list(gvk: &Gvk, item: &Arc<Schema>) -> Arc<Schema> {
    let mut list = Schema { kind: true, ..blank(&format!("{}List", definition_name(gvk))) };
    list.go = format!("{}.{}List", gvk.version, gvk.kind).into();
    add_type_and_metadata(&mut list, LIST_META);
    list.fields.push(field("items", Type::List(Box::new(Type::Message(Ref::from(item.clone()))))));
    Arc::new(list.seal())
}

/// `stable.example.com/v1 CronTab` → `com.example.stable.v1.CronTab`.
pub fn definition_name(gvk: &Gvk) -> String {
    let group: Vec<&str> = gvk.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), gvk.version, gvk.kind)
}

fn blank(name: &str) -> Schema {
    Schema { name: name.to_owned().into(), go: name.to_owned().into(), structural: true, ..Schema::default() }
}

fn field(name: &str, ty: Type) -> Field {
    Field {
        name: name.to_owned().into(),
        number: 0,
        embed: None,
        ty,
        pointer: false,
        omit: Omit::Empty,
        required: false,
        list: ListType::Unstated,
        atomic: false,
        granular: false,
        patch: Patch::default(),
        default: DefaultValue::Implied,
        go: None,
    }
}

/// Clients may state these three in the schema; what they are is not theirs to say.
fn add_type_and_metadata(schema: &mut Schema, metadata: &str) {
    schema.fields.retain(|field| !matches!(field.name.as_ref(), "apiVersion" | "kind" | "metadata"));
    schema.fields.extend(["apiVersion", "kind"].map(|name| field(name, Type::String)));
    if let Some(position) = super::facts::position(metadata) {
        schema.fields.push(field("metadata", Type::Message(Ref::builtin(position))));
    }
}

fn flag(properties: &Value, name: &str) -> bool {
    properties.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn text<'a>(properties: &'a Value, name: &str) -> &'a str {
    properties.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn object(properties: &Value, name: &str) -> Schema {
    let mut schema = blank(name);
    schema.preserve_unknown = flag(properties, "x-kubernetes-preserve-unknown-fields");
    schema.atomic = text(properties, "x-kubernetes-map-type") == "atomic";
    let required: Vec<&str> =
        properties.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = properties.get("properties").and_then(Value::as_object).into_iter().flatten();
    schema.fields = fields
        .map(|(field_name, properties)| {
            let mut field = property(field_name, properties, &format!("{name}.{field_name}"));
            field.required = required.contains(&field_name.as_str());
            field
        })
        .collect();
    if flag(properties, "x-kubernetes-embedded-resource") {
        add_type_and_metadata(&mut schema, OBJECT_META);
    }
    schema.seal()
}

fn property(name: &str, properties: &Value, path: &str) -> Field {
    let mut field = field(name, type_of(properties, path));
    field.pointer = flag(properties, "nullable");
    field.atomic = text(properties, "x-kubernetes-map-type") == "atomic";
    field.list = match text(properties, "x-kubernetes-list-type") {
        "set" => ListType::Set,
        "map" => ListType::Map(list_keys(properties)),
        "atomic" => ListType::Atomic,
        _ => ListType::Unstated,
    };
    if let Some(default) = properties.get("default") {
        field.default = DefaultValue::Stated(default.to_string().into());
    }
    field
}

fn list_keys(properties: &Value) -> Vec<Text> {
    let keys = properties.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
    keys.filter_map(Value::as_str).map(|key| key.to_owned().into()).collect()
}

fn type_of(properties: &Value, path: &str) -> Type {
    match text(properties, "type") {
        "object" => match properties.get("additionalProperties") {
            Some(Value::Bool(true)) => Type::Map(Box::new(Type::Any)),
            Some(element @ Value::Object(_)) => Type::Map(Box::new(type_of(element, path))),
            _ => Type::Message(Ref::from(Arc::new(object(properties, path)))),
        },
        "array" => match properties.get("items") {
            Some(element) => Type::List(Box::new(type_of(element, path))),
            None => Type::Any,
        },
        "string" => Type::String,
        "boolean" => Type::Bool,
        "integer" => Type::Int64,
        "number" => Type::Double,
        _ if flag(properties, "x-kubernetes-int-or-string") => Type::IntOrString,
        _ => Type::Any,
    }
}

/// Custom defaulting (Kubernetes concept: CustomResourceDefinition, "Defaulting and Nullable"): nulls that may not be go,
/// what is then absent takes its default, and defaults are looked into again.
pub(super) fn default_structural(schema: &Schema, map: &mut Map<String, Value>) {
    for field in &schema.fields {
        let name = field.name.as_ref();
        if !field.pointer && map.get(name).is_some_and(Value::is_null) {
            map.remove(name);
        }
        if let (DefaultValue::Stated(text), false) = (&field.default, map.contains_key(name))
            && let Ok(default) = serde_json::from_str(text)
        {
            map.insert(name.to_owned(), default);
        }
        if let Some(value) = map.get_mut(name) {
            super::defaults::descend(&field.ty, value);
        }
    }
}

/// The OpenAPI definition of a custom kind: what its author wrote, with the fields that every object has.
pub fn custom_definition(gvk: &Gvk, open_api: Option<&Value>, v3: bool) -> Value {
    let mut definition =
        open_api.cloned().unwrap_or_else(|| serde_json::json!({"x-kubernetes-preserve-unknown-fields": true}));
    if !v3 {
        to_v2(&mut definition);
    }
    let prefix = if v3 { "#/components/schemas/" } else { "#/definitions/" };
    let metadata = serde_json::json!({ "$ref": format!("{prefix}{OBJECT_META}") });
    let metadata = if v3 { serde_json::json!({ "allOf": [metadata] }) } else { metadata };
    definition["type"] = "object".into();
    for (name, value) in [("apiVersion", type_meta(0)), ("kind", type_meta(1)), ("metadata", metadata)] {
        definition["properties"][name] = value;
    }
    definition["x-kubernetes-group-version-kind"] =
        serde_json::json!([{"group": gvk.group, "kind": gvk.kind, "version": gvk.version}]);
    definition
}

fn type_meta(position: usize) -> Value {
    let words = [
        "APIVersion names the group and version that this object is written in.",
        "Kind names the resource that this object is.",
    ];
    serde_json::json!({"type": "string", "description": words[position]})
}

/// OpenAPI v2 has no words for alternatives, nulls and rules; clients of it refuse what they do not know.
fn to_v2(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for name in ["oneOf", "anyOf", "allOf", "not", "nullable", "default", "x-kubernetes-validations"] {
        map.remove(name);
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(to_v2);
    }
    ["items", "additionalProperties"].iter().for_each(|name| map.get_mut(*name).into_iter().for_each(to_v2));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apply::{self, FieldSet, Request};
    use crate::schema::{decode_json, default_static, normalize};

    fn cron_tab() -> Arc<Schema> {
        let open_api = json!({"type": "object", "properties": {
            "spec": {"type": "object", "default": {}, "required": ["cron"], "properties": {
                "cron": {"type": "string"},
                "replicas": {"type": "integer", "default": 1},
                "note": {"type": "string", "nullable": true, "default": "x"},
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"default": 80}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            }},
        }});
        custom(&Gvk::new("stable.example.com", "v1", "CronTab"), Some(&open_api))
    }

    #[test]
    fn unknown_fields_are_told_and_dropped_known_ones_kept_as_sent() {
        let schema = cron_tab();
        assert_eq!(schema.name, "com.example.stable.v1.CronTab");
        let body =
            br#"{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"c","nope":1,"labels":{}},
            "spec":{"cron":5,"extra":1,"free":{"a":{"b":null}},"labels":{"k":"v"}}}"#;
        let decoded = decode_json(&schema, body).unwrap();
        assert_eq!(decoded.strict, [r#"unknown field "metadata.nope""#, r#"unknown field "spec.extra""#]);
        let mut object = decoded.object;
        normalize(&schema, &mut object);
        assert_eq!(object["metadata"], json!({"name": "c"}));
        assert_eq!(object["spec"], json!({"cron": 5, "free": {"a": {"b": null}}, "labels": {"k": "v"}}));
    }

    #[test]
    fn defaults_reach_into_defaults_and_replace_nulls() {
        let schema = cron_tab();
        let mut object = json!({});
        default_static(&schema, &mut object);
        assert_eq!(object["spec"], json!({"replicas": 1, "note": "x"}));
        let mut object = json!({"spec": {"replicas": null, "note": null, "ports": [{"name": "a"}]}});
        default_static(&schema, &mut object);
        assert_eq!(object["spec"], json!({"replicas": 1, "note": null, "ports": [{"name": "a", "port": 80}]}));
    }

    #[test]
    fn fields_are_owned_as_the_schema_says() {
        let schema = cron_tab();
        let ignored = FieldSet::default();
        let request = Request {
            schema: &schema,
            api_version: "stable.example.com/v1",
            other: None,
            subresource: "",
            manager: "m",
            now: "2026-01-01T00:00:00Z",
            ignored: &ignored,
            reset: false,
        };
        let config = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "c"}, "spec": {
            "ports": [{"name": "a", "port": {"x": 1}}], "free": {"a": {"b": 1}, "l": [1]}, "labels": {"k": "v"},
        }});
        let live = apply::empty(&schema, request.api_version);
        let applied = apply::apply(&request, &live, &config, false).unwrap();
        assert_eq!(applied["spec"], config["spec"]);
        assert_eq!(
            applied["metadata"]["managedFields"][0]["fieldsV1"],
            json!({"f:spec": {
                "f:free": {"f:a": {"f:b": {}, ".": {}}, "f:l": {}},
                "f:labels": {"f:k": {}},
                "f:ports": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:port": {"f:x": {}}}},
            }})
        );
    }

    #[test]
    fn a_kind_without_schema_keeps_everything() {
        let schema = custom(&Gvk::new("example.com", "v1", "Any"), None);
        let decoded = decode_json(&schema, br#"{"kind":"Any","whatever":{"x":[1,null]}}"#).unwrap();
        assert!(decoded.strict.is_empty());
        assert_eq!(decoded.object["whatever"], json!({"x": [1, null]}));
    }
}
