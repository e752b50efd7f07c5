//! Ownership after a write.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::Value;

use super::compare::compare;
use super::conflict::{Conflict, Conflicts};
use super::managers::{self, Identity, Managers, Owned};
use super::merge::merge;
use super::remove::remove;
use super::set::FieldSet;
use super::shape::Shape;
use super::to_set::{to_set, with_named_fields};
use super::validate::validate;
use super::versions::{Changes, fit_to_schema};
use super::{ApplyError, Request, empty};
use crate::schema::Schema;
use crate::wire::go_json;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Fields that nobody owns.
static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of(&[
        "apiVersion",
        "kind",
        "metadata",
        "metadata.name",
        "metadata.namespace",
        "metadata.creationTimestamp",
        "metadata.selfLink",
        "metadata.uid",
        "metadata.clusterName",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.resourceVersion",
    ])
});

/// Records in `new` who owns what after a create (`live` is `None`), update or patch.
///
/// The manager comes to own what it changed; others lose what was changed or removed. An object that was written before
/// ownership was recorded stays without until something is applied to it.
pub fn update(request: &Request<'_>, live: Option<&Value>, new: &mut Value) {
    let mut owners = owners_of_write(request, live, new);
    managers::clear(new);
    if owners.is_empty() && live.is_some() {
        return;
    }
    let blank;
    let live = match live {
        Some(live) => live,
        None => {
            blank = empty(request.schema, request.api_version);
            &blank
        }
    };
    let identity = Identity::new(request.manager, false, request.api_version, request.subresource);
    record(request, live, new, &mut owners, identity);
    managers::cap(&mut owners);
    managers::write(new, owners);
}

/// What the client sent back, or else what is stored; broken entries end ownership.
fn owners_of_write(request: &Request<'_>, live: Option<&Value>, new: &Value) -> Managers {
    let of_live = || live.and_then(managers::read).unwrap_or_default();
    if !request.subresource.is_empty() {
        return of_live();
    }
    if request.reset {
        return Managers::new();
    }
    match managers::read(new) {
        Some(owners) if !owners.is_empty() => owners,
        _ => of_live(),
    }
}

/// The plain write's rule: all others yield, the writer gains what changed.
fn record(request: &Request<'_>, live: &Value, new: &Value, owners: &mut Managers, identity: Identity) {
    let fits = fit_to_schema(request, owners).is_ok();
    let changes = Changes::between(request, live, new, owners);
    if !fits || changes.malformed() {
        owners.clear();
        return;
    }
    yield_to(owners, None, &changes);
    let mut gained = changes.own.comparison.gained();
    gained.subtract(&UNOWNED);
    if gained.is_empty() {
        return;
    }
    let mut set = owners.remove(&identity).map_or_else(FieldSet::default, |owned| owned.set);
    set.add(gained);
    let time = Some(request.now.to_owned());
    owners.insert(identity, Owned { set, api_version: request.api_version.to_owned(), time });
}

/// Takes changed and removed fields from all managers but one; a manager left with nothing goes.
fn yield_to(owners: &mut Managers, except: Option<&Identity>, changes: &Changes<'_>) {
    owners.retain(|identity, owned| {
        if Some(identity) != except {
            let changes = changes.of(owned);
            [&changes.modified, &changes.added, &changes.removed].into_iter().for_each(|set| owned.set.subtract(set));
        }
        !owned.set.is_empty()
    });
}

/// Applies a configuration to the live object ([`empty`] with the metadata that a create gives, when there is none).
///
/// The result is not normalized and not defaulted. Fields that this manager applied before and not now are taken out,
/// unless another one owns them.
///
/// Errors: [`ApplyError::Invalid`] when the configuration does not fit the schema, [`ApplyError::Conflict`] unless `force`.
pub fn apply(request: &Request<'_>, live: &Value, config: &Value, force: bool) -> Result<Value, ApplyError> {
    if config.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApplyError::Malformed("metadata.managedFields must be nil".to_owned()));
    }
    validate(request.schema, config).map_err(|error| ApplyError::Invalid(untyped(request, config, &error)))?;
    let mut owners =
        managers::read(live).ok_or_else(|| ApplyError::Invalid("failed to decode managed fields".to_owned()))?;
    let mut live = live.clone();
    managers::clear(&mut live);
    if owners.is_empty() {
        adopt(request, &live, &mut owners);
    }
    fit_to_schema(request, &mut owners).map_err(ApplyError::Invalid)?;
    let identity = Identity::new(request.manager, true, request.api_version, request.subresource);
    let last = owners.get(&identity).cloned();
    let merged = merge(request.schema, &live, config);
    let mut set = to_set(request.schema, config);
    set.subtract_recursively(request.ignored);
    let time = last.as_ref().and_then(|last| last.time.clone());
    owners.insert(identity.clone(), Owned { set, api_version: request.api_version.to_owned(), time });
    let mut object = prune(request, merged, &owners, last.as_ref());
    let changes = Changes::between(request, &live, &object, &owners);
    let conflicts = conflicts(&owners, &identity, &changes);
    if !force && !conflicts.is_empty() {
        refuse(request, &live, conflicts)?;
    }
    yield_to(&mut owners, Some(&identity), &changes);
    if let Some(owned) = owners.get_mut(&identity) {
        owned.set.subtract(&UNOWNED);
        if object != live {
            owned.time = Some(request.now.to_owned());
        }
    }
    owners.retain(|_, owned| !owned.set.is_empty());
    update_last_applied(request, &mut object, config);
    managers::write(&mut object, owners);
    Ok(object)
}

