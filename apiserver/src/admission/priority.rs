//! `Priority`: the number behind a pod's priority class (Kubernetes concept: "Pod Priority and Preemption").

use std::sync::Arc;

use async_trait::async_trait;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Operation, Plugin, Request};

pub struct Priority;

#[async_trait]
impl Plugin for Priority {
    async fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if !request.is("", "pods", "") {
            return Ok(());
        }
        match (request.operation, request.old) {
            (Operation::Update, Some(old)) => keep(pod, old),
            (Operation::Create, _) => establish(request, pod)?,
            _ => {}
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, class: &Value) -> Result<(), Status> {
        if !request.writes()
            || !request.is("scheduling.k8s.io", "priorityclasses", "")
            || !meta::is_true(class, "globalDefault")
        {
            return Ok(());
        }
        match global_default(request)? {
            Some(other) if request.operation == Operation::Create || meta::name(&other) != meta::name(class) => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    meta::name(&other)
                );
                Err(request.forbidden_object(class, &why))
            }
            _ => Ok(()),
        }
    }
}

fn keep(pod: &mut Value, old: &Value) {
    for name in ["priority", "preemptionPolicy"] {
        let stored = &old["spec"][name];
        if pod["spec"][name].is_null() && !stored.is_null() {
            pod["spec"][name] = stored.clone();
        }
    }
}

fn establish(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    let named = meta::text(pod, "spec.priorityClassName").to_owned();
    let class =
        if named.is_empty() {
            global_default(request)?
        } else {
            let class = request.api.peek_named("scheduling.k8s.io", "priorityclasses", "", &named);
            Some(class.map(Arc::new).ok_or_else(|| {
                request.forbidden_object(pod, &format!("no PriorityClass with name {named} was found"))
            })?)
        };
    let priority = class.as_ref().map_or(0, |class| class["value"].as_i64().unwrap_or(0));
    let given = meta::at(pod, "spec.priority").as_i64();
    if let Some(given) = given.filter(|given| *given != priority) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        );
        return Err(request.forbidden_object(pod, &why));
    }
    let policy = class.as_ref().map_or("PreemptLowerPriority", |class| match meta::text(class, "preemptionPolicy") {
        "" => "PreemptLowerPriority",
        policy => policy,
    });
    if let Some(given) = meta::at(pod, "spec.preemptionPolicy").as_str().filter(|given| *given != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(request.forbidden_object(pod, &why));
    }
    let policy = policy.to_owned();
    let spec = meta::object_mut(pod, "spec");
    spec.insert("priority".into(), json!(priority));
    spec.insert("preemptionPolicy".into(), policy.into());
    if let Some(class) = &class {
        spec.insert("priorityClassName".into(), meta::name(class).into());
    }
    Ok(())
}

/// Of several defaults the lowest counts, as upstream has it.
fn global_default(request: &Request<'_>) -> Result<Option<Arc<Value>>, Status> {
    let classes = request.list("scheduling.k8s.io", "priorityclasses", "")?.into_iter();
    let defaults = classes.filter(|class| meta::is_true(class, "globalDefault"));
    Ok(defaults.min_by_key(|class| class["value"].as_i64().unwrap_or(0)))
}
