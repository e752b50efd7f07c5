//! Rules of a pod's spec, the same for pods and for templates (upstream's `ValidatePodSpec`).
//!
//! Enter at [`pod`] and [`template`]. One file for each concern; each function takes a part of the spec and the path at
//! which it stands. What is wrong is told in upstream's order.

mod annotations;
mod container;
mod environment;
pub mod ephemeral;
mod host;
mod mount;
mod network;
mod probe;
pub mod resize;
mod resources;
mod restart;
mod scheduling;
mod security;
mod status;
mod status_claims;
mod status_parts;
mod update;
mod volume;
mod windows;

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::{Value, json};

use crate::kinds::validate;

pub use scheduling::{node_selector, toleration};
pub use status::validate_status;
pub use update::validate_update;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const SECONDS_MAX: i64 = i32::MAX as i64;

/// What a spec stands in.
pub struct Context<'a> {
    /// `None` for a template, which may leave open what the pods that are made of it say.
    pod: Option<&'a Value>,
}

impl<'a> Context<'a> {
    const TEMPLATE: Context<'static> = Context { pod: None };

    fn of_pod(pod: &'a Value) -> Self {
        Self { pod: Some(pod) }
    }

    fn pod_name(&self) -> Option<&'a str> {
        self.pod.map(meta::name).filter(|name| !name.is_empty())
    }
}

/// Rules of a pod on a create; an update keeps them too.
pub fn pod(pod: &Value) -> ErrorList {
    let (path, at) = (Path::new("spec"), validate::path(&["metadata", "annotations"]));
    let (spec, annotations) = (&pod["spec"], meta::map(pod, "metadata.annotations"));
    let mut errors = annotations::all(annotations, spec, &at);
    errors.extend(self::spec(spec, &Context::of_pod(pod), &path));
    if meta::text(spec, "serviceAccountName").is_empty() {
        errors.extend(tokens_of_nobody(spec, &path.child("volumes")));
    }
    for list in ["containers", "initContainers"] {
        for (position, container) in meta::list(spec, list).iter().enumerate() {
            errors.extend(container::image_for_pod(container, &path.child(list).index(position)));
        }
    }
    errors
}

/// What holds for a new pod only.
pub fn new_pod(pod: &Value) -> ErrorList {
    let (spec, path) = (&pod["spec"], Path::new("spec"));
    let mut errors = ErrorList::new();
    if !meta::list(spec, "ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !meta::text(spec, "nodeName").is_empty() && !meta::list(spec, "schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(&path.child("nodeName"), why));
    }
    errors.extend(annotations::agreement(meta::map(pod, "metadata.annotations"), spec, &path));
    errors
}

/// What holds for a template of pods beside its labels; `path` is the template's. Upstream leaves "metadata" out.
pub fn template(template: &Value, path: &Path) -> ErrorList {
    let (spec, at) = (&template["spec"], path.child("spec"));
    let annotations = meta::map(template, "metadata.annotations");
    let mut errors = annotations::all(annotations, spec, &path.child("annotations"));
    errors.extend(self::spec(spec, &Context::TEMPLATE, &at));
    errors.extend(annotations::agreement(annotations, spec, &at));
    errors
}

/// What a pod of a runtime class takes beside its containers.
pub fn overhead(amounts: &Value, path: &Path) -> ErrorList {
    resources::container(&json!({"limits": amounts}), &BTreeSet::new(), path)
}

