//! Delete: at once, or in steps (grace for the kubelet, finalizers for controllers).
//!
//! Kubernetes concepts: "Pod termination", "Finalizers", "Garbage Collection". A delete either removes the object, or
//! marks it with `deletionTimestamp` and leaves the end to the update that takes the last finalizer away.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, future, stream};
use machinery::meta;
use machinery::schema;
use machinery::status::{self, GroupResource, Status};
use serde_json::{Value, json};

use super::current::{self, Current};
use super::negotiate::Shape;
use super::params::{DeleteOptions, Propagation};
use super::table::Include;
use super::{Call, list, respond, system};
use crate::admission::{Operation, Request};
use crate::api::Api;
use crate::cache::Item;
use crate::errors;
use crate::http_body::Response;
use crate::kinds::Grace;
use crate::store::{Commit, CommitError, Condition, Write};

pub async fn delete(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let options = parse_options(call)?;
    let outcome = delete_object(api, call, call.name(), &options).await?;
    let served = &call.served;
    let now = api.clock.now().as_second();
    match outcome {
        Outcome::Marked(object) => {
            let code = if options.cascades_by_its_old_name { 202 } else { 200 };
            respond::object(call, accept, code, &object, now)
        }
        Outcome::Gone(object) if served.row.answers_deleted() => respond::object(call, accept, 200, &object, now),
        Outcome::Gone(object) => {
            if accept.shape == Shape::Table {
                // Upstream reads it though it makes no table of a Status.
                Include::of(&call.query)?;
            }
            let success = status::success(served.group_resource(), call.name(), meta::uid(&object));
            call.status(accept, 200, &success)
        }
    }
}

/// What a delete left behind.
pub enum Outcome {
    /// The object, as it was last.
    Gone(Value),
    /// The object is still there, with a `deletionTimestamp`.
    Marked(Value),
}

fn parse_options(call: &Call) -> Result<DeleteOptions, Status> {
    let mut options = read_options(call)?;
    if !call.served.hooks.has_dependents {
        options.propagation = Some(Propagation::Background);
    }
    Ok(options)
}

fn read_options(call: &Call) -> Result<DeleteOptions, Status> {
    if call.body.is_empty() {
        return DeleteOptions::parse(&call.query, None);
    }
    let gvk = machinery::gvk::Gvk::new("", "v1", "DeleteOptions");
    let schema = schema::builtin(&gvk).ok_or_else(|| Status::internal_error("no schema for DeleteOptions"))?;
    let decoded = super::body::decode_options(&call.body, &call.headers, schema)?;
    call.trail.sent(&decoded, say_kind);
    DeleteOptions::parse(&call.query, Some(&decoded))
}

fn say_kind(options: &mut Value) {
    for (field, value) in [("kind", "DeleteOptions"), ("apiVersion", "meta.k8s.io/v1")] {
        if options[field].is_null() {
            options[field] = value.into();
        }
    }
}

const ATTEMPTS_MAX: usize = 64;

/// Deletes one object of the call's resource, or begins to.
pub async fn delete_object(api: &Api, call: &Call, name: &str, options: &DeleteOptions) -> Result<Outcome, Status> {
    let served = &call.served;
    let of = served.group_resource();
    let mut found = api.read(served, &call.info.namespace, name).await?;
    for _ in 0..ATTEMPTS_MAX {
        let Some(current) = found else { return Err(Status::not_found(of, name)) };
        check_preconditions(&current.object, options, call, name)?;
        let request = Request::new(api, call, Operation::Delete, options.dry_run, Some(&current.object));
        api.admission.validate_delete(&request, &current.object).await?;
        let step = next_step(&current.object, options, call, &api.now_text());
        if options.dry_run {
            return Ok(step.into_outcome());
        }
        let Step::Stay(object) = &step else {
            match commit_step(api, call, name, &current, &step).await? {
                None => found = api.read(served, &call.info.namespace, name).await?,
                Some(outcome) => return Ok(outcome),
            }
            continue;
        };
        return Ok(Outcome::Marked(object.clone()));
    }
    Err(Status::conflict(of, name, errors::MODIFIED))
}

