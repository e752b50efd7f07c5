//! Drop-ins: files that are merged over the configuration, as `--config-dir` asks.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{API_VERSIONS, KIND, KubeletConfiguration};

/// Merges the files `*.conf` of a folder and those below it over the configuration, in the order of their names; fields
/// of a later file win, and `null` brings a default back.
///
/// # Errors
/// What cannot be read, with its file.
pub fn drop_ins(base: KubeletConfiguration, folder: &Path) -> Result<KubeletConfiguration, String> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| format!("failed to read {}: {error}", path.display());
    let mut files = Vec::new();
    conf_files(folder, &mut files).map_err(|error| failed(folder, &error))?;
    let mut merged = serde_json::to_value(base).map_err(|error| failed(folder, &error))?;
    for path in files {
        let own = read(&path).map_err(|problem| failed(&path, &problem))?;
        // Decoded alone for what is wrong with it, merged as it is written: absent fields must not bring their defaults.
        let mut alone = Value::Null;
        merge(&mut alone, own.clone());
        let text = alone.to_string();
        let (_, complaint) = component::config::parse_leniently::<KubeletConfiguration>(&text, KIND, &API_VERSIONS)
            .map_err(|problem| failed(&path, &problem))?;
        if let Some(complaint) = complaint {
            tracing::warn!(path = %path.display(), complaint, "a drop-in says what nobody knows");
        }
        merge(&mut merged, own);
    }
    serde_json::from_value(merged).map_err(|error| failed(folder, &error))
}

/// Through YAML's own tree, which refuses fields that are there twice; upstream's drop-ins are strict in that, too.
fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let tree: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).map_err(|error| error.to_string())?;
    serde_json::to_value(tree).map_err(|error| error.to_string())
}

/// A folder's files come where its name has its place; links to folders are not followed.
fn conf_files(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            conf_files(&entry.path(), found)?;
        } else if entry.file_name().as_encoded_bytes().ends_with(b".conf") {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// A merge patch (RFC 7386).
fn merge(into: &mut Value, from: Value) {
    let Value::Object(from) = from else {
        *into = from;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let Value::Object(into) = into else { return };
    for (key, value) in from {
        if value.is_null() {
            into.remove(&key);
        } else {
            merge(into.entry(key).or_insert(Value::Null), value);
        }
    }
}
