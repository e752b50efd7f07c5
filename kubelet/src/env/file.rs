//! Files of variables in a volume (`fileKeyRef`, KEP-3721): lines of `NAME='value'`, the value in single quotes and taken
//! as it stands, over several lines if need be. Pure.

/// The value of `key`; empty where the file does not have it.
///
/// # Errors
/// The first line before it that has another form.
pub fn value(text: &str, key: &str) -> Result<String, String> {
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let wrong = |what: &str| Err(format!("invalid environment variable format at line {}: {what}", index + 1));
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, rest)) = line.split_once('=') else { return wrong("missing '='") };
        if name.is_empty() {
            return wrong("empty variable name");
        }
        if name.ends_with([' ', '\t']) {
            return wrong("whitespace before '=' is not allowed");
        }
        // As a shell reads it: a blank ends the assignment, and the value is empty.
        if rest.starts_with([' ', '\t']) {
            if name == key {
                return Ok(String::new());
            }
            continue;
        }
        let Some(quoted) = rest.strip_prefix('\'') else { return wrong("value must be enclosed in single quotes") };
        let mut value = quoted.to_owned();
        while !value.contains('\'') {
            let Some((_, more)) = lines.next() else { return wrong("unclosed single quote") };
            value.push('\n');
            value.push_str(more);
        }
        let (value, after) = value.split_once('\'').unwrap_or((&value, ""));
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with('#') {
            return wrong("unexpected content after closing quote");
        }
        if name == key {
            return Ok(value.to_owned());
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_strictly() {
        let text = "# a comment\n\n  A='one' # more\nB='two\nlines'\nC= 'blank'\nD='$A'\n";
        for (key, wanted) in [("A", "one"), ("B", "two\nlines"), ("C", ""), ("D", "$A"), ("E", "")] {
            assert_eq!(value(text, key).as_deref(), Ok(wanted), "{key}");
        }
        for (text, wanted) in [
            ("A", "line 1: missing '='"),
            ("='x'", "empty variable name"),
            ("A ='x'", "whitespace before '='"),
            ("X='y'\nA=x", "line 2: value must be enclosed"),
            ("A='x", "unclosed single quote"),
            ("A='x'y", "unexpected content"),
        ] {
            let error = value(text, "A").expect_err(text);
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
