//! Keeps one family's rules: what was applied, and the way from there to what is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tool::{Tool, ToolError};
use super::{ServiceRules, Settings, Shared, base, transaction};

/// What a sync did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was as wanted.
    Nothing,
    /// Some Services' rules were written.
    Partial,
    /// All rules were written.
    Full,
}

/// One family's rules in the kernel.
pub(crate) struct Syncer {
    tool: Tool,
    settings: Settings,
    /// By Service, `namespace/name`; what the kernel has unless `is_dirty`.
    applied: BTreeMap<String, Arc<ServiceRules>>,
    /// What the kernel has is not known: at the start, after a failure, after somebody flushed.
    is_dirty: bool,
}

impl Syncer {
    pub(crate) fn new(settings: Settings) -> Syncer {
        Syncer { tool: Tool(settings.family), settings, applied: BTreeMap::new(), is_dirty: true }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the next sync writes everything.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Takes new settings; they change rules that no Service owns, so everything is written.
    pub(crate) fn set_settings(&mut self, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.is_dirty = true;
        }
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        self.applied.keys().map(String::as_str)
    }

    /// Rules in the filter and the nat table.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let counts = self.applied.values().map(|rules| rules.counts());
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }

    /// Makes the kernel have `changes` (a Service's rules, or `None` when it has none any more).
    ///
    /// When this fails nothing is lost: the changes are kept, and the next call writes everything. Cancelling it in the
    /// middle leaves the kernel with the old or the new rules of a table, and `is_dirty` set.
    pub(crate) async fn sync(
        &mut self,
        changes: BTreeMap<String, Option<Arc<ServiceRules>>>,
    ) -> Result<Outcome, ToolError> {
        let mut differences = Vec::new();
        for (service, new) in changes {
            let new = new.filter(|rules| **rules != ServiceRules::default());
            let old = match &new {
                Some(rules) => self.applied.insert(service, rules.clone()),
                None => self.applied.remove(&service),
            };
            if old != new {
                differences.push((old, new));
            }
        }
        if !self.is_dirty {
            let text = transaction::difference(&differences);
            if text.is_empty() {
                return Ok(Outcome::Nothing);
            }
            self.is_dirty = true;
            match self.tool.restore(&text).await {
                Ok(()) => {
                    self.is_dirty = false;
                    return Ok(Outcome::Partial);
                }
                Err(error) => tracing::warn!(%error, "somebody changed the rules; writing all of them again"),
            }
        }
        for text in transaction::full(&self.settings, &self.applied, &self.tool.save().await?) {
            self.tool.restore(&text).await?;
        }
        self.is_dirty = false;
        Ok(Outcome::Full)
    }

    /// Looks for the canaries (a table without one was flushed), and whether the chain that leads to all Services has
    /// rules.
    pub(crate) async fn check_canaries(&mut self) {
        for table in base::CANARY_TABLES {
            let is_whole = match self.tool.first_rule(table, base::CANARY).await {
                Ok(Some(_)) if table == "nat" => self.tool.first_rule(table, Shared::NatServices.chain()).await,
                other => other.map(|rule| rule.map(|_| "there".to_string())),
            };
            match is_whole {
                Ok(Some(rule)) if !rule.is_empty() => {}
                Ok(_) => {
                    tracing::info!(
                        table,
                        family = self.settings.family.name(),
                        "rules were flushed; writing them again"
                    );
                    self.is_dirty = true;
                    return;
                }
                Err(error) => tracing::warn!(%error, table, "cannot look for the canary chain"),
            }
        }
    }
}
