//! `/eviction`: a delete that asks the disruption budgets first (Kubernetes concept: "API-initiated Eviction").

use machinery::gvk::Gvk;
use machinery::meta;
use machinery::schema;
use machinery::selector::Selector;
use machinery::status::{Cause, Status};
use serde_json::{Value, json};

use super::call_of;
use crate::api::Api;
use crate::catalogue::Served;
use crate::http_body::Response;
use crate::request::Query;
use crate::rest::body::{self, Decoded};
use crate::rest::current::Current;
use crate::rest::delete::delete_object;
use crate::rest::params::{DeleteOptions, WriteOptions};
use crate::rest::update::{Part, change};
use crate::rest::{Call, respond};

pub async fn create(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let kind = Gvk::new("policy", "v1", "Eviction");
    let schema = schema::builtin(&kind).ok_or_else(|| Status::internal_error("no schema for Eviction"))?;
    let Decoded { object: eviction, .. } =
        body::decode(&call.body, &call.headers, schema, &kind, options.field_validation)?;
    let name = meta::name(&eviction);
    if !name.is_empty() && name != call.name() {
        return Err(Status::bad_request(format!(
            "name in URL does not match name in Eviction object: {} != {name}",
            call.name()
        )));
    }
    let pod = api.read(&call.served, &call.info.namespace, call.name()).await?.ok_or_else(|| call.not_found())?;
    let mut delete =
        DeleteOptions::parse(&Query::default(), eviction.get("deleteOptions").filter(|given| given.is_object()))?;
    delete.dry_run |= options.dry_run;
    if needs_budget(&pod.object) {
        take_budgets(api, call, &pod.object, delete.dry_run).await?;
    }
    // The pod that was judged, not one made anew under its name.
    delete.uid.get_or_insert_with(|| meta::uid(&pod.object).to_owned());
    let own = call_of(call, &call.served, call.name());
    if !delete.dry_run {
        let now = api.now_text();
        change(api, &own, Part::Raw, &WriteOptions::default(), |pod| Ok(marked(pod, &now))).await?;
    }
    delete_object(api, &own, call.name(), &delete).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    respond::encoded(accept, 201, &status)
}

/// A pod that has ended, has not begun or is going away disturbs nobody.
fn needs_budget(pod: &Value) -> bool {
    !meta::is_deleting(pod) && !matches!(meta::text(pod, "status.phase"), "Succeeded" | "Failed" | "Pending")
}

async fn take_budgets(api: &Api, call: &Call, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let Some(budgets) = api.catalogue.find("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
    let matching = matching(api, budgets, call, pod)?;
    let [budget] = matching.as_slice() else {
        if matching.is_empty() {
            return Ok(());
        }
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::internal_error(why));
    };
    if is_free(pod, budget) {
        return Ok(());
    }
    if dry_run {
        return judge(budget);
    }
    let budget_call = call_of(call, budgets, meta::name(budget));
    let (name, now) = (call.name().to_owned(), api.now_text());
    change(api, &budget_call, Part::Raw, &WriteOptions::default(), |budget| spend(budget, &name, &now)).await?;
    Ok(())
}

fn matching(api: &Api, budgets: &Served, call: &Call, pod: &Value) -> Result<Vec<Value>, Status> {
    let snapshot = api.cache.list(budgets.id, &api.catalogue.prefix(budgets, &call.info.namespace));
    let mut matching = Vec::new();
    for item in snapshot.iter() {
        let budget = Current::from_item(item)?.object;
        let selector = Selector::from_label_selector(budget["spec"].get("selector"));
        if selector.is_ok_and(|selector| selector.matches_value(pod["metadata"].get("labels"))) {
            matching.push(budget);
        }
    }
    Ok(matching)
}

/// Whether the budget allows one more disruption now. Only a budget that its controller has still to look at tells when
/// to come back: clients repeat by themselves what bears a `Retry-After`.
fn judge(budget: &Value) -> Result<(), Status> {
    let refuse = |retry_after_seconds: u32, message: String| {
        let cause = Cause { reason: "DisruptionBudget".into(), message, field: String::new() };
        let why = "Cannot evict pod as it would violate the pod's disruption budget.";
        Err(Status::too_many_requests(why, retry_after_seconds).with_causes(vec![cause]))
    };
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let name = meta::name(budget);
    if count("observedGeneration") < meta::generation(budget) {
        return refuse(10, format!("The disruption budget {name} is still being processed by the server."));
    }
    let (desired, current) = (count("desiredHealthy"), count("currentHealthy"));
    let blocking = meta::list(budget, "status.conditions").iter().find(|condition| {
        condition["type"] == "DisruptionAllowed" && condition["status"] == "False" && condition["message"] != ""
    });
    let text = |field: &str| blocking.and_then(|condition| condition[field].as_str()).unwrap_or_default();
    if count("disruptionsAllowed") > 0 {
        Ok(())
    } else if text("reason") == "SyncFailed" {
        let why = text("message");
        refuse(
            0,
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}"
            ),
        )
    } else if current <= desired {
        refuse(0, format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently"))
    } else if blocking.is_some() {
        let (reason, why) = (text("reason"), text("message"));
        refuse(0, format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {why}"))
    } else {
        refuse(0, format!("The disruption budget {name} does not allow evicting pods currently"))
    }
}

/// A pod that is not ready counts for nothing, so that its end may be free.
fn is_free(pod: &Value, budget: &Value) -> bool {
    let mut conditions = meta::list(pod, "status.conditions").iter();
    if conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
        return false;
    }
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    meta::text(budget, "spec.unhealthyPodEvictionPolicy") == "AlwaysAllow"
        || (count("desiredHealthy") > 0 && count("currentHealthy") >= count("desiredHealthy"))
}

/// The pod, told in its conditions why it goes.
fn marked(pod: &Value, now: &str) -> Value {
    let mut new = pod.clone();
    meta::metadata_mut(&mut new).remove("resourceVersion");
    let mut conditions = meta::list(pod, "status.conditions").to_vec();
    conditions.retain(|condition| condition["type"] != "DisruptionTarget");
    let mut target = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": now, "lastProbeTime": null,
    });
    if meta::generation(pod) > 0 {
        target["observedGeneration"] = json!(meta::generation(pod));
    }
    conditions.push(target);
    meta::object_mut(&mut new, "status").insert("conditions".into(), Value::Array(conditions));
    new
}

/// The budget with one disruption less, and the pod noted until the controller sees it go.
fn spend(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    judge(budget)?;
    let mut new = budget.clone();
    let allowed = meta::at(budget, "status.disruptionsAllowed").as_i64().unwrap_or(0) - 1;
    let mut disrupted = meta::map(budget, "status.disruptedPods").clone();
    disrupted.insert(pod.to_owned(), json!(now));
    let status = meta::object_mut(&mut new, "status");
    status.insert("disruptionsAllowed".into(), json!(allowed));
    status.insert("disruptedPods".into(), Value::Object(disrupted));
    Ok(new)
}
