//! Eviction signals and thresholds, as the configuration writes them (`pkg/kubelet/eviction/api`). Pure.

use std::{collections::BTreeMap, time::Duration};

use machinery::quantity::{Format, Quantity};

/// What is measured. The order is that of reclaiming: memory first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    MemoryAvailable,
    /// What is left of the share of all pods together.
    AllocatableMemoryAvailable,
    NodefsAvailable,
    NodefsInodesFree,
    ImagefsAvailable,
    ImagefsInodesFree,
    PidAvailable,
}

/// A condition of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pressure {
    Disk,
    Memory,
    Pid,
}

impl Pressure {
    /// The condition's type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "DiskPressure",
            Self::Memory => "MemoryPressure",
            Self::Pid => "PIDPressure",
        }
    }
}

const SIGNALS: [(Signal, &str); 7] = [
    (Signal::MemoryAvailable, "memory.available"),
    (Signal::AllocatableMemoryAvailable, "allocatableMemory.available"),
    (Signal::NodefsAvailable, "nodefs.available"),
    (Signal::NodefsInodesFree, "nodefs.inodesFree"),
    (Signal::ImagefsAvailable, "imagefs.available"),
    (Signal::ImagefsInodesFree, "imagefs.inodesFree"),
    (Signal::PidAvailable, "pid.available"),
];

/// Upstream takes these, and puts those of the node's or the images' disk in their place: containers write to one of them.
const IGNORED: [&str; 2] = ["containerfs.available", "containerfs.inodesFree"];

/// Upstream's hard thresholds where the configuration has none.
const DEFAULTS: [(&str, &str); 5] = [
    ("memory.available", "100Mi"),
    ("nodefs.available", "10%"),
    ("nodefs.inodesFree", "5%"),
    ("imagefs.available", "15%"),
    ("imagefs.inodesFree", "5%"),
];

impl Signal {
    pub fn parse(text: &str) -> Option<Self> {
        SIGNALS.into_iter().find(|(_, name)| *name == text).map(|(signal, _)| signal)
    }

    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        SIGNALS.into_iter().find(|(signal, _)| *signal == self).map_or("", |(_, name)| name)
    }

    pub fn pressure(self) -> Pressure {
        match self {
            Self::MemoryAvailable | Self::AllocatableMemoryAvailable => Pressure::Memory,
            Self::PidAvailable => Pressure::Pid,
            _ => Pressure::Disk,
        }
    }

    /// The resource that is short, as events and messages name it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::MemoryAvailable | Self::AllocatableMemoryAvailable => "memory",
            Self::NodefsAvailable | Self::ImagefsAvailable => "ephemeral-storage",
            Self::NodefsInodesFree | Self::ImagefsInodesFree => "inodes",
            Self::PidAvailable => "pids",
        }
    }

    /// Bytes are shown in powers of two, numbers plainly.
    pub fn shown(self, value: i64) -> String {
        let format = match self {
            Self::NodefsInodesFree | Self::ImagefsInodesFree | Self::PidAvailable => Format::DecimalSi,
            _ => Format::BinarySi,
        };
        Quantity::new(value, format).to_string()
    }
}

/// An amount, or a part of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    Amount(i64),
    Percent(f64),
}

impl Limit {
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let number: f64 = percent.trim().parse().map_err(|_| format!("failed to parse percentage {text:?}"))?;
            if !(0.0..=100.0).contains(&number) {
                return Err(format!("eviction percentage threshold must be between 0 and 100: {text}"));
            }
            return Ok(Self::Percent(number));
        }
        let amount = Quantity::parse(text).map_err(|_| format!("failed to parse quantity {text:?}"))?;
        if amount.sign() < 0 {
            return Err(format!("eviction threshold must be positive: {text}"));
        }
        Ok(Self::Amount(amount.value()))
    }

    pub fn of(self, capacity: i64) -> i64 {
        match self {
            Self::Amount(amount) => amount,
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as i64,
        }
    }

    fn is_off(self) -> bool {
        matches!(self, Self::Percent(percent) if percent == 0.0 || percent == 100.0)
    }
}

/// When something has to be done about a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    pub signal: Signal,
    pub limit: Limit,
    /// None for a hard threshold: acted upon at once, and pods get no grace.
    pub grace: Option<Duration>,
    /// How much more than the limit has to be free before it is well again.
    pub min_reclaim: Option<Limit>,
}

/// The settings as the configuration has them.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub hard: BTreeMap<String, String>,
    pub soft: BTreeMap<String, String>,
    pub soft_grace: BTreeMap<String, String>,
    pub min_reclaim: BTreeMap<String, String>,
    /// Defaults stand beside what is given, instead of going when anything is given.
    pub merge_defaults: bool,
    /// All pods together are held to their share: then what is left of that counts like the node's memory.
    pub enforces_pods: bool,
}

impl Wanted {
    /// The hard thresholds with the defaults, where these count.
    pub fn all_hard(&self) -> BTreeMap<String, String> {
        let mut hard = self.hard.clone();
        if hard.is_empty() || self.merge_defaults {
            for (signal, limit) in DEFAULTS {
                hard.entry(signal.to_owned()).or_insert_with(|| limit.to_owned());
            }
        }
        hard
    }

