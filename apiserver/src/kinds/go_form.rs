//! Values as Go writes structs that have no JSON names: upstream shows its internal types so in messages.
//!
//! Names are capitalized and stand in the order of their declaration; what is unset is written all the same.

use machinery::diff;
use serde_json::Value;

/// The shape of a Go value.
pub enum Form {
    /// As JSON has it; the text where it is absent (`null` for a pointer, `0`, `""`).
    Plain(&'static str),
    /// `null` where absent.
    List(&'static Form),
    /// `null` where absent.
    Struct(&'static [(&'static str, Form)]),
    /// A struct that has JSON names: what is absent is left out.
    Tagged(&'static [(&'static str, Form)]),
    /// A field that keeps its JSON name, and is left out where it is absent.
    Own(&'static Form),
    /// What Go calls the field, where that is not its JSON name with a capital.
    As(&'static str, &'static Form),
    /// A struct that is no pointer: all its fields are written where it is absent.
    Inline(&'static [(&'static str, Form)]),
    /// A struct whose fields stand among those of the one around it.
    Embedded(&'static [(&'static str, Form)]),
}

pub const POINTER: Form = Form::Plain("null");
pub const TEXT: Form = Form::Plain("\"\"");
pub const NUMBER: Form = Form::Plain("0");
pub const FLAG: Form = Form::Plain("false");

/// A template as upstream holds it: the fields of its metadata are its own, and keep their JSON names.
pub fn with_metadata(template: &Value) -> Value {
    let mut flat = template.clone();
    if let Some(fields) = flat.as_object_mut()
        && let Some(Value::Object(metadata)) = fields.remove("metadata")
    {
        fields.extend(metadata);
    }
    flat
}

/// Metadata of a template, among the template's own fields.
pub const METADATA: Form = Form::Embedded(&[
    ("name", Form::Own(&TEXT)),
    ("generateName", Form::Own(&TEXT)),
    ("namespace", Form::Own(&TEXT)),
    ("selfLink", Form::Own(&TEXT)),
    ("uid", Form::Own(&TEXT)),
    ("resourceVersion", Form::Own(&TEXT)),
    ("generation", Form::Own(&NUMBER)),
    ("creationTimestamp", Form::Own(&TEXT)),
    ("deletionTimestamp", Form::Own(&TEXT)),
    ("deletionGracePeriodSeconds", Form::Own(&NUMBER)),
    ("labels", Form::Own(&POINTER)),
    ("annotations", Form::Own(&POINTER)),
    ("ownerReferences", Form::Own(&Form::List(&OWNER))),
    ("finalizers", Form::Own(&POINTER)),
]);
const OWNER: Form = Form::Tagged(&[
    ("apiVersion", TEXT),
    ("kind", TEXT),
    ("name", TEXT),
    ("uid", TEXT),
    ("controller", POINTER),
    ("blockOwnerDeletion", POINTER),
]);

pub const LABEL_SELECTOR: Form = Form::Tagged(&[("matchLabels", POINTER), ("matchExpressions", POINTER)]);

pub fn write(value: &Value, form: &Form) -> String {
    match form {
        Form::Plain(absent) if value.is_null() => (*absent).to_owned(),
        Form::Plain(_) => machinery::wire::go_json(value),
        Form::List(item) => match value.as_array() {
            Some(items) => {
                let items: Vec<String> = items.iter().map(|value| write(value, item)).collect();
                format!("[{}]", items.join(","))
            }
            None => "null".to_owned(),
        },
        Form::Struct(_) | Form::Tagged(_) if value.is_null() => "null".to_owned(),
        Form::Struct(fields) | Form::Inline(fields) | Form::Embedded(fields) => {
            object(written(value, fields).into_iter())
        }
        Form::Tagged(fields) => {
            let given = fields.iter().filter(|(name, _)| !value[*name].is_null());
            object(given.map(|(name, form)| ((*name).to_owned(), write(&value[*name], form))))
        }
        Form::As(_, form) | Form::Own(form) => write(value, form),
    }
}

