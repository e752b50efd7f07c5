//! The catalogue as served: each row with its schema and its hooks, found by path or by storage key.
//!
//! Enter at [`Catalogue::builtin`]. The rows themselves are data in `machinery::catalogue`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use machinery::apply::FieldSet;
use machinery::catalogue::{BUILTIN, Resource};
use machinery::gvk::Gvk;
use machinery::schema::{self, Schema};
use machinery::status::GroupResource;
use serde_json::Value;

use crate::cache;
use crate::gates::Gates;
use crate::kinds::{Conversion, Hooks, hooks_of};
use crate::runtime_config::RuntimeConfig;

/// A row with all that hangs on it.
pub struct Served {
    /// Position in the catalogue of the row that says how the objects are stored; the watch cache indexes by it.
    pub id: cache::Resource,
    pub row: Resource,
    pub schema: &'static Schema,
    pub hooks: &'static Hooks,
    /// What a write of the object ("") or of a subresource puts back, by its name.
    pub resets: Vec<(&'static str, FieldSet)>,
    /// `{"apiVersion":"v1","kind":"Pod",`: how a stored body begins, which items of a list leave out.
    pub body_prefix: String,
    /// Whether clients can ask for it (`--runtime-config`). The server's own parts use it all the same.
    pub is_offered: bool,
    /// The row whose objects these are in another shape ([`Resource::stored_as`]).
    stored_by: Option<Arc<Served>>,
}

#[derive(Clone)]
pub struct Catalogue {
    served: Arc<Vec<Arc<Served>>>,
    /// Those of one name differ in group or version.
    by_plural: Arc<HashMap<String, Vec<Arc<Served>>>>,
    by_storage: Arc<BTreeMap<String, Arc<Served>>>,
    store_prefix: Arc<str>,
}

impl Catalogue {
    /// The built-in rows below `store_prefix` (`/registry`).
    pub fn builtin(store_prefix: &str, gates: Gates, config: &RuntimeConfig) -> Self {
        let mut served: Vec<Arc<Served>> = BUILTIN
            .iter()
            .filter_map(|row| Some((row, schema::builtin(&row.gvk())?)))
            .enumerate()
            .map(|(id, (row, schema))| {
                let hooks = hooks_of(row, gates);
                let served = Served::new(cache::Resource(id as u32), row.clone(), schema, hooks);
                Arc::new(Served { is_offered: config.serves(row), ..served })
            })
            .collect();
        let by_storage: BTreeMap<String, Arc<Served>> = served
            .iter()
            .filter(|served| served.row.stored_as.is_none())
            .filter_map(|served| Some((served.row.storage.as_ref()?.to_string(), served.clone())))
            .collect();
        for view in served.iter_mut().filter(|served| served.row.stored_as.is_some()) {
            if let Some(home) = by_storage.get(view.row.storage.as_deref().unwrap_or_default()) {
                *view = Arc::new(Served::view(view, home));
            }
        }
        let mut by_plural: HashMap<String, Vec<Arc<Served>>> = HashMap::new();
        for served in &served {
            by_plural.entry(served.row.plural.to_string()).or_default().push(served.clone());
        }
        Self {
            served: Arc::new(served),
            by_plural: Arc::new(by_plural),
            by_storage: Arc::new(by_storage),
            store_prefix: store_prefix.trim_end_matches('/').into(),
        }
    }

    pub fn rows(&self) -> &[Arc<Served>] {
        &self.served
    }

    /// What clients can ask for.
    pub fn offered(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.served.iter().filter(|served| served.is_offered)
    }

    /// As [`Catalogue::find`], for a client.
    pub fn find_offered(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Served>> {
        self.find(group, version, plural).filter(|served| served.is_offered)
    }

    pub fn row(&self, id: cache::Resource) -> Option<&Arc<Served>> {
        self.served.get(id.0 as usize)
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Served>> {
        let alike = self.by_plural.get(plural)?;
        alike.iter().find(|served| served.row.group == group && served.row.version == version)
    }

    pub fn find_kind(&self, gvk: &Gvk) -> Option<&Arc<Served>> {
        self.served.iter().find(|served| served.row.gvk() == *gvk)
    }

    /// The row that a store key belongs to; `None` for keys of others.
    pub fn find_key(&self, key: &str) -> Option<&Arc<Served>> {
        let below = key.strip_prefix(&*self.store_prefix)?.strip_prefix('/')?;
        let mut segments = below.splitn(3, '/');
        let (first, second) = (segments.next()?, segments.next()?);
        self.by_storage.get(first).or_else(|| self.by_storage.get(&format!("{first}/{second}")))
    }

    /// Where the objects of a row lie: `/registry/pods/` or, within a namespace, `/registry/pods/<ns>/`.
    pub fn prefix(&self, served: &Served, namespace: &str) -> String {
        self.key(served, namespace, "")
    }

    pub fn key(&self, served: &Served, namespace: &str, name: &str) -> String {
        let storage = served.row.storage.as_deref().unwrap_or_default();
        if namespace.is_empty() || !served.row.namespaced {
            [&*self.store_prefix, "/", storage, "/", name].concat()
        } else {
            [&*self.store_prefix, "/", storage, "/", namespace, "/", name].concat()
        }
    }

    pub fn store_prefix(&self) -> &str {
        &self.store_prefix
    }
}

impl Served {
    fn new(id: cache::Resource, row: Resource, schema: &'static Schema, hooks: &'static Hooks) -> Self {
        let body_prefix = format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", row.api_version(), row.kind);
        let resets = hooks.resets.iter().map(|(subresource, paths)| (*subresource, FieldSet::of(paths)));
        let resets = resets.filter(|_| row.has_status()).collect();
        Self { id, hooks, body_prefix, resets, row, schema, is_offered: true, stored_by: None }
    }

    fn view(view: &Served, home: &Arc<Served>) -> Self {
        let same = Self::new(home.id, view.row.clone(), view.schema, view.hooks);
        Self { stored_by: Some(home.clone()), is_offered: view.is_offered, ..same }
    }

    /// The row in whose shape the objects are stored, cached and judged: this one, unless it is a view of another.
    pub fn home(&self) -> &Served {
        self.stored_by.as_deref().unwrap_or(self)
    }

    pub fn is_view(&self) -> bool {
        self.stored_by.is_some()
    }

    /// Names the collection in answers.
    pub fn group_resource(&self) -> GroupResource<'_> {
        self.row.group_resource()
    }

    /// A stored object as this row shows it.
    pub fn shown(&self, stored: &Value) -> Value {
        let mut object = stored.clone();
        self.convert(&mut object, self, |conversion| conversion.from_stored);
        object
    }

    /// An object of this row's shape, made one to store.
    pub fn to_stored(&self, object: &mut Value) {
        self.convert(object, self.home(), |conversion| conversion.to_stored);
    }

    /// Makes of an object what it says once it has been stored and is shown: a shape may tell one thing in two places.
    pub fn settle(&self, object: &mut Value) {
        if self.is_view() {
            self.to_stored(object);
            *object = self.shown(object);
        }
    }

    fn convert(&self, object: &mut Value, target: &Served, way: impl Fn(&Conversion) -> fn(&mut Value)) {
        let Some(conversion) = self.hooks.conversion.filter(|_| self.is_view()) else { return };
        way(conversion)(object);
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".into(), target.row.api_version().into());
            fields.insert("kind".into(), target.row.kind.as_ref().into());
        }
        schema::normalize(target.schema, object);
    }
}
