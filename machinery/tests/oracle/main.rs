//! The schema, the wire format and the OpenAPI documents against upstream's data, where it is there.
//!
//! `SKIFF_ORACLE` names the folder; without it the one beside the project is looked for, and without that the tests skip
//! with a notice.

mod openapi;
mod schema;

use std::path::PathBuf;

use serde_json::Value;

fn root() -> PathBuf {
    std::env::var_os("SKIFF_ORACLE")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"), PathBuf::from)
}

/// A folder or file of upstream's data, or `None` with a notice.
fn entry(name: &str) -> Option<PathBuf> {
    let path = root().join(name);
    if !path.exists() {
        println!("skipped: no upstream data at {}", path.display());
        return None;
    }
    Some(path)
}

/// Every place where two trees differ.
fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare("", expected, found, &mut all);
    all
}

/// Adds them, each under the path.
fn compare(path: &str, expected: &Value, found: &Value, all: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                let (a, b) = (a.get(name), b.get(name));
                match (a, b) {
                    (Some(a), Some(b)) => compare(&format!("{path}.{name}"), a, b, all),
                    _ => all.push(format!("{path}.{name}: expected {a:?}, found {b:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(at, (a, b))| compare(&format!("{path}[{at}]"), a, b, all));
        }
        _ if expected == found => {}
        _ => all.push(format!("{path}: expected {expected}, found {found}")),
    }
}
