//! Values as Go writes structs that have no JSON names: upstream shows its internal types so in messages.
//!
//! Names are capitalized and stand in the order of their declaration; what is unset is written all the same.

use serde_json::Value;

/// The shape of a Go value.
pub enum Form {
    /// As JSON has it; the text where it is absent (`null` for a pointer, `0`, `""`).
    Plain(&'static str),
    /// `null` where absent.
    List(&'static Form),
    /// `null` where absent.
    Struct(&'static [(&'static str, Form)]),
}

pub const POINTER: Form = Form::Plain("null");
pub const TEXT: Form = Form::Plain("\"\"");
pub const NUMBER: Form = Form::Plain("0");

pub fn write(value: &Value, form: &Form) -> String {
    match form {
        Form::Plain(absent) if value.is_null() => (*absent).to_owned(),
        Form::Plain(_) => value.to_string(),
        Form::List(item) => match value.as_array() {
            Some(items) => {
                let items: Vec<String> = items.iter().map(|value| write(value, item)).collect();
                format!("[{}]", items.join(","))
            }
            None => "null".to_owned(),
        },
        Form::Struct(_) if value.is_null() => "null".to_owned(),
        Form::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, form)| format!("\"{}\":{}", capitalized(name), write(&value[*name], form)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
    }
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
}
