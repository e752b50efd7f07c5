//! Containers that wait before they run again, in the decision. Part of [`super::plan`].

use jiff::Timestamp;

use super::{backoff::go_duration, plan::Planner};

impl Planner<'_> {
    /// True while a container whose run ended at `crashed_at` has to wait; `words` makes its status' message of the
    /// delay.
    pub(super) fn holds_back(&mut self, name: &str, crashed_at: Timestamp, words: impl Fn(String) -> String) -> bool {
        let blocked = self.s.memory.backoff.blocked_until(name, crashed_at, self.s.now);
        let Some((until, delay)) = blocked else { return false };
        self.wake_at(until);
        self.wait(name, "CrashLoopBackOff", words(go_duration(delay)));
        self.plan.held_back.insert(name.to_owned(), crashed_at);
        true
    }
}
