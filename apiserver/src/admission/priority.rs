//! `Priority`: the number behind a pod's priority class (Kubernetes concept: "Pod Priority and Preemption").

use async_trait::async_trait;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};
use crate::api::Api;
use crate::rest::current::Current;

pub const NAME: &str = "Priority";

pub struct Priority;

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn mutate(
        &self,
        api: &Api,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if !attributes.is("", "pods", "") {
            return Ok(());
        }
        match (attributes.operation, old) {
            (Operation::Update, Some(old)) => keep(pod, old),
            (Operation::Create, _) => establish(api, attributes, pod)?,
            _ => {}
        }
        Ok(())
    }

    async fn validate(
        &self,
        api: &Api,
        attributes: &Attributes<'_>,
        class: &Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        if !writes
            || !attributes.is("scheduling.k8s.io", "priorityclasses", "")
            || !meta::is_true(class, "globalDefault")
        {
            return Ok(());
        }
        match global_default(api)? {
            Some(other) if attributes.operation == Operation::Create || meta::name(&other) != meta::name(class) => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    meta::name(&other)
                );
                Err(attributes.forbidden_object(class, &why))
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

fn establish(api: &Api, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let named = meta::text(pod, "spec.priorityClassName").to_owned();
    let class = if named.is_empty() {
        global_default(api)?
    } else {
        let class = api.peek_named("scheduling.k8s.io", "priorityclasses", "", &named);
        Some(class.ok_or_else(|| {
            attributes.forbidden_object(pod, &format!("no PriorityClass with name {named} was found"))
        })?)
    };
    let priority = class.as_ref().map_or(0, |class| class["value"].as_i64().unwrap_or(0));
    let given = meta::at(pod, "spec.priority").as_i64();
    if let Some(given) = given.filter(|given| *given != priority) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        );
        return Err(attributes.forbidden_object(pod, &why));
    }
    let policy = class.as_ref().map_or("PreemptLowerPriority", |class| match meta::text(class, "preemptionPolicy") {
        "" => "PreemptLowerPriority",
        policy => policy,
    });
    let given = meta::text(pod, "spec.preemptionPolicy");
    if !given.is_empty() && given != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(attributes.forbidden_object(pod, &why));
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
fn global_default(api: &Api) -> Result<Option<Value>, Status> {
    let Some(served) = api.catalogue.find("scheduling.k8s.io", "v1", "priorityclasses") else { return Ok(None) };
    let mut lowest: Option<Value> = None;
    for item in api.cache.list(served.id, &api.catalogue.prefix(served, "")).iter() {
        let class = Current::from_item(item)?.object;
        let value = |class: &Value| class["value"].as_i64().unwrap_or(0);
        if meta::is_true(&class, "globalDefault") && lowest.as_ref().is_none_or(|found| value(&class) < value(found)) {
            lowest = Some(class);
        }
    }
    Ok(lowest)
}
