//! Waiting for a condition from outside, where nothing tells when it holds.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Pauses between two looks: short at first, against what is waited for; later long against the cost of looking, which is
/// often a whole kubectl, on a machine that others wait on too.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The pauses of one wait.
pub(crate) struct Pace(Duration);

impl Pace {
    pub(crate) fn new() -> Self {
        Self(PAUSE_MIN)
    }

    /// Waits a little, each time half as long again.
    pub(crate) fn pause(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 3 / 2).min(PAUSE_MAX);
    }
}

/// Calls `check` until it succeeds and returns its value, or its last error once `deadline` has passed.
pub fn eventually<T>(what: &str, deadline: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let (start, mut pace) = (Instant::now(), Pace::new());
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error).with_context(|| format!("not within {deadline:?}: {what}"));
            }
            Err(_) => pace.pause(),
        }
    }
}
