//! Keeps the plan true to the stored objects, lends seats from time to time, and tells FlowSchemas whether their level
//! is there.

use std::sync::Arc;
use std::time::Duration;

use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::Fairness;
use crate::api::Api;
use crate::bootstrap::own_call;
use crate::cache::WatchFrom;
use crate::rest::apply::{self, Configuration};
use crate::rest::current::Current;
use crate::rest::params::WriteOptions;
use crate::rest::update::{Part, change};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations";
const SCHEMAS: &str = "flowschemas";
/// How often seats are lent anew.
const PERIOD: Duration = Duration::from_secs(10);
/// Upstream's name for who writes the condition.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Follows the stored objects until shutdown.
pub async fn run(api: Arc<Api>, fairness: Arc<Fairness>) {
    if !api.is_loaded().await {
        return;
    }
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (Some(mut levels), Some(mut schemas)) = (watch(&api, LEVELS), watch(&api, SCHEMAS)) else { return };
        // After the watches are open: what comes between is seen by both, never by neither.
        settle(&api, &fairness).await;
        loop {
            tokio::select! {
                event = levels.next() => if event.is_err() && api.shutdown.is_triggered() { return } else { break },
                event = schemas.next() => if event.is_err() && api.shutdown.is_triggered() { return } else { break },
                _ = period.tick() => match fairness.plan() {
                    plan if plan.has_drained() => settle(&api, &fairness).await,
                    plan => plan.adjust(),
                },
                () = api.shutdown.cancelled() => return,
            }
        }
    }
}

fn watch(api: &Api, plural: &str) -> Option<crate::cache::Watcher> {
    let served = api.catalogue.find(GROUP, "v1", plural)?;
    Some(api.cache.watch(served.id, &api.catalogue.prefix(served, ""), WatchFrom::Now))
}

fn objects(api: &Api, plural: &str) -> Vec<Value> {
    let Some(served) = api.catalogue.find(GROUP, "v1", plural) else { return Vec::new() };
    let snapshot = api.cache.list(served.id, &api.catalogue.prefix(served, ""));
    snapshot.iter().filter_map(|item| Current::from_item(item).ok()).map(|current| current.object).collect()
}

/// What the stored objects say holds from now on, and every schema knows whether its level is there.
pub async fn settle(api: &Api, fairness: &Fairness) {
    let (levels, schemas) = (objects(api, LEVELS), objects(api, SCHEMAS));
    fairness.replan(&levels, &schemas);
    let untold = schemas.iter().filter_map(|schema| Some((schema, dangling(schema, &levels)?)));
    // Side by side, for they are committed together.
    futures::future::join_all(untold.map(|(schema, condition)| tell(api, schema, condition))).await;
}

async fn tell(api: &Api, schema: &Value, condition: Value) {
    match write(api, meta::name(schema), condition).await {
        Ok(()) => {}
        // A deletion; its event is on the way.
        Err(status) if status.reason == "NotFound" => {}
        Err(status) => {
            tracing::warn!(schema = meta::name(schema), %status, "telling a FlowSchema whether its level is there");
        }
    }
}

/// The condition that the schema should have and has not.
fn dangling(schema: &Value, levels: &[Value]) -> Option<Value> {
    let level = meta::text(schema, "spec.priorityLevelConfiguration.name");
    let names = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match levels.iter().any(|own| meta::name(own) == level) {
        true => ("False", "Found", format!("{names} and it exists")),
        false => ("True", "NotFound", format!("{names} but there is no such object")),
    };
    let mut conditions = meta::list(schema, "status.conditions").iter();
    let has = conditions.any(|own| {
        own["type"] == "Dangling" && own["status"] == status && own["reason"] == reason && own["message"] == message
    });
    (!has).then(|| json!({"type": "Dangling", "status": status, "reason": reason, "message": message}))
}

async fn write(api: &Api, name: &str, mut condition: Value) -> Result<(), Status> {
    let Some(served) = api.catalogue.find(GROUP, "v1", SCHEMAS) else { return Ok(()) };
    condition["lastTransitionTime"] = api.now_text().into();
    let configuration = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "FlowSchema",
        "metadata": {"name": name}, "status": {"conditions": [condition]},
    });
    let configuration = Configuration::parse(configuration.to_string().as_bytes())?;
    let mut call = own_call(served, "patch", "", name);
    call.info.subresource = "status".to_owned();
    let options = WriteOptions {
        field_manager: Some(MANAGER.to_owned()),
        is_apply: true,
        force: true,
        ..WriteOptions::default()
    };
    let make = |old: &Value| apply::to(old, &configuration, &call, &options, &api.now_text());
    change(api, &call, Part::Status, &options, make).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_written_once() {
        let mut schema = json!({"spec": {"priorityLevelConfiguration": {"name": "a"}}});
        let levels = [json!({"metadata": {"name": "a"}})];
        let missing = dangling(&schema, &[]).unwrap();
        assert_eq!((&missing["status"], &missing["reason"]), (&json!("True"), &json!("NotFound")));
        let found = dangling(&schema, &levels).unwrap();
        assert_eq!(
            found["message"],
            "This FlowSchema references the PriorityLevelConfiguration object named \"a\" and it exists"
        );
        schema["status"] = json!({"conditions": [found]});
        assert_eq!(dangling(&schema, &levels), None);
        assert!(dangling(&schema, &[]).is_some());
    }
}