fn written(value: &Value, fields: &[(&str, Form)]) -> Vec<(String, String)> {
    let each = fields.iter().flat_map(|(name, form)| match form {
        Form::Embedded(fields) => written(value, fields),
        Form::Own(_) if value[*name].is_null() => Vec::new(),
        form => vec![(go_name(name, form), write(&value[*name], form))],
    });
    each.collect()
}

/// What changed, as a unified diff of both values, written one field a line.
pub fn difference(old: &Value, new: &Value, form: &Form) -> String {
    diff::unified(&indented(&write(old, form)), &indented(&write(new, form)))
}

fn object(fields: impl Iterator<Item = (String, String)>) -> String {
    let fields: Vec<String> = fields.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn go_name(name: &str, form: &Form) -> String {
    match form {
        Form::As(name, _) => (*name).to_owned(),
        Form::Own(_) => name.to_owned(),
        _ => capitalized(name),
    }
}

/// Compact JSON, a line for each item, one blank for each level; what is empty stays on its line.
fn indented(compact: &str) -> String {
    let (mut text, mut depth) = (String::with_capacity(compact.len() * 2), 0);
    let (mut in_string, mut escaped, mut opened) = (false, false, false);
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&" ".repeat(depth));
    };
    for character in compact.chars() {
        let closes = !in_string && matches!(character, '}' | ']');
        if closes {
            depth -= 1;
        }
        if closes != opened {
            line(&mut text, depth);
        }
        opened = false;
        text.push(character);
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '{' | '[' => (depth, opened) = (depth + 1, true),
            ',' => line(&mut text, depth),
            ':' => text.push(' '),
            _ => {}
        }
    }
    text
}

fn capitalized(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn structs_are_written_whole() {
        const RULE: Form = Form::Struct(&[("kind", TEXT), ("count", NUMBER), ("limit", POINTER)]);
        const FORM: Form = Form::Struct(&[("rules", Form::List(&RULE)), ("other", RULE)]);
        assert_eq!(
            write(&json!({"rules": [{"count": 2}]}), &FORM),
            r#"{"Rules":[{"Kind":"","Count":2,"Limit":null}],"Other":null}"#
        );
    }

    #[test]
    fn names_are_those_of_go() {
        const SELECTOR: Form = Form::Tagged(&[("matchLabels", POINTER), ("matchExpressions", POINTER)]);
        const INNER: &[(&str, Form)] = &[("limits", POINTER)];
        const FORM: Form = Form::Struct(&[
            ("fsType", Form::As("FSType", &TEXT)),
            ("selector", SELECTOR),
            ("resources", Form::Inline(INNER)),
        ]);
        let value = json!({"fsType": "x", "selector": {"matchExpressions": [], "matchLabels": {"a": "b"}}});
        let written =
            r#"{"FSType":"x","Selector":{"matchLabels":{"a":"b"},"matchExpressions":[]},"Resources":{"Limits":null}}"#;
        assert_eq!(write(&value, &FORM), written);
        const OUTER: Form = Form::Struct(&[("a", NUMBER), ("", Form::Embedded(INNER)), ("b", NUMBER)]);
        assert_eq!(write(&json!({"b": 1}), &OUTER), r#"{"A":0,"Limits":null,"B":1}"#);
        let other = json!({"selector": {"matchLabels": {"a": "c:,{"}}});
        assert_eq!(
            difference(&value, &other, &FORM),
            "@@ -1,10 +1,9 @@\n {\n- \"FSType\": \"x\",\n+ \"FSType\": \"\",\n  \"Selector\": {\n   \"matchLabels\": {\n-   \"a\": \"b\"\n-  },\n-  \"matchExpressions\": []\n+   \"a\": \"c:,{\"\n+  }\n  },\n  \"Resources\": {\n   \"Limits\": null\n"
        );
    }
}
