//! A Job's pod failure policy and success policy.
//!
//! Pure. Concepts: "Jobs", "Pod failure policy" and "Success policy".

use k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::ContainerStatus;

use super::facts;
use super::intervals::Intervals;
use crate::common::pod::Pod;

/// What the failure policy makes of one failed pod.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// Whether it counts as a failure.
    pub(super) counts: bool,
    /// Whether its index fails with it, whatever its limit.
    pub(super) fails_index: bool,
    /// Why the whole Job fails with it.
    pub(super) fails_job: Option<String>,
}

/// The first rule that matches decides; without one the failure counts.
pub(super) fn verdict(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|p| &p.rules).enumerate();
    let matched = rules.filter_map(|(i, rule)| Some((rule, match_rule(rule, i, pod)?))).find_map(|(rule, message)| {
        let plain = Verdict { counts: true, ..Verdict::default() };
        match rule.action.as_str() {
            "Ignore" => Some(Verdict::default()),
            "Count" => Some(plain),
            "FailIndex" => Some(Verdict { fails_index: true, ..plain }),
            "FailJob" => Some(Verdict { fails_job: Some(message), ..plain }),
            // An action of a newer API: as if the rule were not there.
            _ => None,
        }
    });
    matched.unwrap_or(Verdict { counts: true, ..Verdict::default() })
}

/// The sentence for the Job's condition, when the rule matches.
fn match_rule(rule: &PodFailurePolicyRule, index: usize, pod: &Pod) -> Option<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let action = &rule.action;
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let mut containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let (container, code) = containers.find_map(|c| Some((&c.name, matching_code(c, codes)?)))?;
        let end = format!("exit code {code} matching {action} rule at index {index}");
        return Some(format!("Container {container} for pod {namespace}/{name} failed with {end}"));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let condition =
        status.conditions.iter().flatten().find(|c| {
            patterns.iter().any(|p| p.type_ == c.type_ && p.status.as_deref().unwrap_or("True") == c.status)
        })?;
    let kind = &condition.type_;
    Some(format!("Pod {namespace}/{name} has condition {kind} matching {action} rule at index {index}"))
}

/// The exit code of a container that failed and whose code the rule wants.
fn matching_code(container: &ContainerStatus, rule: &PodFailurePolicyOnExitCodesRequirement) -> Option<i32> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = rule.container_name.as_ref().is_none_or(|name| *name == container.name);
    let listed = rule.values.contains(&code);
    let wanted = match rule.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    (named && code != 0 && wanted).then_some(code)
}

/// The message of the condition, when the indexes that succeeded are enough.
pub(super) fn success(spec: &JobSpec, succeeded: &Intervals) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let rules = &spec.success_policy.as_ref()?.rules;
    let met = rules.iter().position(|rule| match &rule.succeeded_indexes {
        Some(text) => {
            let wanted = Intervals::parse(text, facts::indexes(spec));
            let shared = wanted.overlap(succeeded);
            !wanted.is_empty() && (shared == wanted.total() || rule.succeeded_count.is_some_and(|n| shared >= n))
        }
        None => rule.succeeded_count.is_some_and(|n| succeeded.total() >= n),
    })?;
    Some(format!("Matched rules at index {met}"))
}