fn spec(spec: &Value, context: &Context, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let grace_seconds = spec["terminationGracePeriodSeconds"].as_i64();
    if grace_seconds.is_none() {
        errors.push(Error::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let (volumes, wrong) = volume::all(spec, context, path);
    errors.extend(wrong);
    let is_static = context.pod.is_some_and(|pod| meta::annotation(pod, ephemeral::MIRROR).is_some());
    errors.extend(resources::claims(spec, is_static, &path.child("resourceClaims")));
    let claims = meta::list(spec, "resourceClaims").iter().map(|claim| meta::text(claim, "name"));
    let around = container::Around {
        volumes,
        claims: claims.filter(|name| !name.is_empty()).collect(),
        restart_policy: meta::text(spec, "restartPolicy"),
        grace_seconds,
        host_users: spec["hostUsers"] != false,
    };
    errors.extend(container::all(spec, &around, path));
    errors.extend(resources::pod(spec, &around.claims, &path.child("resources")));
    errors.extend(host::ports(spec, context, path));
    errors.extend(one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], path));
    errors.extend(one_of(spec, "dnsPolicy", &network::POLICIES, path));
    errors.extend(validate::validate_labels(&spec["nodeSelector"], &path.child("nodeSelector")));
    errors.extend(security::pod(spec, path));
    errors.extend(scheduling::affinity(&spec["affinity"], &path.child("affinity")));
    errors.extend(network::config(spec, &path.child("dnsConfig")));
    errors.extend(scheduling::gates(spec, path));
    errors.extend(scheduling::spreading(spec, &path.child("topologySpreadConstraints")));
    errors.extend(windows::host_process(spec, path));
    errors.extend(host::users(spec, path));
    errors.extend(host::name(spec, path));
    errors.extend(rest(spec, path));
    errors
}

/// Small fields, as upstream has them at the end.
fn rest(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let named = |fields: &[&str], check: names::NameCheck| -> ErrorList {
        let given = fields.iter().map(|field| (field, meta::text(spec, field))).filter(|(_, name)| !name.is_empty());
        given.flat_map(|(field, name)| validate::named(name, check, &path.child(field))).collect()
    };
    errors.extend(named(&["serviceAccountName", "nodeName"], names::dns_subdomain));
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64().filter(|seconds| !(1..=SECONDS_MAX).contains(seconds))
    {
        let why = names::range_error(1, SECONDS_MAX);
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, why));
    }
    errors.extend(named(&["hostname", "subdomain"], names::dns_label));
    for (position, toleration) in meta::list(spec, "tolerations").iter().enumerate() {
        errors.extend(self::toleration(toleration, &path.child("tolerations").index(position)));
    }
    errors.extend(network::aliases(spec, &path.child("hostAliases")));
    errors.extend(named(&["priorityClassName"], names::dns_subdomain));
    if let Some(class) = spec["runtimeClassName"].as_str() {
        errors.extend(validate::named(class, names::dns_subdomain, &path.child("runtimeClassName")));
    }
    if !spec["preemptionPolicy"].is_null() {
        errors.extend(one_of(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], path));
    }
    if !spec["overhead"].is_null() {
        errors.extend(overhead(&spec["overhead"], &path.child("overhead")));
    }
    errors.extend(windows::system(spec, path));
    errors.extend(environment::files(spec, path));
    errors
}

/// A token is an account's.
fn tokens_of_nobody(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, volume) in meta::list(spec, "volumes").iter().enumerate() {
        for (position, source) in meta::list(volume, "projected.sources").iter().enumerate() {
            if !source["serviceAccountToken"].is_null() {
                let at = path.index(index).child("projected").child("sources").index(position);
                let why = "must not be specified when serviceAccountName is not set";
                errors.push(Error::forbidden(&at.child("serviceAccountToken"), why));
            }
        }
    }
    errors
}

/// All containers of a spec with their paths, in the order in which upstream visits them.
fn each_container<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    let each = lists.flat_map(|list| {
        let at = path.child(list);
        let containers = meta::list(spec, list).iter().enumerate();
        containers.map(move |(position, container)| (container, at.index(position)))
    });
    each.collect()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A field whose value must be one of a few; upstream says `Required` where it is empty.
fn one_of(object: &Value, field: &str, supported: &[&str], path: &Path) -> Option<Error> {
    let (value, at) = (meta::text(object, field), path.child(field));
    if value.is_empty() {
        return Some(Error::required(&at, ""));
    }
    (!supported.contains(&value)).then(|| Error::not_supported(&at, value, supported))
}

/// Names a required reference to another object.
fn required_name(object: &Value, field: &str, path: &Path) -> Option<Error> {
    meta::text(object, field).is_empty().then(|| Error::required(&path.child(field), ""))
}

/// What tests compare.
#[cfg(test)]
fn told(errors: ErrorList) -> Vec<String> {
    errors.iter().map(Error::to_string).collect()
}
