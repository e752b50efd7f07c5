//! Keys that a YAML text gives twice in one mapping, as Go's decoder tells them: each with the line of its later value.
//!
//! Enter at [`given_twice`]. The library tells where it is only when something fails, so a key that was there before
//! fails, which the mapping's reader takes back.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::field::quote;

const HEAD: &str = "yaml: unmarshal errors:";
const TOLD_MAX: usize = 100;

/// `line 5: key "other" already set in map`: the inner before the outer, at most 100. Of what is no YAML, nothing.
pub fn given_twice(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let mut found = Found { lines: text.lines().collect(), told: Vec::new() };
    // Whoever needs the text as an object has read it before, and told what is wrong with it.
    let _ = Node(&mut found).deserialize(serde_yaml_ng::Deserializer::from_str(&text));
    found.told
}

/// All of them as Go's one error.
pub fn unmarshal_errors(told: &[String]) -> String {
    told.iter().fold(HEAD.to_owned(), |text, line| format!("{text}\n  {line}"))
}

/// What a strict decoder objects to, as warnings: that error's lines are told one by one.
pub fn warnings(objection: &str) -> impl Iterator<Item = String> {
    let lines = objection.strip_prefix(HEAD).map_or(objection, str::trim_start);
    lines.split('\n').map(|line| line.trim().to_owned())
}

struct Found<'a> {
    lines: Vec<&'a str>,
    told: Vec<String>,
}

impl Found<'_> {
    fn tell(&mut self, key: &str, line: usize, value: Value) {
        if self.told.len() < TOLD_MAX {
            let line = if value == Value::Null { line } else { self.line_of_value(line) };
            self.told.push(format!("line {line}: key {key} already set in map"));
        }
    }

    /// A value stands behind its key, or else on the next line that says something. Both lines are counted from one.
    fn line_of_value(&self, key: usize) -> usize {
        let says = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
        if self.lines.get(key - 1).is_none_or(|line| !says(line).ends_with(':')) {
            return key;
        }
        let is_blank = |line: &&&str| says(line).is_empty() || line.trim_start().starts_with('#');
        key + 1 + self.lines.iter().skip(key).take_while(is_blank).count()
    }
}

#[derive(PartialEq)]
enum Value {
    Null,
    Other,
}

/// Any value.
struct Node<'a, 'b>(&'a mut Found<'b>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        while elements.next_element_seed(Node(&mut *self.0))?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut seen = HashSet::new();
        while let Some(again) = entries.next_key_seed(Key { seen: &mut seen, again: &mut None })? {
            let value = entries.next_value_seed(Node(&mut *self.0))?;
            if let Some((key, line)) = again {
                self.0.tell(&key, line, value);
            }
        }
        Ok(Value::Other)
    }
}

/// A key, as Go prints it: strings are told from what only looks alike.
struct Key<'a> {
    seen: &'a mut HashSet<String>,
    again: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    /// The key and its line, when it was there before.
    type Value = Option<(String, usize)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let again = self.again;
        let Err(error) = deserializer.deserialize_any(Key { seen: self.seen, again: &mut *again }) else {
            return Ok(None);
        };
        match again.take().zip(line_in(&error.to_string())) {
            Some(found) => Ok(Some(found)),
            None => Err(error),
        }
    }
}

/// The library's ` at line 3 column 5`.
fn line_in(error: &str) -> Option<usize> {
    error.rsplit_once(" at line ")?.1.split(' ').next()?.parse().ok()
}

impl Key<'_> {
    fn look<E: Error>(self, key: String) -> Result<(), E> {
        if !self.seen.contains(&key) {
            self.seen.insert(key);
            return Ok(());
        }
        *self.again = Some(key);
        Err(E::custom("again"))
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bool<E: Error>(self, key: bool) -> Result<(), E> {
        self.look(key.to_string())
    }

    fn visit_i64<E: Error>(self, key: i64) -> Result<(), E> {
        self.look(key.to_string())
    }

    fn visit_u64<E: Error>(self, key: u64) -> Result<(), E> {
        self.look(key.to_string())
    }

    fn visit_f64<E: Error>(self, key: f64) -> Result<(), E> {
        self.look(key.to_string())
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        self.look(quote(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_with_the_line_of_its_value() {
        let table: [(&str, &[&str]); 10] = [
            ("a: 1\nb: 2\n", &[]),
            ("a: {b: 1}\nb: {a: 1}\n", &[]),
            ("a: 1\nb: 2\na: 3\n", &["line 3: key \"a\""]),
            ("\na: 1\nb:\n  c: 1\n  d: 2\n  'c': 3\na:\n", &["line 6: key \"c\"", "line 7: key \"a\""]),
            ("b:\n- c: 1\n  d: 2\n  c: # why\n\n    # this\n    e: 3\n", &["line 7: key \"c\""]),
            (
                "a:\n  b: 1\n  b: 2\na:\n  b: 1\n  b: 2\n",
                &["line 3: key \"b\"", "line 6: key \"b\"", "line 5: key \"a\""],
            ),
            ("a: 1\nb: {c: 1, c: 2}\n", &["line 2: key \"c\""]),
            ("{\"a\": 1,\n \"a\": [{\"b\": 1,\n  \"b\": 2}]}", &["line 3: key \"b\"", "line 2: key \"a\""]),
            ("1: a\n'1': b\n1: c\ntrue: a\ntrue: b\n", &["line 3: key 1", "line 5: key true"]),
            (
                "a: &x {b: 1, b: 2}\nc: *x\na: *x\n",
                &["line 1: key \"b\"", "line 1: key \"b\"", "line 1: key \"b\"", "line 3: key \"a\""],
            ),
        ];
        for (text, wanted) in table {
            let wanted: Vec<String> = wanted.iter().map(|what| format!("{what} already set in map")).collect();
            assert_eq!(given_twice(text.as_bytes()), wanted, "{text}");
        }
        assert!(given_twice(b"a: 1\na: [\n").is_empty());
        assert_eq!(given_twice("a: 1\n".repeat(1000).as_bytes()).len(), TOLD_MAX);
    }

    #[test]
    fn one_error_is_many_warnings() {
        let told =
            ["line 3: key \"a\" already set in map".to_owned(), "line 4: key \"b\" already set in map".to_owned()];
        let error = unmarshal_errors(&told);
        assert_eq!(error, format!("yaml: unmarshal errors:\n  {}\n  {}", told[0], told[1]));
        assert_eq!(warnings(&error).collect::<Vec<_>>(), told);
        assert_eq!(warnings("unknown field \"a\"").collect::<Vec<_>>(), ["unknown field \"a\""]);
    }
}
