//! How large things may grow, and that each says what it is. A file or function over its limit is listed in `allowed`
//! with its size and a reason: it may shrink and not grow. Tests are read too, and follow the same rule.

use std::collections::BTreeMap;

use super::{root, sources};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "without a header of what they are, where to enter and what they refuse: {silent:#?}");
}

/// Functions by their rustfmt shape: from the line with `fn` to the closing brace at the same indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indentation = &line[..line.len() - line.trim_start().len()];
        let Some(name) = function_name(line.trim_start()) else { continue };
        let end = format!("{indentation}}}");
        let body = lines[start..].iter().take_while(|line| **line != end);
        // A declaration without a body ends at its semicolon.
        if lines[start..].iter().take(20).find(|line| line.ends_with(['{', ';', '}'])).is_some_and(|l| l.ends_with('{'))
        {
            found.push((name, body.count() + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    const WORDS: [&str; 7] = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
    let mut words = line.split_whitespace().skip_while(|word| WORDS.contains(word) || word.starts_with('"'));
    if words.next()? != "fn" {
        return None;
    }
    Some(words.next()?.split(['(', '<']).next()?.to_owned())
}

/// What `tidy/allowed` permits: a path, or `path function`, and its lines.
fn exceptions() -> BTreeMap<String, usize> {
    let list = std::fs::read_to_string(root().join("skiff/tests/tidy/allowed")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let parse = |line: &str| {
        let (place, rest) = line.split_once(" = ").unwrap_or_else(|| panic!("no size in {line:?}"));
        let (size, reason) = rest.split_once(": ").unwrap_or_else(|| panic!("no reason in {line:?}"));
        assert!(!reason.trim().is_empty(), "no reason in {line:?}");
        (place.to_owned(), size.parse().unwrap_or_else(|_| panic!("no size in {line:?}")))
    };
    lines.map(parse).collect()
}

#[test]
fn shapes_stay_small() {
    let exceptions = exceptions();
    let (mut too_large, mut shrunk) = (Vec::new(), exceptions.clone());
    for (path, text) in &sources() {
        let file = (path.clone(), text.lines().count(), FILE_LINES_MAX);
        let functions =
            functions(text).into_iter().map(|(name, lines)| (format!("{path} {name}"), lines, FUNCTION_LINES_MAX));
        for (place, lines, limit) in functions.chain([file]) {
            let allowed = exceptions.get(&place).copied();
            if lines > limit.max(allowed.unwrap_or_default()) {
                too_large.push(format!("{place} = {lines}: "));
            } else if lines > limit && allowed == Some(lines) {
                shrunk.remove(&place);
            }
        }
    }
    assert!(too_large.is_empty(), "split these, or say why not in skiff/tests/tidy/allowed:\n{}", too_large.join("\n"));
    assert!(
        shrunk.is_empty(),
        "these are smaller now, or gone: take them out of skiff/tests/tidy/allowed, or write down the new size:\n{shrunk:?}"
    );
}

#[test]
fn functions_are_measured() {
    let text = "impl X {\n    pub(crate) async fn long(\n        a: u8,\n    ) -> u8 {\n        a\n    }\n\n    fn short() {}\n}\nfn next() {\n}\n";
    assert_eq!(functions(text), [("long".to_owned(), 5), ("next".to_owned(), 2)]);
}
