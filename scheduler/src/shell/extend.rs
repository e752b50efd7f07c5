//! Takes a decision to the extenders, and back to the core.

use std::sync::Arc;

use component::recorder::Type;

use super::{Shared, bind, report};
use crate::core::{Consultation, Step};
use crate::extender::Room;
use crate::objects::Pod;
use crate::preemption::Preemption;

/// What came of it; nothing when the pod waits no more, or has to be tried again.
pub(super) async fn consult(shared: &Shared, consultation: Consultation) -> Option<Step> {
    let pod = consultation.pod.clone();
    let filtered = match shared.extenders.filter(shared, &pod, consultation.nodes.clone()).await {
        Ok(filtered) => filtered,
        Err(why) => {
            failed(shared, &pod, &why).await;
            return None;
        }
    };
    if filtered.passed.is_empty() {
        return shared.core().strike_out(consultation, filtered.failed, shared.now());
    }
    let mut scored = shared.core().weigh(&pod, &filtered.passed);
    if scored.len() > 1 {
        shared.extenders.prioritize(shared, &pod, &mut scored).await;
    }
    shared.core().settle(consultation, scored, shared.now())
}

async fn failed(shared: &Shared, pod: &Arc<Pod>, why: &str) {
    tracing::warn!(pod = pod.name(), namespace = pod.namespace(), why, "an extender failed, trying the pod again");
    bind::recorder(shared, pod).event(&**pod, Type::Warning, "FailedScheduling", why);
    report::tell_error(shared, pod, why).await;
    shared.change(|core, now| core.consultation_failed(pod, now));
}

/// Whose room the pod gets, as far as extenders let it.
pub(super) async fn room(shared: &Shared, pod: &Arc<Pod>, rooms: Vec<Room>) -> Result<Preemption, String> {
    let left = shared.extenders.preempt(shared, pod, rooms).await?;
    shared.core().make_room_in(pod, left).ok_or_else(|| "no candidate node for preemption".to_owned())
}
