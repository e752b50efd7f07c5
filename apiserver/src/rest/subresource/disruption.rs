//! What disruption budgets say to an eviction, pure: which ones are asked, what they answer, what one costs.
//!
//! Kubernetes concept: "Disruptions".

use machinery::meta;
use machinery::selector::Selector;
use machinery::status::{Cause, GroupResource, Status};
use serde_json::{Value, json};

/// More evictions than this, which the budget's controller has not seen yet, are too many.
const UNCONFIRMED_MAX: usize = 2000;

/// Whether a budget is about a pod.
pub fn covers(budget: &Value, pod: &Value) -> bool {
    let selector = Selector::from_label_selector(budget["spec"].get("selector").filter(|selector| !selector.is_null()));
    selector.is_ok_and(|selector| selector.matches_value(pod["metadata"].get("labels")))
}

/// A pod that has ended, has not begun or is going away disturbs nobody.
pub fn needs_budget(pod: &Value) -> bool {
    !meta::is_deleting(pod) && !matches!(meta::text(pod, "status.phase"), "Succeeded" | "Failed" | "Pending")
}

fn count(budget: &Value, field: &str) -> i64 {
    budget["status"][field].as_i64().unwrap_or(0)
}

fn refuse(retry_after_seconds: u32, message: String) -> Status {
    let cause = Cause { reason: "DisruptionBudget".into(), message, field: String::new() };
    let why = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::too_many_requests(why, retry_after_seconds).with_causes(vec![cause])
}

/// The budget's state is behind: clients repeat by themselves what bears a `Retry-After`.
pub fn unsettled(name: &str) -> Status {
    refuse(10, format!("The disruption budget {name} is still being processed by the server."))
}

/// Whether the budget allows one more disruption now. Only a budget that its controller has still to look at tells when
/// to come back.
pub fn judge(budget: &Value) -> Result<(), Status> {
    let name = meta::name(budget);
    let forbidden = |why: &str| {
        Err(Status::forbidden(GroupResource { group: "policy", resource: "poddisruptionbudget" }, name, why))
    };
    if count(budget, "observedGeneration") < meta::generation(budget) {
        return Err(unsettled(name));
    }
    if count(budget, "disruptionsAllowed") < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if meta::map(budget, "status.disruptedPods").len() > UNCONFIRMED_MAX {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if count(budget, "disruptionsAllowed") > 0 { Ok(()) } else { Err(refuse(0, why_not(budget))) }
}

fn why_not(budget: &Value) -> String {
    let name = meta::name(budget);
    let (desired, current) = (count(budget, "desiredHealthy"), count(budget, "currentHealthy"));
    let blocking = meta::list(budget, "status.conditions").iter().find(|condition| {
        condition["type"] == "DisruptionAllowed"
            && condition["status"] == "False"
            && !meta::text(condition, "message").is_empty()
    });
    let text = |field: &str| blocking.and_then(|condition| condition[field].as_str()).unwrap_or_default();
    let (reason, why) = (text("reason"), text("message"));
    if reason == "SyncFailed" {
        format!("The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}")
    } else if current <= desired {
        format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently")
    } else if blocking.is_some() {
        format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {why}")
    } else {
        format!("The disruption budget {name} does not allow evicting pods currently")
    }
}

/// A pod that is not ready counts for nothing, so that its end may be free.
pub fn is_free(pod: &Value, budget: &Value) -> bool {
    let mut conditions = meta::list(pod, "status.conditions").iter();
    if conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
        return false;
    }
    let desired = count(budget, "desiredHealthy");
    meta::text(budget, "spec.unhealthyPodEvictionPolicy") == "AlwaysAllow"
        || (desired > 0 && count(budget, "currentHealthy") >= desired)
}

/// The budget with one disruption less, and the pod noted until the controller sees it go.
pub fn spend(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    judge(budget)?;
    let mut new = budget.clone();
    let allowed = count(budget, "disruptionsAllowed") - 1;
    if allowed == 0 {
        exhaust(&mut new, now);
    }
    let mut disrupted = meta::map(budget, "status.disruptedPods").clone();
    disrupted.insert(pod.to_owned(), json!(now));
    let status = meta::object_mut(&mut new, "status");
    status.insert("disruptionsAllowed".into(), json!(allowed));
    status.insert("disruptedPods".into(), Value::Object(disrupted));
    Ok(new)
}

/// Says in the conditions that no more is allowed.
fn exhaust(budget: &mut Value, now: &str) {
    let generation = count(budget, "observedGeneration");
    let mut conditions = meta::list(budget, "status.conditions").to_vec();
    let before = conditions.iter().position(|condition| condition["type"] == "DisruptionAllowed");
    let since = before.map(|at| &conditions[at]).filter(|condition| condition["status"] == "False");
    let since = since.map_or(json!(now), |condition| condition["lastTransitionTime"].clone());
    let condition = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": generation, "lastTransitionTime": since,
    });
    match before {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    meta::object_mut(budget, "status").insert("conditions".into(), conditions.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "spec": {}, "status": status})
    }

    #[test]
    fn a_budget_tells_why_not() {
        let blocked = |reason: &str| {
            json!({"observedGeneration": 1, "desiredHealthy": 1, "currentHealthy": 2, "conditions": [
                {"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": "m"},
            ]})
        };
        for (status, code, want) in [
            (json!({}), 429, "The disruption budget b is still being processed by the server."),
            (json!({"observedGeneration": 1, "disruptionsAllowed": -1}), 403, "negative"),
            (
                json!({"observedGeneration": 1, "desiredHealthy": 2, "currentHealthy": 1}),
                429,
                "The disruption budget b needs 2 healthy pods and has 1 currently",
            ),
            (blocked("SyncFailed"), 429, "because it failed sync: m"),
            (blocked("Other"), 429, "currently (Other): m"),
        ] {
            let refused = judge(&budget(status.clone())).expect_err("not allowed");
            let causes = refused.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
            let told = causes.first().map_or(refused.message.as_str(), |cause| cause.message.as_str());
            assert_eq!(refused.code, code, "{status}");
            assert!(told.ends_with(want), "{status}: {told}");
        }
    }

    #[test]
    fn the_last_disruption_is_told_in_a_condition() {
        let two = budget(json!({"observedGeneration": 1, "disruptionsAllowed": 2}));
        let one = spend(&two, "p", "t1").expect("allowed");
        assert!(one["status"].get("conditions").is_none());
        let none = spend(&one, "q", "t2").expect("allowed");
        assert_eq!(none["status"]["disruptedPods"], json!({"p": "t1", "q": "t2"}));
        assert_eq!(none["status"]["conditions"][0]["lastTransitionTime"], "t2");
        assert!(spend(&none, "r", "t3").is_err());
    }

    #[test]
    fn what_is_not_ready_may_go_for_nothing() {
        let pod = |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let healthy = budget(json!({"desiredHealthy": 1, "currentHealthy": 1}));
        let sick = budget(json!({"desiredHealthy": 2, "currentHealthy": 1}));
        assert!(is_free(&pod("False"), &healthy));
        assert!(!is_free(&pod("True"), &healthy));
        assert!(!is_free(&pod("False"), &sick));
        let mut lenient = sick.clone();
        lenient["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        assert!(is_free(&pod("False"), &lenient));
    }
}
