//! What a command line said, read typed and by name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Effect, Flag, FlagSet, Kind, value};

/// The values of a [`FlagSet`]: given ones, else defaults.
///
/// The readers panic when the table has no such flag, or one of another kind: that is a bug of the program, and the
/// test of its table reads every flag. Given values were checked when parsed, so reading them cannot fail.
#[derive(Clone, Debug)]
pub struct Values {
    flags: HashMap<&'static str, Flag>,
    given: BTreeMap<&'static str, Vec<String>>,
    /// What was asked for, by any clone.
    read: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Values {
    pub(super) fn new(set: &FlagSet, given: BTreeMap<&'static str, Vec<String>>) -> Self {
        Self { flags: set.flags().map(|flag| (flag.name, flag.clone())).collect(), given, read: Arc::default() }
    }

    /// Whether the command line gave the flag; then it wins over a configuration file.
    pub fn is_given(&self, name: &str) -> bool {
        self.row(name, None);
        self.given.contains_key(name)
    }

    /// The value of a flag that was given, else what a configuration file says, else the default.
    pub fn or<T>(&self, name: &str, from_file: Option<T>, read: impl FnOnce(&Self, &str) -> T) -> T {
        match from_file {
            Some(value) if !self.is_given(name) => value,
            _ => read(self, name),
        }
    }

    pub fn bool(&self, name: &str) -> bool {
        self.read(name, Kind::Bool, value::parse_bool)
    }

    /// The last value given, or the default. Empty when there is none.
    pub fn str(&self, name: &str) -> &str {
        let row = self.row(name, Some(Kind::String));
        self.given.get(name).and_then(|values| values.last()).map_or(&*row.default, String::as_str)
    }

    /// As [`Values::str`], with an empty value as `None`.
    pub fn opt_str(&self, name: &str) -> Option<&str> {
        Some(self.str(name)).filter(|text| !text.is_empty())
    }

    pub fn int(&self, name: &str) -> i64 {
        self.read(name, Kind::Int, value::parse_int)
    }

    pub fn float(&self, name: &str) -> f64 {
        self.read(name, Kind::Float, value::parse_float)
    }

    pub fn duration(&self, name: &str) -> Duration {
        self.read(name, Kind::Duration, value::parse_duration)
    }

    /// `None` when neither given nor defaulted.
    pub fn ip(&self, name: &str) -> Option<IpAddr> {
        self.read(name, Kind::Ip, |text| if text.is_empty() { Ok(None) } else { value::parse_ip(text).map(Some) })
    }

    /// Address and prefix length; `None` when neither given nor defaulted.
    pub fn cidr(&self, name: &str) -> Option<(IpAddr, u8)> {
        self.read(name, Kind::Cidr, |text| if text.is_empty() { Ok(None) } else { value::parse_cidr(text).map(Some) })
    }

    /// All values given, split at commas (of [`Kind::Strings`]) or whole (of [`Kind::StringArray`]); else the default.
    pub fn strings(&self, name: &str) -> Vec<String> {
        let row = self.row(name, None);
        assert!(matches!(row.kind, Kind::Strings | Kind::StringArray), "flag {name} is no list");
        let texts = self.texts(row).into_iter();
        match row.kind {
            Kind::StringArray => texts.map(str::to_owned).collect(),
            _ => texts.flat_map(|text| text.split(',')).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        }
    }

    /// All pairs given; a later value of a key wins.
    pub fn map(&self, name: &str) -> BTreeMap<String, String> {
        let row = self.row(name, Some(Kind::Map));
        self.texts(row).into_iter().filter_map(|text| value::parse_pairs(text).ok()).flatten().collect()
    }

    /// Logs a warning for each flag given that is deprecated or has no effect. Call it once logging is up.
    pub fn warn(&self) {
        for warning in self.warnings() {
            tracing::warn!("{warning}");
        }
    }

    /// The texts of [`Values::warn`].
    pub fn warnings(&self) -> Vec<String> {
        let rows = self.given.keys().filter_map(|name| self.flags.get(name));
        rows.filter_map(|row| match row.effect {
            Effect::None { reason } => Some(format!("flag --{} has no effect: {reason}", row.name)),
            Effect::Deprecated { hint } => Some(format!("Flag --{} has been deprecated, {hint}", row.name)),
            Effect::Works | Effect::Retired { .. } => None,
        })
        .collect()
    }

    /// The flags that claim to work and that nobody has read yet, for [`super::check_effective`].
    pub fn unread(&self) -> Vec<&'static str> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let working = self.flags.values().filter(|row| matches!(row.effect, Effect::Works | Effect::Deprecated { .. }));
        let mut unread: Vec<_> = working.map(|row| row.name).filter(|name| !read.contains(name)).collect();
        unread.sort_unstable();
        unread
    }

    /// Every flag with its value as text, for the log at start.
    pub fn all(&self) -> BTreeMap<&'static str, String> {
        let living = self.flags.values().filter(|row| !matches!(row.effect, Effect::Retired { .. }));
        living.map(|row| (row.name, self.texts(row).join(","))).collect()
    }

    fn texts<'a>(&'a self, row: &'a Flag) -> Vec<&'a str> {
        match self.given.get(row.name) {
            Some(values) => values.iter().map(String::as_str).collect(),
            None if row.default.is_empty() => Vec::new(),
            None => vec![&*row.default],
        }
    }

    fn read<T: Zero>(&self, name: &str, kind: Kind, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        let row = self.row(name, Some(kind));
        match self.texts(row).last() {
            None => T::zero(),
            Some(text) => parse(text).unwrap_or_else(|problem| panic!("flag {name}: {problem}")),
        }
    }

    fn row(&self, name: &str, kind: Option<Kind>) -> &Flag {
        let row = self.flags.get(name).unwrap_or_else(|| panic!("no flag {name} in the table"));
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(row.name);
        assert!(kind.is_none_or(|kind| kind == row.kind), "flag {name} is {:?}, read as {kind:?}", row.kind);
        row
    }
}

/// What a flag without default says when it is not given.
trait Zero {
    fn zero() -> Self;
}

macro_rules! zero {
    ($($kind:ty = $value:expr),*) => { $(impl Zero for $kind { fn zero() -> Self { $value } })* };
}

zero!(bool = false, i64 = 0, f64 = 0.0, Duration = Duration::ZERO, Option<IpAddr> = None, Option<(IpAddr, u8)> = None);
