//! Licence expressions (SPDX), as far as packages have them.

/// Whether a licence that `allows` lets in satisfies the expression. An old `/` is an OR.
pub(crate) fn satisfies(expression: &str, allows: &impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let satisfied = any(&mut rest, allows);
    satisfied && rest.is_empty()
}

fn any(words: &mut &[&str], allows: &impl Fn(&str) -> bool) -> bool {
    let mut satisfied = all(words, allows);
    while let ["OR", after @ ..] = *words {
        *words = after;
        satisfied |= all(words, allows);
    }
    satisfied
}

fn all(words: &mut &[&str], allows: &impl Fn(&str) -> bool) -> bool {
    let mut satisfied = one(words, allows);
    while let ["AND", after @ ..] = *words {
        *words = after;
        satisfied &= one(words, allows);
    }
    satisfied
}

fn one(words: &mut &[&str], allows: &impl Fn(&str) -> bool) -> bool {
    match *words {
        ["(", after @ ..] => {
            *words = after;
            let satisfied = any(words, allows);
            *words = words.strip_prefix(&[")"]).unwrap_or_default();
            satisfied
        }
        [licence, "WITH", exception, after @ ..] => {
            *words = after;
            allows(&format!("{licence} WITH {exception}"))
        }
        [licence, after @ ..] => {
            *words = after;
            allows(licence)
        }
        [] => false,
    }
}

#[test]
fn expressions_are_understood() {
    let allows = |licence: &str| matches!(licence, "MIT" | "Apache-2.0" | "ISC" | "Apache-2.0 WITH LLVM-exception");
    let good = [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "MIT AND ISC",
        "(GPL-3.0 OR MIT) AND ISC",
        "Apache-2.0 WITH LLVM-exception",
    ];
    let bad = ["", "GPL-3.0", "MIT AND GPL-3.0", "GPL-3.0 AND MIT OR GPL-2.0", "MIT WITH something"];
    good.iter().for_each(|expression| assert!(satisfies(expression, &allows), "{expression}"));
    bad.iter().for_each(|text| assert!(!satisfies(text, &allows), "{text}"));
}
