//! From arguments to values: clap splits them, pflag's habits are laid on top.
//!
//! clap alone would not take `_` for `-` in names, would let a bool take the next argument, and words its errors for
//! people who write clap programs.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, Command};

use super::{Effect, Error, Flag, FlagSet, Kind, Values, value};
use crate::version;

pub(super) fn parse(set: &FlagSet, arguments: Vec<String>) -> Result<Values, Error> {
    let arguments = normalize(set, arguments)?;
    let matches = command(set)
        .try_get_matches_from(arguments)
        .map_err(|error| Error::Positional { argument: error.to_string(), program: set.name.to_owned() })?;
    let mut given: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for flag in set.flags() {
        if let Some(values) = matches.get_many::<String>(flag.name) {
            let values: Vec<String> = values.cloned().collect();
            values.iter().try_for_each(|text| check(flag, text))?;
            given.insert(flag.name, values);
        }
    }
    Ok(Values::new(set, given))
}

fn command(set: &FlagSet) -> Command {
    let mut command = Command::new(set.name).no_binary_name(true).disable_help_flag(true).disable_version_flag(true);
    for flag in set.flags() {
        let arg = Arg::new(flag.name).long(flag.name).action(ArgAction::Append).allow_hyphen_values(true);
        command = command.arg(arg.num_args(1).require_equals(true));
    }
    command
}

fn check(flag: &Flag, text: &str) -> Result<(), Error> {
    // An empty value unsets an address, as `--bind-address=""` in many unit files.
    if text.is_empty() && matches!(flag.kind, Kind::Ip | Kind::Cidr | Kind::Map) {
        return Ok(());
    }
    let invalid = |problem| Error::Invalid { flag: flag.name.to_owned(), value: text.to_owned(), problem };
    value::check(flag.kind, text).map_err(invalid)
}

/// Brings every argument into the form `--name=value`, and stops at what ends parsing.
fn normalize(set: &FlagSet, arguments: Vec<String>) -> Result<Vec<String>, Error> {
    let mut normal = Vec::with_capacity(arguments.len());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let (flag, value) = match argument.strip_prefix("--") {
            Some("") => break,
            Some(long) => long_flag(set, long)?,
            None if argument.len() > 1 && argument.starts_with('-') => short_flag(set, &argument)?,
            None => return Err(Error::Positional { argument, program: set.name.to_owned() }),
        };
        let value = match value {
            Some(value) => value,
            None if flag.kind == Kind::Bool => "true".to_owned(),
            None => arguments.next().ok_or_else(|| Error::NoValue { flag: flag.name.to_owned() })?,
        };
        normal.push(format!("--{}={value}", flag.name));
    }
    Ok(normal)
}

fn long_flag<'a>(set: &'a FlagSet, argument: &str) -> Result<(&'a Flag, Option<String>), Error> {
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (argument, None),
    };
    let wanted = name.replace('_', "-");
    let Some(flag) = set.find(&wanted) else {
        return Err(match wanted.as_str() {
            "help" => Error::Help(set.help(help_width())),
            "version" => version_answer(value.as_deref())?,
            _ => Error::Unknown { flag: name.to_owned(), hint: did_you_mean(set, &wanted) },
        });
    };
    match flag.effect {
        Effect::Retired { hint } => Err(Error::Retired { flag: name.to_owned(), hint }),
        _ => Ok((flag, value)),
    }
}

fn short_flag<'a>(set: &'a FlagSet, argument: &str) -> Result<(&'a Flag, Option<String>), Error> {
    let mut rest = argument.chars().skip(1);
    let letter = rest.next().unwrap_or('-');
    let value: String = rest.collect();
    if letter == 'h' {
        return Err(Error::Help(set.help(help_width())));
    }
    let flag = set.flags().find(|flag| flag.short == Some(letter));
    let flag = flag.ok_or_else(|| Error::UnknownShort { letter, argument: argument.to_owned() })?;
    let value = value.strip_prefix('=').unwrap_or(&value);
    Ok((flag, Some(value.to_owned()).filter(|value| !value.is_empty())))
}

fn help_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100)
}

/// `--version`, `--version=true`, `--version=raw`; `false` is as if it were not there, which nobody writes.
fn version_answer(value: Option<&str>) -> Result<Error, Error> {
    match value {
        None | Some("true") => Ok(Error::Version(format!("Kubernetes {}", version::GIT_VERSION))),
        Some("raw") => Ok(Error::Version(format!("{:#?}", version::info()))),
        Some(other) => {
            Err(Error::Invalid { flag: "version".into(), value: other.into(), problem: "must be true or raw".into() })
        }
    }
}

/// The nearest flag, when it is near.
fn did_you_mean(set: &FlagSet, wanted: &str) -> String {
    let living = set.flags().filter(|flag| !matches!(flag.effect, Effect::Retired { .. }));
    let nearest = living.map(|flag| (distance(flag.name, wanted), flag.name)).min();
    match nearest {
        Some((far, name)) if far <= 1 + wanted.len() / 5 => format!(" (did you mean --{name}?)"),
        _ => String::new(),
    }
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