    /// What of the given thresholds has no effect, in upstream's words.
    pub fn warnings(&self) -> Vec<String> {
        let of = |list: &BTreeMap<String, String>, kind: &str| -> Vec<String> {
            let ignored = IGNORED.iter().filter(|name| list.contains_key(**name));
            ignored.map(|name| format!("found {name} for {kind} eviction. ignoring")).collect()
        };
        [of(&self.hard, "hard"), of(&self.soft, "soft")].concat()
    }
}

/// All thresholds, or everything that is wrong with them.
pub fn thresholds(wanted: &Wanted) -> Result<Vec<Threshold>, Vec<String>> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    let hard = wanted.all_hard();
    for (list, is_soft) in [(&hard, false), (&wanted.soft, true)] {
        for (name, text) in list {
            match one(name, text, is_soft, wanted) {
                Ok(Some(threshold)) => found.push(threshold),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
    }
    for name in wanted.soft_grace.keys().filter(|name| !wanted.soft.contains_key(*name)) {
        problems.push(format!("grace period for soft eviction threshold {name} without a threshold"));
    }
    if wanted.enforces_pods {
        let hard = found.iter().find(|it| it.signal == Signal::MemoryAvailable && it.grace.is_none()).copied();
        found.extend(hard.map(|hard| Threshold { signal: Signal::AllocatableMemoryAvailable, ..hard }));
    }
    found.sort_by_key(|threshold| (threshold.signal, threshold.grace.is_some()));
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// None where 0 % or 100 % turn the threshold off, or its signal is no one's.
fn one(name: &str, text: &str, is_soft: bool, wanted: &Wanted) -> Result<Option<Threshold>, String> {
    let signal = Signal::parse(name);
    if signal.is_none() && !IGNORED.contains(&name) {
        return Err(format!("unsupported eviction signal {name}"));
    }
    let limit = Limit::parse(text)?;
    if limit.is_off() {
        return Ok(None);
    }
    let grace = match is_soft {
        false => None,
        true => {
            let text = wanted.soft_grace.get(name);
            let text =
                text.ok_or_else(|| format!("grace period must be specified for the soft eviction threshold {name}"))?;
            Some(component::flags::parse_duration(text).map_err(|error| format!("{name}: {error}"))?)
        }
    };
    let min_reclaim = wanted.min_reclaim.get(name).map(|text| Limit::parse(text)).transpose()?;
    Ok(signal.map(|signal| Threshold { signal, limit, grace, min_reclaim }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn thresholds_are_read() {
        let defaults = thresholds(&Wanted::default()).expect("defaults");
        assert_eq!(defaults.len(), 5);
        assert_eq!(defaults[0].limit, Limit::Amount(100 << 20));
        let own = Wanted {
            hard: map(&[("memory.available", "5%"), ("pid.available", "0%")]),
            soft: map(&[("nodefs.available", "2Gi")]),
            soft_grace: map(&[("nodefs.available", "1m30s")]),
            ..Wanted::default()
        };
        let found = thresholds(&own).expect("thresholds");
        assert_eq!(found.len(), 2, "what is given stands alone, and 0% is off");
        assert_eq!((found[0].limit.of(1000), found[1].grace), (50, Some(Duration::from_secs(90))));
        let merged = Wanted { merge_defaults: true, ..own };
        assert_eq!(thresholds(&merged).expect("thresholds").len(), 6);
    }

    #[test]
    fn thresholds_of_the_containers_disk_are_taken_and_ignored() {
        let own = Wanted {
            hard: map(&[("containerfs.available", "5%"), ("pid.available", "10%")]),
            soft: map(&[("containerfs.inodesFree", "5%")]),
            soft_grace: map(&[("containerfs.inodesFree", "1m")]),
            ..Wanted::default()
        };
        assert_eq!(thresholds(&own).expect("thresholds").len(), 1);
        let words = ["containerfs.available for hard", "containerfs.inodesFree for soft"];
        assert_eq!(own.warnings(), words.map(|it| format!("found {it} eviction. ignoring")));
        let wrong = Wanted { soft_grace: BTreeMap::new(), ..own };
        assert_eq!(thresholds(&wrong).expect_err("no grace").len(), 1);
    }

    #[test]
    fn pods_that_are_held_to_their_share_have_a_threshold_there() {
        let own = Wanted {
            hard: map(&[("memory.available", "5%")]),
            soft: map(&[("memory.available", "10%")]),
            soft_grace: map(&[("memory.available", "1m")]),
            enforces_pods: true,
            ..Wanted::default()
        };
        let found = thresholds(&own).expect("thresholds");
        assert_eq!(found.len(), 3);
        let share = found.iter().find(|it| it.signal == Signal::AllocatableMemoryAvailable).expect("the hard one's");
        assert_eq!((share.limit, share.grace, share.signal.pressure()), (Limit::Percent(5.0), None, Pressure::Memory));
        assert_eq!(share.signal.name(), "allocatableMemory.available");
    }

    #[test]
    fn mistakes_are_all_told() {
        let wrong = Wanted {
            hard: map(&[("memory.free", "1Gi"), ("memory.available", "200%")]),
            soft: map(&[("pid.available", "100")]),
            ..Wanted::default()
        };
        assert_eq!(thresholds(&wrong).expect_err("mistakes").len(), 3);
    }
}
