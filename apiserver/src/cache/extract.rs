//! Reads labels and some fields out of an object's JSON text in one pass, without building the object.
//!
//! An [`super::Indexer`] runs on every write and on every object at start; decoding a pod whole costs several times more
//! than everything else that the cache does with it.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::compact::{Fields, Labels};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Paths {
    root: Node,
    count: usize,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Positions in the result of the value that is here.
    positions: Vec<usize>,
    /// Positions that have it only if they would be empty.
    fallbacks: Vec<usize>,
    /// Whether this is the map of labels.
    labels: bool,
    children: Vec<(String, Node)>,
}

impl Node {
    fn child(&mut self, name: &str) -> &mut Self {
        let at = self.children.iter().position(|(child, _)| child == name).unwrap_or_else(|| {
            self.children.push((name.to_owned(), Self::default()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }

    fn at(&mut self, path: &str) -> &mut Self {
        path.split('.').fold(self, |node, name| node.child(name))
    }

    /// Whether a value is wanted from here.
    fn is_wanted(&self) -> bool {
        !(self.positions.is_empty() && self.fallbacks.is_empty())
    }

    fn look<'v>(&self, value: &'v Value, values: &mut [Cow<'v, str>]) {
        if !self.is_wanted() {
            for (name, child) in &self.children {
                value.get(name).into_iter().for_each(|value| child.look(value, values));
            }
            return;
        }
        let text = match value {
            Value::Null => return,
            Value::String(text) => Cow::Borrowed(text.as_str()),
            other => Cow::Owned(other.to_string()),
        };
        for position in self.positions.iter().filter(|_| !text.is_empty()) {
            values[*position].clone_from(&text);
        }
        for position in &self.fallbacks {
            if values[*position].is_empty() {
                values[*position].clone_from(&text);
            }
        }
    }
}

impl Paths {
    /// Dotted paths of values, in the order of the result; no path may lead through another's value. `a.b|c` is the value
    /// of `c` where that of `a.b` is absent or empty. Labels are always read.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut root, mut count) = (Node::default(), 0);
        root.at("metadata.labels").labels = true;
        for path in paths {
            let (path, fallback) = path.split_once('|').map_or((path, None), |(path, other)| (path, Some(other)));
            root.at(path).positions.push(count);
            if let Some(fallback) = fallback {
                root.at(fallback).fallbacks.push(count);
            }
            count += 1;
        }
        Self { root, count }
    }

    /// Labels and values. Strings are given as they are, what is absent or null as "", all else as JSON text. Fails on
    /// what is not JSON.
    pub fn extract(&self, body: &[u8]) -> Result<(Labels, Fields), serde_json::Error> {
        let mut found = Found { labels: Vec::new(), values: vec![String::new(); self.count] };
        let mut json = serde_json::Deserializer::from_slice(body);
        Read { node: &self.root, found: &mut found }.deserialize(&mut json)?;
        json.end()?;
        let labels = found.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Ok((labels, found.values.iter().map(String::as_str).collect()))
    }

    /// The same of an object that is at hand.
    pub fn of(&self, object: &Value) -> (Labels, Fields) {
        let mut values = vec![Cow::Borrowed(""); self.count];
        self.root.look(object, &mut values);
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
        (labels.collect(), values.iter().map(Cow::as_ref).collect())
    }
}

struct Found {
    labels: Vec<(String, String)>,
    values: Vec<String>,
}

/// Reads the value at a node.
struct Read<'a> {
    node: &'a Node,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if !self.node.is_wanted() {
            return json.deserialize_any(self);
        }
        let text = match <Value as serde::Deserialize>::deserialize(json)? {
            Value::Null => return Ok(()),
            Value::String(text) => text,
            other => other.to_string(),
        };
        for position in self.node.positions.iter().filter(|_| !text.is_empty()) {
            self.found.values[*position].clone_from(&text);
        }
        for position in &self.node.fallbacks {
            let value = &mut self.found.values[*position];
            if value.is_empty() {
                value.clone_from(&text);
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.node.labels {
            while let Some((key, value)) = map.next_entry::<String, Option<String>>()? {
                self.found.labels.push((key, value.unwrap_or_default()));
            }
            return Ok(());
        }
        while let Some(child) = map.next_key_seed(Name(self.node))? {
            match child {
                Some(node) => map.next_value_seed(Read { node, found: self.found })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    // Of another type than the paths say: there is nothing to find in it.

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a member's name: the child of that name.
struct Name<'a>(&'a Node);

impl<'de, 'a> DeserializeSeed<'de> for Name<'a> {
    type Value = Option<&'a Node>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Option<&'a Node>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().find(|(child, _)| child == name).map(|(_, node)| node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (Vec<(String, String)>, Vec<String>);

    fn extract(body: &str) -> Option<Read> {
        let paths =
            Paths::new(["metadata.name", "metadata.namespace", "spec.nodeName", "spec.replicas", "metadata.name"]);
        let (labels, fields) = paths.extract(body.as_bytes()).ok()?;
        let object: Value = serde_json::from_str(body).ok()?;
        assert_eq!(paths.of(&object), (labels.clone(), fields.clone()), "{body}");
        let labels = labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Some((labels, fields.iter().map(str::to_owned).collect()))
    }

    #[test]
    fn finds_what_is_there() {
        let found = |labels: &[(&str, &str)], fields: [&str; 5]| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Some((labels, fields.map(str::to_owned).to_vec()))
        };
        for (body, want) in [
            ("{}", found(&[], [""; 5])),
            (r#"{"metadata":{"name":"a"}}"#, found(&[], ["a", "", "", "", "a"])),
            (
                r#"{"x":[{"metadata":{"name":"no"}}],"metadata":{"labels":{"a":"b","c\n":"\u00e9","n":null},"name":"q\"","namespace":"ns"},
                   "spec":{"nodeName":"n1","replicas":3,"deep":{"nodeName":"no"}}}"#,
                found(&[("a", "b"), ("c\n", "é"), ("n", "")], ["q\"", "ns", "n1", "3", "q\""]),
            ),
            (
                r#"{"metadata":{"labels":null},"spec":{"nodeName":null,"replicas":false}}"#,
                found(&[], ["", "", "", "false", ""]),
            ),
            (r#"{"spec":{"replicas":{"a":[1]}}}"#, found(&[], ["", "", "", r#"{"a":[1]}"#, ""])),
            (r#"{"metadata":[1],"spec":"text"}"#, found(&[], [""; 5])),
        ] {
            assert_eq!(extract(body), want, "{body}");
        }
    }

    #[test]
    fn falls_back_to_another_path() {
        let paths = Paths::new(["source.component|reporter", "reporter"]);
        for (body, want) in [
            (r#"{"reporter":"r","source":{"component":"s"}}"#, ["s", "r"]),
            (r#"{"source":{"component":"s"},"reporter":"r"}"#, ["s", "r"]),
            (r#"{"reporter":"r","source":{"component":""}}"#, ["r", "r"]),
            (r#"{"source":{"host":"h"},"reporter":"r"}"#, ["r", "r"]),
            (r#"{"source":{"component":"s"}}"#, ["s", ""]),
        ] {
            let (_, fields) = paths.extract(body.as_bytes()).unwrap();
            let object: Value = serde_json::from_str(body).unwrap();
            assert_eq!(paths.of(&object).1, fields, "{body}");
            assert_eq!(fields.iter().collect::<Vec<_>>(), want, "{body}");
        }
    }

    #[test]
    fn refuses_what_is_not_json() {
        for body in ["", "{", r#"{"a":}"#, "{}x", r#"{"metadata":{"labels":{"a":1}}}"#, r#"{"a":{"b":[1,}}}"#] {
            assert_eq!(extract(body), None, "{body}");
        }
    }
}
