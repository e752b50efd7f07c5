//! ConfigMaps, Secrets and ServiceAccounts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::defaults::each;
use super::go_form::TEXT;
use super::{Column, Hooks, MetadataRounds, validate, warnings};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, priority: 0, description }
}

const DATA: Column = column("Data", "string", "Number of keys.");

pub static CONFIG_MAP: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    validate: validate_config_map,
    validate_update: |new, old| immutable_data(new, old, &["data", "binaryData"]),
    columns: &[NAME, DATA, AGE],
    cells: |map, now| {
        let keys = meta::map(map, "data").len() + meta::map(map, "binaryData").len();
        vec![meta::name(map).into(), keys.into(), age(map, now).into()]
    },
    ..Hooks::PLAIN
};

pub static SECRET: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    warnings: warnings::secret,
    default: |secret| {
        if meta::text(secret, "type").is_empty() {
            secret["type"] = "Opaque".into();
        }
        merge_string_data(secret);
    },
    validate: validate_secret,
    validate_update: |new, old| {
        let kind = validate::immutable_as(&TEXT, &new["type"], &old["type"], &Path::new("type"));
        kind.into_iter().chain(immutable_data(new, old, &["data"])).collect()
    },
    fields: &[("type", "type")],
    columns: &[NAME, column("Type", "string", "What the secret is for."), DATA, AGE],
    cells: |secret, now| {
        let keys = meta::map(secret, "data").len();
        vec![meta::name(secret).into(), meta::text(secret, "type").into(), keys.into(), age(secret, now).into()]
    },
    ..Hooks::PLAIN
};

/// `stringData` is written into `data` and never stored.
fn merge_string_data(secret: &mut Value) {
    let Some(plain) = secret.as_object_mut().and_then(|fields| fields.remove("stringData")) else { return };
    let mut data = meta::map(secret, "data").clone();
    for (key, value) in plain.as_object().into_iter().flatten() {
        data.insert(key.clone(), STANDARD.encode(value.as_str().unwrap_or_default()).into());
    }
    if !data.is_empty() {
        secret["data"] = Value::Object(data);
    }
}

pub static SERVICE_ACCOUNT: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    warnings: warnings::service_account,
    is_worth_warning: |_, old| warnings::service_account(old).is_empty(),
    prepare_create: keep_names_of_secrets,
    prepare_update: |new, _| keep_names_of_secrets(new),
    ..Hooks::PLAIN
};

/// A ServiceAccount's Secrets stand in its namespace: of a reference only the name means anything.
fn keep_names_of_secrets(account: &mut Value) {
    let Some(fields) = account.as_object_mut() else { return };
    for secret in each(fields, "secrets") {
        secret.retain(|field, _| field == "name");
    }
}

/// The sum of all values, in bytes.
const DATA_BYTES_MAX: usize = 1024 * 1024;

fn immutable_data(new: &Value, old: &Value, fields: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    if !meta::is_true(old, "immutable") {
        return errors;
    }
    let why = "field is immutable when `immutable` is set";
    if !meta::is_true(new, "immutable") {
        errors.push(Error::forbidden(&Path::new("immutable"), why));
    }
    for field in fields {
        if meta::map(new, field) != meta::map(old, field) {
            errors.push(Error::forbidden(&Path::new(field), why));
        }
    }
    errors
}

fn validate_keys(object: &Value, field: &str) -> ErrorList {
    let path = Path::new(field);
    let keys = meta::map(object, field).keys();
    keys.flat_map(|key| validate::named(key, names::config_map_key, &path.key(key))).collect()
}

fn decoded_length(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count().min(2)
}

fn validate_config_map(map: &Value) -> ErrorList {
    let mut errors = validate_keys(map, "data");
    let (plain, binary) = (meta::map(map, "data"), meta::map(map, "binaryData"));
    for key in plain.keys().filter(|key| binary.contains_key(*key)) {
        let why = "duplicate of key present in binaryData";
        errors.push(Error::invalid(&Path::new("data").key(key), key.as_str(), why));
    }
    errors.extend(validate_keys(map, "binaryData"));
    let plain: usize = plain.values().map(|value| value.as_str().unwrap_or_default().len()).sum();
    let binary: usize = binary.values().map(decoded_length).sum();
    if plain + binary > DATA_BYTES_MAX {
        errors.push(Error::too_long(&Path::new(""), DATA_BYTES_MAX));
    }
    errors
}

fn validate_secret(secret: &Value) -> ErrorList {
    let mut errors = validate_keys(secret, "data");
    let data = meta::map(secret, "data");
    if data.values().map(decoded_length).sum::<usize>() > DATA_BYTES_MAX {
        errors.push(Error::too_long(&Path::new("data"), DATA_BYTES_MAX));
    }
    let required = |key: &str| Error::required(&Path::new("data").key(key), "");
    let has = |key: &str| data.contains_key(key);
    match meta::text(secret, "type") {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if meta::annotation(secret, ACCOUNT).unwrap_or_default().is_empty() {
                errors.push(Error::required(&validate::path(&["metadata", "annotations"]).key(ACCOUNT), ""));
            }
        }
        "kubernetes.io/dockercfg" => errors.extend(validate_json(secret, ".dockercfg")),
        "kubernetes.io/dockerconfigjson" => errors.extend(validate_json(secret, ".dockerconfigjson")),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            errors.extend([required("username"), required("password")]);
        }
        "kubernetes.io/ssh-auth" if data.get("ssh-privatekey").is_none_or(|key| key == "") => {
            errors.push(required("ssh-privatekey"));
        }
        "kubernetes.io/tls" => {
            errors.extend(["tls.crt", "tls.key"].into_iter().filter(|key| !has(key)).map(required));
        }
        _ => {}
    }
    errors
}

/// The content must be a JSON object; what is wrong with it is told without showing it.
fn validate_json(secret: &Value, key: &str) -> Option<Error> {
    let path = Path::new("data").key(key);
    let Some(content) = meta::map(secret, "data").get(key).and_then(Value::as_str) else {
        return Some(Error::required(&path, ""));
    };
    let bytes = STANDARD.decode(content).unwrap_or_default();
    match serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        Ok(_) => None,
        Err(error) => Some(Error::invalid(&path, "<secret contents redacted>", go_words(&error, &bytes))),
    }
}

/// What Go's decoder says of such content.
fn go_words(error: &serde_json::Error, bytes: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let at = error.column().saturating_sub(1);
    match bytes.get(at) {
        Some(byte) if at == 0 => {
            format!("invalid character '{}' looking for beginning of value", char::from(*byte))
        }
        _ => error.to_string(),
    }
}
