//! Ingresses: HTTP from outside to Services.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::super::{Hooks, MetadataRounds, ip, reset_status, text_column, validate};
use super::typed_reference;
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    prepare_create: reset_status,
    validate_against: |new, old| {
        let path = Path::new("spec");
        let Some(old) = old else {
            let class = one_class(new).into_iter();
            return class.chain(validate_spec(&new["spec"], &Allowed::default(), &path)).collect();
        };
        validate_spec(&new["spec"], &Allowed::by(old), &path)
    },
    validate_status: super::balancer_entries,
    status_warnings: super::super::warnings::balancer_status,
    is_worth_warning: |_, _| false,
    warnings: |ingress| {
        let is_old =
            meta::annotation(ingress, CLASS_ANNOTATION).is_some() && ingress["spec"]["ingressClassName"].is_null();
        let words =
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        is_old.then(|| words.to_owned()).into_iter().collect()
    },
    has_generation: true,
    columns: &[
        NAME,
        text_column("Class", "The name of the IngressClass resource that should be used for additional configuration"),
        text_column("Hosts", "Names of the hosts that it is for."),
        text_column("Address", "Where it is reached."),
        text_column("Ports", "Ports that are open: 443 with TLS."),
        AGE,
    ],
    cells,
    ..Hooks::PLAIN
};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// The old annotation and the field, where both are there, name the same class.
fn one_class(ingress: &Value) -> Option<Error> {
    let class = ingress["spec"]["ingressClassName"].as_str()?;
    let annotated = meta::annotation(ingress, CLASS_ANNOTATION).filter(|annotated| *annotated != class)?;
    let path = Path::new("annotations").child(CLASS_ANNOTATION);
    Some(Error::invalid(&path, annotated, "must match `ingressClassName` when both are specified"))
}

const HOSTS_SHOWN_MAX: usize = 3;

fn cells(ingress: &Value, now: i64) -> Vec<Value> {
    let entries = meta::list(ingress, "status.loadBalancer.ingress").iter();
    let mut addresses: Vec<&str> = entries
        .map(|entry| match meta::text(entry, "ip") {
            "" => meta::text(entry, "hostname"),
            ip => ip,
        })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let ports = if meta::list(ingress, "spec.tls").is_empty() { "80" } else { "80, 443" };
    vec![
        meta::name(ingress).into(),
        ingress["spec"]["ingressClassName"].as_str().unwrap_or("<none>").into(),
        shown_hosts(meta::list(ingress, "spec.rules")).into(),
        addresses.join(",").into(),
        ports.into(),
        age(ingress, now).into(),
    ]
}

fn shown_hosts(rules: &[Value]) -> String {
    let mut hosts = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == HOSTS_SHOWN_MAX;
        let host = meta::text(rule, "host");
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - HOSTS_SHOWN_MAX),
        (false, false) => hosts.join(","),
    }
}

/// What an object from before a rule was made may keep.
#[derive(Default)]
struct Allowed {
    bad_secret_names: bool,
    bad_rules_of_wildcards: bool,
}

impl Allowed {
    fn by(old: &Value) -> Self {
        let path = Path::root();
        let tls = meta::list(old, "spec.tls").iter();
        let mut rules = meta::list(old, "spec.rules").iter();
        Self {
            bad_secret_names: tls.flat_map(|tls| secret_name(tls, &path)).next().is_some(),
            bad_rules_of_wildcards: rules
                .any(|rule| meta::text(rule, "host").contains('*') && !paths(&rule["http"], &path).is_empty()),
        }
    }
}

fn validate_spec(spec: &Value, allowed: &Allowed, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (rules, default) = (meta::list(spec, "rules"), &spec["defaultBackend"]);
    if rules.is_empty() && default.is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(Error::invalid(path, spec["rules"].clone(), why).of_value_at(&path.child("rules")));
    }
    if default.is_object() {
        errors.extend(backend(default, &path.child("defaultBackend")));
    }
    for (position, rule) in rules.iter().enumerate() {
        let at = path.child("rules").index(position);
        let name = meta::text(rule, "host");
        if ip::parse_sloppy(name).is_some() {
            errors.push(Error::invalid(&at.child("host"), name, "must be a DNS name, not an IP address"));
        }
        if !name.is_empty() {
            errors.extend(host(name, &at.child("host")));
        }
        if !(name.contains('*') && allowed.bad_rules_of_wildcards) {
            errors.extend(paths(&rule["http"], &at.child("http")));
        }
    }
    for (position, tls) in meta::list(spec, "tls").iter().enumerate() {
        let at = path.child("tls").index(position);
        for (position, name) in meta::list(tls, "hosts").iter().filter_map(Value::as_str).enumerate() {
            errors.extend(host(name, &at.child("hosts").index(position)));
        }
        if !allowed.bad_secret_names {
            errors.extend(secret_name(tls, &at));
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        errors.extend(validate::named(class, names::dns_subdomain, &path.child("ingressClassName")));
    }
    errors
}

fn secret_name(tls: &Value, path: &Path) -> ErrorList {
    match meta::text(tls, "secretName") {
        "" => ErrorList::new(),
        name => validate::named(name, names::dns_subdomain, &path.child("secretName")),
    }
}

/// A host's name; the first label may be `*`.
fn host(name: &str, path: &Path) -> ErrorList {
    let check = if name.contains('*') { names::wildcard_subdomain } else { names::dns_subdomain };
    validate::named(name, check, path)
}

const SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const SUFFIXES: [&str; 2] = ["/..", "/."];
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];