fn untyped(request: &Request<'_>, config: &Value, error: &str) -> String {
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!(
        "failed to create typed patch object ({}/{}; {}{}, Kind={}): {error}",
        text("/metadata/namespace"),
        text("/metadata/name"),
        // The core group's name is empty, its slash is shown.
        if request.api_version.contains('/') { "" } else { "/" },
        request.api_version,
        text("/kind"),
    )
}

/// An object from before ownership was recorded: all it has belongs to one nameless past.
fn adopt(request: &Request<'_>, live: &Value, owners: &mut Managers) {
    if live.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().is_empty() {
        return;
    }
    let blank = empty(request.schema, request.api_version);
    let identity = Identity::new(BEFORE_FIRST_APPLY, false, request.api_version, request.subresource);
    record(request, &blank, live, owners, identity);
}

/// Takes out what the manager applied last time and not this time, but for what others own.
fn prune(request: &Request<'_>, merged: Value, owners: &Managers, last: Option<&Owned>) -> Value {
    let last = last.filter(|last| !last.set.is_empty());
    let Some((last, schema)) = last.and_then(|last| Some((last, request.schema_at(&last.api_version)?))) else {
        return merged;
    };
    let (own, at) = (request.api_version, last.api_version.as_str());
    let merged = request.convert(Cow::Owned(merged), own, at);
    let last_named = named(last.set.clone(), schema);
    let pruned = remove(schema, &merged, &last_named);
    let pruned = with_owned(request, owners, &merged, pruned, at);
    // What went though this manager never owned it comes back.
    let mut gone = named(to_set(schema, &merged), schema);
    gone.subtract(&named(to_set(schema, &pruned), schema));
    let pruned = remove(schema, &merged, &gone.intersection(&last_named));
    request.convert(Cow::Owned(pruned), at, own).into_owned()
}

/// Puts back what was pruned of an object and is owned: first at the version that both have, then at the other one.
fn with_owned(request: &Request<'_>, owners: &Managers, merged: &Value, pruned: Value, at: &str) -> Value {
    let (mut merged, mut pruned, mut from) = (Cow::Borrowed(merged), Cow::Owned(pruned), at);
    let versions = [Some(request.api_version), request.other.map(|other| other.api_version)];
    let rest = versions.into_iter().flatten().filter(|version| *version != at);
    for version in std::iter::once(at).chain(rest) {
        let mut owned = FieldSet::default();
        let there = owners.values().filter(|owner| owner.api_version == version);
        there.for_each(|owner| owned.add(owner.set.clone()));
        let Some(schema) = request.schema_at(version).filter(|_| !owned.is_empty()) else { continue };
        merged = request.convert(merged, from, version);
        pruned = request.convert(pruned, from, version);
        from = version;
        let mut surplus = named(to_set(schema, &merged), schema);
        surplus.subtract(&named(to_set(schema, &pruned), schema));
        surplus.subtract(&named(owned, schema));
        pruned = Cow::Owned(remove(schema, &merged, &surplus));
    }
    request.convert(pruned, from, at).into_owned()
}

fn named(set: FieldSet, schema: &Schema) -> FieldSet {
    with_named_fields(set, Shape::Struct(schema))
}

fn conflicts(owners: &Managers, applier: &Identity, changes: &Changes<'_>) -> Vec<Conflict> {
    let others = owners.iter().filter(|(identity, _)| *identity != applier);
    others
        .flat_map(|(identity, owned)| {
            let paths = owned.set.intersection(changes.gained(owned)).paths();
            paths.into_iter().map(|path| Conflict::new(identity, path))
        })
        .collect()
}

/// kubectl may take over without force what it applied itself, from the client's side, and nobody changed since.
fn refuse(request: &Request<'_>, live: &Value, conflicts: Vec<Conflict>) -> Result<(), ApplyError> {
    let allowed = match request.manager {
        "kubectl" => last_applied_unchanged(request, live).unwrap_or_default(),
        _ => FieldSet::default(),
    };
    let left: Vec<Conflict> = conflicts
        .into_iter()
        .filter(|conflict| {
            let mut path = FieldSet::default();
            path.insert(&conflict.path);
            path.subtract(&allowed);
            !path.is_empty()
        })
        .collect();
    if left.is_empty() { Ok(()) } else { Err(ApplyError::Conflict(Conflicts(left))) }
}

fn last_applied_unchanged(request: &Request<'_>, live: &Value) -> Option<FieldSet> {
    let text = live.pointer("/metadata/annotations")?.get(LAST_APPLIED)?.as_str()?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last.get("apiVersion")?.as_str()? != request.api_version {
        return None;
    }
    validate(request.schema, &last).ok()?;
    let changes = compare(request.schema, &last, live);
    let mut set = to_set(request.schema, &last);
    [&changes.modified, &changes.added, &changes.removed].into_iter().for_each(|changed| set.subtract(changed));
    Some(set)
}

/// kubectl's own record of what it applied is kept true where there is one.
fn update_last_applied(request: &Request<'_>, object: &mut Value, config: &Value) {
    if request.manager != "kubectl" {
        return;
    }
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    if annotations.get(LAST_APPLIED).and_then(Value::as_str).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(own) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        own.remove(LAST_APPLIED);
    }
    annotations.insert(LAST_APPLIED.to_owned(), format!("{}\n", go_json(&config)).into());
}
