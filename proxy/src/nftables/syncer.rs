//! Keeps one family's table: what was applied, and the way from there to what is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::transaction::{self, Change};
use super::{ServiceTable, table};
use crate::iptables::Settings;
use crate::iptables::syncer::Outcome;
use crate::iptables::tool::{ToolError, run};
use crate::model::Family;

/// One family's table in the kernel.
pub(crate) struct Syncer {
    settings: Settings,
    /// By Service, `namespace/name`; what the kernel has unless `is_dirty`.
    applied: BTreeMap<String, Arc<ServiceTable>>,
    /// What the kernel has is not known: at the start, after a failure, after somebody flushed.
    is_dirty: bool,
}

impl Syncer {
    pub(crate) fn new(settings: Settings) -> Syncer {
        Syncer { settings, applied: BTreeMap::new(), is_dirty: true }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    pub(crate) fn set_settings(&mut self, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.is_dirty = true;
        }
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        self.applied.keys().map(String::as_str)
    }

    /// Rules and elements.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let count =
            |table: &Arc<ServiceTable>| table.chains.values().map(Vec::len).sum::<usize>() + table.elements.len();
        (0, self.applied.values().map(count).sum())
    }

    /// Makes the kernel have `changes`, in one transaction. When this fails nothing is lost: the changes are kept, and
    /// the next call writes everything.
    pub(crate) async fn sync(
        &mut self,
        changes: BTreeMap<String, Option<Arc<ServiceTable>>>,
    ) -> Result<Outcome, ToolError> {
        let mut differences: Vec<Change> = Vec::new();
        for (service, new) in changes {
            let new = new.filter(|table| **table != ServiceTable::default());
            let old = match &new {
                Some(table) => self.applied.insert(service, table.clone()),
                None => self.applied.remove(&service),
            };
            if old != new {
                differences.push((old, new));
            }
        }
        if !self.is_dirty {
            let text = transaction::difference(self.settings.family, &differences);
            if text.is_empty() {
                return Ok(Outcome::Nothing);
            }
            self.is_dirty = true;
            match apply(&text).await {
                Ok(()) => {
                    self.is_dirty = false;
                    return Ok(Outcome::Partial);
                }
                Err(error) => tracing::warn!(%error, "somebody changed the table; writing all of it again"),
            }
        }
        apply(&transaction::full(&self.settings, &self.applied)).await?;
        self.is_dirty = false;
        Ok(Outcome::Full)
    }

    /// Whether the table still is there. Only the tables' names are asked for: to show one chain, `nft` reads them all.
    pub(crate) async fn check(&mut self) {
        let ours = format!("table {}", table(self.settings.family));
        match run("nft", &["list", "tables"], "").await {
            Ok(tables) if tables.lines().any(|line| line == ours) => {}
            Ok(_) => {
                tracing::info!(family = self.settings.family.name(), "the table was removed; writing it again");
                self.is_dirty = true;
            }
            Err(error) => tracing::warn!(%error, "cannot look for the table"),
        }
    }
}

/// Whether tables of nftables can be made here.
pub(crate) async fn is_usable() -> Result<(), ToolError> {
    run("nft", &["--check", "--file", "-"], "add table ip kube-proxy\n").await.map(|_| ())
}

/// Takes the family's table away; fine when it is not there.
pub(crate) async fn cleanup(family: Family) -> Result<(), ToolError> {
    apply(&transaction::removal(family)).await
}

async fn apply(text: &str) -> Result<(), ToolError> {
    run("nft", &["--file", "-"], text).await.map(|_| ())
}
