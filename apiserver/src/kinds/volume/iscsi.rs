//! Volumes on iSCSI targets: a PersistentVolume and a pod name them alike, and are judged a little differently.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

const PORTAL_LENGTH_MAX: usize = 64;
const TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
const WRONG_FORMAT: &str = "must be valid format";
const WRONG_START: &str = "must be valid format starting with iqn, eui, or naa";

/// Of a PersistentVolume of that name.
pub fn persistent(source: &Value, name: &str, path: &Path) -> ErrorList {
    let mut errors = portal(source, path);
    if is_too_long(source, name) {
        errors.push(Error::invalid(&path.child("targetportal"), meta::text(source, "targetPortal"), TOO_LONG));
    }
    errors.extend(target(source, |_| WRONG_FORMAT, path));
    errors.extend(unit_and_secret(source, path));
    let secret = &source["secretRef"];
    if secret.is_object() && meta::text(secret, "name").is_empty() {
        errors.push(Error::required(&path.child("secretRef").child("name"), ""));
    }
    errors.extend(initiator(source, |_| WRONG_FORMAT, path));
    errors
}

/// Of a volume that a pod names itself. What is wrong with both names together is told by [`is_too_long`].
pub fn inline(source: &Value, path: &Path) -> ErrorList {
    let mut errors = portal(source, path);
    errors.extend(target(source, words, path));
    errors.extend(unit_and_secret(source, path));
    errors.extend(initiator(source, words, path));
    errors
}

/// What is wrong with a volume's name and its target's portal, for the error at either.
pub fn name_error(source: &Value, name: &str, path: &Path) -> Option<Error> {
    is_too_long(source, name).then(|| Error::invalid(path, name, TOO_LONG))
}

fn is_too_long(source: &Value, name: &str) -> bool {
    let portal = meta::text(source, "targetPortal");
    source["initiatorName"].is_string() && name.len() + 1 + portal.len() > PORTAL_LENGTH_MAX
}

fn words(name: &str) -> &'static str {
    if ["iqn", "eui", "naa"].iter().any(|start| name.starts_with(start)) { WRONG_FORMAT } else { WRONG_START }
}

fn portal(source: &Value, path: &Path) -> ErrorList {
    let is_empty = meta::text(source, "targetPortal").is_empty();
    is_empty.then(|| Error::required(&path.child("targetPortal"), "")).into_iter().collect()
}

fn target(source: &Value, words: fn(&str) -> &'static str, path: &Path) -> Option<Error> {
    let at = path.child("iqn");
    match meta::text(source, "iqn") {
        "" => Some(Error::required(&at, "")),
        name => (!is_initiator(name)).then(|| Error::invalid(&at, name, words(name))),
    }
}

fn unit_and_secret(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(lun) = source["lun"].as_i64().filter(|lun| !(0..=255).contains(lun)) {
        errors.push(Error::invalid(&path.child("lun"), lun, names::range_error(0, 255)));
    }
    let wants_secret = meta::is_true(source, "chapAuthDiscovery") || meta::is_true(source, "chapAuthSession");
    if wants_secret && source["secretRef"].is_null() {
        errors.push(Error::required(&path.child("secretRef"), ""));
    }
    errors
}

fn initiator(source: &Value, words: fn(&str) -> &'static str, path: &Path) -> Option<Error> {
    let name = source["initiatorName"].as_str().filter(|name| !is_initiator(name))?;
    Some(Error::invalid(&path.child("initiatorname"), name, words(name)))
}

/// `iqn.2001-04.com.example:name`, `eui.` with 16 or `naa.` with 32 letters and digits.
fn is_initiator(name: &str) -> bool {
    let is_code =
        |code: &str, length: usize| code.len() == length && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match name.get(..3) {
        // The fourth is any character.
        Some("eui") => name.get(4..).is_some_and(|code| is_code(code, 16)),
        Some("naa") => name.get(4..).is_some_and(|code| is_code(code, 32)),
        Some("iqn") => is_qualified(name),
        _ => false,
    }
}

fn is_qualified(name: &str) -> bool {
    let digits = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((date, rest)) = name.strip_prefix("iqn.").and_then(|rest| rest.split_once('.')) else { return false };
    let Some((year, month)) = date.split_once('-') else { return false };
    let Some((authority, unique)) = rest.split_once(':') else { return false };
    let in_authority = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    digits(year, 4)
        && digits(month, 2)
        && !authority.is_empty()
        && authority.bytes().all(in_authority)
        && !unique.is_empty()
        && !unique.contains(|c: char| ",;*&$|".contains(c) || c.is_ascii_whitespace())
}
