//! The facts table: `facts/*.tsv`, one file a package, one row a field.
//!
//! `package  OpenAPI-prefix  API-group  version`, then per message `=Name  marks` and a row per field
//! `json-name  protobuf-number  type  marks`; `@Name` in the first column is a struct inlined in JSON. Only the message
//! names are read at start; a message's rows are read when it is first asked for, and kept.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::{DefaultValue, Embed, Field, ListType, Omit, Patch, Ref, Schema, Text, Type};
use crate::gvk::Gvk;

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("facts/", $name, ".tsv")))),*] };
}

const FILES: &[(&str, &str)] = files![
    "admission.v1",
    "admissionregistration.v1",
    "apidiscovery.v2",
    "apiextensions.v1",
    "apiregistration.v1",
    "apps.v1",
    "authentication.v1",
    "authorization.v1",
    "autoscaling.v1",
    "autoscaling.v2",
    "batch.v1",
    "certificates.v1",
    "coordination.v1",
    "core.v1",
    "discovery.v1",
    "events.v1",
    "flowcontrol.v1",
    "meta.v1",
    "networking.v1",
    "node.v1",
    "policy.v1",
    "rbac.v1",
    "resource.v1",
    "scheduling.v1",
    "storage.v1",
    "version",
];

struct Package {
    openapi: &'static str,
    group: &'static str,
    version: &'static str,
}

struct Slot {
    package: u16,
    name: &'static str,
    marks: &'static str,
    rows: &'static str,
    schema: OnceLock<Schema>,
}

struct Registry {
    packages: Vec<Package>,
    slots: Vec<Slot>,
    by_name: HashMap<(u16, &'static str), u16>,
}

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut registry = Registry { packages: Vec::new(), slots: Vec::new(), by_name: HashMap::with_capacity(1024) };
        FILES.iter().for_each(|(_, text)| registry.add(text));
        registry
    })
}

impl Registry {
    fn add(&mut self, text: &'static str) {
        let (head, body) = text.split_once('\n').unwrap_or((text, ""));
        let mut columns = head.split('\t').skip(1);
        let mut column = || columns.next().unwrap_or("");
        let package = self.packages.len() as u16;
        self.packages.push(Package { openapi: column(), group: column().trim_matches('"'), version: column() });
        for block in body.split("\n=").map(|block| block.trim_start_matches('=')) {
            let (line, rows) = block.split_once('\n').unwrap_or((block.trim_end(), ""));
            let (name, marks) = line.split_once('\t').unwrap_or((line, ""));
            self.by_name.insert((package, name), self.slots.len() as u16);
            self.slots.push(Slot { package, name, marks, rows, schema: OnceLock::new() });
        }
    }

    fn package(&self, group: &str, version: &str) -> Option<u16> {
        self.packages
            .iter()
            .position(|package| package.group == group && package.version == version)
            .map(|at| at as u16)
    }
}

/// The schema of a built-in kind. The option kinds and watch events of meta/v1 exist in every group.
pub fn builtin(gvk: &Gvk) -> Option<&'static Schema> {
    let registry = registry();
    let own =
        registry.package(&gvk.group, &gvk.version).and_then(|package| registry.by_name.get(&(package, &*gvk.kind)));
    let position = match own {
        Some(position) => *position,
        None => *registry.by_name.get(&(registry.package("meta.k8s.io", "v1")?, &*gvk.kind))?,
    };
    Some(at(position)).filter(|schema| schema.kind)
}

/// A message by its OpenAPI name, as `io.k8s.api.core.v1.PodSpec`.
pub fn message(name: &str) -> Option<&'static Schema> {
    position(name).map(at)
}

pub(super) fn position(name: &str) -> Option<u16> {
    let (prefix, short) = name.rsplit_once('.')?;
    let registry = registry();
    let package = registry.packages.iter().position(|package| package.openapi == prefix)?;
    registry.by_name.get(&(package as u16, short)).copied()
}

/// Every message of a group version. Reads all its rows.
pub fn messages(group: &str, version: &str) -> Vec<&'static Schema> {
    let registry = registry();
    let Some(package) = registry.package(group, version) else { return Vec::new() };
    (0..registry.slots.len())
        .filter(|at| registry.slots[*at].package == package)
        .map(|position| at(position as u16))
        .collect()
}

/// Every built-in kind with its group and version, lists and options included.
pub fn kinds() -> Vec<Gvk> {
    let registry = registry();
    let kinds = registry.slots.iter().filter(|slot| slot.marks.split(' ').any(|mark| mark == "kind"));
    kinds
        .map(|slot| {
            let package = &registry.packages[slot.package as usize];
            Gvk::new(package.group, package.version, slot.name)
        })
        .collect()
}

/// The table itself, as text.
pub(crate) fn tables() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(_, text)| *text).chain([super::enums::TABLE])
}

/// Every group version that has resources or reviews of its own.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let packages = registry()
        .packages
        .iter()
        .filter(|package| !matches!(package.group, "-" | "meta.k8s.io" | "apidiscovery.k8s.io"));
    packages.map(|package| (package.group, package.version)).collect()
}

/// The kind that a built-in message is, in its own package's group version.
pub fn kind_of(schema: &Schema) -> Option<Gvk> {
    let (prefix, short) = schema.name.rsplit_once('.')?;
    let package = registry().packages.iter().find(|package| package.openapi == prefix)?;
    schema.kind.then(|| Gvk::new(package.group, package.version, short))
}

/// Every message that OpenAPI publishes. Reads the whole table.
pub fn published() -> Vec<&'static Schema> {
    let registry = registry();
    (0..registry.slots.len()).map(|position| at(position as u16)).filter(|schema| !schema.hidden).collect()
}

