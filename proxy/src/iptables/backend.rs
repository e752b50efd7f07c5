//! What the loop asks of mode iptables.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rules::Compiler;
use super::tool::Tool;
use super::transaction::RULES_PER_RESTORE_NFT;
use super::{ServiceRules, Settings, Shared, base, transaction};
use crate::mode::Ports;
use crate::model::NodeView;
use crate::syncer::{Backend, Change, WriteError};

/// Mode iptables.
pub(crate) struct Iptables;

impl Backend for Iptables {
    type Table = ServiceRules;

    fn compile(settings: &Settings, node: &NodeView, ports: &Ports, is_brief: bool) -> ServiceRules {
        Compiler { settings, node, brief: is_brief }.service(ports)
    }

    fn counts(table: &ServiceRules) -> (usize, usize) {
        table.counts()
    }

    async fn write_difference(settings: &Settings, changes: Vec<Change<ServiceRules>>) -> Result<bool, WriteError> {
        let text = transaction::difference(&changes);
        if text.is_empty() {
            return Ok(false);
        }
        Tool(settings.family).restore(&text).await?;
        Ok(true)
    }

    async fn write_all(settings: &Settings, services: &BTreeMap<String, Arc<ServiceRules>>) -> Result<(), WriteError> {
        let tool = Tool(settings.family);
        let rules_per_restore = if tool.is_nft().await { RULES_PER_RESTORE_NFT } else { usize::MAX };
        for text in transaction::full(settings, services, &tool.save().await?, rules_per_restore) {
            tool.restore(&text).await?;
        }
        Ok(())
    }

    /// Looks for the canaries (a table without one was flushed), and whether the chain that leads to all Services has
    /// rules.
    async fn is_whole(settings: &Settings) -> Result<bool, WriteError> {
        let tool = Tool(settings.family);
        for table in base::CANARY_TABLES {
            if tool.first_rule(table, base::CANARY).await?.is_none() {
                return Ok(false);
            }
        }
        let first = tool.first_rule("nat", Shared::NatServices.chain()).await?;
        Ok(first.is_some_and(|rule| !rule.is_empty()))
    }
}
