//! `PodSecurity`: the Pod Security Standards, by labels of the namespace (Kubernetes concept: "Pod Security Admission").
//!
//! Enter at [`PodSecurity`]. [`policy`] reads the labels; [`checks`] are the standards' rules, each a function from a
//! pod to what is wrong with it. What `audit` finds is told in the request's audit event. [`exemptions`] are whom a
//! configuration leaves alone.

mod checks;
mod exemptions;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use machinery::field::quote;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use self::checks::Violations;
use self::exemptions::Exemptions;
use self::policy::{LevelVersion, Policy};
use super::configuration::Configuration;
use super::{Operation, Plugin, Request, template};
use crate::rest::current::Current;

pub struct PodSecurity {
    defaults: Policy,
    exemptions: Exemptions,
}

impl PodSecurity {
    /// With the defaults and exemptions of its configuration, if it has one.
    pub fn configured(configuration: &Configuration) -> Result<Self, String> {
        let (defaults, exemptions) = exemptions::read(configuration)?;
        Ok(Self { defaults, exemptions })
    }
}

const PREFIX: &str = "pod-security.kubernetes.io/";

#[async_trait]
impl Plugin for PodSecurity {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if !request.writes() {
            return Ok(());
        }
        let row = &request.served().row;
        if request.is("", "namespaces", "") {
            return self.judge_namespace(request, object);
        }
        if row.group.is_empty() && row.plural == "pods" {
            return match IGNORED.contains(&request.info().subresource.as_str()) {
                true => Ok(()),
                false => self.judge_pod(request, object).await,
            };
        }
        match template::of(request.served().hooks, object) {
            Some((template, _)) if request.info().subresource.is_empty() => {
                self.judge_template(request, template).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Subresources of pods that cannot change what a pod may do.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// More pods of a namespace than this are not looked at when its level changes.
const PODS_MAX: usize = 3000;

impl PodSecurity {
    async fn policy_of(&self, request: &Request<'_>) -> Result<Policy, Status> {
        let name = request.namespace();
        let namespace = request.find("", "namespaces", name).await?;
        let missing = || Status::internal_error(format!("failed to lookup namespace {}", quote(name)));
        let (policy, wrong) = policy::read(namespace.as_deref().ok_or_else(missing)?, &self.defaults);
        if !wrong.is_empty() {
            let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            request.annotate(&format!("{PREFIX}error"), format!("Failed to parse policy: {}", told.join(", ")));
        }
        Ok(policy)
    }

    /// Whether the request is left alone; the audit event then says why.
    fn exempts(&self, request: &Request<'_>, pod: &Value) -> bool {
        let reason = self.exemptions.reason(request.namespace(), &request.user().name, pod);
        if let Some(reason) = reason {
            request.annotate(&format!("{PREFIX}exempt"), reason);
        }
        reason.is_some()
    }

    async fn judge_pod(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        if self.exempts(request, pod) || request.old.is_some_and(|old| !changes_images(pod, old)) {
            return Ok(());
        }
        let policy = self.policy_of(request).await?;
        request.annotate(&format!("{PREFIX}enforce-policy"), policy.enforce.to_string());
        let violations = checks::run(policy.enforce, pod);
        audit(request, policy.audit, pod);
        if !violations.is_empty() {
            let why = format!("violates PodSecurity {}: {}", quote(&policy.enforce.to_string()), violations.details());
            return Err(request.forbidden_object(pod, &why));
        }
        warn(request, policy.warn, pod);
        Ok(())
    }

    /// What makes pods is not refused, only told: the pods will be.
    async fn judge_template(&self, request: &Request<'_>, template: &Value) {
        if self.exempts(request, template) {
            return;
        }
        if let Ok(policy) = self.policy_of(request).await {
            audit(request, policy.audit, template);
            warn(request, policy.warn, template);
        }
    }

    fn judge_namespace(&self, request: &Request<'_>, namespace: &Value) -> Result<(), Status> {
        let (policy, wrong) = policy::read(namespace, &self.defaults);
        let before = request.old.map(|old| policy::read(old, &self.defaults));
        let was_wrong = before.as_ref().is_some_and(|(_, before)| *before == wrong);
        if !wrong.is_empty() && !was_wrong {
            return Err(Status::invalid("", "Namespace", meta::name(namespace), &wrong));
        }
        let name = meta::name(namespace);
        let is_looser = |before: &Policy| policy.enforce.is_no_stricter_than(before.enforce);
        if before.as_ref().is_some_and(|(before, _)| is_looser(before)) {
            return Ok(());
        }
        if self.exemptions.has_namespace(name) {
            if !policy.is_open() && policy != self.defaults {
                let told = policy::told(namespace, &policy);
                request.warn(format!(
                    "namespace {} is exempt from Pod Security, and the policy ({told}) will be ignored",
                    quote(name)
                ));
            }
            return Ok(());
        }
        if request.operation == Operation::Update {
            tell_violating(request, name, policy.enforce, one_of_each(pods_of(request, name)?));
        }
        Ok(())
    }
}

fn would_violate(level: LevelVersion, pod: &Value) -> Option<String> {
    let violations = checks::run(level, pod);
    let told = || format!("would violate PodSecurity {}: {}", quote(&level.to_string()), violations.details());
    (!violations.is_empty()).then(told)
}

fn audit(request: &Request<'_>, level: LevelVersion, pod: &Value) {
    if let Some(told) = would_violate(level, pod) {
        request.annotate(&format!("{PREFIX}audit-violations"), told);
    }
}

fn warn(request: &Request<'_>, level: LevelVersion, pod: &Value) {
    if let Some(told) = would_violate(level, pod) {
        request.warn(told);
    }
}

/// Of what may change in a pod only new containers and other images matter.
fn changes_images(pod: &Value, old: &Value) -> bool {
    ["spec.containers", "spec.initContainers"].iter().any(|list| {
        let (new, old) = (meta::list(pod, list), meta::list(old, list));
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| new["image"] != old["image"])
    }) || meta::list(pod, "spec.ephemeralContainers").iter().any(|container| {
        let mut before = meta::list(old, "spec.ephemeralContainers").iter();
        before.find(|old| old["name"] == container["name"]).is_none_or(|old| old["image"] != container["image"])
    })
}

/// Read for this once: unlike [`Request::list`], nothing of them is kept.
fn pods_of(request: &Request<'_>, namespace: &str) -> Result<Vec<Value>, Status> {
    let Some(served) = request.api.catalogue.find("", "v1", "pods") else { return Ok(Vec::new()) };
    let snapshot = request.api.cache.list(served.id, &request.api.catalogue.prefix(served, namespace));
    snapshot.iter().map(|item| Current::from_item(item).map(|current| current.object)).collect()
}

/// Pods with one of each controller first: its others are made alike.
fn one_of_each(pods: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    let (mut first, others): (Vec<Value>, Vec<Value>) = pods.into_iter().partition(|pod| {
        let owners = meta::list(pod, "metadata.ownerReferences");
        let controller = owners.iter().find(|owner| owner["controller"] == true);
        controller.is_none_or(|owner| seen.insert(owner["uid"].to_string()))
    });
    first.extend(others);
    first
}

/// Warns of the pods that are there and would not be let in any more.
fn tell_violating(request: &Request<'_>, namespace: &str, enforce: LevelVersion, pods: Vec<Value>) {
    let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let violations: Violations = checks::run(enforce, pod);
        if !violations.is_empty() {
            by_reason.entry(violations.reasons()).or_default().push(meta::name(pod).to_owned());
        }
    }
    if pods.len() > PODS_MAX {
        request.warn(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    if !by_reason.is_empty() {
        request.warn(format!(
            "existing pods in namespace {} violate the new PodSecurity enforce level {}",
            quote(namespace),
            quote(&enforce.to_string())
        ));
    }
    let mut told: Vec<String> = by_reason.into_iter().map(|(reason, names)| told(&reason, names)).collect();
    told.sort();
    told.into_iter().for_each(|text| request.warn(text));
}

fn told(reason: &str, mut names: Vec<String>) -> String {
    names.sort();
    match names.as_slice() {
        [] => reason.to_owned(),
        [only] => format!("{only}: {reason}"),
        [first, _] => format!("{first} (and 1 other pod): {reason}"),
        [first, others @ ..] => format!("{first} (and {} other pods): {reason}", others.len()),
    }
}
