//! Events that are too large: without the objects first, and not at all if that does not help. Pure.

use std::borrow::Cow;

use component::flags::Values;

use super::event::Event;
use super::policy::Level;
use crate::go_json;

/// What tells readers that something is missing.
const ANNOTATION: &str = "audit.k8s.io/truncated";

/// Sizes in bytes, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub event_bytes_max: usize,
    pub batch_bytes_max: usize,
}

impl Limits {
    /// `None` where nothing is cut. `plugin`: `log`, `webhook`.
    pub fn from_flags(values: &Values, plugin: &str) -> Result<Option<Self>, String> {
        let flag = |name: &str| values.int(&format!("audit-{plugin}-truncate-{name}"));
        let (event, batch) = (flag("max-event-size"), flag("max-batch-size"));
        if event <= 0 {
            return Err(format!("invalid audit truncate {plugin} max event size {event}, must be a positive number"));
        }
        if batch < event {
            return Err(format!(
                "invalid audit truncate {plugin} max batch size {batch}, must be greater than max event size ({event})"
            ));
        }
        let bytes = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let limits = Self { event_bytes_max: bytes(event), batch_bytes_max: bytes(batch) };
        Ok(values.bool(&format!("audit-{plugin}-truncate-enabled")).then_some(limits))
    }

    /// The event as it may be written; the error says why it may not.
    pub fn cut<'a>(&self, event: &'a Event) -> Result<Cow<'a, Event>, String> {
        if size(event)? <= self.event_bytes_max {
            return Ok(Cow::Borrowed(event));
        }
        let mut event = event.clone();
        if event.level >= Level::Request {
            (event.request_object, event.response_object) = (None, None);
            event.annotations.insert(ANNOTATION.to_owned(), "true".to_owned());
        }
        match size(&event)? <= self.event_bytes_max {
            true => Ok(Cow::Owned(event)),
            false => Err("event is too large even after truncating".to_owned()),
        }
    }
}

/// With the end of its line.
fn size(event: &Event) -> Result<usize, String> {
    let text = serde_json::to_vec(event).map_err(|error| error.to_string())?;
    Ok(go_json::text(text).len() + 1)
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::event;
    use super::*;

    #[test]
    fn large_events_lose_their_objects() {
        let mut large = event(Level::Request);
        let small = size(&large).unwrap();
        large.request_object = Some("x".repeat(1000).into());
        let cut = |event_bytes_max: usize, event: &Event| {
            let limits = Limits { event_bytes_max, batch_bytes_max: event_bytes_max };
            limits.cut(event).map(|event| (event.request_object.is_some(), event.annotations.contains_key(ANNOTATION)))
        };
        assert_eq!(cut(5000, &large), Ok((true, false)));
        assert_eq!(cut(small + 100, &large), Ok((false, true)));
        assert!(cut(small - 1, &large).is_err());
    }
}
