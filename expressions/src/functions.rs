//! The functions and operators that expressions may use.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::types::Type;

pub struct Overload {
    pub is_member: bool,
    pub arguments: Vec<Type>,
    pub result: Type,
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut functions: HashMap<&str, Vec<Overload>> = HashMap::new();
    let lines = include_str!("functions.txt").lines().filter(|line| !line.starts_with('#'));
    for (name, overload) in lines.filter_map(parse) {
        functions.entry(name).or_default().push(overload);
    }
    functions
});

/// All overloads of a name; `None`: there is no such function.
pub fn find(name: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
}

fn parse(line: &'static str) -> Option<(&'static str, Overload)> {
    let open = line.find('(')?;
    let close = closing(line, open)?;
    let (name, result) = (&line[..open], line[close + 1..].trim());
    let is_member = name.starts_with('.');
    let arguments = split(&line[open + 1..close]).into_iter().map(Type::parse).collect();
    Some((name.trim_start_matches('.'), Overload { is_member, arguments, result: Type::parse(result) }))
}

fn closing(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    text[open..].char_indices().find_map(|(at, letter)| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(open + at)
    })
}

/// At commas that are in no parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    if !text[begin..].trim().is_empty() {
        parts.push(text[begin..].trim());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let lines = include_str!("functions.txt").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(FUNCTIONS.values().map(Vec::len).sum::<usize>(), lines);
        let query = &find("getQuery").unwrap()[0];
        assert!(query.is_member);
        assert_eq!(query.result.to_string(), "map(string, list(string))");
        assert_eq!(find("_[_]").unwrap()[1].arguments.len(), 2);
    }
}
