//! A status that waits for what it can be told with, so that the API hears of both at once.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use super::{
    backoff::after,
    memory::{Memory, Starting},
};

/// How long a status waits for the start of a container.
const HELD_MAX: Duration = Duration::from_secs(2);

/// Whether what is new of a pod that is known to be pending can be told with the outcome of the container's start that is
/// under way: until then there is only the sandbox to tell of. Upstream's kubelet, too, looks at a pod after its starts.
pub(super) fn can_wait(memory: &Memory, known: &PodStatus, status: &PodStatus) -> bool {
    let is_pending = |status: &PodStatus| status.phase.as_deref() == Some("Pending");
    matches!(memory.starting, Some(Starting::Container { .. }))
        && known.start_time.is_some()
        && is_pending(known)
        && is_pending(status)
}

/// Until when a status that can wait does; `since` is when it began to.
pub(super) fn until(since: &mut Option<Timestamp>, can_wait: bool, now: Timestamp) -> Option<Timestamp> {
    if !can_wait {
        *since = None;
        return None;
    }
    let until = after(*since.get_or_insert(now), HELD_MAX);
    (now < until).then_some(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn a_sandbox_is_told_with_the_first_container_and_nothing_else_waits() {
        let at = |phase: &str| PodStatus {
            phase: Some(phase.into()),
            start_time: Some(Time(Timestamp::UNIX_EPOCH)),
            ..PodStatus::default()
        };
        let memory = |starting| Memory { starting, ..Memory::default() };
        let container = memory(Some(Starting::Container { name: "a".into(), attempt: 0 }));
        let (pending, running) = (at("Pending"), at("Running"));
        assert!(can_wait(&container, &pending, &pending));
        assert!(!can_wait(&container, &PodStatus::default(), &pending), "nothing is told yet");
        assert!(!can_wait(&container, &pending, &running) && !can_wait(&container, &running, &running));
        assert!(!can_wait(&memory(Some(Starting::Sandbox)), &pending, &pending));
        assert!(!can_wait(&memory(None), &pending, &pending), "an image is pulled, or a start failed");
    }

    #[test]
    fn a_start_that_takes_long_keeps_nothing_from_the_api() {
        let (began, mut since) = (Timestamp::UNIX_EPOCH, None);
        let end = after(began, HELD_MAX);
        assert_eq!(until(&mut since, true, began), Some(end));
        assert_eq!(until(&mut since, true, after(began, HELD_MAX / 2)), Some(end), "not from anew");
        assert_eq!(until(&mut since, true, end), None);
        assert_eq!((until(&mut since, false, end), since), (None, None));
    }
}
