//! What the fields of every kind are: the facts table, and all that reads it.
//!
//! Start at [`builtin`] for a kind's [`Schema`], at [`decode_json`] for bytes that a client sent, and at [`normalize`] for
//! the form in which the API stores and answers an object. A custom resource's schema is the same type, made at run time.
//! Nothing here knows of resources, verbs or storage; rules across fields (validation) live with the API server.

mod access;
mod custom;
mod decode;
mod defaults;
mod enums;
mod facts;
mod go;
pub(crate) mod literal;
mod normalize;
mod restore;
#[cfg(test)]
mod tests;
pub mod time;
mod tree;
mod twice;

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

pub use custom::{custom, custom_definition, custom_list, definition_name};
pub use decode::{
    DecodeError, Decoded, TypeMeta, decode_json, decode_value, decode_yaml, type_meta_json, type_meta_yaml,
};
pub use defaults::default_static;
pub use enums::enumeration;
pub(crate) use facts::tables;
pub use facts::{builtin, group_versions, kind_of, kinds, message, messages, published};
pub use go::{go_map, syntax_error};
pub use literal::bad_base64;
pub(crate) use normalize::zero;
pub use normalize::{is_empty, normalize};
pub use restore::restore;
pub use tree::decode_tree;
pub use twice::{given_twice, unmarshal_errors, warnings};

/// Text that is `'static` for built-in kinds and owned for custom ones.
pub type Text = Cow<'static, str>;

/// One message: a kind, or a part of one. Fields of inlined Go structs stand beside the message's own, as in JSON.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// OpenAPI definition name, as `io.k8s.api.core.v1.Pod`.
    pub name: Text,
    /// Type name as Go prints it in decode errors, as `v1.Pod`.
    pub go: Text,
    /// In upstream's declaration order.
    pub fields: Vec<Field>,
    /// Digests of the JSON names and their positions in `fields`, ordered.
    index: Vec<(u64, u16)>,
    /// Positions of the fields that have a default of their own.
    stated: Vec<u16>,
    /// Positions of the fields that are written though unset.
    always: Vec<u16>,
    /// What protobuf writes, ordered by number.
    wire: Vec<(u32, WireField)>,
    /// Server-side apply owns it as a whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Top level of a registered kind.
    pub kind: bool,
    /// Not published in OpenAPI.
    pub hidden: bool,
    /// `x-kubernetes-unions`, JSON text.
    pub unions: Option<Text>,
    /// A custom resource's: values are kept as sent (no dropping of zero values, no type check while decoding).
    pub structural: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// Structs that are inlined in JSON yet messages of their own in protobuf.
    pub embeds: Vec<Embed>,
}

/// A Go struct inlined in JSON, that protobuf writes as a message.
#[derive(Clone, Debug)]
pub struct Embed {
    pub go: &'static str,
    pub number: u32,
    pub message: Ref,
}

/// A position in [`Schema::fields`] or [`Schema::embeds`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum WireField {
    Field(u16),
    Embed(u16),
}

/// One field of a message.
#[derive(Clone, Debug)]
pub struct Field {
    /// JSON name.
    pub name: Text,
    /// Protobuf field number; 0 when the field has none.
    pub number: u32,
    /// Position in [`Schema::embeds`] when the field came from an inlined struct; `number` is then that struct's.
    pub embed: Option<u16>,
    pub ty: Type,
    /// A pointer in Go: absent and zero are different.
    pub pointer: bool,
    pub omit: Omit,
    /// Listed under `required` in OpenAPI.
    pub required: bool,
    pub list: ListType,
    /// Server-side apply owns the map or struct as a whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// `x-kubernetes-map-type: granular` is stated.
    pub granular: bool,
    pub patch: Patch,
    pub default: DefaultValue,
    /// Go's name of the type where it does not follow from `ty` (`v1.PullPolicy`, `[]v1.Capability`).
    pub go: Option<Text>,
}

/// When a field is left out of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omit {
    /// Always written: a zero value, `null` for lists, maps and pointers that are not set.
    Never,
    /// `omitempty`: no zero scalar, empty list or map, unset pointer; structs by value are always written.
    Empty,
    /// `omitempty` and `omitzero`: no zero struct either.
    Zero,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType {
    /// Nothing stated: server-side apply treats it as atomic.
    Unstated,
    Atomic,
    Set,
    /// The keys that name an element.
    Map(Vec<Text>),
}

/// Strategic merge patch: `patchStrategy` and `patchMergeKey`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
    pub merge_key: Option<Text>,
}

/// What OpenAPI says under `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// What follows from the type: the zero value of an always written scalar, `{}` of a struct by value.
    Implied,
    /// Stated: JSON text. The server applies it.
    Stated(Text),
    /// None, though the type would imply one.
    None,
}

/// A field's type. Scalars keep JSON's form in an object; the others say what JSON carries.
#[derive(Clone, Debug)]
pub enum Type {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    /// Base64 in JSON.
    Bytes,
    /// String or number; written in canonical form.
    Quantity,
    IntOrString,
    /// RFC 3339, whole seconds, UTC.
    Time,
    /// RFC 3339 with six decimals, UTC.
    MicroTime,
    /// Any JSON object: `runtime.RawExtension`.
    Raw,
    /// Any JSON value, owned whole.
    Json,
    /// Any JSON value of a custom resource; an object is owned field by field.
    Any,
    /// The field set of a managed fields entry.
    FieldsV1,
    /// A JSON schema, or a boolean / a list of schemas / a list of strings.
    SchemaOrBool(Ref),
    SchemaOrArray(Ref),
    SchemaOrStrings(Ref),
    List(Box<Type>),
    /// A list in JSON, a message holding it in protobuf (Go's named slices).
    WrappedList(Box<Type>),
    /// String keys.
    Map(Box<Type>),
    Message(Ref),
}

/// A reference to a message; a built-in one is read from the facts when first followed.
#[derive(Clone)]
pub struct Ref(Target);

#[derive(Clone)]
enum Target {
    Builtin(u16),
    Owned(Arc<Schema>),
}

impl Deref for Ref {
    type Target = Schema;
    fn deref(&self) -> &Schema {
        match &self.0 {
            Target::Builtin(position) => facts::at(*position),
            Target::Owned(schema) => schema,
        }
    }
}

impl From<Arc<Schema>> for Ref {
    fn from(schema: Arc<Schema>) -> Self {
        Self(Target::Owned(schema))
    }
}

impl std::fmt::Debug for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ref({})", self.name)
    }
}
