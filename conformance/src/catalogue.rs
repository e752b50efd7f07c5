//! What a case is: a row of data and a function. [`all`] gives every row; `cases/` has them by capability.
//!
//! It refuses to know how cases are run, and what a cluster is.

use anyhow::Result;
use futures::future::LocalBoxFuture;

use crate::cases;
use crate::cluster::Scope;

/// Cases that prove one capability together.
pub(crate) struct Group {
    /// First half of the cases' names.
    pub(crate) name: &'static str,
    pub(crate) area: Area,
    /// What a user may rely on when all cases pass, as the README says it.
    pub(crate) capability: &'static str,
    pub(crate) cases: &'static [Case],
}

/// Parts of what a cluster does, in the order of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    Api,
    Kinds,
    Deletion,
    Workloads,
    Pods,
    Volumes,
    Kubectl,
    Network,
    Scheduling,
}

impl Area {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Kinds => "kinds",
            Self::Deletion => "deletion",
            Self::Workloads => "workloads",
            Self::Pods => "pods",
            Self::Volumes => "volumes",
            Self::Kubectl => "kubectl",
            Self::Network => "network",
            Self::Scheduling => "scheduling",
        }
    }
}

/// A function over an empty namespace that returns what it found wrong.
pub(crate) type Function = for<'a> fn(&'a Scope) -> LocalBoxFuture<'a, Result<()>>;

pub(crate) struct Case {
    /// Second half of the name.
    pub(crate) name: &'static str,
    /// What holds when it passes, as a sentence.
    pub(crate) claim: &'static str,
    pub(crate) tags: &'static [Tag],
    pub(crate) function: Function,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "they are written as they are typed on the command line")]
pub(crate) enum Tag {
    /// One of the minute's worth that is run most often.
    quick,
    /// Runs alone: it changes what others look at, such as nodes.
    serial,
    /// Takes more than half a minute on a good cluster, by its nature.
    slow,
    /// Needs two nodes that take pods.
    two_nodes,
}

impl Tag {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::quick => "quick",
            Self::serial => "serial",
            Self::slow => "slow",
            Self::two_nodes => "two-nodes",
        }
    }
}

/// A row: the function's name is the case's.
macro_rules! case {
    ($function:ident, $claim:literal $(, $tag:ident)*) => {
        crate::catalogue::Case {
            name: stringify!($function),
            claim: $claim,
            tags: &[$(crate::catalogue::Tag::$tag),*],
            function: |scope| Box::pin($function(scope)),
        }
    };
}
pub(crate) use case;

/// A case with its group.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) group: &'static Group,
    pub(crate) case: &'static Case,
}

impl Entry {
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.group.name, self.case.name)
    }

    pub(crate) fn has(&self, tag: Tag) -> bool {
        self.case.tags.contains(&tag)
    }
}

/// Every case, by area and group.
pub(crate) fn all() -> Vec<Entry> {
    let mut groups = cases::GROUPS.to_vec();
    groups.sort_by_key(|group| group.area);
    groups.into_iter().flat_map(|group| group.cases.iter().map(move |case| Entry { group, case })).collect()
}
