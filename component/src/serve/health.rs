//! Named health checks and upstream's way to report them. Pure but for the checks themselves.

use std::{
    collections::BTreeSet,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use http::StatusCode;
use machinery::escapes::read_form;
use machinery::field::quote;

use crate::metrics::slis;

/// A check's verdict; the text of a failure is logged and never sent.
pub type Outcome = Result<(), String>;

type Check = Arc<dyn Fn() -> Outcome + Send + Sync>;

/// The checks behind one endpoint, such as `readyz`. Clones share them; checks may be added while serving.
#[derive(Clone)]
pub struct Checks {
    endpoint: &'static str,
    checks: Arc<Mutex<Vec<(String, Check)>>>,
}

impl Checks {
    /// With `ping`, which always passes. `endpoint` is without its slash.
    pub fn new(endpoint: &'static str) -> Self {
        let checks = Self { endpoint, checks: Arc::default() };
        checks.add("ping", || Ok(()));
        checks
    }

    /// Adds a check. It runs at each request: it reads state, and waits for nothing.
    pub fn add(&self, name: impl Into<String>, check: impl Fn() -> Outcome + Send + Sync + 'static) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).push((name.into(), Arc::new(check)));
    }

    /// The paths that answer, the endpoint's own first.
    pub fn paths(&self) -> Vec<String> {
        let own = format!("/{}", self.endpoint);
        let checks = self.snapshot();
        let checks = checks.iter().map(|(name, _)| format!("{own}/{name}"));
        std::iter::once(own.clone()).chain(checks).collect()
    }

    fn snapshot(&self) -> Vec<(String, Check)> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Status and text of `/<endpoint>` or, with a `name`, of `/<endpoint>/<name>`; `None` for an unknown name.
    pub fn answer(&self, name: Option<&str>, query: &str) -> Option<(StatusCode, String)> {
        match name {
            None => Some(self.answer_all(query)),
            Some(name) => {
                let (_, check) = self.snapshot().into_iter().find(|(known, _)| known == name)?;
                Some(match check() {
                    Ok(()) => (StatusCode::OK, "ok".to_owned()),
                    Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {problem}\n")),
                })
            }
        }
    }

    /// Runs a check and tells of it.
    fn run(&self, name: &str, check: &Check) -> Outcome {
        let outcome = check();
        slis::checked(name, self.endpoint, outcome.is_ok());
        outcome
    }

    fn answer_all(&self, query: &str) -> (StatusCode, String) {
        let parameters: Vec<_> = read_form(query).collect();
        let values = |wanted: &'static str| parameters.iter().filter(move |(name, _)| name == wanted.as_bytes());
        let verbose = values("verbose").next().is_some();
        let mut excluded: BTreeSet<_> = values("exclude").map(|(_, name)| String::from_utf8_lossy(name)).collect();
        let (mut report, mut failed) = (String::new(), Vec::new());
        for (name, check) in self.snapshot() {
            let _ = if excluded.remove(name.as_str()) {
                writeln!(report, "[+]{name} excluded: ok")
            } else if let Err(problem) = self.run(&name, &check) {
                failed.push(format!("{name}: {problem}"));
                writeln!(report, "[-]{name} failed: reason withheld")
            } else {
                writeln!(report, "[+]{name} ok")
            };
        }
        if !excluded.is_empty() {
            let names: Vec<_> = excluded.iter().map(|name| quote(name)).collect();
            let _ = writeln!(report, "warn: some health checks cannot be excluded: no matches for {}", names.join(","));
        }
        if !failed.is_empty() {
            tracing::warn!(endpoint = self.endpoint, failed = failed.join(", "), "health check failed");
            return (StatusCode::INTERNAL_SERVER_ERROR, format!("{report}{} check failed\n", self.endpoint));
        }
        match verbose {
            true => (StatusCode::OK, format!("{report}{} check passed\n", self.endpoint)),
            false => (StatusCode::OK, "ok".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Checks {
        let checks = Checks::new("readyz");
        checks.add("store", || Err("secret".to_owned()));
        checks
    }

    #[test]
    fn a_failure_is_reported_without_its_reason() {
        let (status, text) = checks().answer(None, "").unwrap();
        assert_eq!(status, 500);
        assert_eq!(text, "[+]ping ok\n[-]store failed: reason withheld\nreadyz check failed\n");
    }

    #[test]
    fn checks_can_be_excluded_and_asked_for_verbosely() {
        let (status, text) = checks().answer(None, "verbose&exclude=st%6Fre&exclude=nothing").unwrap();
        assert_eq!(status, 200);
        let warning = "warn: some health checks cannot be excluded: no matches for \"nothing\"\n";
        assert_eq!(text, format!("[+]ping ok\n[+]store excluded: ok\n{warning}readyz check passed\n"));
    }

    #[test]
    fn single_checks_have_paths_of_their_own() {
        assert_eq!(checks().answer(Some("ping"), ""), Some((StatusCode::OK, "ok".to_owned())));
        assert_eq!(checks().answer(Some("store"), "").unwrap().0, 500);
        assert_eq!(checks().answer(Some("other"), ""), None);
    }
}