/// `None` when another writer was faster.
async fn commit_step(
    api: &Api,
    call: &Call,
    name: &str,
    current: &Current,
    step: &Step,
) -> Result<Option<Outcome>, Status> {
    let served = &call.served;
    let key = api.catalogue.key(served, &call.info.namespace, name);
    let mut commit = Commit {
        conditions: vec![Condition::Modified { key: key.clone(), revision: current.revision }],
        writes: Vec::new(),
    };
    match step {
        Step::Mark(object) => {
            commit.writes.push(super::create::put(api, served, key, api.encode_stored(object)?));
        }
        Step::Remove(_) => {
            let companions = api.companions(served, None, Some(&current.object), false).await?;
            commit.writes.push(Write::Delete { key });
            commit.conditions.extend(companions.conditions);
            commit.writes.extend(companions.writes);
        }
        Step::Stay(object) => return Ok(Some(Outcome::Marked(object.clone()))),
    }
    match api.store.commit(commit).await {
        Ok(revision) => {
            let mut outcome = step.clone().into_outcome();
            let (Outcome::Gone(object) | Outcome::Marked(object)) = &mut outcome;
            current::set_resource_version(object, revision);
            Ok(Some(outcome))
        }
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(error) => Err(errors::commit(&error, served.group_resource(), name)),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Remove(Value),
    Mark(Value),
    /// Already marked, and nothing to add.
    Stay(Value),
}

impl Step {
    fn into_outcome(self) -> Outcome {
        match self {
            Self::Remove(object) => Outcome::Gone(object),
            Self::Mark(object) | Self::Stay(object) => Outcome::Marked(object),
        }
    }
}

fn check_preconditions(object: &Value, options: &DeleteOptions, call: &Call, name: &str) -> Result<(), Status> {
    let row = &call.served.home().row;
    // Upstream names the kind here, where it names the resource otherwise.
    let of = GroupResource { group: &row.group, resource: &row.kind };
    let pairs = [
        ("UID", &options.uid, meta::uid(object), "deleted and then recreated"),
        ("ResourceVersion", &options.resource_version, meta::resource_version(object), "modified"),
    ];
    for (what, wanted, found, fate) in pairs {
        if wanted.as_ref().is_some_and(|wanted| wanted != found) {
            let wanted = wanted.as_deref().unwrap_or_default();
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {fate}"
            );
            return Err(Status::conflict(of, name, &why));
        }
    }
    Ok(())
}

/// What this delete does to the object as it is now. Pure.
fn next_step(object: &Value, options: &DeleteOptions, call: &Call, now: &str) -> Step {
    let finalizers = finalizers_after(object, propagation(object, options, call.served.hooks.orphans_by_default));
    let grace = (call.served.hooks.grace)(object, options.grace_period_seconds);
    let seconds = match grace {
        Grace::Immediate => 0,
        Grace::Seconds(seconds) => seconds,
    };
    if finalizers.is_empty() && seconds == 0 && !(call.served.hooks.is_held)(object) {
        return Step::Remove(object.clone());
    }
    let mut marked = object.clone();
    let was_deleting = meta::is_deleting(object);
    let before = meta::at(object, "metadata.deletionGracePeriodSeconds").as_i64();
    let metadata = meta::metadata_mut(&mut marked);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), json!(finalizers));
    }
    // A second delete may shorten the time that is left, never lengthen it.
    if !was_deleting || before.is_some_and(|before| seconds < before) {
        metadata.insert("deletionTimestamp".into(), later(now, seconds).into());
        metadata.insert("deletionGracePeriodSeconds".into(), json!(seconds));
        let generation = meta::generation(object);
        if generation > 0 && !was_deleting {
            metadata.insert("generation".into(), json!(generation + 1));
        }
        (call.served.hooks.on_deletion)(&mut marked);
    }
    if marked == *object { Step::Stay(marked) } else { Step::Mark(marked) }
}

