//! TaintToleration: keeps pods off nodes with taints that they do not tolerate, and prefers nodes with fewer
//! `PreferNoSchedule` taints.

use super::{Filter, Normalize, Plugin, Rejection, Score};
use crate::event::Event;
use crate::objects::{Pod, Toleration, first_untolerated, tolerates};
use crate::snapshot::{Slot, Snapshot};

pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, _: &'a Snapshot) -> Filter<'a> {
        Filter::Check(Box::new(|candidate| match first_untolerated(&candidate.node.taints, &pod.tolerations) {
            None => Ok(()),
            Some(_) => Err(Rejection::lasting("node(s) had untolerated taint(s)")),
        }))
    }

    fn score<'a>(&'a self, pod: &'a Pod, _: &'a Snapshot, _: &'a [Slot]) -> Score<'a> {
        let softens = |toleration: &&Toleration| matches!(&*toleration.effect, "" | "PreferNoSchedule");
        let tolerations: Vec<_> = pod.tolerations.iter().filter(softens).cloned().collect();
        let score = move |candidate: super::Candidate<'_>| {
            let disliked = candidate.node.taints.iter().filter(|taint| &*taint.effect == "PreferNoSchedule");
            disliked.filter(|taint| !tolerates(&tolerations, taint)).count() as i64
        };
        Score::Run { score: Box::new(score), normalize: Normalize::Lowest }
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        let tolerated = |taints| first_untolerated(taints, &pod.tolerations).is_none();
        match event {
            Event::OwnUpdate { old, new } => old.tolerations != new.tolerations,
            event => event
                .node()
                .is_some_and(|(old, new)| tolerated(&new.taints) && old.is_none_or(|old| !tolerated(&old.taints))),
        }
    }
}
