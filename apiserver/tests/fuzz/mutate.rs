//! Random changes of known inputs: of their bytes, and, line by line, of the JSON in them.

use component::random::Random;
use serde_json::{Map, Value, json};

pub struct Mutator {
    random: Random,
    corpus: Vec<Vec<u8>>,
    /// Every value that stands anywhere in the corpus.
    values: Vec<Value>,
    /// Every key, too.
    keys: Vec<String>,
}

const CHANGES_MAX: u64 = 6;
const BYTES_MAX: usize = 1 << 14;

impl Mutator {
    pub fn new(random: Random, corpus: Vec<Vec<u8>>) -> Self {
        let mut mutator = Self { random, corpus, values: strange_values(), keys: vec![String::new(), "$patch".into()] };
        let lines: Vec<Value> = mutator
            .corpus
            .iter()
            .flat_map(|file| file.split(|byte| *byte == b'\n'))
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        lines.iter().for_each(|line| mutator.collect(line));
        mutator
    }

    fn collect(&mut self, value: &Value) {
        self.values.push(value.clone());
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(map) => map.iter().for_each(|(key, item)| {
                self.keys.push(key.clone());
                self.collect(item);
            }),
            _ => {}
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    pub fn next(&self) -> Vec<u8> {
        let mut input = self.one_of(&self.corpus).clone();
        for _ in 0..=self.random.below(CHANGES_MAX) {
            let in_json = !self.random.u64().is_multiple_of(4);
            if !(in_json && self.change_json(&mut input)) {
                self.change_bytes(&mut input);
            }
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change_bytes(&self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(6) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.random.u64() as u8,
            2 => input.insert(at, *self.one_of(b"\0\xff=,()!~/\\\"'{}[]:+-.%&? \n0189aAeEkKmn")),
            3 if at < input.len() => {
                input.remove(at);
            }
            4 => {
                let end = (at + self.below(16)).min(input.len());
                let piece = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            _ => {
                let other = self.one_of(&self.corpus);
                let from = self.below(other.len() + 1);
                let piece = &other[from..(from + self.below(24)).min(other.len())];
                let end = (at + self.below(8)).min(input.len());
                input.splice(at..end, piece.iter().copied());
            }
        }
    }

    /// Changes one line that is JSON; false when there is none.
    fn change_json(&self, input: &mut Vec<u8>) -> bool {
        let lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let which = self.below(lines.len());
        let Ok(mut value) = serde_json::from_slice::<Value>(&lines[which]) else { return false };
        self.change_value(&mut value);
        let mut lines = lines;
        lines[which] = value.to_string().into_bytes();
        *input = lines.join(&b'\n');
        true
    }

    fn change_value(&self, value: &mut Value) {
        let goes_deeper = self.below(4) > 0;
        match value {
            Value::Array(items) if goes_deeper && !items.is_empty() => {
                let at = self.below(items.len());
                match self.below(8) {
                    0 => items.push(self.one_of(&self.values).clone()),
                    1 => items.insert(at, items[at].clone()),
                    2 => {
                        items.remove(at);
                    }
                    _ => self.change_value(&mut items[at]),
                }
            }
            Value::Object(map) if goes_deeper && !map.is_empty() => self.change_map(map),
            other => *other = self.one_of(&self.values).clone(),
        }
    }

    fn change_map(&self, map: &mut Map<String, Value>) {
        let key = map.keys().nth(self.below(map.len())).cloned().unwrap_or_default();
        match self.below(8) {
            0 => {
                map.insert(self.one_of(&self.keys).clone(), self.one_of(&self.values).clone());
            }
            1 => {
                map.remove(&key);
            }
            2 => {
                let value = map.remove(&key).unwrap_or_default();
                map.insert(self.one_of(&self.keys).clone(), value);
            }
            _ => map.get_mut(&key).into_iter().for_each(|value| self.change_value(value)),
        }
    }
}

/// What a client may send anywhere.
fn strange_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("\u{0}é"),
        json!("2020-02-30T25:00:00Z"),
        json!("1e99999"),
        json!([]),
        json!({}),
        json!([[null]]),
        json!({"": {}}),
        json!({"$patch": "delete"}),
        json!({"$patch": "replace"}),
        json!({"name": null}),
        json!({"name": {}}),
    ]
}
