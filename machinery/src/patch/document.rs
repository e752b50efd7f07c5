//! A patched document as upstream shows it: where the patch went into an object, its names stand in alphabetical order; what
//! it left alone has the order of Go's structs.

use serde_json::{Map, Value};

use crate::schema::{Schema, Type};
use crate::wire::go_json;

/// What of a list that has changed may be as it was.
#[derive(Clone, Copy, PartialEq)]
pub enum Lists {
    /// Nothing: it was replaced.
    Whole,
    /// Elements that are where they were.
    ByElement,
}

/// The text of what a patch made of an object of the schema.
pub fn document(schema: &Schema, old: &Value, patched: &Value, lists: Lists) -> String {
    let mut document = Document { lists, text: String::new() };
    match patched {
        Value::Object(fields) => document.object((Some(schema), None), Some(old), patched, fields),
        other => document.text.push_str(&go_json(other)),
    }
    document.text
}

struct Document {
    lists: Lists,
    text: String,
}

impl Document {
    fn value(&mut self, ty: Option<&Type>, old: Option<&Value>, new: &Value) {
        match (ty, new) {
            (Some(Type::Message(schema)), Value::Object(fields)) => self.object((Some(schema), None), old, new, fields),
            (ty, Value::Object(entries)) => self.object((None, ty.and_then(Type::element)), old, new, entries),
            (ty, Value::Array(items)) => self.list(ty.and_then(Type::element), old, new, items),
            (_, scalar) => self.text.push_str(&go_json(scalar)),
        }
    }

    /// With its schema, or with the type of all its values.
    fn object(
        &mut self,
        (schema, element): (Option<&Schema>, Option<&Type>),
        old: Option<&Value>,
        new: &Value,
        fields: &Map<String, Value>,
    ) {
        let names: Vec<&str> = match schema {
            Some(schema) if old == Some(new) => schema
                .fields
                .iter()
                .map(|field| field.name.as_ref())
                .filter(|name| fields.contains_key(*name))
                .collect(),
            _ => fields.keys().map(String::as_str).collect(),
        };
        self.text.push('{');
        for (position, name) in names.into_iter().enumerate() {
            self.separate(position);
            self.text.push_str(&go_json(&name.into()));
            self.text.push(':');
            let ty = schema.and_then(|schema| schema.field(name)).map(|field| &field.ty).or(element);
            self.value(ty, old.and_then(|old| old.get(name)), &fields[name]);
        }
        self.text.push('}');
    }

    fn list(&mut self, element: Option<&Type>, old: Option<&Value>, new: &Value, items: &[Value]) {
        let old = old.filter(|old| self.lists == Lists::ByElement || *old == new);
        self.text.push('[');
        for (position, item) in items.iter().enumerate() {
            self.separate(position);
            self.value(element, old.and_then(|old| old.get(position)), item);
        }
        self.text.push(']');
    }

    fn separate(&mut self, position: usize) {
        if position > 0 {
            self.text.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gvk::Gvk;
    use crate::schema::builtin;

    #[test]
    fn what_a_patch_left_alone_keeps_its_order() {
        let schema = builtin(&Gvk::new("", "v1", "Service")).unwrap();
        let port = json!({"name": "p", "appProtocol": "h"});
        let old = json!({
            "metadata": {"name": "a", "namespace": "b", "labels": {"x": "1"}},
            "spec": {"type": "ClusterIP", "ports": [port]},
        });
        let patched = |change: Value, lists| {
            let mut new = old.clone();
            super::super::merge(&mut new, &change).unwrap();
            document(schema, &old, &new, lists)
        };
        let metadata = r#""metadata":{"name":"a","namespace":"b","labels":{"x":"1"}}"#;
        assert_eq!(
            patched(json!({"spec": {"type": "<"}}), Lists::Whole),
            format!(r#"{{{metadata},"spec":{{"ports":[{{"name":"p","appProtocol":"h"}}],"type":"\u003c"}}}}"#)
        );
        let change = json!({"metadata": {"labels": {"x": 1}}, "spec": {"ports": [port, 2], "type": null}});
        let metadata = r#""metadata":{"labels":{"x":1},"name":"a","namespace":"b"}"#;
        for (lists, port) in [
            (Lists::Whole, r#"{"appProtocol":"h","name":"p"}"#),
            (Lists::ByElement, r#"{"name":"p","appProtocol":"h"}"#),
        ] {
            let want = format!(r#"{{{metadata},"spec":{{"ports":[{port},2]}}}}"#);
            assert_eq!(patched(change.clone(), lists), want);
        }
    }
}
