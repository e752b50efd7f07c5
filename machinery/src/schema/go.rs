//! Go's words for JSON errors, which clients read in a Status: the path to a field, type names, quoting, syntax errors.

use serde_json::Value;

use super::{Field, Schema, Type};

/// Where the decoder stands. Lives on the stack; text is made only for an error.
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Segment<'a> {
    Root(&'a Schema),
    Field(&'a Schema, &'a Field),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    pub(super) fn root(schema: &'a Schema) -> Self {
        Self { parent: None, segment: Segment::Root(schema) }
    }

    pub(super) fn then(&'a self, segment: Segment<'a>) -> Path<'a> {
        Path { parent: Some(self), segment }
    }

    pub(super) fn segments(&self) -> Vec<Segment<'a>> {
        let mut segments = self.parent.map(Path::segments).unwrap_or_default();
        segments.push(self.segment);
        segments
    }

    /// The path of a key below this place, as strict errors write it: `spec.containers[0].name`.
    pub(super) fn child(&self, name: &str) -> String {
        let mut text = String::new();
        let add_name = |text: &mut String, name: &str| {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(name);
        };
        for segment in self.segments() {
            match segment {
                Segment::Root(_) => {}
                Segment::Field(_, field) => add_name(&mut text, &field.name),
                Segment::Key(key) => add_name(&mut text, key),
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        add_name(&mut text, name);
        text
    }
}

/// `json: cannot unmarshal VALUE into Go struct field PodSpec.spec.containers of type []v1.Container`.
pub(super) fn type_error(value: &str, path: &Path<'_>) -> String {
    type_error_of(&go_type_at(&path.segments()), value, path)
}

/// The same, where the value should have been of this type.
pub(super) fn type_error_of(ty: &str, value: &str, path: &Path<'_>) -> String {
    let segments = path.segments();
    let fields = segments.iter().filter_map(|segment| match segment {
        Segment::Field(owner, field) => Some((*owner, *field)),
        _ => None,
    });
    let mut names = Vec::new();
    let mut owner_name = None;
    for (owner, field) in fields {
        embedded_names(owner, field, &mut names);
        names.push(field.name.to_string());
        owner_name = Some(owner.short_name().to_owned());
    }
    match owner_name {
        Some(owner) => {
            format!("json: cannot unmarshal {value} into Go struct field {owner}.{} of type {ty}", names.join("."))
        }
        None => format!("json: cannot unmarshal {value} into Go value of type {ty}"),
    }
}

fn embedded_names(owner: &Schema, field: &Field, names: &mut Vec<String>) {
    if field.number == 0 && matches!(field.name.as_ref(), "kind" | "apiVersion") && owner.kind {
        names.push("TypeMeta".to_owned());
    }
    let Some(embed) = field.embed.and_then(|at| owner.embeds.get(at as usize)) else { return };
    names.push(embed.go.to_owned());
    if let Some(inner) = embed.message.field(&field.name) {
        embedded_names(&embed.message, inner, names);
    }
}

/// Go's type of the value at the end of a path: the last field's, with one layer off for each index or key after it.
pub(super) fn go_type_at(segments: &[Segment<'_>]) -> String {
    let last_field = segments.iter().rposition(|segment| matches!(segment, Segment::Field(..) | Segment::Root(_)));
    let Some(at) = last_field else { return "interface {}".to_owned() };
    let (mut ty, mut text) = match segments[at] {
        Segment::Field(_, field) => (Some(&field.ty), field.go.as_ref().map(ToString::to_string)),
        Segment::Root(schema) => (None, Some(schema.go.to_string())),
        _ => (None, None),
    };
    for _ in &segments[at + 1..] {
        ty = ty.and_then(Type::element);
        text = text.as_deref().and_then(element_text);
    }
    text.or_else(|| ty.map(go_type)).unwrap_or_else(|| "interface {}".to_owned())
}

/// `[]v1.Capability` → `v1.Capability`, `map[string]*T` → `T`. Named lists and maps do not tell their element.
fn element_text(text: &str) -> Option<String> {
    let element = match text.strip_prefix("[]") {
        Some(element) => element,
        None => text.strip_prefix("map[")?.split_once(']')?.1,
    };
    Some(element.trim_start_matches('*').to_owned())
}

fn go_type(ty: &Type) -> String {
    match ty {
        Type::String => "string".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Double => "float64".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Raw => "runtime.RawExtension".to_owned(),
        Type::FieldsV1 => "v1.FieldsV1".to_owned(),
        Type::Json | Type::Any => "interface {}".to_owned(),
        Type::SchemaOrBool(_) => "v1.JSONSchemaPropsOrBool".to_owned(),
        Type::SchemaOrArray(_) => "v1.JSONSchemaPropsOrArray".to_owned(),
        Type::SchemaOrStrings(_) => "v1.JSONSchemaPropsOrStringArray".to_owned(),
        Type::List(element) | Type::WrappedList(element) => format!("[]{}", go_type(element)),
        Type::Map(element) => format!("map[string]{}", go_type(element)),
        Type::Message(message) => message.go.to_string(),
    }
}

/// As Go prints a tree: `map[spec:map[replicas:2]]`.
pub fn go_map(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(name, value)| format!("{name}:{}", go_map(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(go_map).collect::<Vec<_>>().join(" ")),
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        scalar => scalar.to_string(),
    }
}

/// Go's `%q`: JSON's escapes serve for what occurs in field names.
pub(super) fn quote(text: &str) -> String {
    format!("{text:?}")
}

/// Go's words for bytes that are not JSON, from where serde_json stopped.
pub fn syntax_error(body: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let offset = offset_of(body, error.line(), error.column());
    let Some(byte) = body.get(offset.saturating_sub(1)).or_else(|| body.get(offset)) else {
        return "unexpected end of JSON input".to_owned();
    };
    let character = match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        0x20..=0x7e => format!("'{}'", *byte as char),
        other => format!("'\\x{other:02x}'"),
    };
    let context = match error.to_string() {
        text if text.starts_with("trailing characters") => "after top-level value",
        text if text.starts_with("key must be a string") => "looking for beginning of object key string",
        text if text.starts_with("expected `:`") => "after object key",
        text if text.starts_with("expected `,` or `}`") => "after object key:value pair",
        text if text.starts_with("expected `,` or `]`") => "after array element",
        text if text.starts_with("trailing comma") => "looking for beginning of value",
        text if text.starts_with("control character") => "in string literal",
        text if text.starts_with("invalid escape") => "in string escape code",
        text if text.starts_with("invalid number") => "in numeric literal",
        _ => "looking for beginning of value",
    };
    format!("invalid character {character} {context}")
}

fn offset_of(body: &[u8], line: usize, column: usize) -> usize {
    let starts = body.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(starts).nth(line.saturating_sub(1)).unwrap_or(0) + column
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trees_are_shown_as_go_shows_them() {
        let tree = json!({"spec": {"b": [1, "x", null], "a": true}});
        assert_eq!(go_map(&tree), "map[spec:map[a:true b:[1 x <nil>]]]");
    }
}
