//! Projected volumes: files of several sources in one place, where none may hide another.

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::{downward_file, file_path, item, mode};
use crate::kinds::pod::validate::required_name;

const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// The kinds of sources, in the order in which upstream looks for them. Others are behind gates that are off, and are
/// dropped before.
const KINDS: [&str; 4] = ["secret", "configMap", "downwardAPI", "serviceAccountToken"];

pub fn all(source: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = mode(&source["defaultMode"], &path.child("defaultMode")).into_iter().collect();
    let mut taken = HashSet::new();
    for (position, part) in meta::list(source, "sources").iter().enumerate() {
        let at = path.child("sources").index(position);
        let given: Vec<&str> = KINDS.into_iter().filter(|kind| !part[kind].is_null()).collect();
        for kind in &given {
            let (part, at) = (&part[kind], at.child(kind));
            errors.extend(match *kind {
                "downwardAPI" => fields(part, path, &at, &mut taken),
                "serviceAccountToken" => token(part, path, &at),
                _ => files(part, path, &at, &mut taken),
            });
        }
        if given.len() > 1 {
            errors.push(Error::forbidden(&at, "may not specify more than 1 volume type per source"));
        }
    }
    errors
}

/// Tells of a path that is taken. Upstream shows `value` for it.
fn conflict<'a>(item: &'a Value, value: &str, path: &Path, taken: &mut HashSet<&'a str>) -> Option<Error> {
    let target = meta::text(item, "path");
    let is_taken = !target.is_empty() && !taken.insert(target);
    is_taken.then(|| Error::invalid(path, value, "conflicting duplicate paths"))
}

fn files<'a>(part: &'a Value, volume: &Path, path: &Path, taken: &mut HashSet<&'a str>) -> ErrorList {
    let mut errors: ErrorList = required_name(part, "name", path).into_iter().collect();
    for (position, entry) in meta::list(part, "items").iter().enumerate() {
        errors.extend(item(entry, &path.child("items").index(position)));
        errors.extend(conflict(entry, meta::text(part, "name"), volume, taken));
    }
    errors
}

fn fields<'a>(part: &'a Value, volume: &Path, path: &Path, taken: &mut HashSet<&'a str>) -> ErrorList {
    let mut errors = ErrorList::new();
    for entry in meta::list(part, "items") {
        errors.extend(downward_file(entry, path));
        errors.extend(conflict(entry, meta::text(entry, "path"), volume, taken));
    }
    errors
}

fn token(part: &Value, volume: &Path, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let seconds = part["expirationSeconds"].as_i64().unwrap_or(0);
    let at = path.child("expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        errors.push(Error::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > TOKEN_SECONDS_MAX {
        errors.push(Error::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    errors.extend(file_path(part, volume));
    errors
}
