//! What the loop asks of mode nftables. The kernel is told on a thread that may block.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::base::Base;
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

impl Backend for Nftables {
    type Table = ServiceTable;

    fn compile(settings: &Settings, node: &NodeView, ports: &Ports, _is_brief: bool) -> ServiceTable {
        Compiler { settings, node }.service(ports)
    }

    /// Rules and elements.
    fn counts(table: &ServiceTable) -> (usize, usize) {
        (0, table.chains.values().map(Vec::len).sum::<usize>() + table.elements.len())
    }

    async fn write_difference(settings: &Settings, changes: Vec<Change<ServiceTable>>) -> Result<bool, WriteError> {
        let family = settings.family;
        told(move || {
            let steps = transaction::difference(&changes);
            if steps.is_empty() {
                return Ok(false);
            }
            netlink::apply(family, &steps).map(|()| true)
        })
        .await
    }

    async fn write_all(settings: &Settings, services: &BTreeMap<String, Arc<ServiceTable>>) -> Result<(), WriteError> {
        let (base, services, family) = (Base::new(settings), services.clone(), settings.family);
        told(move || netlink::apply(family, &transaction::full(&base, &services))).await
    }

    /// The chains that no Service owns: each kernel call lists one.
    async fn is_whole(settings: &Settings) -> Result<bool, WriteError> {
        let (base, family) = (Base::new(settings), settings.family);
        told(move || {
            for chain in &base.chains {
                if netlink::rule_count(family, chain.place, chain.name)? != chain.rules.len() {
                    tracing::info!(table = table(family, chain.place), chain = chain.name, "rules were removed");
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }
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
