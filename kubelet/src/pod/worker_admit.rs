//! The worker asks whether its pod may run here, and waits where others must end first. Part of [`super::worker`].

use std::sync::Arc;

use component::recorder::Type;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod};

use super::{
    admission::{self, Ground, Refusal, Verdict, preemption},
    fate::{Stop, Why},
    inbox::Eviction,
    spec,
    worker::Worker,
};
use crate::{eviction, metrics};

/// Where the question stands.
#[derive(Debug)]
pub(super) enum Admission {
    Unasked,
    /// The pod may run once these have ended.
    Waits(Vec<Arc<Pod>>),
    Settled,
}

impl Worker {
    /// Asked once, of pods that no kubelet has started yet; of a static pod its mirror may tell of another run. False while
    /// the pod must wait.
    pub(super) async fn admit(&mut self) -> bool {
        if matches!(self.admission, Admission::Unasked) {
            let has_begun = self.known.start_time.is_some() && !spec::is_static(&self.pod);
            let is_new = self.observed.is_empty() && !has_begun && self.stop.is_none();
            self.admission = if is_new { self.ask().await } else { Admission::Settled };
        }
        let Admission::Waits(victims) = &self.admission else { return true };
        let waits = self.stop.is_none() && victims.iter().any(|pod| self.is_here(pod));
        if !waits {
            self.admission = Admission::Settled;
        }
        !waits
    }

    /// Would news of other pods change what this one does?
    pub(super) fn waits_for_room(&self) -> bool {
        self.memory.resize.has_wish || matches!(self.admission, Admission::Waits(_))
    }

    fn is_here(&self, pod: &Pod) -> bool {
        self.node.running.get(spec::uid(pod)).is_some_and(|now| !spec::is_over(&now))
    }

    async fn ask(&mut self) -> Admission {
        let mut verdict = self.judge(&self.node.own.now());
        // Labels may have been set a moment before the pod that relies on them.
        if matches!(&verdict, Verdict::Refused(refusal) if refusal.reason == "NodeAffinity")
            && let Some(node) = self.node.own.asked().await
        {
            verdict = self.judge(&node);
        }
        match verdict {
            Verdict::Admitted => Admission::Settled,
            Verdict::AdmittedAfter(victims) => {
                victims.iter().for_each(|pod| self.preempt(pod));
                Admission::Waits(victims)
            }
            Verdict::Refused(refusal) => {
                self.refuse(refusal);
                Admission::Settled
            }
        }
    }

    fn judge(&self, node: &ApiNode) -> Verdict {
        let (pressures, is_shutting_down) = {
            let health = self.node.health.borrow();
            (eviction::pressures(&health), health.is_shutting_down)
        };
        let ground = Ground { node, facts: &self.node.facts, pressures, is_shutting_down };
        let judge = |others: &[_]| admission::judge(&self.pod, others, &ground);
        self.node.wishes.admit(&self.pod, &self.node.running, judge)
    }

    fn refuse(&mut self, Refusal { reason, message }: Refusal) {
        metrics::rejected(&reason);
        self.node.reporter.pod(&self.pod, Type::Warning, &reason, message.clone());
        let message = format!("Pod was rejected: {message}");
        let why = Why::Failed { reason, message };
        self.order_stop(Stop { why, since: self.now(), grace_period_seconds: 0 });
    }

    fn preempt(&self, victim: &Pod) {
        let (pod, critical) = (spec::identity(victim), spec::identity(&self.pod));
        tracing::warn!(%pod, %critical, "a pod is ended to make room for a critical one");
        self.node.reporter.pod(victim, Type::Warning, preemption::REASON, preemption::MESSAGE);
        let eviction = Eviction {
            reason: preemption::REASON.to_owned(),
            message: preemption::MESSAGE.to_owned(),
            grace_period_seconds: spec::termination_grace_period_seconds(victim),
        };
        (self.node.evict)(spec::uid(victim), eviction);
    }
}
