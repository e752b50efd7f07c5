//! Reading a [`Schema`]: fields by name, what server-side apply and patches ask of a field.

use super::{DefaultValue, Field, ListType, Omit, Ref, Schema, Type, WireField};

impl Schema {
    /// Orders the fields for [`Schema::field`]. To be called after `fields` was filled.
    pub fn seal(mut self) -> Self {
        self.index = (0..).zip(&self.fields).map(|(at, field)| (digest(&field.name), at)).collect();
        self.index.sort_unstable();
        let stated =
            self.fields.iter().enumerate().filter(|(_, field)| matches!(field.default, DefaultValue::Stated(_)));
        self.stated = stated.map(|(at, _)| at as u16).collect();
        let always = self.fields.iter().enumerate().filter(|(_, field)| field.is_always_written());
        self.always = always.map(|(at, _)| at as u16).collect();
        let fields = self.fields.iter().enumerate().filter(|(_, field)| field.number != 0 && field.embed.is_none());
        let fields = fields.map(|(at, field)| (field.number, WireField::Field(at as u16)));
        let embeds = self.embeds.iter().enumerate().filter(|(_, embed)| embed.number != 0);
        let embeds = embeds.map(|(at, embed)| (embed.number, WireField::Embed(at as u16)));
        self.wire = fields.chain(embeds).collect();
        self.wire.sort_by_key(|(number, _)| *number);
        self
    }

    /// Position of the field of that JSON name in `fields`.
    pub fn position(&self, name: &str) -> Option<usize> {
        let digest = digest(name);
        let first = self.index.partition_point(|(other, _)| *other < digest);
        let alike = self.index[first..].iter().take_while(|(other, _)| *other == digest);
        alike.map(|(_, at)| *at as usize).find(|at| self.fields[*at].name == name)
    }

    /// The field of that JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|at| &self.fields[at])
    }

    /// The schema that a dotted path of field names leads to, lists and maps stepped through (`spec.template.spec`).
    pub fn at(&self, path: &str) -> Option<&Schema> {
        path.split('.').try_fold(self, |schema, name| schema.field(name)?.ty.message())
    }

    /// The fields that are written though unset.
    pub(super) fn always_written(&self) -> impl Iterator<Item = &Field> {
        self.always.iter().map(|at| &self.fields[*at as usize])
    }

    /// The fields that have a default of their own.
    pub(super) fn stated_defaults(&self) -> impl Iterator<Item = &Field> {
        self.stated.iter().map(|at| &self.fields[*at as usize])
    }

    /// What protobuf writes, by ascending number.
    pub(crate) fn wire(&self) -> &[(u32, WireField)] {
        &self.wire
    }

    pub(crate) fn by_number(&self, number: u32) -> Option<WireField> {
        let found = self.wire.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.wire[found].1)
    }

    /// Last part of the definition name.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

/// A name's length and its first seven bytes, which tell nearly all of a message's names apart: a number is found much
/// quicker than a text.
fn digest(name: &str) -> u64 {
    let mut digest = [0; 8];
    digest[7] = name.len() as u8;
    for (to, from) in digest.iter_mut().zip(name.as_bytes().iter().take(7)) {
        *to = *from;
    }
    u64::from_le_bytes(digest)
}

impl Field {
    /// Not `omitempty`, or a struct held by value: Go writes that though it says `omitempty` (an unset time or raw
    /// extension as null).
    fn is_always_written(&self) -> bool {
        self.omit == Omit::Never || (!self.pointer && self.omit == Omit::Empty && self.ty.is_struct())
    }

    /// Keys naming an element of a `listType=map`; empty otherwise.
    pub fn list_keys(&self) -> &[super::Text] {
        match &self.list {
            ListType::Map(keys) => keys,
            _ => &[],
        }
    }

    /// Whether server-side apply owns this field as one value.
    pub fn is_atomic(&self) -> bool {
        match &self.ty {
            Type::List(_) | Type::WrappedList(_) => matches!(self.list, ListType::Unstated | ListType::Atomic),
            Type::Map(_) => self.atomic,
            Type::Message(message) => self.atomic || (message.atomic && !self.granular),
            _ => true,
        }
    }
}

impl Type {
    /// The message that this is, or a list or map of.
    pub fn message(&self) -> Option<&Schema> {
        match self {
            Self::Message(message) => Some(message),
            Self::List(element) | Self::WrappedList(element) | Self::Map(element) => element.message(),
            Self::SchemaOrBool(message) | Self::SchemaOrArray(message) | Self::SchemaOrStrings(message) => {
                Some(message)
            }
            _ => None,
        }
    }

    /// Element type of a list or map.
    pub fn element(&self) -> Option<&Type> {
        match self {
            Self::List(element) | Self::WrappedList(element) | Self::Map(element) => Some(element),
            _ => None,
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Self::List(_) | Self::WrappedList(_))
    }

    /// A scalar that normalizing leaves alone.
    pub(super) fn is_plain(&self) -> bool {
        !self.is_struct() && !matches!(self, Self::List(_) | Self::WrappedList(_) | Self::Map(_) | Self::Double)
    }

    /// Whether the protobuf and Go form is a struct with its own text form, not a plain scalar.
    pub(crate) fn is_struct(&self) -> bool {
        matches!(
            self,
            Self::Message(_)
                | Self::Quantity
                | Self::IntOrString
                | Self::Time
                | Self::MicroTime
                | Self::Raw
                | Self::FieldsV1
                | Self::SchemaOrBool(_)
                | Self::SchemaOrArray(_)
                | Self::SchemaOrStrings(_)
        )
    }
}

impl Ref {
    pub(super) fn builtin(position: u16) -> Self {
        Self(super::Target::Builtin(position))
    }
}
