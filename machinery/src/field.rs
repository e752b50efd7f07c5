//! Errors about fields, in upstream's words, and the path that names a field.
//!
//! Validation collects an [`ErrorList`]; [`crate::status::Status::invalid`] tells it to the client with one cause per
//! error (Kubernetes API conventions: "Status Kind", causes of an `Invalid` answer).

use std::fmt;

use serde_json::Value;
use smallvec::SmallVec;

/// Where a field stands in an object: `spec.containers[0].name`, `metadata.labels[app]`.
///
/// Validation makes hundreds of paths and mostly tells none: one of usual length takes nothing from the heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(SmallVec<[u8; 64]>);

impl Path {
    pub fn root() -> Self {
        Self::default()
    }

    pub fn new(name: &str) -> Self {
        Self::default().with(&[name])
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn child(&self, name: &str) -> Self {
        if self.is_root() { Self::new(name) } else { self.with(&[".", name]) }
    }

    pub fn index(&self, index: usize) -> Self {
        // Most lists are short.
        const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        DIGITS.get(index).map_or_else(|| self.key(&index.to_string()), |digit| self.key(digit))
    }

    pub fn key(&self, key: &str) -> Self {
        self.with(&["[", key, "]"])
    }

    fn with(&self, more: &[&str]) -> Self {
        let mut path = SmallVec::from_slice(&self.0);
        more.iter().for_each(|part| path.extend_from_slice(part.as_bytes()));
        Self(path)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole texts were put in.
        let text = std::str::from_utf8(&self.0).unwrap_or_default();
        f.write_str(if text.is_empty() { "<nil>" } else { text })
    }
}

/// What is wrong with a value. [`ErrorType::reason`] is the cause's machine-readable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TooFew,
    Internal,
    TypeInvalid,
    TooShort,
}

impl ErrorType {
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::TooShort => "FieldValueTooShort",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
            Self::TooShort => "Too short",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::TooShort | Self::Internal)
    }
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: ErrorType,
    /// The path, as [`Path`] displays it.
    pub field: String,
    /// The value found there; `None` where the message must not show it.
    pub value: Option<Value>,
    /// How the message shows the value, where that is not its JSON (upstream's internal types have another order).
    pub shown: Option<String>,
    /// Where the value stands, if not at the field.
    pub value_at: Option<String>,
    pub detail: String,
}

/// All that is wrong with an object, in the order in which validation met it.
pub type ErrorList = Vec<Error>;

impl Error {
    fn new(kind: ErrorType, path: &Path, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, shown: None, value_at: None, detail: detail.into() }
    }

    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, path, None, detail)
    }

    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, Some(value.into()), detail)
    }

    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::TypeInvalid, path, Some(value.into()), detail)
    }

    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::Duplicate, path, Some(value.into()), "")
    }

    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::NotFound, path, Some(value.into()), "")
    }

    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, path, None, detail)
    }

    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Internal, path, None, detail)
    }

    /// `supported` in the order in which the message names them (upstream sorts most of its sets).
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        Self::new(ErrorType::NotSupported, path, Some(value.into()), detail)
    }

    pub fn too_long(path: &Path, bytes_max: usize) -> Self {
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {}", counted(bytes_max, "byte")))
    }

    pub fn too_long_characters(path: &Path, characters_max: usize) -> Self {
        let detail = format!("may not be more than {}", counted(characters_max, "character"));
        Self::new(ErrorType::TooLong, path, None, detail)
    }

    pub fn too_many(path: &Path, found: usize, items_max: usize) -> Self {
        let detail = format!("must have at most {}", counted(items_max, "item"));
        Self::new(ErrorType::TooMany, path, Some(found.into()), detail)
    }

    pub fn too_few(path: &Path, found: usize, items_min: usize) -> Self {
        let detail = format!("must have at least {}", counted(items_min, "item"));
        Self::new(ErrorType::TooFew, path, Some(found.into()), detail)
    }

    /// The same error, for a message that does not show what was found.
    pub fn without_value(mut self) -> Self {
        self.value = None;
        self
    }

    /// The same error, with its value shown as this text.
    pub fn showing(mut self, text: impl Into<String>) -> Self {
        self.shown = Some(text.into());
        self
    }

    /// The same error, about a value that stands elsewhere.
    pub fn of_value_at(mut self, path: &Path) -> Self {
        self.value_at = Some(path.to_string());
        self
    }

    /// The message without the path: what a Status cause carries.
    pub fn body(&self) -> String {
        let mut body = self.kind.words().to_owned();
        if let (true, Some(value)) = (self.kind.shows_value(), &self.value) {
            body.push_str(": ");
            match (&self.shown, value) {
                (Some(text), _) => body.push_str(text),
                (None, Value::String(text)) => body.push_str(&quote(text)),
                (None, other) => body.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Errors as one message: alone when there is one, else in brackets, each message once.
pub fn aggregate(errors: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let mut messages: Vec<String> = Vec::new();
    for message in errors.into_iter().map(|error| error.to_string()) {
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    match messages.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

/// A string in double quotes with Go's escapes, which upstream's messages show.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_printable(c) => quoted.push(c),
            c if u32::from(c) < 0x10000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether Go prints a character as it is: no control, and no space but the one that is ASCII.
pub fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // Behind a letter, for Rust escapes a mark that stands alone, and Go none.
    let text = String::from_iter(['a', c]);
    text.chars().eq(text.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_in_upstream_words() {
        let path = Path::new("spec").child("containers").index(0).child("name");
        assert_eq!(Error::required(&path, "").to_string(), "spec.containers[0].name: Required value");
        assert_eq!(
            Error::invalid(&path, "A\"", "must be lower case").body(),
            "Invalid value: \"A\\\"\": must be lower case"
        );
        assert_eq!(
            Error::not_supported(&path, "x", &["A", "B"]).body(),
            "Unsupported value: \"x\": supported values: \"A\", \"B\""
        );
        assert_eq!(Error::too_long(&path, 63).body(), "Too long: may not be more than 63 bytes");
        assert_eq!(Error::invalid(&path, -1, "too small").body(), "Invalid value: -1: too small");
    }

    #[test]
    fn quotes_as_go_does() {
        for (text, quoted) in [
            ("a\"\\é漢e\u{301}\u{fffd} ~", "\"a\\\"\\\\é漢e\u{301}\u{fffd} ~\""),
            ("\0\t\u{7f}\u{80}\u{a0}\u{200b}\u{e0001}", r#""\x00\t\x7f\u0080\u00a0\u200b\U000e0001""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn aggregates_each_message_once() {
        let path = Path::new("a");
        let error = Error::required(&path, "");
        assert_eq!(aggregate(std::slice::from_ref(&error)), "a: Required value");
        let other = Error::required(&Path::new("b"), "");
        assert_eq!(aggregate(&[error.clone(), other, error]), "[a: Required value, b: Required value]");
    }
}
