//! Counts single results to a verdict: so many successes or failures in a row. Pure.

use k8s_openapi::api::core::v1::Probe;

use super::Kind;

/// The run of equal results of one probe.
#[derive(Debug)]
pub struct Tally {
    success_threshold: i32,
    failure_threshold: i32,
    last: Option<bool>,
    run: i32,
}

impl Tally {
    pub fn new(kind: Kind, probe: &Probe) -> Self {
        let success_threshold = if kind == Kind::Readiness { probe.success_threshold.unwrap_or(1).max(1) } else { 1 };
        Self { success_threshold, failure_threshold: probe.failure_threshold.unwrap_or(3).max(1), last: None, run: 0 }
    }

    /// The verdict, once the result has come often enough in a row.
    pub fn count(&mut self, success: bool) -> Option<bool> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let wanted = if success { self.success_threshold } else { self.failure_threshold };
        (self.run >= wanted).then_some(success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_need_their_run() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut tally = Tally::new(Kind::Readiness, &probe);
        let results = [true, true, false, false, true, false, false, false, true];
        let verdicts: Vec<_> = results.iter().map(|result| tally.count(*result)).collect();
        let none = None;
        assert_eq!(verdicts, [none, Some(true), none, none, none, none, none, Some(false), none]);
        let mut liveness = Tally::new(Kind::Liveness, &probe);
        assert_eq!(liveness.count(true), Some(true), "one success is enough but for readiness");
    }
}
