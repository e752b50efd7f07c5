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
    /// The rules that say something else than ours, as the last look found them.
    others: Option<u64>,
    /// This host's tool has other words for our rules than are known here: they are only counted.
    only_counts: bool,
}

impl Looks {
    async fn is_nft(&mut self, tool: Tool) -> bool {
        match self.is_nft {
            Some(is_nft) => is_nft,
            None => *self.is_nft.insert(tool.is_nft().await),
        }
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
        let saved = Tool(settings.family).save_text().await?;
        let everything = transaction::full(settings, services, &Saved::parse(&saved), usize::MAX).concat();
        Ok(self.found(look::look(&everything, &saved)))
    }

    /// Whether it is whole. Rules that were written because they differed, and at the next look differ in the same way,
    /// are the same in words that are not known here.
    fn found(&mut self, found: Found) -> bool {
        let others = match found {
            Found::OtherRules(others) if !self.only_counts => Some(others),
            _ => None,
        };
        self.only_counts |= others.is_some() && self.others == others;
        self.others = others;
        found != Found::OtherCount && (others.is_none() || self.only_counts)
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
        let mut seen = |found| looks.found(found);
        assert!(seen(Found::Whole) && !seen(Found::OtherCount) && !seen(Found::OtherRules(1)));
        assert!(!seen(Found::OtherRules(2)), "somebody changed another one meanwhile");
        assert!(seen(Found::Whole) && !seen(Found::OtherRules(2)));
        assert!(seen(Found::OtherRules(2)) && seen(Found::OtherRules(3)), "from now on they are counted");
        assert!(!seen(Found::OtherCount));
    }
}
