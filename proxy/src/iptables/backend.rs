//! What the loop asks of mode iptables.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::look::Found;
use super::rules::Compiler;
use super::tool::Tool;
use super::transaction::{RULES_PER_RESTORE_NFT, Saved};
use super::{ServiceRules, Settings, Shared, base, look, transaction};
use crate::metrics;
use crate::mode::Ports;
use crate::model::{Family, NodeView};
use crate::nftables;
use crate::syncer::{Backend, Change, WriteError};

/// Mode iptables.
pub(crate) struct Iptables;

/// What is known from the looks whether our rules are there.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Whether the tool's tables are nf_tables'.
    is_nft: Option<bool>,
    /// The kernel's count of transactions when all was found as wanted: until the next one nothing has changed.
    whole_at: Option<u32>,
    /// The rules that say something else than ours, as the last look found them; all was not written since.
    others: Option<u64>,
    /// The same of the look before all was written, and the kernel's count after that.
    written_despite: Option<(u64, Option<u32>)>,
    /// This host's tool has other words for our rules than are known here: they are only counted.
    only_counts: bool,
}

impl Looks {
    async fn is_nft(&mut self, tool: Tool) -> bool {
        if self.is_nft.is_none() {
            self.is_nft = tool.is_nft().await;
        }
        self.is_nft.unwrap_or(false)
    }

    /// The kernel's count, where it counts what the tool does.
    async fn generation(&mut self, tool: Tool) -> Option<u32> {
        if self.is_nft(tool).await { nftables::backend::generation(tool.0).await.ok() } else { None }
    }

    async fn read(
        &mut self,
        settings: &Settings,
        services: &BTreeMap<String, Arc<ServiceRules>>,
    ) -> Result<bool, WriteError> {
        let tool = Tool(settings.family);
        let saved = tool.save_text().await?;
        let everything = transaction::full(settings, services, &Saved::parse(&saved), usize::MAX).concat();
        // Asked after what is read: nobody wrote in between when it is the one after our own write.
        let now = self.generation(tool).await;
        Ok(self.found(look::look(&everything, &saved), now))
    }

    /// Whether it is whole. Rules that were written because they differed, and then differ in the same way though nobody
    /// wrote since, are the same in words that are not known here.
    fn found(&mut self, found: Found, now: Option<u32>) -> bool {
        let written_despite = self.written_despite.take();
        self.others = None;
        let others = match found {
            Found::Whole => return true,
            Found::OtherCount => return false,
            Found::OtherRules(others) => others,
        };
        // Tables of before nf_tables have no count: there our own write between two looks must do.
        let is_known = now.is_some() || self.is_nft == Some(false);
        if !self.only_counts && is_known && written_despite == Some((others, now)) {
            tracing::warn!(
                "this host's iptables words our rules in a way not known here; from now on they are only counted"
            );
            self.only_counts = true;
        }
        self.others = Some(others);
        self.only_counts
    }

    /// All was written.
    fn wrote(&mut self, now: Option<u32>) {
        self.written_despite = self.others.take().map(|others| (others, now));
    }
}

/// With more rules a look at all of them costs more than it finds: only the places that others flush are looked at.
const RULES_TO_LOOK_AT_MAX: usize = 5000;

impl Backend for Iptables {
    type Table = ServiceRules;
    type Memory = Looks;

    fn compile(settings: &Settings, node: &NodeView, ports: &Ports, is_brief: bool) -> ServiceRules {
        Compiler { settings, node, brief: is_brief }.service(ports)
    }

    fn counts(table: &ServiceRules) -> (usize, usize) {
        table.counts()
    }

    async fn write_difference(
        _: &mut Looks,
        settings: &Settings,
        changes: Vec<Change<ServiceRules>>,
    ) -> Result<bool, WriteError> {
        let text = transaction::difference(&changes);
        if text.is_empty() {
            return Ok(false);
        }
        let restored = Tool(settings.family).restore(&text).await;
        restored.inspect_err(|_| metrics::partial_failed(settings.family))?;
        metrics::rules_written(settings.family, transaction::rule_counts(&text));
        Ok(true)
    }

