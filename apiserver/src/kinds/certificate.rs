//! CertificateSigningRequests (Kubernetes reference: "Certificates and Certificate Signing Requests").

pub mod asked;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use machinery::names;
use serde_json::{Value, json};

use super::defaults::set;
use super::{Column, Hooks, MetadataRounds, validate};
use crate::rest::table::{AGE, NAME, age, human_duration};

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 0, description }
}

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    status_metadata: MetadataRounds::BOTH,
    // Judged last alone, for what a path cannot hold.
    name: |_| Vec::new(),
    resets: &[
        ("", &["spec", "status"]),
        ("status", &["spec", "status.conditions"]),
        ("approval", &["spec", "status.certificate"]),
    ],
    validate: validate_request,
    prepare_create: |request| request["status"] = json!({}),
    // What was asked for cannot be changed once it may have been approved.
    prepare_update: |new, old| new["spec"] = old["spec"].clone(),
    prepare_status: keep_decisions,
    stamp_status: stamp_conditions,
    validate_against: conditions,
    validate_status,
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
    let signer = meta::text(request, "spec.signerName");
    let duration = meta::at(request, "spec.expirationSeconds").as_i64();
    vec![
        meta::name(request).into(),
        age(request, now).into(),
        if signer.is_empty() { "<none>" } else { signer }.into(),
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

/// Conditions that say what was decided; they are only ever true, and only `/approval` sets the first two.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];

fn of_kind<'a>(request: &'a Value, kind: &str) -> Vec<&'a Value> {
    meta::list(request, "status.conditions").iter().filter(|condition| condition["type"] == kind).collect()
}

/// A signer that sends back an older decision does not change it. One that takes it away or adds one is refused later.
fn keep_decisions(new: &mut Value, old: &Value) {
    for kind in &DECISIONS[..2] {
        let stored: Vec<Value> = of_kind(old, kind).into_iter().cloned().collect();
        if of_kind(new, kind).len() != stored.len() {
            continue;
        }
        let conditions = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        let twins = conditions.into_iter().flatten().filter(|condition| condition["type"] == *kind);
        twins.zip(stored).for_each(|(condition, stored)| *condition = stored);
    }
}

/// Times that the client left out; a condition that was so before keeps its own.
fn stamp_conditions(new: &mut Value, old: &Value, now: &str) {
    let before = meta::list(old, "status.conditions");
    let conditions = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let same = |other: &&Value| other["type"] == condition["type"] && other["status"] == condition["status"];
        let since = before.iter().find(same).map_or(Value::Null, |other| other["lastTransitionTime"].clone());
        let Some(fields) = condition.as_object_mut() else { continue };
        set(fields, "lastUpdateTime", now);
        set(fields, "lastTransitionTime", if since.is_null() { now.into() } else { since });
    }
}

/// Rules of conditions; what was wrong already may stay.
fn conditions(new: &Value, old: Option<&Value>) -> ErrorList {
    let path = validate::path(&["status", "conditions"]);
    let mut errors = ErrorList::new();
    let has = |request: Option<&Value>, kind: &str| request.is_some_and(|request| !of_kind(request, kind).is_empty());
    let stored = old.map(|old| meta::list(old, "status.conditions")).unwrap_or_default();
    let doubled = |list: &[Value], at: usize| list[..at].iter().any(|other| other["type"] == list[at]["type"]);
    let may_double = (0..stored.len()).any(|at| doubled(stored, at));
    let may_contradict = has(old, "Approved") && has(old, "Denied");
    let list = meta::list(new, "status.conditions");
    for (position, condition) in list.iter().enumerate() {
        let at = path.index(position);
        let (kind, status) = (meta::text(condition, "type"), meta::text(condition, "status"));
        if kind.is_empty() && !has(old, "") {
            errors.push(Error::required(&at.child("type"), ""));
        }
        let statuses: &[&str] = if DECISIONS.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.push(Error::required(&at.child("status"), ""));
        } else if !statuses.contains(&status) {
            errors.push(Error::not_supported(&at.child("status"), status, statuses));
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        let contradicts = !other.is_empty() && list[..position].iter().any(|earlier| earlier["type"] == other);
        if contradicts && !may_contradict {
            errors.push(Error::invalid(&path, kind, "Approved and Denied conditions are mutually exclusive"));
        }
        if doubled(list, position) && !may_double {
            errors.push(Error::duplicate(&at.child("type"), kind));
        }
    }
    let gone =
        DECISIONS.iter().filter(|kind| old.is_some_and(|old| of_kind(new, kind).len() < of_kind(old, kind).len()));
    let words = gone.map(|kind| format!("updates may not remove a condition of type {}", quote(kind)));
    errors.extend(words.map(|why| Error::forbidden(&path, why)));
    errors
}

/// A signer writes the certificate, once, and decides nothing.
fn validate_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = validate_request(new);
    errors.extend(conditions(new, Some(old)));
    let added = DECISIONS[..2].iter().filter(|kind| of_kind(new, kind).len() > of_kind(old, kind).len());
    let words = added.map(|kind| format!("updates may not add a condition of type {}", quote(kind)));
    errors.extend(words.map(|why| Error::forbidden(&validate::path(&["status", "conditions"]), why)));
    let (now, before) = (meta::text(new, "status.certificate"), meta::text(old, "status.certificate"));
    let path = validate::path(&["status", "certificate"]);
    if now == before {
        return errors;
    }
    if let (Err(why), Ok(())) = (check_certificates(now), check_certificates(before)) {
        errors.push(Error::invalid(&path, "<certificate data>", why));
    }
    if !before.is_empty() {
        errors.push(Error::forbidden(&path, "updates may not modify existing certificate content"));
    }
    errors
}

