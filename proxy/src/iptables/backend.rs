//! What the loop asks of mode iptables.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rules::Compiler;
use super::tool::Tool;
use super::transaction::{RULES_PER_RESTORE_NFT, Saved};
use super::{ServiceRules, Settings, Shared, base, look, transaction};
use crate::metrics;
use crate::mode::Ports;
use crate::model::NodeView;
use crate::syncer::{Backend, Change, WriteError};

/// Mode iptables.
pub(crate) struct Iptables;

/// With more rules a look at all of them costs more than it finds: only the places that others flush are looked at.
const RULES_TO_LOOK_AT_MAX: usize = 5000;

impl Backend for Iptables {
    type Table = ServiceRules;
    type Memory = ();

    fn compile(settings: &Settings, node: &NodeView, ports: &Ports, is_brief: bool) -> ServiceRules {
        Compiler { settings, node, brief: is_brief }.service(ports)
    }

    fn counts(table: &ServiceRules) -> (usize, usize) {
        table.counts()
    }

    async fn write_difference(
        (): &mut (),
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
        (): &mut (),
        settings: &Settings,
        services: &BTreeMap<String, Arc<ServiceRules>>,
    ) -> Result<(), WriteError> {
        let tool = Tool(settings.family);
        let rules_per_restore = if tool.is_nft().await { RULES_PER_RESTORE_NFT } else { usize::MAX };
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
        (): &mut (),
        settings: &Settings,
        services: &BTreeMap<String, Arc<ServiceRules>>,
    ) -> Result<bool, WriteError> {
        let tool = Tool(settings.family);
        if services.values().map(|rules| rules.counts().1).sum::<usize>() > RULES_TO_LOOK_AT_MAX {
            return has_canaries(tool).await;
        }
        let saved = tool.save_text().await?;
        let everything = transaction::full(settings, services, &Saved::parse(&saved), usize::MAX).concat();
        Ok(look::is_whole(&everything, &saved))
    }
}

/// Looks for the canaries (a table without one was flushed), and whether the chain that leads to all Services has
/// rules.
async fn has_canaries(tool: Tool) -> Result<bool, WriteError> {
    for table in base::CANARY_TABLES {
        if tool.first_rule(table, base::CANARY).await?.is_none() {
            return Ok(false);
        }
    }
    let first = tool.first_rule("nat", Shared::NatServices.chain()).await?;
    Ok(first.is_some_and(|rule| !rule.is_empty()))
}
