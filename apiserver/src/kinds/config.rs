//! ConfigMaps, Secrets and ServiceAccounts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::meta;
use serde_json::Value;

use super::{Column, Hooks};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, priority: 0, description }
}

const DATA: Column = column("Data", "string", "Number of keys.");

pub static CONFIG_MAP: Hooks = Hooks {
    columns: &[NAME, DATA, AGE],
    cells: |map, now| {
        let keys = meta::map(map, "data").len() + meta::map(map, "binaryData").len();
        vec![meta::name(map).into(), keys.into(), age(map, now).into()]
    },
    ..Hooks::PLAIN
};

pub static SECRET: Hooks = Hooks {
    default: |secret| {
        if meta::text(secret, "type").is_empty() {
            secret["type"] = "Opaque".into();
        }
        merge_string_data(secret);
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
    columns: &[NAME, column("Secrets", "string", "Number of secrets that pods of the account may mount."), AGE],
    cells: |account, now| {
        vec![meta::name(account).into(), meta::list(account, "secrets").len().into(), age(account, now).into()]
    },
    ..Hooks::PLAIN
};
