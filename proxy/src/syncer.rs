//! Keeps one family's rules in the kernel, in either mode: what was applied, and when the way to what is wanted is a
//! difference and when it is everything. How rules are made and written is a [`Backend`]'s.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::iptables::Settings;
use crate::iptables::tool::ToolError;
use crate::mode::Ports;
use crate::model::NodeView;
use crate::nftables;

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

/// Why the kernel has not what is wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Nftables(#[from] nftables::Error),
    #[error("writing rules stopped: {0}")]
    Stopped(String),
}

/// One Service's part of the rules before and after; `None` when it has none.
pub(crate) type Change<T> = (Option<Arc<T>>, Option<Arc<T>>);

/// A mode's own way to make one Service's part of the rules, and to write it.
pub(crate) trait Backend {
    type Table: Default + PartialEq;
    /// What it knows of the kernel from one call to the next.
    type Memory: Default + Send;

    /// `is_brief`: without what only people read.
    fn compile(settings: &Settings, node: &NodeView, ports: &Ports, is_brief: bool) -> Self::Table;

    /// Rules that filter, and rules that translate.
    fn counts(table: &Self::Table) -> (usize, usize);

    /// False when nothing differs. Fails as a whole when somebody changed our rules meanwhile.
    fn write_difference(
        memory: &mut Self::Memory,
        settings: &Settings,
        changes: Vec<Change<Self::Table>>,
    ) -> impl Future<Output = Result<bool, WriteError>> + Send;

    /// Whatever is there now.
    fn write_all(
        memory: &mut Self::Memory,
        settings: &Settings,
        services: &BTreeMap<String, Arc<Self::Table>>,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Whether what was written still is there, as far as can be told cheaply.
    fn is_whole(
        memory: &mut Self::Memory,
        settings: &Settings,
        services: &BTreeMap<String, Arc<Self::Table>>,
    ) -> impl Future<Output = Result<bool, WriteError>> + Send;
}

/// One family's rules in the kernel.
pub(crate) struct Syncer<B: Backend> {
    settings: Settings,
    /// By Service, `namespace/name`; what the kernel has unless `is_dirty`.
    applied: BTreeMap<String, Arc<B::Table>>,
    counts: (usize, usize),
    memory: B::Memory,
    /// What the kernel has is not known: at the start, after a failure, after somebody flushed.
    is_dirty: bool,
}

impl<B: Backend> Syncer<B> {
    pub(crate) fn new(settings: Settings) -> Self {
        Syncer { settings, applied: BTreeMap::new(), counts: (0, 0), memory: B::Memory::default(), is_dirty: true }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// The next sync writes everything.
    pub(crate) fn set_dirty(&mut self) {
        self.is_dirty = true;
    }

    pub(crate) fn set_settings(&mut self, settings: Settings) {
        if self.settings != settings {
            self.settings = settings;
            self.is_dirty = true;
        }
    }

    pub(crate) fn services(&self) -> Vec<String> {
        self.applied.keys().cloned().collect()
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        self.counts
    }

    /// Makes the kernel have the rules of these Services; one without ports has none any more.
    ///
    /// When this fails nothing is lost: the changes are kept, and the next call writes everything. Cancelling it in the
    /// middle leaves the kernel with the old or the new rules of a table, and `is_dirty` set.
    pub(crate) async fn sync(
        &mut self,
        ports: &BTreeMap<String, Ports>,
        node: &NodeView,
        is_brief: bool,
    ) -> Result<Outcome, WriteError> {
        let changes = self.take(ports, node, is_brief);
        if !self.is_dirty {
            self.is_dirty = true;
            match B::write_difference(&mut self.memory, &self.settings, changes).await {
                Ok(is_written) => {
                    self.is_dirty = false;
                    return Ok(if is_written { Outcome::Partial } else { Outcome::Nothing });
                }
                Err(error) => tracing::warn!(%error, "somebody changed our rules; writing all of them again"),
            }
        }
        B::write_all(&mut self.memory, &self.settings, &self.applied).await?;
        self.is_dirty = false;
        Ok(Outcome::Full)
    }

    /// Puts what is wanted into the place of what was.
    fn take(&mut self, ports: &BTreeMap<String, Ports>, node: &NodeView, is_brief: bool) -> Vec<Change<B::Table>> {
        let mut changes = Vec::new();
        for (service, ports) in ports {
            let table = B::compile(&self.settings, node, ports, is_brief);
            let new = (table != B::Table::default()).then(|| Arc::new(table));
            let old = match &new {
                Some(table) => self.applied.insert(service.clone(), table.clone()),
                None => self.applied.remove(service),
            };
            if old != new {
                let count = |table: &Option<Arc<B::Table>>| table.as_deref().map(B::counts).unwrap_or_default();
                let (before, after) = (count(&old), count(&new));
                self.counts = (self.counts.0 + after.0 - before.0, self.counts.1 + after.1 - before.1);
                changes.push((old, new));
            }
        }
        changes
    }

    /// Looks whether somebody removed what was written. What is not written is not looked for.
    pub(crate) async fn check(&mut self) {
        if self.is_dirty {
            return;
        }
        let family = self.settings.family.name();
        match B::is_whole(&mut self.memory, &self.settings, &self.applied).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!(family, "somebody changed our rules; writing them again");
                self.is_dirty = true;
            }
            Err(error) => tracing::warn!(%error, family, "cannot look whether our rules still are there"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;
    use crate::testkit;

    /// Writes as long as it may, and always finds that somebody changed the rules.
    struct Fake;

    #[derive(Default)]
    struct Seen {
        looks: u32,
        refuses: bool,
    }

    impl Backend for Fake {
        type Table = ();
        type Memory = Seen;

        fn compile(_: &Settings, _: &NodeView, _: &Ports, _: bool) {}

        fn counts((): &()) -> (usize, usize) {
            (0, 0)
        }

        async fn write_difference(_: &mut Seen, _: &Settings, _: Vec<Change<()>>) -> Result<bool, WriteError> {
            Ok(false)
        }

        async fn write_all(seen: &mut Seen, _: &Settings, _: &BTreeMap<String, Arc<()>>) -> Result<(), WriteError> {
            if seen.refuses { Err(WriteError::Stopped("refused".into())) } else { Ok(()) }
        }

        async fn is_whole(seen: &mut Seen, _: &Settings, _: &BTreeMap<String, Arc<()>>) -> Result<bool, WriteError> {
            seen.looks += 1;
            Ok(false)
        }
    }

    #[tokio::test]
    async fn what_is_not_written_is_not_looked_for() {
        let mut syncer = Syncer::<Fake>::new(testkit::settings(Family::V4));
        syncer.check().await;
        assert_eq!(syncer.memory.looks, 0, "nothing was written yet");
        syncer.sync(&BTreeMap::new(), &testkit::node(), false).await.unwrap();
        syncer.check().await;
        assert_eq!((syncer.memory.looks, syncer.is_dirty()), (1, true));
        syncer.memory.refuses = true;
        syncer.sync(&BTreeMap::new(), &testkit::node(), false).await.unwrap_err();
        syncer.check().await;
        assert_eq!((syncer.memory.looks, syncer.is_dirty()), (1, true), "the repair failed");
    }
}