pub(super) fn at(position: u16) -> &'static Schema {
    let slot = &registry().slots[position as usize];
    slot.schema.get_or_init(|| read_message(slot))
}

fn read_message(slot: &Slot) -> Schema {
    let package = &registry().packages[slot.package as usize];
    let go_package = package.openapi.rsplit('.').next().unwrap_or("");
    let mut schema = Schema {
        name: format!("{}.{}", package.openapi, slot.name).into(),
        go: format!("{go_package}.{}", slot.name).into(),
        ..Schema::default()
    };
    for mark in slot.marks.split(' ') {
        match mark.split_once('=').unwrap_or((mark, "")) {
            ("kind", _) => schema.kind = true,
            ("atomic", _) => schema.atomic = true,
            ("hidden", _) => schema.hidden = true,
            ("typed", _) => schema.fields.extend(["apiVersion", "kind"].map(type_meta_field)),
            ("unions", text) => schema.unions = Some(text.into()),
            _ => {}
        }
    }
    for row in slot.rows.lines() {
        let mut columns = row.split('\t');
        let mut column = || columns.next().unwrap_or("");
        let (name, number, ty, marks) = (column(), column().parse().unwrap_or(0), column(), column());
        match name.strip_prefix('@') {
            Some(go) => embed(&mut schema, go, number, read_type(ty, slot.package)),
            None => schema.fields.push(read_field(name, number, read_type(ty, slot.package), marks)),
        }
    }
    schema.seal()
}

fn type_meta_field(name: &'static str) -> Field {
    read_field(name, 0, Type::String, "omit")
}

fn embed(schema: &mut Schema, go: &'static str, number: u32, ty: Type) {
    let Type::Message(message) = ty else { return };
    let position = schema.embeds.len() as u16;
    let fields = message.fields.iter().cloned().map(|field| Field { embed: Some(position), ..field });
    schema.fields.extend(fields);
    schema.embeds.push(Embed { go, number, message });
}

fn read_field(name: &'static str, number: u32, ty: Type, marks: &'static str) -> Field {
    let mut field = Field {
        name: name.into(),
        number,
        embed: None,
        ty,
        pointer: false,
        omit: Omit::Never,
        required: false,
        list: ListType::Unstated,
        atomic: false,
        granular: false,
        patch: Patch::default(),
        default: DefaultValue::Implied,
        go: None,
    };
    for mark in marks.split(' ') {
        read_mark(&mut field, mark);
    }
    field
}

fn read_mark(field: &mut Field, mark: &'static str) {
    match mark.split_once('=').unwrap_or((mark, "")) {
        ("ptr", _) => field.pointer = true,
        ("omit", _) => field.omit = Omit::Empty,
        ("zero", _) => field.omit = Omit::Zero,
        ("req", _) => field.required = true,
        ("atomic", _) => field.list = ListType::Atomic,
        ("set", _) => field.list = ListType::Set,
        ("map", keys) => field.list = ListType::Map(keys.split(',').map(Text::from).collect()),
        ("atom", _) => field.atomic = true,
        ("granular", _) => field.granular = true,
        ("patch", strategy) => field.patch = read_patch(strategy),
        ("default", text) => field.default = DefaultValue::Stated(text.into()),
        ("nodefault", _) => field.default = DefaultValue::None,
        ("go", name) if name.contains('_') => field.go = Some(name.replace('_', " ").into()),
        ("go", name) => field.go = Some(name.into()),
        _ => {}
    }
}

fn read_patch(text: &'static str) -> Patch {
    let (strategies, merge_key) = text.split_once(':').map_or((text, None), |(s, key)| (s, Some(key.into())));
    let has = |name| strategies.split(',').any(|strategy| strategy == name);
    Patch { merge: has("merge"), replace: has("replace"), retain_keys: has("retainKeys"), merge_key }
}

/// `[]T`, `map:T`, `wrapT`, `ref:Name` (same package), `ref:file/Name`, or a scalar's name.
fn read_type(text: &'static str, package: u16) -> Type {
    if let Some(element) = text.strip_prefix("wrap[]") {
        return Type::WrappedList(Box::new(read_type(element, package)));
    }
    if let Some(element) = text.strip_prefix("[]") {
        return Type::List(Box::new(read_type(element, package)));
    }
    if let Some(element) = text.strip_prefix("map:") {
        return Type::Map(Box::new(read_type(element, package)));
    }
    if let Some(name) = text.strip_prefix("ref:") {
        let (package, name) = match name.split_once('/') {
            Some((file, name)) => (FILES.iter().position(|(known, _)| *known == file).unwrap_or_default() as u16, name),
            None => (package, name),
        };
        return Type::Message(reference(package, name));
    }
    let props = || reference(package, "JSONSchemaProps");
    match text {
        "string" => Type::String,
        "bool" => Type::Bool,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "quantity" => Type::Quantity,
        "intorstring" => Type::IntOrString,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "raw" => Type::Raw,
        "fieldsv1" => Type::FieldsV1,
        "schemaorbool" => Type::SchemaOrBool(props()),
        "schemaorarray" => Type::SchemaOrArray(props()),
        "schemaorstrings" => Type::SchemaOrStrings(props()),
        _ => Type::Json,
    }
}

/// The table is ours and a test reads all of it: a name that is not there is a broken table.
fn reference(package: u16, name: &'static str) -> Ref {
    match registry().by_name.get(&(package, name)) {
        Some(position) => Ref::builtin(*position),
        None => panic!("facts name {name}, which package {package} does not have"),
    }
}