/// Certificates in PEM, in base64, and nothing else; or nothing.
fn check_certificates(encoded: &str) -> Result<(), String> {
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    if bytes.is_empty() {
        return Ok(());
    }
    let mut count = 0;
    for block in x509_parser::pem::Pem::iter_from_buffer(&bytes) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            let found = quote(&block.label);
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {found}"));
        }
        block.parse_x509().map_err(|error| format!("x509: malformed certificate: {error}"))?;
        count += 1;
    }
    if count == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const EXPIRATION_SECONDS_MIN: i64 = 600;

fn validate_request(request: &Value) -> ErrorList {
    let path = Path::new("spec");
    let spec = &request["spec"];
    let mut errors = ErrorList::new();
    let encoded = meta::text(spec, "request");
    if let Err(why) = asked::check(encoded) {
        errors.push(Error::invalid(&path.child("request"), spec["request"].clone(), why));
    }
    let usages: Vec<&str> = meta::list(spec, "usages").iter().filter_map(Value::as_str).collect();
    if usages.is_empty() {
        errors.push(Error::required(&path.child("usages"), ""));
    }
    for (position, usage) in usages.iter().enumerate() {
        let at = path.child("usages").index(position);
        if !USAGES.contains(usage) {
            errors.push(Error::not_supported(&at, *usage, &USAGES));
        }
        if usages[..position].contains(usage) {
            errors.push(Error::duplicate(&at, *usage));
        }
    }
    errors.extend(signer_name(meta::text(spec, "signerName"), &path.child("signerName")));
    if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|seconds| *seconds < EXPIRATION_SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, why));
    }
    errors
}

/// `domain/path`, such as `kubernetes.io/kubelet-serving`.
fn signer_name(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    if name == "kubernetes.io/legacy-unknown" {
        return vec![Error::invalid(path, name, "the legacy signerName is not allowed via this API version")];
    }
    let Some((domain, signer)) = name.split_once('/').filter(|(_, signer)| !signer.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![Error::invalid(path, name, why)];
    };
    let mut errors = ErrorList::new();
    let labels: Vec<&str> = domain.split('.').collect();
    for label in &labels {
        let wrong = names::dns_label(label).into_iter();
        errors
            .extend(wrong.map(|why| Error::invalid(path, domain, format!("validating label {}: {why}", quote(label)))));
    }
    if labels.len() < 2 {
        errors.push(Error::invalid(path, domain, "should be a domain with at least two segments separated by dots"));
    }
    for part in signer.split('.') {
        let wrong = names::dns_subdomain(part).into_iter();
        errors
            .extend(wrong.map(|why| Error::invalid(path, signer, format!("validating label {}: {why}", quote(part)))));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(conditions: Value) -> Value {
        json!({"status": {"conditions": conditions}})
    }

    fn told(errors: ErrorList) -> Vec<String> {
        errors.iter().map(Error::to_string).collect()
    }

    #[test]
    fn decisions_are_true_alone_and_for_ever() {
        let approved = json!({"type": "Approved", "status": "True"});
        let denied = json!({"type": "Denied", "status": "True"});
        let at = "status.conditions";
        for (new, old, want) in [
            (json!([approved]), json!([]), vec![]),
            (
                json!([{"type": "Approved", "status": "False"}]),
                json!([]),
                vec![format!("{at}[0].status: Unsupported value: \"False\": supported values: \"True\"")],
            ),
            (
                json!([approved, denied]),
                json!([]),
                vec![format!("{at}: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive")],
            ),
            (json!([approved, denied]), json!([denied, approved]), vec![]),
            (json!([approved, approved]), json!([]), vec![format!("{at}[1].type: Duplicate value: \"Approved\"")]),
            (
                json!([]),
                json!([denied]),
                vec![format!("{at}: Forbidden: updates may not remove a condition of type \"Denied\"")],
            ),
            (
                json!([{}]),
                json!([]),
                vec![format!("{at}[0].type: Required value"), format!("{at}[0].status: Required value")],
            ),
        ] {
            assert_eq!(told(conditions(&with(new.clone()), Some(&with(old)))), want, "{new}");
        }
    }

    #[test]
    fn a_signer_decides_nothing() {
        let (old, new) = (with(json!([])), with(json!([{"type": "Approved", "status": "True"}])));
        let errors = told(validate_status(&new, &old));
        assert!(errors.contains(
            &"status.conditions: Forbidden: updates may not add a condition of type \"Approved\"".to_owned()
        ));
        let (old, mut new) = (
            with(json!([{"type": "Approved", "status": "True", "reason": "a"}])),
            with(json!([{"type": "Approved", "status": "True"}])),
        );
        keep_decisions(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn conditions_get_times() {
        let old = with(json!([{"type": "Approved", "status": "True", "lastTransitionTime": "then"}]));
        let mut new = with(json!([{"type": "Approved", "status": "True"}, {"type": "Failed", "status": "True"}]));
        stamp_conditions(&mut new, &old, "now");
        let time = |at: usize| new["status"]["conditions"][at]["lastTransitionTime"].as_str();
        assert_eq!((time(0), time(1)), (Some("then"), Some("now")));
    }

    #[test]
    fn certificates_are_checked() {
        let check = |text: &str| check_certificates(&STANDARD.encode(text));
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("x"), Err("must contain at least one CERTIFICATE PEM block".to_owned()));
        let key = rcgen::KeyPair::generate().unwrap();
        assert_eq!(
            check(&key.serialize_pem()),
            Err("only CERTIFICATE PEM blocks are allowed, found \"PRIVATE KEY\"".to_owned())
        );
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(check(&certificate.pem()), Ok(()));
    }
}
