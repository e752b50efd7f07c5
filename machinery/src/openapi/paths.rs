//! The paths of a group version: what its resources' rows allow, under upstream's operation ids.

use serde_json::{Map, Value, json};

use super::operations::{self as op, Body, Operation};
use super::{Custom, Dialect, META, definition_name};
use crate::catalogue::{Resource, Subresource};
use crate::gvk::Gvk;

/// Subresources that are proxied streams, not objects, with the kind of their options.
const CONNECT: &[(&str, &str, &str)] = &[
    ("Pod", "attach", "PodAttachOptions"),
    ("Pod", "exec", "PodExecOptions"),
    ("Pod", "portforward", "PodPortForwardOptions"),
    ("Pod", "proxy", "PodProxyOptions"),
    ("Service", "proxy", "ServiceProxyOptions"),
    ("Node", "proxy", "NodeProxyOptions"),
];

pub(super) fn is_connect(subresource: &Subresource) -> bool {
    CONNECT.iter().any(|(_, name, _)| *name == subresource.name)
}

struct Builder<'a> {
    prefix: String,
    /// `AppsV1`, as operation ids have it.
    id: String,
    tag: String,
    custom: &'a Custom,
    dialect: Dialect,
    paths: Map<String, Value>,
}

pub(super) fn paths(
    group: &str,
    version: &str,
    rows: &[&Resource],
    custom: &Custom,
    dialect: Dialect,
) -> Map<String, Value> {
    let prefix = match group {
        "" => format!("/api/{version}"),
        _ => format!("/apis/{group}/{version}"),
    };
    let word = group_word(group);
    let tag = format!("{word}_{version}");
    let id = format!("{}{}", capital(&word), capital(version));
    let mut builder = Builder { prefix, id, tag, custom, dialect, paths: Map::new() };
    builder.add_resources();
    rows.iter().for_each(|row| builder.add(row));
    builder.paths
}

/// `rbac.authorization.k8s.io` → `rbacAuthorization`, core's empty group → `core`.
fn group_word(group: &str) -> String {
    if group.is_empty() {
        return "core".to_owned();
    }
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    let mut parts = group.split(['.', '-']);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |word, part| word + &capital(part))
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

