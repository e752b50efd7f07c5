//! Takes a decision to the extenders, and back to the core.

use std::sync::Arc;

use component::recorder::Type;
use jiff::Timestamp;

use super::{Shared, bind, report};
use crate::core::{Consultation, Step};
use crate::extender::Room;
use crate::objects::Pod;
use crate::preemption::Preemption;

/// What came of it; nothing when the pod waits no more, or has to be tried again.
pub(super) async fn consult(shared: &Shared, consultation: Consultation) -> Option<Step> {
    let (pod, started) = (consultation.pod.clone(), consultation.started);
    let filtered = match shared.extenders.filter(shared, &pod, consultation.nodes.clone()).await {
        Ok(filtered) => filtered,
        Err(why) => {
            failed(shared, &pod, started, &why).await;
            return None;
        }
    };
    if filtered.passed.is_empty() {
        return shared.core().strike_out(consultation, filtered.failed, shared.now());
    }
    let mut opinions: Vec<_> = filtered.passed.into_iter().map(|node| (node, 0)).collect();
    if opinions.len() > 1 {
        shared.extenders.prioritize(shared, &pod, &mut opinions).await;
    }
    shared.core().settle(consultation, &opinions, shared.now())
}

async fn failed(shared: &Shared, pod: &Arc<Pod>, started: Timestamp, why: &str) {
    tracing::warn!(pod = pod.name(), namespace = pod.namespace(), why, "an extender failed, trying the pod again");
    bind::recorder(shared, pod).event(&**pod, Type::Warning, "FailedScheduling", why);
    report::tell_error(shared, pod, why).await;
    shared.change(|core, now| core.consultation_failed(pod, started, now));
}

/// Whose room the pod gets, as far as extenders let it.
pub(super) async fn room(shared: &Shared, pod: &Arc<Pod>, rooms: Vec<Room>) -> Result<Preemption, String> {
    let left = shared.extenders.preempt(shared, pod, rooms).await?;
    shared.core().make_room_in(pod, left).ok_or_else(|| "no candidate node for preemption".to_owned())
}
