//! CertificateSigningRequests (Kubernetes reference: "Certificates and Certificate Signing Requests").

use machinery::meta;
use serde_json::{Value, json};

use super::defaults::{set, spec};
use super::{Column, Hooks};
use crate::rest::table::{AGE, NAME, age, human_duration};

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 0, description }
}

pub static HOOKS: Hooks = Hooks {
    default: |request| set(spec(request), "usages", json!(["digital signature", "key encipherment"])),
    prepare_create: |request| request["status"] = json!({}),
    // What was asked for cannot be changed once it may have been approved.
    prepare_update: |new, old| new["spec"] = old["spec"].clone(),
    fields: &[("spec.signerName", "spec.signerName")],
    columns: &[
        NAME,
        AGE,
        column("SignerName", "Who is to sign."),
        column("Requestor", "Who asks."),
        column("RequestedDuration", "For how long."),
        column("Condition", "What came of it."),
    ],
    cells,
    ..Hooks::PLAIN
};

fn cells(request: &Value, now: i64) -> Vec<Value> {
    let duration = meta::at(request, "spec.expirationSeconds").as_i64();
    vec![
        meta::name(request).into(),
        age(request, now).into(),
        meta::text(request, "spec.signerName").into(),
        meta::text(request, "spec.username").into(),
        duration.map_or("<none>".to_owned(), human_duration).into(),
        condition(request).into(),
    ]
}

fn condition(request: &Value) -> String {
    let has = |kind: &str| meta::list(request, "status.conditions").iter().any(|condition| condition["type"] == kind);
    let mut words = Vec::new();
    if has("Denied") {
        words.push("Denied");
    } else if has("Approved") {
        words.push("Approved");
    } else {
        words.push("Pending");
    }
    if has("Failed") {
        words.push("Failed");
    }
    if !meta::text(request, "status.certificate").is_empty() {
        words.push("Issued");
    }
    words.join(",")
}