    async fn write_all(
        looks: &mut Looks,
        settings: &Settings,
        services: &BTreeMap<String, Arc<ServiceRules>>,
    ) -> Result<(), WriteError> {
        let tool = Tool(settings.family);
        let rules_per_restore = if looks.is_nft(tool).await { RULES_PER_RESTORE_NFT } else { usize::MAX };
        let mut written = (0, 0);
        for text in transaction::full(settings, services, &tool.save().await?, rules_per_restore) {
            tool.restore(&text).await?;
            let (filter, nat) = transaction::rule_counts(&text);
            written = (written.0 + filter, written.1 + nat);
        }
        metrics::rules_written(settings.family, written);
        let now = looks.generation(tool).await;
        looks.wrote(now);
        Ok(())
    }

    async fn is_whole(
        looks: &mut Looks,
        settings: &Settings,
        services: &BTreeMap<String, Arc<ServiceRules>>,
    ) -> Result<bool, WriteError> {
        let now = looks.generation(Tool(settings.family)).await;
        if now.is_some() && looks.whole_at == now {
            return Ok(true);
        }
        let is_whole = if services.values().map(|rules| rules.counts().1).sum::<usize>() > RULES_TO_LOOK_AT_MAX {
            has_canaries(settings.family, now.is_some()).await?
        } else {
            looks.read(settings, services).await?
        };
        looks.whole_at = now.filter(|_| is_whole);
        Ok(is_whole)
    }
}

/// Of KUBE-SERVICES in the nat table: two jumps lead to it, and it has a rule.
const SERVICES_USES_MIN: u32 = 3;

/// Looks for the canaries (a table without one was flushed), and whether the chain that leads to all Services has
/// rules.
async fn has_canaries(family: Family, is_nft: bool) -> Result<bool, WriteError> {
    for table in base::CANARY_TABLES {
        if !is_used(family, is_nft, table, base::CANARY, 0).await? {
            return Ok(false);
        }
    }
    is_used(family, is_nft, "nat", Shared::NatServices.chain(), SERVICES_USES_MIN).await
}

/// Whether a chain is there, and not empty when it is to have uses. The kernel's nf_tables count them; of another's the
/// tool lists all rules to show the first.
async fn is_used(
    family: Family,
    is_nft: bool,
    table: &'static str,
    chain: &'static str,
    uses_min: u32,
) -> Result<bool, WriteError> {
    if is_nft {
        let uses = nftables::backend::uses_of(family, table, chain).await?;
        return Ok(uses.is_some_and(|uses| uses >= uses_min));
    }
    let first = Tool(family).first_rule(table, chain).await?;
    Ok(first.is_some_and(|rule| uses_min == 0 || !rule.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_other_after_it_was_written_is_the_same_in_other_words() {
        let mut looks = Looks::default();
        assert!(looks.found(Found::Whole, Some(1)) && !looks.found(Found::OtherCount, Some(1)));
        assert!(!looks.found(Found::OtherRules(1), Some(1)));
        looks.wrote(Some(2));
        assert!(!looks.found(Found::OtherRules(2), Some(2)), "another one");
        looks.wrote(Some(3));
        assert!(
            looks.found(Found::OtherRules(2), Some(3)) && looks.found(Found::OtherRules(3), Some(4)),
            "only counted"
        );
        assert!(!looks.found(Found::OtherCount, Some(4)));
    }

    #[test]
    fn what_was_not_written_or_changed_again_is_anothers() {
        let mut looks = Looks::default();
        for at in 1..4 {
            assert!(!looks.found(Found::OtherRules(1), Some(at)), "the write failed");
        }
        for at in [4, 6, 8] {
            looks.wrote(Some(at));
            assert!(!looks.found(Found::OtherRules(1), Some(at + 1)), "somebody wrote since");
        }
        looks.wrote(Some(10));
        assert!(looks.found(Found::Whole, Some(10)) && !looks.found(Found::OtherRules(1), Some(10)), "it was mended");
    }

    #[test]
    fn without_a_count_of_the_kernels_a_write_between_two_looks_must_do() {
        for (is_nft, is_told_by_it) in [(Some(false), true), (Some(true), false), (None, false)] {
            let mut looks = Looks { is_nft, ..Looks::default() };
            assert!(!looks.found(Found::OtherRules(1), None) && !looks.found(Found::OtherRules(1), None));
            looks.wrote(None);
            assert_eq!(looks.found(Found::OtherRules(1), None), is_told_by_it, "{is_nft:?}");
        }
    }
}
