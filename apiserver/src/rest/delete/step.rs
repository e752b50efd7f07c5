//! What a delete does to an object as it is now. Pure: nothing is read or written here.

use machinery::meta;
use serde_json::{Value, json};

use crate::kinds::Hooks;
use crate::rest::params::{DeleteOptions, Propagation};
use crate::rest::system;

use super::Outcome;

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Remove(Value),
    Mark(Value),
    /// Nothing keeps it, but who watches is shown first that it is being deleted.
    MarkThenRemove(Value),
    /// Already marked, and nothing to add.
    Stay(Value),
}

impl Step {
    pub fn object(&self) -> &Value {
        match self {
            Self::Remove(object) | Self::Mark(object) | Self::MarkThenRemove(object) | Self::Stay(object) => object,
        }
    }

    /// What is left when the step is done, and `object` is what it made of the object.
    pub fn outcome(&self, object: Value) -> Outcome {
        match self {
            Self::Remove(_) | Self::MarkThenRemove(_) => Outcome::Gone(object),
            Self::Mark(_) | Self::Stay(_) => Outcome::Marked(object),
        }
    }
}

/// `now` in RFC 3339.
pub fn next_step(object: &Value, options: &DeleteOptions, hooks: &Hooks, now: &str) -> Step {
    let is_deleting = meta::is_deleting(object);
    let grace = match (is_deleting, pending(object)) {
        (false, _) => (hooks.grace)(object, options.grace_period_seconds)
            .map(|seconds| Grace { seconds, ends: later(now, seconds) }),
        (true, 0) => None,
        (true, pending) => match shortened(object, pending, options.grace_period_seconds, now) {
            None => return Step::Stay(object.clone()),
            shorter => shorter,
        },
    };
    let mut marked = object.clone();
    set_finalizers(&mut marked, finalizers_after(object, propagation(object, options, hooks.orphans_by_default)));
    let is_kept = meta::finalizers(&marked).next().is_some() || (hooks.is_held)(object);
    let is_over = grace.as_ref().is_none_or(|grace| grace.seconds == 0);
    match grace {
        None if !is_kept => return Step::Remove(object.clone()),
        None if is_deleting => {}
        None => mark(&mut marked, &Grace { seconds: 0, ends: now.to_owned() }, hooks),
        Some(grace) => mark(&mut marked, &grace, hooks),
    }
    match (is_over && !is_kept, is_deleting) {
        (true, true) => Step::Remove(marked),
        (true, false) => Step::MarkThenRemove(marked),
        (false, _) if marked == *object => Step::Stay(marked),
        (false, _) => Step::Mark(marked),
    }
}

/// The grace that an object was given; a negative one is from older days and means the shortest.
fn pending(object: &Value) -> i64 {
    match meta::at(object, "metadata.deletionGracePeriodSeconds").as_i64().unwrap_or(0) {
        ..0 => 1,
        seconds => seconds,
    }
}

/// How long an object that is being deleted may still take, and when that time is over.
struct Grace {
    seconds: i64,
    ends: String,
}

/// A second delete may shorten the time that is left, never lengthen it: `None` where it does neither. What has passed of
/// it has passed; who asks for some time gets a second at the least, so that the end stays with whoever ends the object.
fn shortened(object: &Value, pending: i64, asked: Option<i64>, now: &str) -> Option<Grace> {
    let asked = asked.filter(|asked| *asked < pending)?;
    let ends = later(meta::text(object, "metadata.deletionTimestamp"), asked - pending);
    Some(match ends.as_str() < now {
        true => Grace { seconds: asked.min(1), ends: now.to_owned() },
        false => Grace { seconds: asked, ends },
    })
}

fn mark(object: &mut Value, grace: &Grace, hooks: &Hooks) {
    let (generation, is_first) = (meta::generation(object), !meta::is_deleting(object));
    let metadata = meta::metadata_mut(object);
    metadata.insert("deletionTimestamp".into(), grace.ends.as_str().into());
    metadata.insert("deletionGracePeriodSeconds".into(), json!(grace.seconds));
    if generation > 0 && is_first {
        metadata.insert("generation".into(), json!(generation + 1));
    }
    (hooks.on_deletion)(object);
}

/// `time`, RFC 3339, moved by seconds.
fn later(time: &str, seconds: i64) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => (time + jiff::SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => time.to_owned(),
    }
}

