//! Expressions of the Common Expression Language, compiled against declared names (Kubernetes concept: "Common
//! Expression Language in Kubernetes").
//!
//! Enter at [`compile`], which judges, and [`Program::new`], which runs. Parsing is the library's; types (`check`) and the
//! bound on the cost (`cost`) are judged here, in upstream's words. What names mean, and what values there are, is the
//! caller's. Pure.

mod check;
mod cost;
mod functions;
mod macros;
mod run;
mod types;
mod values;

use std::sync::LazyLock;

use cel::Env;
use cel::common::ast::SourceInfo;

pub use check::Declarations;
pub use cost::Sizes;
pub use run::Program;
pub use types::{ANY, Type};
pub use values::Value;

/// What is known of a good expression.
#[derive(Debug)]
pub struct Compiled {
    pub result: Type,
    pub cost_max: u64,
}

static ENVIRONMENT: LazyLock<Env> = LazyLock::new(|| with_macros(Env::stdlib().with_optional_support(true)));

/// With the macros that are Kubernetes's own.
fn with_macros(mut environment: Env) -> Env {
    for own in macros::all() {
        // The names are this crate's own: none of them is taken.
        if let Err(error) = environment.add_macro(own) {
            tracing::error!(%error, "a macro of expressions is left out");
        }
    }
    environment
}

/// Reads an expression and gives it a type. The error is the text that upstream's compiler writes.
pub fn compile(source: &str, declarations: &Declarations, sizes: Sizes) -> Result<Compiled, String> {
    // Upstream's end of nothing stands before its beginning.
    let before = if source.is_empty() { 2 } else { 1 };
    let (tree, info) = ENVIRONMENT.parser().parse_with_source_info(source).map_err(|errors| {
        let errors = errors.errors.iter();
        let told = errors.map(|error| shown(source, (error.pos.0, error.pos.1 - before), &after_whole(&error.msg)));
        told.collect::<Vec<_>>().join("\n")
    })?;
    let mut checker = check::Checker::new(declarations);
    let result = checker.check(&tree);
    if !checker.faults.is_empty() {
        let mut faults: Vec<_> =
            checker.faults.iter().map(|fault| (position(&info, fault.id), &fault.message)).collect();
        faults.sort_by_key(|(position, _)| *position);
        let told: Vec<String> =
            faults.into_iter().map(|(position, message)| shown(source, position, message)).collect();
        return Err(told.join("\n"));
    }
    Ok(Compiled { result, cost_max: cost::Estimator::new(sizes).cost(&tree) })
}

/// Behind a whole expression this parser names all operators that could go on with it; upstream's names only what must
/// come.
fn after_whole(message: &str) -> String {
    const OPERATORS: [&str; 17] = [
        "'=='", "'!='", "'in'", "'<'", "'<='", "'>='", "'>'", "'&&'", "'||'", "'['", "'.'", "'-'", "'?'", "'+'", "'*'",
        "'/'", "'%'",
    ];
    let Some((head, set)) = message.split_once(" expecting {") else { return message.to_owned() };
    let items: Vec<&str> = set.trim_end_matches('}').split(", ").collect();
    if !items.contains(&"'=='") {
        return message.to_owned();
    }
    let left: Vec<&str> = items.into_iter().filter(|item| !OPERATORS.contains(item)).collect();
    match left.as_slice() {
        [one] => format!("{head} expecting {one}"),
        many => format!("{head} expecting {{{}}}", many.join(", ")),
    }
}

/// Line from one and column from zero of a node.
fn position(info: &SourceInfo, id: u64) -> (isize, isize) {
    let start = info.offset_for(id).map_or(0, |(start, _)| start as usize);
    let before: String = info.source.chars().take(start).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count();
    (isize::try_from(line).unwrap_or(1), isize::try_from(column).unwrap_or(0))
}

/// A message with the line that it is about, and a mark below the place.
fn shown(source: &str, (line, column): (isize, isize), message: &str) -> String {
    let head = format!("ERROR: <input>:{line}:{}: {message}", column + 1);
    let text = usize::try_from(line - 1).ok().and_then(|line| source.lines().nth(line));
    let Some(text) = text else { return head };
    let dots = ".".repeat(usize::try_from(column).unwrap_or(0));
    format!("{head}\n | {text}\n | {dots}^")
}

#[cfg(test)]
mod tests;