/// `now`, RFC 3339, moved by seconds.
fn later(now: &str, seconds: i64) -> String {
    match now.parse::<jiff::Timestamp>() {
        Ok(time) => (time + jiff::SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => now.to_owned(),
    }
}

/// What becomes of dependents: as asked, else as the object's finalizers say, else as its kind has it.
fn propagation(object: &Value, options: &DeleteOptions, orphans_by_default: bool) -> Option<Propagation> {
    let is_said =
        meta::finalizers(object).any(|name| name == system::ORPHAN_FINALIZER || name == system::FOREGROUND_FINALIZER);
    options.propagation.or((orphans_by_default && !is_said).then_some(Propagation::Orphan))
}

fn finalizers_after(object: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut finalizers: Vec<String> = meta::finalizers(object).map(str::to_owned).collect();
    let wanted = match propagation {
        None => return finalizers,
        Some(Propagation::Background) => None,
        Some(Propagation::Orphan) => Some(system::ORPHAN_FINALIZER),
        Some(Propagation::Foreground) => Some(system::FOREGROUND_FINALIZER),
    };
    finalizers.retain(|name| name != system::ORPHAN_FINALIZER && name != system::FOREGROUND_FINALIZER);
    finalizers.extend(wanted.map(str::to_owned));
    finalizers
}

/// Deletes all that a selector finds, as many at a time as the server's flag says.
pub async fn delete_collection(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let selection = list::options(call, false)?;
    let options = parse_options(call)?;
    let found = list::select(api, call, &selection).await?;
    let deletions = stream::iter(found.items.clone()).map(|item| delete_one(api, call, &options, item));
    deletions.buffer_unordered(api.limits.collection_workers).try_for_each(|()| future::ready(Ok(()))).await?;
    list::respond_list(api, call, accept, &found)
}

async fn delete_one(api: &Api, call: &Call, options: &DeleteOptions, item: Arc<Item>) -> Result<(), Status> {
    let current = Current::from_item(&item)?;
    let (name, namespace) = (meta::name(&current.object), meta::namespace(&current.object));
    match delete_object(api, &of_collection(call, namespace, name), name, options).await {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

/// The deletion of one object that the deletion of all comes to.
fn of_collection(call: &Call, namespace: &str, name: &str) -> Call {
    Call {
        method: call.method.clone(),
        uri: call.uri.clone(),
        peer: call.peer,
        info: crate::request::RequestInfo {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            verb: "delete".to_owned(),
            ..call.info.clone()
        },
        query: crate::request::Query::default(),
        headers: call.headers.clone(),
        user: call.user.clone(),
        served: call.served.clone(),
        body: bytes::Bytes::new(),
        upgrade: None,
        warnings: call.warnings.clone(),
        trail: call.trail.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn propagation_becomes_a_finalizer() {
        let object = json!({"metadata": {"finalizers": ["a", "orphan"]}});
        assert_eq!(finalizers_after(&object, None), ["a", "orphan"]);
        assert_eq!(finalizers_after(&object, Some(Propagation::Foreground)), ["a", "foregroundDeletion"]);
        assert_eq!(finalizers_after(&object, Some(Propagation::Background)), ["a"]);
    }

    #[test]
    fn some_kinds_leave_their_dependents_be() {
        let (plain, foreground) = (json!({}), json!({"metadata": {"finalizers": ["foregroundDeletion"]}}));
        let said = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        let unsaid = DeleteOptions::default();
        for (object, options, want) in [
            (&plain, &unsaid, Some(Propagation::Orphan)),
            (&foreground, &unsaid, None),
            (&plain, &said, Some(Propagation::Background)),
        ] {
            assert_eq!(propagation(object, options, true), want, "{object}");
        }
        assert_eq!(propagation(&plain, &unsaid, false), None);
    }

    #[test]
    fn the_grace_moves_the_deletion_time() {
        assert_eq!(later("2026-01-01T00:00:00Z", 30), "2026-01-01T00:00:30Z");
    }
}
