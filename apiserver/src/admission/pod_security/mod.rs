//! `PodSecurity`: the Pod Security Standards, by labels of the namespace (Kubernetes concept: "Pod Security Admission").
//!
//! Enter at [`PodSecurity`]. [`policy`] reads the labels; [`checks`] are the standards' rules, each a function from a
//! pod to what is wrong with it. What `audit` finds is not told anywhere yet: there is no audit log.

mod checks;
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
use self::policy::{LevelVersion, Policy};
use super::{Operation, Plugin, Request, template};

pub struct PodSecurity;

#[async_trait]
impl Plugin for PodSecurity {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if !request.writes() {
            return Ok(());
        }
        let row = &request.served().row;
        if request.is("", "namespaces", "") {
            return judge_namespace(request, object);
        }
        if row.group.is_empty() && row.plural == "pods" {
            return match IGNORED.contains(&request.info().subresource.as_str()) {
                true => Ok(()),
                false => judge_pod(request, object).await,
            };
        }
        match template::of(row, object) {
            Some((template, _)) if request.info().subresource.is_empty() => judge_template(request, template).await,
            _ => Ok(()),
        }
    }
}

/// Subresources of pods that cannot change what a pod may do.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// More pods of a namespace than this are not looked at when its level changes.
const PODS_MAX: usize = 3000;

async fn policy_of(request: &Request<'_>) -> Result<Policy, Status> {
    let name = request.namespace();
    let namespace = request.find("", "namespaces", name).await?;
    let missing = || Status::internal_error(format!("failed to lookup namespace {}", quote(name)));
    Ok(policy::read(&namespace.ok_or_else(missing)?).0)
}

async fn judge_pod(request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    if request.old.is_some_and(|old| !changes_images(pod, old)) {
        return Ok(());
    }
    let policy = policy_of(request).await?;
    let violations = checks::run(policy.enforce, pod);
    if !violations.is_empty() {
        let why = format!("violates PodSecurity {}: {}", quote(&policy.enforce.to_string()), violations.details());
        return Err(request.forbidden_object(pod, &why));
    }
    warn(request, policy.warn, pod);
    Ok(())
}

/// What makes pods is not refused, only told: the pods will be.
async fn judge_template(request: &Request<'_>, template: &Value) -> Result<(), Status> {
    if let Ok(policy) = policy_of(request).await {
        warn(request, policy.warn, template);
    }
    Ok(())
}

fn warn(request: &Request<'_>, level: LevelVersion, pod: &Value) {
    let violations = checks::run(level, pod);
    if !violations.is_empty() {
        let level = quote(&level.to_string());
        request.warn(format!("would violate PodSecurity {level}: {}", violations.details()));
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

fn judge_namespace(request: &Request<'_>, namespace: &Value) -> Result<(), Status> {
    let (policy, wrong) = policy::read(namespace);
    let before = request.old.map(policy::read);
    let was_wrong = before.as_ref().is_some_and(|(_, before)| *before == wrong);
    if !wrong.is_empty() && !was_wrong {
        return Err(Status::invalid("", "Namespace", meta::name(namespace), &wrong));
    }
    let (Operation::Update, Some((before, _))) = (request.operation, before) else { return Ok(()) };
    if policy.enforce.is_no_stricter_than(before.enforce) {
        return Ok(());
    }
    let name = meta::name(namespace);
    let pods = request.list("", "pods", name)?;
    tell_violating(request, name, policy.enforce, one_of_each(pods));
    Ok(())
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