impl Builder<'_> {
    fn insert(&mut self, path: String, parameters: &[&op::Parameter], operations: Vec<(&str, Operation)>) {
        if operations.is_empty() {
            return;
        }
        let dialect = self.dialect;
        let mut entry: Map<String, Value> = operations
            .into_iter()
            .map(|(method, operation)| (method.to_owned(), operation.to_value(dialect)))
            .collect();
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|parameter| match path.contains(&format!("{{{}}}", parameter.name)) {
                true => op::in_path(parameter, dialect),
                false => op::query(parameter, dialect),
            })
            .collect();
        if !parameters.is_empty() {
            entry.insert("parameters".to_owned(), parameters.into());
        }
        self.paths.insert(path, Value::Object(entry));
    }

    fn operation(&self, id: String, description: String) -> Operation {
        Operation {
            id,
            description,
            action: "",
            gvk: None,
            tag: self.tag.clone(),
            parameters: &[],
            body: Body::None,
            answer: None,
            codes: &[],
            streams: false,
        }
    }

    fn add_resources(&mut self) {
        let operation = Operation {
            answer: Some(format!("{META}.APIResourceList")),
            ..self.operation(format!("get{}APIResources", self.id), "get available resources".to_owned())
        };
        self.insert(format!("{}/", self.prefix), &[], vec![("get", operation)]);
    }

    fn add(&mut self, row: &Resource) {
        let Some(definition) = definition_name(&row.gvk(), self.custom) else { return };
        let list = definition_name(&Gvk::new(&row.group, &row.version, &row.list_kind()), self.custom)
            .unwrap_or_else(|| format!("{definition}List"));
        let scope = if row.namespaced { "Namespaced" } else { "" };
        let base = match row.namespaced {
            true => format!("{}/namespaces/{{namespace}}/{}", self.prefix, row.plural),
            false => format!("{}/{}", self.prefix, row.plural),
        };
        let namespace: &[&op::Parameter] = if row.namespaced { &[&op::NAMESPACE] } else { &[] };
        let in_item: Vec<&op::Parameter> = [&op::NAME].into_iter().chain(namespace.iter().copied()).collect();
        let with_pretty = |own: &[&'static op::Parameter]| -> Vec<&'static op::Parameter> {
            own.iter().copied().chain([&op::PRETTY]).collect()
        };
        let item_parameters: Vec<&'static op::Parameter> = match row.namespaced {
            true => with_pretty(&[&op::NAME, &op::NAMESPACE]),
            false => with_pretty(&[&op::NAME]),
        };
        let collection_parameters: Vec<&'static op::Parameter> = match row.namespaced {
            true => with_pretty(&[&op::NAMESPACE]),
            false => with_pretty(&[]),
        };
        let collection = self.collection(row, &definition, &list, scope);
        self.insert(base.clone(), &collection_parameters, collection);
        let item = self.item(row, &definition, scope);
        self.insert(format!("{base}/{{name}}"), &item_parameters, item);
        if row.namespaced && row.allows("list") {
            let across = self.list(row, &list, format!("list{}{}ForAllNamespaces", self.id, row.kind));
            self.insert(format!("{}/{}", self.prefix, row.plural), &[&op::PRETTY], vec![("get", across)]);
        }
        for subresource in row.subresources.iter() {
            let path = format!("{base}/{{name}}/{}", subresource.name);
            if is_connect(subresource) {
                let connect = self.connect(row, subresource, scope, "");
                self.insert(path.clone(), &in_item, connect);
                if subresource.name == "proxy" {
                    let parameters: Vec<&op::Parameter> = in_item.iter().copied().chain([&op::PATH]).collect();
                    let connect = self.connect(row, subresource, scope, "WithPath");
                    self.insert(format!("{path}/{{path}}"), &parameters, connect);
                }
            } else {
                let operations = self.subresource(row, subresource, &definition, scope);
                self.insert(path, &item_parameters, operations);
            }
        }
    }

    fn list(&self, row: &Resource, list: &str, id: String) -> Operation {
        let watch = if row.allows("watch") { "list or watch" } else { "list" };
        Operation {
            action: "list",
            gvk: Some(row.gvk()),
            parameters: op::LIST,
            answer: Some(list.to_owned()),
            streams: row.allows("watch"),
            ..self.operation(id, format!("{watch} objects of kind {}", row.kind))
        }
    }

    fn collection(&self, row: &Resource, definition: &str, list: &str, scope: &str) -> Vec<(&'static str, Operation)> {
        let (id, kind) = (&self.id, &row.kind);
        let mut operations = Vec::new();
        if row.allows("list") {
            operations.push(("get", self.list(row, list, format!("list{id}{scope}{kind}"))));
        }
        if row.allows("create") {
            operations.push((
                "post",
                Operation {
                    action: "post",
                    gvk: Some(row.gvk()),
                    parameters: op::WRITE,
                    body: Body::Object(definition.to_owned()),
                    answer: Some(definition.to_owned()),
                    codes: &[201, 202],
                    ..self.operation(format!("create{id}{scope}{kind}"), format!("create {}", a_kind(kind)))
                },
            ));
        }
        if row.allows("deletecollection") {
            operations.push((
                "delete",
                Operation {
                    action: "deletecollection",
                    gvk: Some(row.gvk()),
                    parameters: op::DELETE_COLLECTION,
                    body: Body::Options(format!("{META}.DeleteOptions")),
                    answer: Some(format!("{META}.Status")),
                    ..self
                        .operation(format!("delete{id}Collection{scope}{kind}"), format!("delete collection of {kind}"))
                },
            ));
        }
        operations
    }

    fn item(&self, row: &Resource, definition: &str, scope: &str) -> Vec<(&'static str, Operation)> {
        let (id, kind) = (&self.id, &row.kind);
        let words = (format!("{id}{scope}{kind}"), format!("the specified {kind}"));
        let mut operations = self.object(row.verbs, &row.gvk(), definition, &words);
        if row.allows("delete") {
            let status = format!("{META}.Status");
            operations.push((
                "delete",
                Operation {
                    action: "delete",
                    gvk: Some(row.gvk()),
                    parameters: op::DELETE,
                    body: Body::Options(format!("{META}.DeleteOptions")),
                    answer: Some(if row.answers_deleted() { definition.to_owned() } else { status }),
                    codes: &[202],
                    ..self.operation(format!("delete{id}{scope}{kind}"), format!("delete {}", a_kind(kind)))
                },
            ));
        }
        operations
    }

    /// get, put and patch of an object or of a subresource that is one.
    fn object(
        &self,
        verbs: &[&str],
        gvk: &Gvk,
        definition: &str,
        (id, what): &(String, String),
    ) -> Vec<(&'static str, Operation)> {
        let mut operations = Vec::new();
        let answer = Some(definition.to_owned());
        if verbs.contains(&"get") {
            let operation = self.operation(format!("read{id}"), format!("read {what}"));
            operations.push((
                "get",
                Operation { action: "get", gvk: Some(gvk.clone()), answer: answer.clone(), ..operation },
            ));
        }
        if verbs.contains(&"update") {
            operations.push((
                "put",
                Operation {
                    action: "put",
                    gvk: Some(gvk.clone()),
                    parameters: op::WRITE,
                    body: Body::Object(definition.to_owned()),
                    answer: answer.clone(),
                    codes: &[201],
                    ..self.operation(format!("replace{id}"), format!("replace {what}"))
                },
            ));
        }
        if verbs.contains(&"patch") {
            operations.push((
                "patch",
                Operation {
                    action: "patch",
                    gvk: Some(gvk.clone()),
                    parameters: op::PATCH,
                    body: Body::Patch(format!("{META}.Patch")),
                    answer,
                    codes: &[201],
                    ..self.operation(format!("patch{id}"), format!("partially update {what}"))
                },
            ));
        }
        operations
    }

    fn subresource(
        &self,
        row: &Resource,
        subresource: &Subresource,
        definition: &str,
        scope: &str,
    ) -> Vec<(&'static str, Operation)> {
        let (name, kind) = (subresource.name.as_ref(), &row.kind);
        let gvk = subresource.kind.map_or_else(|| row.gvk(), |(group, version, kind)| Gvk::new(group, version, kind));
        let definition = match subresource.kind {
            Some(_) => definition_name(&gvk, self.custom).unwrap_or_else(|| definition.to_owned()),
            None => definition.to_owned(),
        };
        let words = (format!("{}{scope}{kind}{}", self.id, capital(name)), format!("{name} of the specified {kind}"));
        if name == "log" {
            let operation = self.operation(format!("read{}", words.0), format!("read {}", words.1));
            return vec![("get", Operation { action: "get", gvk: Some(gvk), ..operation })];
        }
        let mut operations = self.object(subresource.verbs, &gvk, &definition, &words);
        if subresource.verbs.contains(&"create") {
            operations.push((
                "post",
                Operation {
                    action: "post",
                    gvk: Some(gvk),
                    parameters: op::WRITE,
                    body: Body::Object(definition.clone()),
                    answer: Some(definition),
                    codes: &[201, 202],
                    ..self.operation(format!("create{}", words.0), format!("create {name} of {}", a_kind(kind)))
                },
            ));
        }
        operations
    }

    fn connect(
        &self,
        row: &Resource,
        subresource: &Subresource,
        scope: &str,
        suffix: &str,
    ) -> Vec<(&'static str, Operation)> {
        let methods: &[&str] = match subresource.name.as_ref() {
            "proxy" => &["delete", "get", "head", "options", "patch", "post", "put"],
            _ => &["get", "post"],
        };
        let (name, kind) = (subresource.name.as_ref(), row.kind.as_ref());
        let options =
            CONNECT.iter().find(|(owner, sub, _)| *owner == kind && *sub == name).map(|(_, _, options)| *options);
        let operation = |method: &&'static str| {
            let id = format!("connect{}{}{scope}{kind}{}{suffix}", self.id, capital(method), capital(name));
            let description = format!("connect {} requests to {name} of {kind}", method.to_uppercase());
            let gvk = options.map(|options| Gvk::new("", "v1", options));
            (*method, Operation { action: "connect", gvk, ..self.operation(id, description) })
        };
        methods.iter().map(operation).collect()
    }
}

/// The kind with its article; plurals have none.
fn a_kind(kind: &str) -> String {
    match kind {
        plural if plural.ends_with('s') && !plural.ends_with("ss") => plural.to_owned(),
        vowel if vowel.starts_with(['A', 'E', 'I', 'O', 'U']) => format!("an {vowel}"),
        other => format!("a {other}"),
    }
}

/// The document that tells which group versions have one: paths relative to the server, with their address.
pub fn index(group_versions: &[(String, String)]) -> Value {
    let entries = group_versions.iter().map(|(path, url)| (path.clone(), json!({ "serverRelativeURL": url })));
    json!({"paths": entries.collect::<Map<String, Value>>()})
}
