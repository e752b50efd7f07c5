//! Small immutable lists of strings in one allocation: an object's labels and selectable fields.

use std::fmt;

/// Label keys and values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels(Box<[u8]>);

impl Labels {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut strings = Strings(&self.0);
        std::iter::from_fn(move || Some((strings.next()?, strings.next()?)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn weight(&self) -> usize {
        self.0.len()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in pairs {
            push(&mut bytes, key);
            push(&mut bytes, value);
        }
        Self(bytes.into())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Values of selectable fields, by position: which field is at which place is the indexer's to know, per resource.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Box<[u8]>);

impl Fields {
    pub fn get(&self, position: usize) -> Option<&str> {
        self.iter().nth(position)
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        Strings(&self.0)
    }

    pub(super) fn weight(&self) -> usize {
        self.0.len()
    }
}

impl<'a> FromIterator<&'a str> for Fields {
    fn from_iter<I: IntoIterator<Item = &'a str>>(values: I) -> Self {
        let mut bytes = Vec::new();
        for value in values {
            push(&mut bytes, value);
        }
        Self(bytes.into())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Length (LEB128) and bytes.
fn push(bytes: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(text.as_bytes());
}

struct Strings<'a>(&'a [u8]);

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back() {
        let long = "v".repeat(300);
        let labels: Labels = [("app", "web"), ("empty", ""), ("long", long.as_str())].into_iter().collect();
        assert_eq!(labels.get("app"), Some("web"));
        assert_eq!(labels.get("empty"), Some(""));
        assert_eq!(labels.get("long"), Some(long.as_str()));
        assert_eq!(labels.get("web"), None);
        assert_eq!(labels.iter().count(), 3);
        assert!(Labels::default().is_empty());
    }

    #[test]
    fn fields_are_found_by_position() {
        let fields: Fields = ["node-1", "", "Running"].into_iter().collect();
        assert_eq!(fields.iter().collect::<Vec<_>>(), ["node-1", "", "Running"]);
        assert_eq!(fields.get(2), Some("Running"));
        assert_eq!(fields.get(3), None);
    }
}
