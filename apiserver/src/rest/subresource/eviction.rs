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
    delete_object(api, &call_of(call, &call.served, call.name()), call.name(), &delete).await?;
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

/// Whether the budget allows one more disruption now.
fn judge(budget: &Value) -> Result<(), Status> {
    let refuse = |message: String| {
        let cause = Cause { reason: "DisruptionBudget".into(), message, field: String::new() };
        let why = "Cannot evict pod as it would violate the pod's disruption budget.";
        Err(Status::too_many_requests(why, 10).with_causes(vec![cause]))
    };
    let observed = meta::at(budget, "status.observedGeneration").as_i64().unwrap_or(0);
    let name = meta::name(budget);
    if observed < meta::generation(budget) {
        return refuse(format!("The disruption budget {name} is still being processed by the server."));
    }
    let allowed = meta::at(budget, "status.disruptionsAllowed").as_i64().unwrap_or(0);
    if allowed > 0 {
        return Ok(());
    }
    let desired = meta::at(budget, "status.desiredHealthy").as_i64().unwrap_or(0);
    let current = meta::at(budget, "status.currentHealthy").as_i64().unwrap_or(0);
    refuse(format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently"))
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
