//! Levels and versions of the standards, and the namespace's labels that choose them.

use std::fmt;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        [Self::Privileged, Self::Baseline, Self::Restricted].into_iter().find(|level| level.to_string() == text)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// The minor version whose rules hold; all versions are v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Minor(u32),
    Latest,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let is_plain = minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
        is_plain.then(|| minor.parse().ok()).flatten().map(Self::Minor)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LevelVersion {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl LevelVersion {
    const OPEN: Self = Self { level: Level::Privileged, version: Version::Latest };

    /// Of a configuration, where what is not said is open.
    pub(super) fn parse(level: &str, version: &str) -> Result<Self, &'static str> {
        let level = if level.is_empty() { Level::Privileged } else { Level::parse(level).ok_or(LEVELS)? };
        let version = if version.is_empty() { Version::Latest } else { Version::parse(version).ok_or(VERSIONS)? };
        Ok(Self { level, version })
    }

    /// Whether no pod that the other let in can be refused by this.
    pub(super) fn is_no_stricter_than(self, other: Self) -> bool {
        self.level == Level::Privileged || (self.version == other.version && self.level <= other.level)
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::Latest => write!(f, "{}:latest", self.level),
            Version::Minor(minor) => write!(f, "{}:v1.{minor}", self.level),
        }
    }
}

/// What holds in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: LevelVersion,
    pub(super) audit: LevelVersion,
    pub(super) warn: LevelVersion,
}

impl Policy {
    /// What holds where neither labels nor a configuration say anything.
    pub(super) const OPEN: Self =
        Self { enforce: LevelVersion::OPEN, audit: LevelVersion::OPEN, warn: LevelVersion::OPEN };

    pub(super) fn is_open(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|of| of.level == Level::Privileged)
    }
}

const PREFIX: &str = "pod-security.kubernetes.io/";

/// The policy of a namespace and what is wrong with its labels; what they do not say is as `defaults`. A wrong level of
/// `enforce` is taken as the strictest, others as the loosest, a wrong version as the newest.
pub(super) fn read(namespace: &Value, defaults: &Policy) -> (Policy, ErrorList) {
    let mut wrong = ErrorList::new();
    if !meta::map(namespace, "metadata.labels").keys().any(|label| label.starts_with(PREFIX)) {
        return (*defaults, wrong);
    }
    let mut level = |mode: &str| given(namespace, mode, Level::parse, LEVELS, &mut wrong);
    let enforce_level = level("enforce");
    let mut version = |mode: &str| given(namespace, mode, Version::parse, VERSIONS, &mut wrong);
    let enforce_version = version("enforce-version");
    let audit_level = given(namespace, "audit", Level::parse, LEVELS, &mut wrong);
    let audit_version = given(namespace, "audit-version", Version::parse, VERSIONS, &mut wrong);
    let warn_level = given(namespace, "warn", Level::parse, LEVELS, &mut wrong);
    let warn_version = given(namespace, "warn-version", Version::parse, VERSIONS, &mut wrong);
    let of = |level: Label<Level>, version: Label<Version>, default: LevelVersion, strictness: Level| LevelVersion {
        level: level.or(default.level, strictness),
        version: version.or(default.version, Version::Latest),
    };
    let enforce = of(enforce_level, enforce_version, defaults.enforce, Level::Restricted);
    let audit = of(audit_level, audit_version, defaults.audit, Level::Privileged);
    let mut warn = of(warn_level, warn_version, defaults.warn, Level::Privileged);
    // Who enforces a level is also warned of it, unless they say otherwise.
    if warn_level == Label::Absent && matches!(enforce_level, Label::Good(level) if level > warn.level) {
        warn.level = enforce.level;
        if warn_version == Label::Absent {
            warn.version = enforce.version;
        }
    }
    (Policy { enforce, audit, warn }, wrong)
}

/// The modes that a namespace's own labels set to more than nothing, for a word on them.
pub(super) fn told(namespace: &Value, policy: &Policy) -> String {
    let modes = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)];
    let has = |mode: &str| meta::label(namespace, &format!("{PREFIX}{mode}")).is_some();
    let set = modes
        .into_iter()
        .filter(|(mode, of)| of.level != Level::Privileged && (has(mode) || has(&format!("{mode}-version"))));
    set.map(|(mode, of)| format!("{mode}={of}")).collect::<Vec<_>>().join(", ")
}

const LEVELS: &str = "must be one of privileged, baseline, restricted";
const VERSIONS: &str = "must be \"latest\" or \"v1.x\"";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label<T> {
    Absent,
    Good(T),
    Wrong,
}

impl<T> Label<T> {
    fn or(self, absent: T, wrong: T) -> T {
        match self {
            Self::Absent => absent,
            Self::Good(value) => value,
            Self::Wrong => wrong,
        }
    }
}

fn given<T>(namespace: &Value, mode: &str, parse: fn(&str) -> Option<T>, why: &str, wrong: &mut ErrorList) -> Label<T> {
    let label = format!("{PREFIX}{mode}");
    let Some(text) = meta::label(namespace, &label) else { return Label::Absent };
    match parse(text) {
        Some(value) => Label::Good(value),
        None => {
            wrong.push(Error::invalid(&Path::new("metadata").child("labels").key(&label), text, why));
            Label::Wrong
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(labels: &[(&str, &str)]) -> (String, String, usize) {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(mode, value)| (format!("{PREFIX}{mode}"), json!(value))).collect();
        let (policy, wrong) = read(&json!({"metadata": {"labels": labels}}), &Policy::OPEN);
        (policy.enforce.to_string(), policy.warn.to_string(), wrong.len())
    }

    #[test]
    fn labels_choose_levels_and_versions() {
        let check = |labels: &[(&str, &str)], enforce: &str, warn: &str, wrong: usize| {
            assert_eq!(policy(labels), (enforce.to_owned(), warn.to_owned(), wrong), "{labels:?}");
        };
        check(&[], "privileged:latest", "privileged:latest", 0);
        check(&[("enforce", "baseline"), ("enforce-version", "v1.20")], "baseline:v1.20", "baseline:v1.20", 0);
        check(&[("enforce", "baseline"), ("warn", "restricted")], "baseline:latest", "restricted:latest", 0);
        check(&[("enforce", "baseline"), ("warn", "privileged")], "baseline:latest", "privileged:latest", 0);
        check(
            &[("enforce", "strict"), ("audit", "x"), ("warn-version", "v1.01")],
            "restricted:latest",
            "privileged:latest",
            3,
        );
    }

    #[test]
    fn what_is_looser_is_told_without_looking_at_pods() {
        let of = |level, version| LevelVersion { level, version };
        let baseline = of(Level::Baseline, Version::Latest);
        assert!(of(Level::Privileged, Version::Minor(3)).is_no_stricter_than(baseline));
        assert!(baseline.is_no_stricter_than(of(Level::Restricted, Version::Latest)));
        assert!(!baseline.is_no_stricter_than(of(Level::Restricted, Version::Minor(30))));
        assert!(!baseline.is_no_stricter_than(of(Level::Privileged, Version::Latest)));
    }
}
