//! From arguments to values: clap parses, with pflag's habits laid on top.
//!
//! pflag takes `_` for `-` in names, says what is wrong in its own words, and answers `--version=raw`.

use std::collections::BTreeMap;

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{Effect, Error, Flag, FlagSet, Kind, Values, value};
use crate::version;

pub(super) fn parse(set: &FlagSet, arguments: Vec<String>) -> Result<Values, Error> {
    let arguments = arguments.into_iter().map(dashes);
    let matches = command(set).try_get_matches_from(arguments).map_err(|error| translate(set, &error))?;
    if matches.contains_id("help") && last(&matches, "help") != Some("false") {
        return Err(Error::Help(set.help(help_width())));
    }
    answer_version(last(&matches, "version"))?;
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

/// `--some_flag=x_y` is `--some-flag=x_y`.
fn dashes(argument: String) -> String {
    match argument.split_once('=') {
        _ if !argument.starts_with("--") => argument,
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")),
        None => argument.replace('_', "-"),
    }
}

fn last<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_many::<String>(name)?.next_back().map(String::as_str)
}

fn command(set: &FlagSet) -> Command {
    let command = Command::new(set.name).no_binary_name(true).disable_help_flag(true).disable_version_flag(true);
    let questions = [switch("help").short('h'), switch("version")];
    command.args(questions).args(set.flags().map(|flag| {
        let arg = match (flag.kind, flag.effect) {
            // A retired flag swallows whatever follows it, so that the hint is what the user sees.
            (_, Effect::Retired { .. }) => long(flag.name).num_args(0..=1).default_missing_value(""),
            (Kind::Bool, _) => switch(flag.name),
            _ => long(flag.name).num_args(1),
        };
        match flag.short {
            Some(letter) => arg.short(letter),
            None => arg,
        }
    }))
}

fn long(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::Append).allow_hyphen_values(true)
}

/// A flag that never takes the next argument as its value.
fn switch(name: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::Append)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
}

fn check(flag: &Flag, text: &str) -> Result<(), Error> {
    if let Effect::Retired { hint } = flag.effect {
        return Err(Error::Retired { flag: flag.name.to_owned(), hint });
    }
    // An empty value unsets an address, as `--bind-address=""` in many unit files.
    if text.is_empty() && matches!(flag.kind, Kind::Ip | Kind::Cidr | Kind::Map) {
        return Ok(());
    }
    let invalid = |problem| Error::Invalid { flag: flag.name.to_owned(), value: text.to_owned(), problem };
    value::check(flag.kind, text).map_err(invalid)
}

/// clap's errors in pflag's words.
fn translate(set: &FlagSet, error: &clap::Error) -> Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    // Of an argument that it knows, clap tells the usage: `--name <name>`.
    let name = argument.trim_start_matches('-').split([' ', '=']).next().unwrap_or_default().to_owned();
    match (error.kind(), argument.strip_prefix('-')) {
        (ErrorKind::UnknownArgument, None) => Error::Positional { argument, program: set.name.to_owned() },
        (ErrorKind::UnknownArgument, Some(rest)) if rest.starts_with('-') => {
            let suggested = context(ContextKind::SuggestedArg);
            let hint = if suggested.is_empty() { suggested } else { format!(" (did you mean {suggested}?)") };
            Error::Unknown { flag: name, hint }
        }
        (ErrorKind::UnknownArgument, Some(rest)) => {
            Error::UnknownShort { letter: rest.chars().next().unwrap_or('-'), argument: argument.clone() }
        }
        _ => Error::NoValue { flag: name },
    }
}

fn help_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100)
}

/// `--version`, `--version=true`, `--version=raw`; `--version=false` asks nothing.
fn answer_version(given: Option<&str>) -> Result<(), Error> {
    let invalid = |text: &str, problem| Error::Invalid { flag: "version".into(), value: text.into(), problem };
    match given {
        None => Ok(()),
        Some("raw") => Err(Error::Version(version::info().to_go_string())),
        Some(text) => match value::parse_bool(text) {
            Ok(true) => Err(Error::Version(format!("Kubernetes {}", version::GIT_VERSION))),
            Ok(false) => Ok(()),
            Err(problem) => Err(invalid(text, problem)),
        },
    }
}
