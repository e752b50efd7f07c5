//! `ResourceQuota`: what a namespace may hold in all (Kubernetes concept: "Resource Quotas").
//!
//! What an object costs is `machinery::quota`'s to say. The charge is written to the quotas' status in the commit that
//! writes the object, against the revision that was read: what is not stored is not charged, and no two writers spend
//! the same rest. Upstream charges before, and relies on its controller to give back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use machinery::meta;
use machinery::quota::{Devices, Evaluator};
use machinery::resources::ResourceList;
use machinery::status::Status;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::{Operation, Plugin, Request};
use crate::catalogue::Served;
use crate::rest::create::put;
use crate::rest::current::Current;
use crate::rest::managers;
use crate::store::{Commit, Condition};

/// Writers of one namespace take turns: side by side they would only refuse each other's commits.
#[derive(Default)]
pub struct ResourceQuota {
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[async_trait]
impl Plugin for ResourceQuota {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let Some(mut evaluator) = applicable(request, object) else { return Ok(()) };
        let Some(quotas) = request.api.catalogue.find("", "v1", "resourcequotas") else { return Ok(()) };
        if read(request, quotas)?.is_empty() {
            return Ok(());
        }
        let turn = self.turn(request.namespace()).await;
        // The commit before this turn may still be on its way into the cache.
        request.api.consistent().await?;
        let now = request.api.clock.now().as_second();
        let current = read(request, quotas)?;
        if needs_devices(&evaluator, &current) {
            evaluator = Evaluator::DeviceClaims(devices(request, object, now)?);
        }
        let mut commit = Commit::default();
        for quota in current {
            let charge = Charge { evaluator: &evaluator, request, object, now };
            let Some(used) = charge.apply(&quota.object)? else { continue };
            write(request, quotas, &quota, &used, &mut commit)?;
        }
        if !request.dry_run && !commit.writes.is_empty() {
            request.write_beside(commit, turn);
        }
        Ok(())
    }
}

