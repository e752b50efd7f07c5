//! Upstream-style command lines: a table of rows, parsed with pflag's habits on top of clap.
//!
//! A component declares its table with [`FlagSet`], [`flag`] and [`retired`], and reads [`Values`] by name:
//!
//! ```
//! use component::flags::{FlagSet, Kind::*, flag, retired};
//! let set = FlagSet::new("kube-example", "An example.").group("Generic flags", [
//!     flag("bind-address", Ip, "0.0.0.0", "The address to listen on."),
//!     flag("sync-period", Duration, "30s", "How often to sync."),
//!     flag("cleanup-ipvs", Bool, "false", "Clean up.").without_effect("there is no IPVS mode"),
//!     retired("address", "use --bind-address"),
//! ]);
//! let values = set.parse(["--sync-period=1m30s"]).unwrap();
//! assert_eq!(values.duration("sync-period").as_secs(), 90);
//! assert!(!values.is_given("bind-address"));
//! ```
//!
//! A row either works, or says why it has no effect: such a flag warns by name when given and is marked in `--help`.
//! This module knows no component's flags; `common` has the groups that several share.

mod check;
mod common;
mod error;
mod help;
mod parse;
#[cfg(test)]
mod tests;
mod value;
mod values;

pub use self::{
    check::{check_effective, check_program, check_table},
    common::{client, global, leader_election, logging, secure_serving, serving},
    error::Error,
    value::{parse_bool, parse_duration},
    values::Values,
};

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--flag`, `--flag=true`, `--flag=false`; never takes the next argument.
    Bool,
    String,
    Int,
    Float,
    /// Go-style, such as `1m30s`.
    Duration,
    /// Comma-separated, repeatable: all values add up.
    Strings,
    /// Repeatable; each occurrence is one value, commas are part of it.
    StringArray,
    /// `key=value` pairs, comma-separated and repeatable.
    Map,
    Ip,
    Cidr,
}

/// What giving a flag does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Works,
    /// Accepted, without effect, for this reason; warns.
    None {
        reason: &'static str,
    },
    /// Works, with a warning that says what to use instead.
    Deprecated {
        hint: &'static str,
    },
    /// Refused with this hint: upstream no longer has it.
    Retired {
        hint: &'static str,
    },
}

/// One row of a table.
#[derive(Clone, Debug)]
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    /// As upstream's `--help` shows it, and parsed like a given value. Empty: the kind's zero value.
    pub default: std::borrow::Cow<'static, str>,
    pub help: &'static str,
    pub effect: Effect,
    /// One letter that works with one dash.
    pub short: Option<char>,
}

/// A row that works.
pub const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default: std::borrow::Cow::Borrowed(default), help, effect: Effect::Works, short: None }
}

/// A row that refuses its flag and says what to do instead.
pub const fn retired(name: &'static str, hint: &'static str) -> Flag {
    let mut row = flag(name, Kind::String, "", "");
    row.effect = Effect::Retired { hint };
    row
}

impl Flag {
    /// Marks the row: accepted, but nothing here heeds it, because of `reason`.
    pub const fn without_effect(mut self, reason: &'static str) -> Self {
        self.effect = Effect::None { reason };
        self
    }

    /// Marks the row: works, and warns that `hint`.
    pub const fn deprecated(mut self, hint: &'static str) -> Self {
        self.effect = Effect::Deprecated { hint };
        self
    }

    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }
}

/// Rows under one heading of `--help`.
#[derive(Clone, Debug)]
pub struct Group {
    /// Such as "Generic flags".
    pub heading: &'static str,
    pub flags: Vec<Flag>,
}

impl Group {
    pub fn new(heading: &'static str, flags: impl IntoIterator<Item = Flag>) -> Self {
        Self { heading, flags: flags.into_iter().collect() }
    }

    /// Changes one row, such as another default. Panics when there is no such row.
    pub fn change(mut self, name: &str, change: impl FnOnce(Flag) -> Flag) -> Self {
        let Some(row) = self.flags.iter_mut().find(|flag| flag.name == name) else {
            panic!("no flag {name} in group {}", self.heading);
        };
        *row = change(row.clone());
        self
    }

    /// Gives one row another default. Panics when there is no such row.
    pub fn with_default(self, name: &str, default: &'static str) -> Self {
        self.change(name, |row| Flag { default: default.into(), ..row })
    }

    /// Takes rows out, because the component has them with another meaning or not at all.
    pub fn without(mut self, names: &[&str]) -> Self {
        self.flags.retain(|flag| !names.contains(&flag.name));
        self
    }

    /// Marks all rows that work as having no effect, because of `reason`.
    pub fn all_without_effect(mut self, reason: &'static str) -> Self {
        for flag in self.flags.iter_mut().filter(|flag| flag.effect == Effect::Works) {
            flag.effect = Effect::None { reason };
        }
        self
    }
}

/// A component's whole table.
#[derive(Clone, Debug)]
pub struct FlagSet {
    /// The program's name.
    pub name: &'static str,
    /// What the program is, for `--help`.
    pub about: &'static str,
    pub groups: Vec<Group>,
}

impl FlagSet {
    pub fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, groups: Vec::new() }
    }

    /// Adds rows under a heading; rows of a heading that is there already join it.
    pub fn group(self, heading: &'static str, flags: impl IntoIterator<Item = Flag>) -> Self {
        self.include(Group::new(heading, flags))
    }

    /// Adds a ready-made group.
    pub fn include(mut self, group: Group) -> Self {
        match self.groups.iter_mut().find(|known| known.heading == group.heading) {
            Some(known) => known.flags.extend(group.flags),
            None => self.groups.push(group),
        }
        self
    }

    /// Adds what every component has at the end of its table: how it reaches the API server, logs, the global flags.
    pub fn with_common(self) -> Self {
        self.include(client()).include(logging()).include(global())
    }

    /// All rows, in order.
    pub fn flags(&self) -> impl Iterator<Item = &Flag> {
        self.groups.iter().flat_map(|group| &group.flags)
    }

    /// The row of a flag.
    pub fn find(&self, name: &str) -> Option<&Flag> {
        self.flags().find(|flag| flag.name == name)
    }

    /// Parses the arguments after the program's name. Does not print or log: see [`Values::warn`] for the warnings.
    pub fn parse<I>(&self, arguments: I) -> Result<Values, Error>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        parse::parse(self, arguments.into_iter().map(Into::into).collect())
    }

    /// What `--help` prints, `width` columns wide.
    pub fn help(&self, width: usize) -> String {
        help::text(self, width)
    }
}
