//! Which strings may be names, labels, keys and ports, with the message that says why not.
//!
//! Each check returns upstream's messages, none when the value is good (Kubernetes concepts: "Object Names and IDs",
//! "Labels and Selectors"). Nothing here knows where the value stood: callers wrap the messages in field errors.

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_WORDS: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// Length of a DNS label, of a label value and of a label key's name part.
pub const LABEL_LENGTH_MAX: usize = 63;
/// Length of a DNS subdomain: of most object names.
pub const SUBDOMAIN_LENGTH_MAX: usize = 253;

/// A check that a name must pass; the kind of object chooses which.
pub type NameCheck = fn(&str) -> Vec<String>;

pub fn length_error(characters_max: usize) -> String {
    format!("must be no more than {characters_max} characters")
}

/// As [`length_error`], for labels: their length counts in bytes.
fn bytes_error(bytes_max: usize) -> String {
    format!("must be no more than {bytes_max} bytes")
}

pub fn range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// `words`, examples and the expression in upstream's arrangement.
pub fn pattern_error(words: &str, expression: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{words} (regex used for validation is '{expression}')");
    }
    let shown: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{words} (e.g. {}regex used for validation is '{expression}')", shown.join(" or "))
}

fn is_lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn matches_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&a), Some(&b)) if is_lower_alnum(a) && is_lower_alnum(b))
        && bytes.iter().all(|&byte| is_lower_alnum(byte) || byte == b'-')
}

fn matches_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(a), Some(b)) if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// RFC 1123 subdomain: most object names.
pub fn dns_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_LENGTH_MAX {
        errors.push(length_error(SUBDOMAIN_LENGTH_MAX));
    }
    if !value.split('.').all(matches_label) {
        errors.push(pattern_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    errors
}

/// The same with underscores, as names of services begin: what a resolver searches.
pub fn underscored_subdomain(value: &str) -> Vec<String> {
    const LABEL: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_LENGTH_MAX {
        errors.push(length_error(SUBDOMAIN_LENGTH_MAX));
    }
    let is_name = |label: &str| matches_label(&label.strip_prefix('_').unwrap_or(label).replace('_', "-"));
    if !value.split('.').all(is_name) {
        errors.push(pattern_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            &format!(r"{LABEL}(\.{LABEL})*"),
            &["example.com"],
        ));
    }
    errors
}

