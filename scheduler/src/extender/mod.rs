//! HTTP extenders: programs of others that have a say in where pods go.
//!
//! [`Extender`] is one as configured, [`Concern`] which pods it wants to be asked about (all that the core needs to know);
//! `wire` is what is said over HTTP, `ask` says it. They are asked between two looks at the snapshot, never during one:
//! [`crate::core`] gives out candidates, the shell asks, and the core settles with what is known by then.

mod ask;
mod wire;

use std::time::Duration;

pub use ask::Extenders;

use component::client::Endpoint;

use crate::objects::Pod;

/// One extender, as configured.
#[derive(Clone)]
pub struct Extender {
    pub endpoint: Endpoint,
    pub verbs: Verbs,
    /// What its scores are multiplied by.
    pub weight: i64,
    pub timeout: Duration,
    /// It knows the nodes by itself: names are enough.
    pub node_cache_capable: bool,
    /// Scheduling goes on without it when it fails.
    pub ignorable: bool,
    pub concern: Concern,
}

/// The last part of the path of each call; without one it is not called for that.
#[derive(Clone, Debug, Default)]
pub struct Verbs {
    pub filter: Option<String>,
    pub prioritize: Option<String>,
    pub preempt: Option<String>,
    pub bind: Option<String>,
}

/// The pods that an extender is asked about.
#[derive(Clone, Debug, Default)]
pub struct Concern {
    /// Pods that ask for one of these; all pods when empty.
    managed: Vec<Box<str>>,
}

impl Concern {
    pub fn new<'a>(managed: impl Iterator<Item = &'a str>) -> Self {
        Self { managed: managed.map(Box::from).collect() }
    }

    /// A limit of such a resource is a request as well: the API makes it so.
    pub fn is_interested(&self, pod: &Pod) -> bool {
        self.managed.is_empty() || self.managed.iter().any(|name| pod.requests.get(&**name) > 0)
    }
}

impl Extender {
    /// What the core has to know of it.
    pub fn interest(&self) -> Interest {
        Interest {
            concern: self.concern.clone(),
            weighs: self.verbs.filter.is_some() || self.verbs.prioritize.is_some(),
            preempts: self.verbs.preempt.is_some(),
        }
    }
}

/// When an extender has to be asked.
#[derive(Clone, Debug)]
pub struct Interest {
    pub concern: Concern,
    /// About which node takes a pod.
    pub weighs: bool,
    /// About whose room a pod gets.
    pub preempts: bool,
}

/// A node that a pod gets once its victims are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub node: Box<str>,
    /// UIDs.
    pub victims: Vec<Box<str>>,
    /// How many victims' budgets do not allow it.
    pub violations: usize,
}