fn paths(http: &Value, path: &Path) -> ErrorList {
    if !http.is_object() {
        return ErrorList::new();
    }
    let entries = meta::list(http, "paths");
    if entries.is_empty() {
        return vec![Error::required(&path.child("paths"), "")];
    }
    let at = path.child("paths");
    entries.iter().enumerate().flat_map(|(position, entry)| http_path(entry, &at.index(position))).collect()
}

fn http_path(entry: &Value, path: &Path) -> ErrorList {
    let (target, at) = (meta::text(entry, "path"), path.child("path"));
    let mut errors = ErrorList::new();
    let relative = !target.starts_with('/');
    let must_be_absolute = || Error::invalid(&at, target, "must be an absolute path");
    match entry["pathType"].as_str() {
        None => return vec![Error::required(&path.child("pathType"), "pathType must be specified")],
        Some("Exact" | "Prefix") => {
            errors.extend(relative.then(must_be_absolute));
            let bad = SEQUENCES.iter().filter(|bad| target.contains(**bad));
            errors.extend(bad.map(|bad| Error::invalid(&at, target, format!("must not contain '{bad}'"))));
            let bad = SUFFIXES.iter().filter(|bad| target.ends_with(**bad));
            errors.extend(bad.map(|bad| Error::invalid(&at, target, format!("cannot end with '{bad}'"))));
        }
        Some("ImplementationSpecific") => errors.extend((relative && !target.is_empty()).then(must_be_absolute)),
        Some(other) => errors.push(Error::not_supported(&path.child("pathType"), other, &PATH_TYPES)),
    }
    errors.extend(backend(&entry["backend"], &path.child("backend")));
    errors
}

fn backend(backend: &Value, path: &Path) -> ErrorList {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => vec![Error::invalid(path, "", "cannot set both resource and service backends")],
        (false, true) => typed_reference(resource, &path.child("resource")),
        (true, false) => service_backend(service, path),
        (false, false) => vec![Error::invalid(path, "", "resource or service backend is required")],
    }
}

fn service_backend(service: &Value, path: &Path) -> ErrorList {
    let at = path.child("service");
    let mut errors = match meta::text(service, "name") {
        "" => vec![Error::required(&at.child("name"), "")],
        name => validate::named(name, names::dns_label, &at.child("name")),
    };
    let (name, number) = (meta::text(service, "port.name"), meta::at(service, "port.number").as_i64().unwrap_or(0));
    let at = at.child("port");
    match (name.is_empty(), number) {
        (true, 0) => errors.push(Error::required(path, "port name or number is required")),
        (false, 0) => errors.extend(validate::named(name, names::port_name, &at.child("name"))),
        (true, number) => {
            let wrong = names::port_number(number).into_iter();
            errors.extend(wrong.map(|words| Error::invalid(&at.child("number"), number, words)));
        }
        (false, _) => errors.push(Error::invalid(path, "", "cannot set both port name & port number")),
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(errors: ErrorList) -> Vec<String> {
        errors.iter().map(Error::to_string).collect()
    }

    #[test]
    fn paths_and_hosts_good_and_bad() {
        let service = json!({"service": {"name": "s", "port": {"number": 80}}});
        let rule = |host: &str, path: &str, kind: &str| json!({"rules": [{"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": service}]}}]});
        let path = "spec.rules[0].http.paths[0].path: Invalid value:";
        for (spec, want) in [
            (rule("*.a.b", "/", "Exact"), vec![]),
            (rule("", "", "ImplementationSpecific"), vec![]),
            (rule("1.2.3.4", "/", "Prefix"), vec!["spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address".to_owned()]),
            (
                rule("a.b", "/a//b/..", "Prefix"),
                vec![format!("{path} \"/a//b/..\": must not contain '//'"), format!("{path} \"/a//b/..\": cannot end with '/..'")],
            ),
            (rule("a.b", "x", "ImplementationSpecific"), vec![format!("{path} \"x\": must be an absolute path")]),
            (
                rule("a.*.b", "/", "Exact"),
                vec!["spec.rules[0].host: Invalid value: \"a.*.b\": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned()],
            ),
        ] {
            assert_eq!(told(validate_spec(&spec, &Allowed::default(), &Path::new("spec"))), want, "{spec}");
        }
    }

    #[test]
    fn backends_are_one_thing() {
        let check = |value: Value| told(backend(&value, &Path::new("b")));
        assert_eq!(check(json!({"resource": {"kind": "K", "name": "n"}})), [""; 0]);
        assert_eq!(
            check(json!({"resource": {}, "service": {}})),
            ["b: Invalid value: \"\": cannot set both resource and service backends"]
        );
        assert_eq!(
            check(json!({"service": {"name": "s", "port": {"name": "x", "number": 1}}})),
            ["b: Invalid value: \"\": cannot set both port name & port number"]
        );
    }

    #[test]
    fn what_was_bad_may_stay() {
        let old = json!({"spec": {"tls": [{"secretName": "A_"}], "defaultBackend": {"service": {"name": "s", "port": {"number": 1}}}}});
        assert_eq!(told((HOOKS.validate_against)(&old, None)).len(), 1);
        assert_eq!(told((HOOKS.validate_against)(&old, Some(&old))), [""; 0]);
        let status = |ip: &str| json!({"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}});
        assert_eq!(told(super::super::balancer_entries(&status("1.2.3.04"), &status("1.2.3.04"))), [""; 0]);
        assert_eq!(told(super::super::balancer_entries(&status("1.2.3.04"), &status("1.2.3.4"))).len(), 1);
    }

    #[test]
    fn shows_three_hosts() {
        let rules: Vec<Value> = ["a", "b", "c", "d", "e"].iter().map(|host| json!({"host": host})).collect();
        assert_eq!(shown_hosts(&rules), "a,b,c + 2 more...");
        assert_eq!(shown_hosts(&[json!({})]), "*");
    }
}
