//! APIServices: who answers for a group version (Kubernetes concept: "Kubernetes API Aggregation Layer").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use machinery::names;
use serde_json::{Value, json};

use super::{Hooks, MetadataRounds, RESETS_WITH_METADATA, text_column, validate};
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    takes_bare_finalizers: true,
    name: names::path_segment,
    default: |service| {
        let reference = service.pointer_mut("/spec/service").and_then(Value::as_object_mut);
        if let Some(reference) = reference.filter(|fields| fields.get("port").is_none_or(Value::is_null)) {
            reference.insert("port".into(), 443.into());
        }
    },
    prepare_create: |service| {
        service["status"] = match service["spec"]["service"].is_object() {
            true => json!({}),
            false => {
                let now = service["metadata"]["creationTimestamp"].clone();
                json!({"conditions": [{
                    "type": "Available", "status": "True", "lastTransitionTime": now,
                    "reason": "Local", "message": "Local APIServices are always available",
                }]})
            }
        };
    },
    resets: RESETS_WITH_METADATA,
    prepare_status: validate::keep_metadata,
    validate: validate_service,
    validate_status: |new, _| {
        let path = validate::path(&["status", "conditions"]);
        let statuses = ["True", "False", "Unknown"];
        let conditions = meta::list(new, "status.conditions").iter().enumerate();
        let wrong = conditions.filter(|(_, condition)| !statuses.contains(&meta::text(condition, "status")));
        wrong
            .map(|(position, condition)| {
                Error::not_supported(&path.index(position).child("status"), meta::text(condition, "status"), &statuses)
            })
            .collect()
    },
    updates_unconditionally: false,
    columns: &[
        NAME,
        text_column("Service", "The Service that answers, or this server itself."),
        text_column("Available", "Whether it can be asked."),
        AGE,
    ],
    cells,
    ..Hooks::PLAIN
};

fn cells(service: &Value, now: i64) -> Vec<Value> {
    let reference = &service["spec"]["service"];
    let by = match reference.is_object() {
        true => format!("{}/{}", meta::text(reference, "namespace"), meta::text(reference, "name")),
        false => "Local".to_owned(),
    };
    let mut conditions = meta::list(service, "status.conditions").iter();
    let available = conditions.find(|condition| condition["type"] == "Available").map(|condition| {
        match (meta::text(condition, "status"), meta::text(condition, "reason")) {
            ("True", _) => "True".to_owned(),
            (status, "") => status.to_owned(),
            (status, reason) => format!("{status} ({reason})"),
        }
    });
    vec![
        meta::name(service).into(),
        by.into(),
        available.unwrap_or_else(|| "Unknown".to_owned()).into(),
        age(service, now).into(),
    ]
}

fn validate_service(service: &Value) -> ErrorList {
    let (path, spec) = (Path::new("spec"), &service["spec"]);
    let text = |field: &str| meta::text(spec, field);
    let (group, version, name) = (text("group"), text("version"), meta::name(service));
    let mut errors = ErrorList::new();
    let wanted = format!("{version}.{group}");
    // Upstream has the same rule for what would be a prefix, with its dash.
    for (field, name) in [("generateName", meta::text(service, "metadata.generateName")), ("name", name)] {
        if !name.is_empty() && name != wanted && names::path_segment(name).is_empty() {
            let why = format!("must be `spec.version+\".\"+spec.group`: {}", quote(&wanted));
            errors.push(Error::invalid(&validate::path(&["metadata", field]), name, why));
        }
    }
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        errors.push(Error::required(&path.child("group"), why));
    }
    if !group.is_empty() {
        errors.extend(validate::named(group, names::dns_subdomain, &path.child("group")));
    }
    errors.extend(validate::named(version, names::dns1035_label, &path.child("version")));
    for (field, highest) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec[field].as_i64().unwrap_or(0);
        if !(1..=highest).contains(&priority) {
            let why = format!("must be positive and less than {highest}");
            errors.push(Error::invalid(&path.child(field), priority, why));
        }
    }
    errors.extend(validate_reference(spec, &path));
    errors
}

/// The Service and how it is trusted.
fn validate_reference(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (bundle, insecure) = (meta::text(spec, "caBundle"), meta::is_true(spec, "insecureSkipTLSVerify"));
    let insecure_at = path.child("insecureSkipTLSVerify");
    let reference = &spec["service"];
    if !reference.is_object() {
        if !bundle.is_empty() {
            let bytes = format!("{} bytes", STANDARD.decode(bundle).unwrap_or_default().len());
            let why = "local APIServices may not have a caBundle";
            errors.push(Error::invalid(&path.child("caBundle"), bytes, why));
        }
        if insecure {
            errors.push(Error::invalid(&insecure_at, true, "local APIServices may not have insecureSkipTLSVerify"));
        }
        return errors;
    }
    let at = path.child("service");
    let absent = ["namespace", "name"].into_iter().filter(|field| meta::text(reference, field).is_empty());
    errors.extend(absent.map(|field| Error::required(&at.child(field), "")));
    let port = reference["port"].as_i64().unwrap_or(0);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        errors.push(Error::invalid(&at.child("port"), port, format!("port is not valid: {}", wrong.join(", "))));
    }
    if insecure && !bundle.is_empty() {
        errors.push(Error::invalid(&insecure_at, true, "may not be true if caBundle is present"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, spec: Value) -> Vec<String> {
        let mut service = json!({"metadata": {"name": name}, "spec": spec});
        (HOOKS.default)(&mut service);
        validate_service(&service).iter().map(Error::to_string).collect()
    }

    #[test]
    fn services_good_and_bad() {
        let base = json!({"group": "a.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1});
        let with = |more: Value| {
            let mut spec = base.clone();
            more.as_object().unwrap().iter().for_each(|(name, value)| spec[name] = value.clone());
            spec
        };
        assert_eq!(told("v1.a.io", base.clone()), [""; 0]);
        assert_eq!(told("v1.", with(json!({"group": ""}))), [""; 0]);
        assert_eq!(
            told("v1.a.io", with(json!({"service": {"namespace": "n", "name": "s"}, "caBundle": "YQ=="}))),
            [""; 0]
        );
        assert_eq!(
            told("x", base.clone()),
            ["metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: \"v1.a.io\""]
        );
        assert_eq!(
            told(
                "v1.a.io",
                with(
                    json!({"groupPriorityMinimum": 0, "versionPriority": 1001, "caBundle": "YQ==", "insecureSkipTLSVerify": true})
                )
            ),
            [
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
                "spec.caBundle: Invalid value: \"1 bytes\": local APIServices may not have a caBundle",
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ]
        );
        for (prefix, is_right) in [("v1.a.io", true), ("v1.a.ip-", false), ("v1.a.i-", false)] {
            let service = json!({"metadata": {"generateName": prefix, "name": "v1.a.io"}, "spec": base});
            let fields: Vec<String> = validate_service(&service).into_iter().map(|error| error.field).collect();
            assert_eq!(fields, if is_right { vec![] } else { vec!["metadata.generateName"] }, "{prefix}");
        }
        assert_eq!(
            told("v1.a.io", with(json!({"service": {"port": 0}}))),
            [
                "spec.service.namespace: Required value",
                "spec.service.name: Required value",
                "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            ]
        );
    }
}
