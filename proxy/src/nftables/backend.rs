//! What the loop asks of mode nftables. The kernel is told on a thread that may block.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::base::Base;
use super::inventory::Inventory;
use super::netlink::{self, Error};
use super::rules::Compiler;
use super::transaction;
use super::{ServiceTable, table};
use crate::iptables::Settings;
use crate::mode::Ports;
use crate::model::{Family, NodeView};
use crate::syncer::{Backend, Change, WriteError};

/// Mode nftables.
pub(crate) struct Nftables;

/// What spares a look at the rules: since the last one nobody has changed any in this network namespace but we.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The kernel's count of transactions when all was found whole.
    whole_at: Option<u32>,
    /// Our transactions since.
    written: u32,
}

impl Backend for Nftables {
    type Table = ServiceTable;
    type Memory = Memory;

    fn compile(settings: &Settings, node: &NodeView, ports: &Ports, _is_brief: bool) -> ServiceTable {
        Compiler { settings, node }.service(ports)
    }

    /// Rules and elements.
    fn counts(table: &ServiceTable) -> (usize, usize) {
        (0, table.chains.values().map(Vec::len).sum::<usize>() + table.elements.len())
    }

    async fn write_difference(
        memory: &mut Memory,
        settings: &Settings,
        changes: Vec<Change<ServiceTable>>,
    ) -> Result<bool, WriteError> {
        let family = settings.family;
        let is_written = told(move || {
            let steps = transaction::difference(&changes);
            if steps.is_empty() {
                return Ok(false);
            }
            netlink::apply(family, &steps).map(|()| true)
        });
        let is_written = is_written.await?;
        memory.written = memory.written.wrapping_add(u32::from(is_written));
        Ok(is_written)
    }

    async fn write_all(
        memory: &mut Memory,
        settings: &Settings,
        services: &BTreeMap<String, Arc<ServiceTable>>,
    ) -> Result<(), WriteError> {
        let (base, services, family) = (Base::new(settings), services.clone(), settings.family);
        memory.whole_at = None;
        told(move || netlink::apply(family, &transaction::full(&base, &services))).await
    }

    /// Nothing is listed when nobody else changed anything.
    async fn is_whole(
        memory: &mut Memory,
        settings: &Settings,
        services: &BTreeMap<String, Arc<ServiceTable>>,
    ) -> Result<bool, WriteError> {
        let family = settings.family;
        let now = generation(family).await?;
        if memory.whole_at.is_some_and(|at| at.wrapping_add(memory.written) == now) {
            return Ok(true);
        }
        let (base, services) = (Base::new(settings), services.clone());
        let looked = told(move || look(family, &base, &services)).await?;
        let Some(is_whole) = looked else { return Ok(true) };
        *memory = Memory { whole_at: is_whole.then_some(now), written: 0 };
        Ok(is_whole)
    }
}

/// Whether all chains are as they should be; `None` when they changed under the look, which the next one makes up for.
fn look(family: Family, base: &Base, services: &BTreeMap<String, Arc<ServiceTable>>) -> Result<Option<bool>, Error> {
    let Some(found) = netlink::chain_uses(family)? else { return Ok(None) };
    let damaged = Inventory::new(base, services).damaged(&found);
    if let Some((place, chain)) = damaged {
        tracing::info!(table = table(family, place), chain, "rules were changed");
    }
    Ok(Some(damaged.is_none()))
}

/// The kernel's count of transactions.
pub(crate) async fn generation(family: Family) -> Result<u32, WriteError> {
    told(move || netlink::generation(family)).await
}

/// The rules in a chain of any table, and what leads to it; `None` when it is not there.
pub(crate) async fn uses_of(
    family: Family,
    table: &'static str,
    chain: &'static str,
) -> Result<Option<u32>, WriteError> {
    told(move || netlink::uses_of(family, table, chain)).await
}

/// Whether tables of nftables can be made here.
pub(crate) async fn is_usable(family: Family) -> Result<(), WriteError> {
    told(move || netlink::is_usable(family)).await
}

/// Takes the family's tables away; fine when they are not there.
pub(crate) async fn cleanup(family: Family) -> Result<(), WriteError> {
    match told(move || netlink::apply(family, &transaction::removal())).await {
        Err(WriteError::Nftables(error)) if error.is_no_support() => Ok(()),
        other => other,
    }
}

async fn told<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, WriteError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| WriteError::Stopped(error.to_string()))?.map_err(WriteError::from)
}
