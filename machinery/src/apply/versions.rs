//! Versions that owners may be recorded at: the one that a request is made in, and another that the server shows the same
//! objects in. Each owner's fields are compared in the version they were recorded at. Owners at any other version are
//! forgotten: upstream knows the fields of what it serves alone, and those of the core group apart from all others.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::Value;

use super::Request;
use super::compare::{Comparison, compare};
use super::managers::{Managers, Owned};
use super::set::FieldSet;
use super::shape::Shape;
use super::to_set::reconcile;
use crate::schema::Schema;

/// Another version of the same objects. What a write resets has one name in both.
#[derive(Clone, Copy)]
pub struct Other<'a> {
    pub api_version: &'a str,
    pub schema: &'a Schema,
    /// From the version of the request.
    pub to: &'a dyn Fn(&Value) -> Value,
    /// To the version of the request.
    pub from: &'a dyn Fn(&Value) -> Value,
}

impl<'a> Request<'a> {
    /// The schema of a version that owners may be recorded at.
    pub(super) fn schema_at(&self, api_version: &str) -> Option<&'a Schema> {
        if api_version == self.api_version {
            return Some(self.schema);
        }
        self.other_at(api_version).map(|other| other.schema)
    }

    fn other_at(&self, api_version: &str) -> Option<Other<'a>> {
        self.other.filter(|other| other.api_version == api_version)
    }

    /// An object of one of the two versions in the other one, or as it is.
    pub(super) fn convert<'v>(&self, object: Cow<'v, Value>, from: &str, to: &str) -> Cow<'v, Value> {
        match (self.other_at(from), self.other_at(to)) {
            (None, Some(other)) => Cow::Owned((other.to)(&object)),
            (Some(other), None) => Cow::Owned((other.from)(&object)),
            _ => object,
        }
    }
}

/// Forgets owners at versions that are not known, and fits the fields of the others to what the schema is today. The error
/// is upstream's, of a version that is not even one by its form.
pub(super) fn fit_to_schema(request: &Request<'_>, owners: &mut Managers) -> Result<(), String> {
    let mut versions = owners.values().map(|owned| &owned.api_version);
    if let Some(version) = versions.find(|version| version.matches('/').count() > 1) {
        return Err(format!("unexpected GroupVersion string: {version}"));
    }
    owners.retain(|_, owned| {
        let schema = request.schema_at(&owned.api_version);
        schema.map(|schema| reconcile(&mut owned.set, Shape::Struct(schema))).is_some()
    });
    Ok(())
}

/// What differs between two states of an object, at each version that an owner is recorded at.
pub(super) struct Changes<'a> {
    pub(super) own: Changed,
    other: Option<(&'a str, Changed)>,
}

/// What differs at one version.
pub(super) struct Changed {
    pub(super) comparison: Comparison,
    /// Made once, for all owners who are asked about it.
    gained: OnceCell<FieldSet>,
}

impl<'a> Changes<'a> {
    pub(super) fn between(request: &Request<'a>, old: &Value, new: &Value, owners: &Managers) -> Self {
        let compared = |schema, old: &Value, new: &Value| {
            let comparison = compare(schema, old, new).without(request.ignored);
            Changed { comparison, gained: OnceCell::new() }
        };
        let is_used = |other: &Other<'_>| owners.values().any(|owned| owned.api_version == other.api_version);
        let other = request.other.filter(is_used).map(|other| {
            let (old, new) = ((other.to)(old), (other.to)(new));
            (other.api_version, compared(other.schema, &old, &new))
        });
        Self { own: compared(request.schema, old, new), other }
    }

    /// What concerns an owner.
    pub(super) fn of(&self, owned: &Owned) -> &Comparison {
        &self.at(owned).comparison
    }

    /// What the new state states otherwise than the old one, where an owner is recorded.
    pub(super) fn gained(&self, owned: &Owned) -> &FieldSet {
        let Changed { comparison, gained } = self.at(owned);
        gained.get_or_init(|| comparison.clone().gained())
    }

    fn at(&self, owned: &Owned) -> &Changed {
        match &self.other {
            Some((api_version, changes)) if *api_version == owned.api_version => changes,
            _ => &self.own,
        }
    }

    /// A list has an element that cannot be named, in either version.
    pub(super) fn malformed(&self) -> bool {
        self.own.comparison.malformed || self.other.as_ref().is_some_and(|(_, changes)| changes.comparison.malformed)
    }
}
