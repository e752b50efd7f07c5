//! The text of `--help`: upstream's layout, with effect-less flags marked.

use std::fmt::Write;

use super::{Effect, Flag, FlagSet, Kind, common::GLOBAL, flag};

const INDENT: usize = 16;

pub(super) fn text(set: &FlagSet, width: usize) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}\n\nUsage:\n  {} [flags]", wrap(set.about, width, 0), set.name);
    let questions = questions();
    for group in &set.groups {
        let mut flags: Vec<_> = group.flags.iter().filter(|f| !matches!(f.effect, Effect::Retired { .. })).collect();
        if group.heading == GLOBAL {
            flags.extend(&questions);
        }
        flags.sort_by_key(|flag| flag.name);
        if !flags.is_empty() {
            let _ = writeln!(text, "\n{}:\n", group.heading);
        }
        flags.into_iter().for_each(|flag| row(&mut text, flag, width));
    }
    text
}

/// What every program answers.
fn questions() -> [Flag; 2] {
    [
        flag("help", Kind::Bool, "", "Tells this, and ends.").short('h'),
        flag("version", Kind::Bool, "", "Tells the version, and ends; with --version=raw, all there is to tell of it."),
    ]
}

fn row(text: &mut String, flag: &Flag, width: usize) {
    let short = flag.short.map(|letter| format!("-{letter}, ")).unwrap_or_else(|| "    ".into());
    let _ = writeln!(text, "  {short}--{}{}{}", flag.name, kind(flag.kind), default(flag));
    let mark = match flag.effect {
        Effect::None { reason } => format!("[NO EFFECT: {reason}] "),
        Effect::Deprecated { hint } => format!("(DEPRECATED: {hint}) "),
        Effect::Works | Effect::Retired { .. } => String::new(),
    };
    let _ = writeln!(text, "{:INDENT$}{}", "", wrap(&format!("{mark}{}", flag.help), width, INDENT));
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "",
        Kind::String => " string",
        Kind::Int => " int",
        Kind::Float => " float",
        Kind::Duration => " duration",
        Kind::Strings => " strings",
        Kind::StringArray => " stringArray",
        Kind::Map => " mapStringString",
        Kind::Ip => " ip",
        Kind::Cidr => " cidr",
    }
}

fn default(flag: &Flag) -> String {
    match flag.kind {
        _ if flag.default.is_empty() => String::new(),
        Kind::Bool if flag.default == "false" => String::new(),
        Kind::Bool | Kind::Int | Kind::Float | Kind::Duration | Kind::Ip | Kind::Cidr => {
            format!("     Default: {}", flag.default)
        }
        Kind::String => format!("     Default: {:?}", flag.default),
        Kind::Strings | Kind::StringArray | Kind::Map => format!("     Default: [{}]", flag.default),
    }
}

/// Breaks at spaces; later lines are indented.
fn wrap(text: &str, width: usize, indent: usize) -> String {
    let room = width.saturating_sub(indent).max(20);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join(&format!("\n{:indent$}", ""))
}
