//! What came out of a run: lines as cases end, a table at the end, files for machines, and claims.

mod claims;
mod junit;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result as AnyResult};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::catalogue::Entry;
use crate::cluster::Cluster;
use crate::known::Known;
use crate::options::Run;

pub(crate) use claims::{Claim, claims};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Result {
    Passed,
    Failed,
    /// It failed, and is in the list of such cases.
    KnownFailure,
    /// It is in that list, and passed: the list is wrong.
    UnexpectedPass,
    Skipped,
}

impl Result {
    fn name(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::KnownFailure => "known",
            Self::UnexpectedPass => "PASSES",
            Self::Skipped => "skipped",
        }
    }
}

/// What became of one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// `group/case`
    pub(crate) name: String,
    pub(crate) area: String,
    pub(crate) claim: String,
    pub(crate) result: Result,
    /// Why it failed or was skipped; empty when it passed.
    pub(crate) reason: String,
    pub(crate) seconds: f64,
}

/// What became of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) server: String,
    pub(crate) version: String,
    pub(crate) nodes: usize,
    pub(crate) seconds: f64,
    pub(crate) is_interrupted: bool,
    /// Why namespaces of cases could not be removed.
    pub(crate) leftovers: Option<String>,
    pub(crate) cases: Vec<Outcome>,
}

impl Outcome {
    pub(crate) fn new(entry: &Entry, result: Result, reason: &str, time: Duration) -> Self {
        Self {
            name: entry.id(),
            area: entry.group.area.name().to_owned(),
            claim: entry.case.claim.to_owned(),
            result,
            reason: reason.to_owned(),
            seconds: time.as_secs_f64(),
        }
    }

    /// Weighed against the list of known failures.
    pub(crate) fn judged(mut self, known: &Known) -> Self {
        let Some(why) = known.get(&self.name) else { return self };
        match self.result {
            Result::Failed => {
                self.result = Result::KnownFailure;
                self.reason = format!("{why} ({})", self.reason);
            }
            Result::Passed => {
                self.result = Result::UnexpectedPass;
                self.reason = format!("it is listed as a known failure: {why}");
            }
            _ => {}
        }
        self
    }

    /// For the person who looks on.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{:<7} {:7.2} s  {}\n", self.result.name(), self.seconds, self.name);
        if !self.reason.is_empty() {
            let _ = writeln!(line, "{:20}{}", "", self.reason.replace('\n', "\n                    "));
        }
        line
    }

    fn is_good(&self) -> bool {
        !matches!(self.result, Result::Failed | Result::UnexpectedPass)
    }
}

impl Report {
    pub(crate) fn new(
        cluster: &Cluster,
        mut cases: Vec<Outcome>,
        time: Duration,
        is_interrupted: bool,
        leftovers: Option<String>,
    ) -> Self {
        let order: Vec<String> = crate::catalogue::all().iter().map(Entry::id).collect();
        cases.sort_by_key(|outcome| order.iter().position(|name| *name == outcome.name));
        Self {
            server: cluster.server.clone(),
            version: cluster.version.clone(),
            nodes: cluster.nodes.len(),
            seconds: time.as_secs_f64(),
            is_interrupted,
            leftovers,
            cases,
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        !self.is_interrupted && self.leftovers.is_none() && self.cases.iter().all(Outcome::is_good)
    }

    /// What this run says of a case; one that was not run is not proven.
    pub(crate) fn claim(&self, name: &str) -> Claim {
        match self.cases.iter().find(|outcome| outcome.name == name).map(|outcome| outcome.result) {
            Some(Result::Passed) => Claim::Proven,
            Some(Result::Skipped) => Claim::Open,
            _ => Claim::Refuted,
        }
    }

    /// A line for each area, then every case that is not fine once more, so that nobody has to scroll.
    pub(crate) fn table(&self) -> String {
        let mut text =
            format!("\n{:<12} {:>6} {:>6} {:>6} {:>7} {:>9}\n", "", "ok", "failed", "known", "skipped", "seconds");
        let mut areas: Vec<&str> = Vec::new();
        for outcome in &self.cases {
            if areas.last() != Some(&outcome.area.as_str()) {
                areas.push(&outcome.area);
            }
        }
        for area in areas {
            self.row(&mut text, area, |outcome| outcome.area == area);
        }
        self.row(&mut text, "all", |_| true);
        let bad: Vec<&Outcome> = self.cases.iter().filter(|outcome| !outcome.is_good()).collect();
        if !bad.is_empty() {
            text.push('\n');
            bad.iter().for_each(|outcome| text.push_str(&outcome.line()));
        }
        if let Some(leftovers) = &self.leftovers {
            let _ = writeln!(text, "\nnot everything was cleaned up: {leftovers}");
        }
        let _ = writeln!(text, "\n{:.0} s{}", self.seconds, if self.is_interrupted { ", interrupted" } else { "" });
        text
    }

    fn row(&self, text: &mut String, name: &str, of: impl Fn(&Outcome) -> bool) {
        let cases: Vec<&Outcome> = self.cases.iter().filter(|outcome| of(outcome)).collect();
        let count = |results: &[Result]| cases.iter().filter(|outcome| results.contains(&outcome.result)).count();
        let seconds: f64 = cases.iter().map(|outcome| outcome.seconds).sum();
        let (ok, known, skipped) =
            (count(&[Result::Passed]), count(&[Result::KnownFailure]), count(&[Result::Skipped]));
        let failed = count(&[Result::Failed, Result::UnexpectedPass]);
        let _ = writeln!(text, "{name:<12} {ok:>6} {failed:>6} {known:>6} {skipped:>7} {seconds:>9.1}");
    }

    /// Writes the files that were asked for.
    pub(crate) fn write(&self, options: &Run) -> AnyResult<()> {
        if let Some(path) = &options.json {
            let text = serde_json::to_string_pretty(self)?;
            std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        }
        if let Some(path) = &options.junit {
            std::fs::write(path, junit::xml(self)).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

/// The catalogue, for people or as JSON.
pub(crate) fn list(entries: &[Entry], as_json: bool) -> String {
    let tags = |entry: &Entry| entry.case.tags.iter().map(|tag| tag.name()).collect::<Vec<_>>();
    if as_json {
        let rows = entries.iter().map(|entry| {
            json!({"name": entry.id(), "area": entry.group.area.name(), "capability": entry.group.capability,
                "claim": entry.case.claim, "tags": tags(entry)})
        });
        return serde_json::Value::from_iter(rows).to_string();
    }
    let mut text = String::new();
    let mut group = "";
    for entry in entries {
        if group != entry.group.name {
            group = entry.group.name;
            let _ = writeln!(text, "\n{}: {}", entry.group.area.name(), entry.group.capability);
        }
        let tags = tags(entry).join(", ");
        let tags = if tags.is_empty() { tags } else { format!(" ({tags})") };
        let _ = writeln!(text, "  {:<44} {}{tags}", entry.id(), entry.case.claim);
    }
    let _ = writeln!(text, "\n{} cases", entries.len());
    text
}

#[cfg(test)]
mod tests;
