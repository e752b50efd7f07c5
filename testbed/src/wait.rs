//! Waiting for a condition from outside, where nothing tells when it holds.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Pause between two looks; short against what is waited for, long against the cost of looking.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls `check` until it succeeds and returns its value, or its last error once `deadline` has passed.
pub fn eventually<T>(what: &str, deadline: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error).with_context(|| format!("not within {deadline:?}: {what}"));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