/// `*.example.com`: any host below a domain.
pub fn wildcard_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_LENGTH_MAX {
        errors.push(length_error(SUBDOMAIN_LENGTH_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(|domain| domain.split('.').all(matches_label)) {
        errors.push(pattern_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    errors
}

/// RFC 1123 label: namespaces, container names.
pub fn dns_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_LENGTH_MAX {
        errors.push(length_error(LABEL_LENGTH_MAX));
    }
    if !matches_label(value) {
        errors.push(if value.split('.').all(matches_label) {
            "must not contain dots".to_owned()
        } else {
            pattern_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// RFC 1035 label: Services.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_LENGTH_MAX {
        errors.push(length_error(LABEL_LENGTH_MAX));
    }
    if !matches_label(value) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        errors.push(pattern_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// A name that is one segment of a path: RBAC objects.
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|illegal| value.contains(**illegal))
        .map(|illegal| format!("may not contain '{illegal}'"))
        .collect()
}

/// Label keys, annotation keys (lower-cased by the caller), finalizers, resource names: `prefix/name` or `name`.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let name = match value.split_once('/') {
        None => value,
        Some((prefix, name)) if !name.contains('/') => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(dns_subdomain(prefix).into_iter().map(|error| format!("prefix part {error}")));
            }
            name
        }
        _ => {
            let words = pattern_error(QUALIFIED_WORDS, QUALIFIED, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a valid label key {words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_LENGTH_MAX {
        errors.push(format!("name part {}", bytes_error(LABEL_LENGTH_MAX)));
    }
    if !matches_qualified(name) {
        let words = pattern_error(QUALIFIED_WORDS, QUALIFIED, &["MyName", "my.name", "123-abc"]);
        errors.push(format!("name part {words}"));
    }
    errors
}

pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_LENGTH_MAX {
        errors.push(bytes_error(LABEL_LENGTH_MAX));
    }
    if !value.is_empty() && !matches_qualified(value) {
        errors.push(pattern_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// Keys of ConfigMaps and Secrets: file names in a volume, so no `..`.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_LENGTH_MAX {
        errors.push(length_error(SUBDOMAIN_LENGTH_MAX));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if value.is_empty() || !value.bytes().all(good) {
        errors.push(pattern_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    errors.extend(parent_directory_error(value));
    errors
}

fn parent_directory_error(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// Environment variables: printable ASCII without `=`.
pub fn environment_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

pub fn c_identifier(value: &str) -> Vec<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if value.bytes().all(good) && value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Vec::new();
    }
    vec![pattern_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![range_error(1, 65535)] }
}

pub fn port_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 15 {
        errors.push(length_error(15));
    }
    if value.is_empty() || !value.bytes().all(|byte| is_lower_alnum(byte) || byte == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    vec![pattern_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// The reason of a condition: a word, or several with `,` or `:` between.
pub fn condition_reason(value: &str) -> Vec<String> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b',' | b':');
    let last = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = value.as_bytes();
    let good = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|byte| inner(*byte))
        && bytes.last().is_some_and(|byte| last(*byte));
    if good {
        return Vec::new();
    }
    vec![pattern_error(
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

/// `25%`.
pub fn percent(value: &str) -> Vec<String> {
    match value.strip_suffix('%') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => Vec::new(),
        _ => vec![pattern_error(
            "a valid percent string must be a numeric string followed by an ending '%'",
            "[0-9]+%",
            &["1%", "93%"],
        )],
    }
}

/// A `generateName` is checked as the name it will become: a trailing dash is followed by more characters.
pub fn mask_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(stem) if !stem.is_empty() => {
            let kept: String = stem.chars().take(stem.chars().count() - 1).collect();
            format!("{kept}a")
        }
        _ => prefix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(check: NameCheck, good: &[&str], bad: &[&str]) {
        for value in good {
            assert!(check(value).is_empty(), "{value}: {:?}", check(value));
        }
        for value in bad {
            assert!(!check(value).is_empty(), "{value} should be refused");
        }
    }

    #[test]
    fn names_good_and_bad() {
        check(dns_subdomain, &["a", "a-b.c", "0"], &["", "A", "a.", ".a", "-a", "a..b", "a_b"]);
        check(underscored_subdomain, &["_sip._tcp.a", "a_b"], &["a_", "__a", "A", ""]);
        check(dns_label, &["a", "a-1"], &["a.b", "", "a-", &"a".repeat(64)]);
        check(dns1035_label, &["a1"], &["1a", "a.b"]);
        check(qualified_name, &["a", "x.io/A_b.c"], &["", "/a", "a/", "a/b/c", "-a", "X.io/a"]);
        check(label_value, &["", "A.b"], &["-a", "a b"]);
        check(config_map_key, &["a.b", "_"], &["", "a/b", ".", "..", "..a"]);
        check(environment_name, &["1A b"], &["", "a=b", "ä"]);
        check(port_name, &["http", "p-1"], &["", "80", "a--b", "-a", "A"]);
        check(condition_reason, &["A", "a_b:C,D_"], &["", "1a", "a,", "a b"]);
        check(wildcard_subdomain, &["*.a.b"], &["a.b", "*", "*a.b", "a.*.b"]);
        check(path_segment, &["system:node", "a b"], &[".", "..", "a/b", "a%"]);
    }

    #[test]
    fn messages_are_upstreams() {
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            label_value("-"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
    }

    #[test]
    fn generate_names_may_end_in_a_dash() {
        assert_eq!(mask_trailing_dash("web-"), "wea");
        assert_eq!(mask_trailing_dash("-"), "-");
    }
}
