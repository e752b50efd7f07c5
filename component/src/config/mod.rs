//! Component configuration files: YAML of one kind, read strictly.

mod duration;

use std::{fs, path::Path};

use machinery::schema;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::duration::Duration;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to load config file {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("failed to load config file {path}: {problem}")]
    Invalid { path: String, problem: String },
}

/// Reads a file whose `kind` is `kind` and whose `apiVersion` is one of `versions`. Unknown and duplicate fields are
/// refused.
pub fn load<T: DeserializeOwned>(path: &Path, kind: &str, versions: &[&str]) -> Result<T, Error> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: shown.clone(), source })?;
    parse(&text, kind, versions).map_err(|problem| Error::Invalid { path: shown, problem })
}

/// As [`load`], but what only strictness refuses is told instead: an older file with a field that is gone goes on working.
pub fn load_leniently<T: DeserializeOwned>(
    path: &Path,
    kind: &str,
    versions: &[&str],
) -> Result<(T, Option<String>), Error> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: shown.clone(), source })?;
    parse_leniently(&text, kind, versions).map_err(|problem| Error::Invalid { path: shown, problem })
}

/// As [`load`], from text.
pub fn parse<T: DeserializeOwned>(text: &str, kind: &str, versions: &[&str]) -> Result<T, String> {
    match parse_leniently(text, kind, versions)? {
        (typed, None) => Ok(typed),
        (_, Some(complaint)) => Err(complaint),
    }
}

/// As [`load_leniently`], from text: unknown fields are left out, and of a field that is there twice the last counts.
pub fn parse_leniently<T: DeserializeOwned>(
    text: &str,
    kind: &str,
    versions: &[&str],
) -> Result<(T, Option<String>), String> {
    let (value, doubled) = tree(text)?;
    let (found_kind, found_version) = (member(&value, "kind")?, member(&value, "apiVersion")?);
    if found_kind != kind || !versions.contains(&found_version) {
        return Err(format!("no kind {found_kind:?} is registered for version {found_version:?}"));
    }
    // The type need not have these two itself.
    let envelope = |name: &str| name == "kind" || name == "apiVersion";
    let mut unknown = Vec::new();
    let note = |path: serde_ignored::Path<'_>| unknown.push(shown(&path));
    let typed: T = serde_ignored::deserialize(value, note).map_err(|error| error.to_string())?;
    unknown.retain(|name: &String| !envelope(name));
    let unknown = unknown.iter().map(|name| format!("unknown field {name:?}"));
    let complaints: Vec<String> = doubled.into_iter().chain(unknown).collect();
    Ok((typed, (!complaints.is_empty()).then(|| format!("strict decoding error: {}", complaints.join(", ")))))
}

/// The text as a tree, where the last of two counts, and what is there twice.
fn tree(text: &str) -> Result<(Value, Option<String>), String> {
    let tree = serde_yaml_ng::from_str(text).map_err(|error| not_yaml(&error))?;
    let twice = schema::given_twice(text.as_bytes());
    Ok((tree, (!twice.is_empty()).then(|| schema::unmarshal_errors(&twice))))
}

fn member<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    let text = value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| format!("Object '{}' is missing", if name == "kind" { "Kind" } else { name }))
}

fn not_yaml(error: &serde_yaml_ng::Error) -> String {
    format!("error converting YAML to JSON: yaml: {error}")
}

/// A field's path as upstream writes it: `a.b[0].c`.
fn shown(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path::*;
    match path {
        Root => String::new(),
        Seq { parent, index } => format!("{}[{index}]", shown(parent)),
        Map { parent, key } => match shown(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Some { parent } | NewtypeStruct { parent } | NewtypeVariant { parent } => shown(parent),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Example {
        #[serde(default)]
        max_pods: i32,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[serde(default)]
        name: String,
    }

    const HEAD: &str = "kind: Example\napiVersion: example/v1\n";

    fn parsed(rest: &str) -> Result<Example, String> {
        parse(&format!("{HEAD}{rest}"), "Example", &["example/v1"])
    }

    #[test]
    fn known_fields_are_read() {
        let example = parsed("maxPods: 7\ninner: [{name: a}]\n").unwrap();
        assert_eq!((example.max_pods, &*example.inner[0].name), (7, "a"));
    }

    #[test]
    fn unknown_fields_are_refused_in_upstreams_words() {
        let error = parsed("maxpods: 7\ninner: [{nam: a}]\n").unwrap_err();
        assert_eq!(error, "strict decoding error: unknown field \"inner[0].nam\", unknown field \"maxpods\"");
    }

    #[test]
    fn other_kinds_and_duplicates_are_refused() {
        assert!(parse::<Example>(HEAD, "Other", &["example/v1"]).unwrap_err().starts_with("no kind"));
        assert!(parse::<Example>("maxPods: 1", "Example", &[]).unwrap_err().contains("'Kind' is missing"));
        assert!(parsed("maxPods: 1\nmaxPods: 2\n").unwrap_err().contains("key \"maxPods\" already set in map"));
    }

    #[test]
    fn leniently_unknown_fields_go_and_the_last_of_two_counts() {
        let lenient = |rest: &str| parse_leniently::<Example>(&format!("{HEAD}{rest}"), "Example", &["example/v1"]);
        let (example, complaint) = lenient("maxPods: 1\ngone: {a: b}\nmaxPods: 2\n").unwrap();
        assert_eq!(example.max_pods, 2);
        let words = "strict decoding error: yaml: unmarshal errors:\n  line ";
        let complaint = complaint.expect("told");
        assert!(complaint.starts_with(words), "{complaint}");
        assert!(complaint.ends_with("key \"maxPods\" already set in map, unknown field \"gone\""), "{complaint}");
        assert_eq!(lenient("maxPods: 7\n").unwrap().1, None);
        assert!(lenient("maxPods: many\n").unwrap_err().contains("invalid type"), "a wrong value stays an error");
        assert!(lenient("maxPods: [\n").unwrap_err().starts_with("error converting YAML to JSON"));
    }
}