/// What becomes of dependents: as asked, else as the object's finalizers say, else as its kind has it.
fn propagation(object: &Value, options: &DeleteOptions, orphans_by_default: bool) -> Option<Propagation> {
    let is_said =
        meta::finalizers(object).any(|name| name == system::ORPHAN_FINALIZER || name == system::FOREGROUND_FINALIZER);
    options.propagation.or((orphans_by_default && !is_said).then_some(Propagation::Orphan))
}

fn finalizers_after(object: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut finalizers: Vec<String> = meta::finalizers(object).map(str::to_owned).collect();
    let wanted = match propagation {
        None => return finalizers,
        Some(Propagation::Background) => None,
        Some(Propagation::Orphan) => Some(system::ORPHAN_FINALIZER),
        Some(Propagation::Foreground) => Some(system::FOREGROUND_FINALIZER),
    };
    finalizers.retain(|name| name != system::ORPHAN_FINALIZER && name != system::FOREGROUND_FINALIZER);
    finalizers.extend(wanted.map(str::to_owned));
    finalizers
}

fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    let metadata = meta::metadata_mut(object);
    match finalizers.is_empty() {
        true => metadata.remove("finalizers"),
        false => metadata.insert("finalizers".into(), json!(finalizers)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn propagation_becomes_a_finalizer() {
        let object = json!({"metadata": {"finalizers": ["a", "orphan"]}});
        assert_eq!(finalizers_after(&object, None), ["a", "orphan"]);
        assert_eq!(finalizers_after(&object, Some(Propagation::Foreground)), ["a", "foregroundDeletion"]);
        assert_eq!(finalizers_after(&object, Some(Propagation::Background)), ["a"]);
    }

    #[test]
    fn some_kinds_leave_their_dependents_be() {
        let (plain, foreground) = (json!({}), json!({"metadata": {"finalizers": ["foregroundDeletion"]}}));
        let said = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        let unsaid = DeleteOptions::default();
        for (object, options, want) in [
            (&plain, &unsaid, Some(Propagation::Orphan)),
            (&foreground, &unsaid, None),
            (&plain, &said, Some(Propagation::Background)),
        ] {
            assert_eq!(propagation(object, options, true), want, "{object}");
        }
        assert_eq!(propagation(&plain, &unsaid, false), None);
    }

    #[test]
    fn the_grace_moves_the_deletion_time() {
        assert_eq!(later("2026-01-01T00:00:00Z", 30), "2026-01-01T00:00:30Z");
    }

    #[test]
    fn a_later_delete_shortens_what_is_left_and_nothing_else() {
        let hooks = Hooks { grace: |_, asked| Some(asked.unwrap_or(30)), ..Hooks::PLAIN };
        let now = "2026-01-01T00:00:20Z";
        // Since the full minute.
        let ending = |grace: i64, ends: &str| json!({"metadata": {"deletionTimestamp": ends, "deletionGracePeriodSeconds": grace, "finalizers": ["a/b"]}});
        let pod = ending(30, "2026-01-01T00:00:30Z");
        for (asked, want) in [
            (Some(25), Step::Mark(ending(25, "2026-01-01T00:00:25Z"))),
            (Some(15), Step::Mark(ending(1, now))),
            (Some(0), Step::Mark(ending(0, now))),
            (Some(30), Step::Stay(pod.clone())),
            (None, Step::Stay(pod.clone())),
        ] {
            // Whatever is said of dependents comes too late.
            let propagation = matches!(want, Step::Stay(_)).then_some(Propagation::Orphan);
            let options = DeleteOptions { grace_period_seconds: asked, propagation, ..DeleteOptions::default() };
            assert_eq!(next_step(&pod, &options, &hooks, now), want, "{asked:?}");
        }
    }

    #[test]
    fn an_end_is_shown_before_it_comes() {
        let now = "2026-01-01T00:00:20Z";
        let graceful = Hooks { grace: |_, asked| asked, ..Hooks::PLAIN };
        let at_once = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        let pod = json!({"metadata": {"generation": 3}});
        let marked = json!({"metadata": {"generation": 4, "deletionTimestamp": now, "deletionGracePeriodSeconds": 0}});
        assert_eq!(next_step(&pod, &at_once, &graceful, now), Step::MarkThenRemove(marked.clone()));
        assert_eq!(next_step(&marked, &at_once, &graceful, now), Step::Remove(marked));
        assert_eq!(next_step(&pod, &at_once, &Hooks::PLAIN, now), Step::Remove(pod));
    }
}
