//! `metadata.managedFields`: reading, writing, ordering and capping the managers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// More updaters than this are folded into one per version.
const UPDATERS_MAX: usize = 10;
const OLD_UPDATERS: &str = "ancient-changes";

/// What tells managers apart. An applier is the same one at every version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) manager: String,
    pub(super) applied: bool,
    /// Empty for appliers.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl Identity {
    pub(super) fn new(manager: &str, applied: bool, api_version: &str, subresource: &str) -> Self {
        let manager = if manager.is_empty() { "unknown" } else { manager };
        Self {
            manager: manager.to_owned(),
            applied,
            api_version: if applied { String::new() } else { api_version.to_owned() },
            subresource: subresource.to_owned(),
        }
    }

    /// As conflict messages name it.
    pub(super) fn show(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applied {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    pub(super) api_version: String,
    pub(super) time: Option<String>,
}

pub(super) type Managers = BTreeMap<Identity, Owned>;

/// Whether the client asks to begin ownership anew: an empty list, or one empty entry. To be asked before normalizing,
/// which drops an empty list.
pub fn is_reset(object: &Value) -> bool {
    match object.pointer("/metadata/managedFields") {
        Some(Value::Array(entries)) => match entries.as_slice() {
            [] => true,
            [only] => only.as_object().is_some_and(Map::is_empty),
            _ => false,
        },
        _ => false,
    }
}

/// The object's managers; `None` when an entry is not to be read.
pub(super) fn read(object: &Value) -> Option<Managers> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.map_or_else(|| Some(Managers::new()), |entries| entries.iter().map(read_entry).collect())
}

fn read_entry(entry: &Value) -> Option<(Identity, Owned)> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let applied = match text("operation") {
        "Apply" => true,
        "Update" => false,
        _ => return None,
    };
    if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
        return None;
    }
    let set = match entry.get("fieldsV1") {
        None | Some(Value::Null) => FieldSet::default(),
        Some(fields) => FieldSet::from_fields_v1(fields)?,
    };
    let mut identity = Identity::new("", applied, text("apiVersion"), text("subresource"));
    identity.manager = text("manager").to_owned();
    let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
    Some((identity, Owned { set, api_version: text("apiVersion").to_owned(), time }))
}

/// Takes the managed fields off.
pub(super) fn clear(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Writes the managers into the object, appliers first, then by time and name.
pub(super) fn write(object: &mut Value, managers: Managers) {
    clear(object);
    if managers.is_empty() {
        return;
    }
    let mut entries: Vec<(Identity, Owned)> = managers.into_iter().collect();
    entries.sort_by(|a, b| place(a).cmp(&place(b)));
    let entries: Vec<Value> = entries.into_iter().map(|(identity, owned)| write_entry(identity, owned)).collect();
    if let Some(object) = object.as_object_mut() {
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        metadata["managedFields"] = entries.into();
    }
}

/// What the order of the entries goes by.
fn place((identity, owned): &(Identity, Owned)) -> impl Ord + use<'_> {
    let time = owned.time.as_deref().unwrap_or_default();
    (!identity.applied, time, &identity.manager, &owned.api_version, &identity.subresource)
}

fn write_entry(identity: Identity, owned: Owned) -> Value {
    let mut entry = json!({
        "operation": if identity.applied { "Apply" } else { "Update" },
        "apiVersion": owned.api_version,
        "fieldsType": "FieldsV1",
    });
    // Not inside the macro, which would copy it.
    entry["fieldsV1"] = owned.set.into_fields_v1();
    let optional =
        [("manager", Some(identity.manager)), ("subresource", Some(identity.subresource)), ("time", owned.time)];
    for (name, text) in optional {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            entry[name] = text.into();
        }
    }
    entry
}

/// Folds the oldest updaters of each version into one, until few enough are left.
pub(super) fn cap(managers: &mut Managers) {
    if managers.len() <= UPDATERS_MAX {
        return;
    }
    let mut updaters: Vec<Identity> = managers.keys().filter(|identity| !identity.applied).cloned().collect();
    updaters.sort_by_key(|identity| (managers[identity].time.clone(), identity.clone()));
    let mut excess = updaters.len().saturating_sub(UPDATERS_MAX);
    let mut first_of_version: BTreeMap<String, Identity> = BTreeMap::new();
    for identity in updaters {
        if excess == 0 {
            return;
        }
        let version = managers[&identity].api_version.clone();
        let bucket = Identity::new(OLD_UPDATERS, false, &version, "");
        let Some(first) = first_of_version.get(&version) else {
            first_of_version.insert(version, identity);
            continue;
        };
        if !managers.contains_key(&bucket)
            && let Some(owned) = managers.remove(first)
        {
            managers.insert(bucket.clone(), owned);
        }
        if let (Some(owned), Some(old)) = (managers.remove(&identity), managers.get_mut(&bucket)) {
            old.set.add(owned.set);
            old.time = owned.time;
            excess -= 1;
        }
    }
}

/// The object without the times of its managed fields: two objects that are equal so need no write.
pub fn without_times(object: &Value) -> Value {
    let mut object = object.clone();
    let entries = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
        entry.remove("time");
    }
    object
}