impl ResourceQuota {
    async fn turn(&self, namespace: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody waits for those that only this map holds.
            turns.retain(|_, lock| Arc::strong_count(lock) > 1);
            turns.entry(namespace.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// How the object is counted, when this write can change what it costs.
fn applicable(request: &Request<'_>, object: &Value) -> Option<Evaluator> {
    let row = &request.served().row;
    if request.namespace().is_empty() || row.storage.is_none() {
        return None;
    }
    let evaluator = Evaluator::of(&row.group, &row.plural)?;
    let subresource = request.info().subresource.as_str();
    let applies = match (request.operation, request.old) {
        (Operation::Create, _) => subresource.is_empty(),
        (Operation::Update, Some(old)) => evaluator.follows_update(subresource, object, old),
        _ => false,
    };
    applies.then_some(evaluator)
}

fn read(request: &Request<'_>, quotas: &Served) -> Result<Vec<Current>, Status> {
    let prefix = request.api.catalogue.prefix(quotas, request.namespace());
    request.api.cache.list(quotas.id, &prefix).iter().map(|item| Current::from_item(item)).collect()
}

/// Whether a quota limits what only a DeviceClass can say is counted.
fn needs_devices(evaluator: &Evaluator, quotas: &[Current]) -> bool {
    let mut limited = quotas.iter().flat_map(|quota| meta::map(&quota.object, "status.hard").keys());
    limited.any(|name| evaluator.may_count(name) && !evaluator.counts(name))
}

/// What matters to the use of this claim, and of what it was.
fn devices(request: &Request<'_>, claim: &Value, now: i64) -> Result<Devices, Status> {
    let all = |group: &str, plural: &str, namespace: &str| -> Result<Vec<Value>, Status> {
        let Some(served) = request.api.catalogue.find(group, "v1", plural) else { return Ok(Vec::new()) };
        let prefix = request.api.catalogue.prefix(served, namespace);
        let items = request.api.cache.list(served.id, &prefix);
        items.iter().map(|item| Ok(Current::from_item(item)?.object)).collect()
    };
    let mut devices = Devices::new(&all("resource.k8s.io", "deviceclasses", "")?);
    let versions = [Some(claim), request.old];
    let pod_name = versions.into_iter().flatten().find_map(|claim| Some(Devices::pod_of(claim)?.0));
    let pod = pod_name.and_then(|name| {
        let pods = request.api.catalogue.find("", "v1", "pods")?;
        request.api.cache.get(pods.id, &request.api.catalogue.key(pods, request.namespace(), name))
    });
    if let Some(pod) = pod {
        let pod = Current::from_item(&pod)?.object;
        let others = match Devices::claim_of(&pod) {
            Some(_) => Vec::new(),
            None => all("resource.k8s.io", "resourceclaims", request.namespace())?,
        };
        devices.charge([&pod], others.iter().chain(versions.into_iter().flatten()), now);
    }
    Ok(devices)
}

/// One object against one quota.
struct Charge<'a> {
    evaluator: &'a Evaluator,
    request: &'a Request<'a>,
    object: &'a Value,
    now: i64,
}

impl Charge<'_> {
    /// What is used once the object is there; `None` when that is no other than before.
    fn apply(&self, quota: &Value) -> Result<Option<ResourceList>, Status> {
        if !self.evaluator.matches(quota, self.object) {
            return Ok(None);
        }
        let refuse = |why: String| self.request.forbidden_object(self.object, &why);
        let name = meta::name(quota);
        let list = |path: &str| ResourceList::from_value(meta::at(quota, path));
        let (hard, mut used) = (list("status.hard"), list("status.used"));
        let counted: Vec<&str> = hard.names().filter(|name| self.evaluator.counts(name)).collect();
        self.evaluator
            .require(counted.iter().copied(), self.object)
            .map_err(|why| refuse(format!("failed quota: {name}: {why}")))?;
        if counted.iter().any(|name| used.get(name).is_none()) {
            return Err(refuse(format!("status unknown for quota: {name}, resources: {}", counted.join(","))));
        }
        let usage = self.evaluator.usage(self.object, self.now);
        let negative: Vec<&str> =
            usage.iter().filter(|(_, quantity)| quantity.sign() < 0).map(|(name, _)| name).collect();
        if !negative.is_empty() {
            return Err(refuse(format!("quota usage is negative for resource(s): {}", negative.join(","))));
        }
        let before = self.request.old.filter(|old| self.evaluator.matches(quota, old));
        let before = before.map(|old| self.evaluator.usage(old, self.now)).unwrap_or_default();
        let requested = usage.excess_over(&before).without_zeros().only(hard.names());
        if requested.is_empty() {
            return Ok(None);
        }
        let already = used.clone();
        used.add(&requested);
        let exceeded = used.only(requested.names());
        let exceeded = exceeded.names_above(&hard);
        // What a status tells has happened already.
        if !exceeded.is_empty() && self.request.info().subresource != "status" {
            let of = |list: &ResourceList| list.only(exceeded.iter().copied());
            return Err(refuse(format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                of(&requested),
                of(&already),
                of(&hard)
            )));
        }
        Ok(Some(used))
    }
}

/// The quota with what is used then, to be written beside the object.
fn write(
    request: &Request<'_>,
    quotas: &Served,
    quota: &Current,
    used: &ResourceList,
    commit: &mut Commit,
) -> Result<(), Status> {
    let mut new = quota.object.clone();
    meta::object_mut(&mut new, "status").insert("used".into(), used.to_value());
    managers::track_own(quotas, "status", &quota.object, &mut new, &request.api.now_text());
    let key = request.api.catalogue.key(quotas, request.namespace(), meta::name(&new));
    commit.conditions.push(Condition::Modified { key: key.clone(), revision: quota.revision });
    commit.writes.push(put(request.api, quotas, key, request.api.encode_stored(&new)?));
    Ok(())
}
