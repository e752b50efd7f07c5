//! Delete: at once, or in steps (grace for the kubelet, finalizers for controllers).
//!
//! Kubernetes concepts: "Pod termination", "Finalizers", "Garbage Collection". A delete either removes the object, or
//! marks it with `deletionTimestamp` and leaves the end to the update that takes the last finalizer away.

mod step;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, future, stream};
use machinery::meta;
use machinery::schema;
use machinery::status::{self, GroupResource, Status};
use serde_json::Value;

use self::step::{Step, next_step};
use super::current::{self, Current};
use super::negotiate::Shape;
use super::params::{DeleteOptions, Propagation};
use super::table::Include;
use super::{Call, list, respond};
use crate::admission::{Operation, Request};
use crate::api::Api;
use crate::cache::Item;
use crate::errors;
use crate::http_body::Response;
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
    if options.propagation.is_none() {
        call.warnings.extend(call.served.hooks.warning_of_orphans.map(str::to_owned));
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
    let mut options = options.clone();
    // The object as it was marked here before its end.
    let mut shown: Option<Value> = None;
    let mut found = api.read(served, &call.info.namespace, name).await?;
    for _ in 0..ATTEMPTS_MAX {
        let is_same =
            |current: &Current| shown.as_ref().is_none_or(|shown| meta::uid(shown) == meta::uid(&current.object));
        let Some(current) = found.filter(is_same) else {
            // Who saw the mark may have been faster.
            return shown.map(Outcome::Gone).ok_or_else(|| Status::not_found(of, name));
        };
        check_preconditions(&current.object, &options, call, name)?;
        let request = Request::new(api, call, Operation::Delete, options.dry_run, Some(&current.object));
        api.admission.validate_delete(&request, &current.object).await?;
        let step = next_step(&current.object, &options, served.hooks, &api.now_text());
        if options.dry_run || matches!(step, Step::Stay(_)) {
            return Ok(step.outcome(step.object().clone()));
        }
        found = match commit_step(api, call, name, &current, &step).await? {
            None => api.read(served, &call.info.namespace, name).await?,
            Some(marked) if matches!(step, Step::MarkThenRemove(_)) => {
                options.resource_version = options.resource_version.map(|_| marked.revision.to_string());
                shown = Some(marked.object.clone());
                Some(marked)
            }
            Some(last) => return Ok(step.outcome(last.object)),
        };
    }
    Err(Status::conflict(of, name, errors::MODIFIED))
}

/// The object as it was last; `None` when another writer was faster.
async fn commit_step(
    api: &Api,
    call: &Call,
    name: &str,
    current: &Current,
    step: &Step,
) -> Result<Option<Current>, Status> {
    let served = &call.served;
    let key = api.catalogue.key(served, &call.info.namespace, name);
    let mut commit = Commit {
        conditions: vec![Condition::Modified { key: key.clone(), revision: current.revision }],
        writes: Vec::new(),
    };
    let mut object = step.object().clone();
    if let Step::Remove(_) = step {
        let companions = api.companions(served, None, Some(&current.object), false).await?;
        commit.writes.push(Write::Delete { key });
        commit.conditions.extend(companions.conditions);
        commit.writes.extend(companions.writes);
    } else {
        commit.writes.push(super::create::put(api, served, key, api.encode_stored(&object)?));
    }
    match api.store.commit(commit).await {
        Ok(revision) => {
            current::set_resource_version(&mut object, revision);
            Ok(Some(Current { object, revision }))
        }
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(error) => Err(errors::commit(&error, served.group_resource(), name)),
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

/// Deletes all that a selector finds, as many at a time as the server's flag says.
pub async fn delete_collection(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let selection = list::options(call)?;
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
