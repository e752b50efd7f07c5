//! Query parameters, with the readings that upstream gives to booleans and numbers.

use std::string::FromUtf8Error;

use machinery::escapes::read_form;

/// Parsed query of a request, in order.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub fn parse(query: &str) -> Self {
        let lossy = |error: FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_else(lossy);
        Self { pairs: read_form(query).map(|(key, value)| (text(key), text(value))).collect() }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The parameter when it is there and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Given, and neither `0` nor `false`: also `?watch` alone is true.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false"))
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_reads_booleans() {
        let query = Query::parse("a=b%20c+d&watch&x=false&y=True&labelSelector=app%3Dweb");
        assert_eq!(query.get("a"), Some("b c d"));
        assert!(query.is_true("watch") && query.is_true("y") && !query.is_true("x") && !query.is_true("z"));
        assert_eq!(query.text("labelSelector"), Some("app=web"));
    }

    #[test]
    fn pairs_that_go_cannot_read_are_left_out() {
        let query = Query::parse("bad=%zz&%=x&a;b=1&c=1;2&x=%4&&=empty&e=a=b&last=%ff");
        let pairs: Vec<(&str, &str)> = query.pairs().collect();
        assert_eq!(pairs, [("", "empty"), ("e", "a=b"), ("last", "\u{fffd}")]);
    }
}
