//! The two ways to write rules, behind one face: what the loop asks of either.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::iptables::syncer::Outcome;
use crate::iptables::tool::{Tool, ToolError};
use crate::iptables::{self, Settings};
use crate::model::{Endpoint, Family, NodeView, ServicePort};
use crate::nftables;

/// `--proxy-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Iptables,
    Nftables,
}

/// A Service's ports in one family, each with its endpoints.
pub(crate) type Ports = Vec<(ServicePort, Vec<Endpoint>)>;

/// One family's rules in the kernel.
pub(crate) enum Rules {
    Iptables(iptables::syncer::Syncer),
    Nftables(nftables::syncer::Syncer),
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Iptables => "iptables",
            Mode::Nftables => "nftables",
        }
    }

    pub(crate) async fn is_usable(self, family: Family) -> Result<(), ToolError> {
        match self {
            Mode::Iptables => Tool(family).is_usable().await,
            Mode::Nftables => nftables::syncer::is_usable().await,
        }
    }

    /// Takes away what the other mode left on this host: both would answer for the same Services.
    pub(crate) async fn clean_up_other(self, family: Family) -> Result<(), ToolError> {
        let done = match self {
            Mode::Iptables => nftables::syncer::cleanup(family).await,
            Mode::Nftables => iptables::cleanup::cleanup(Tool(family)).await,
        };
        match done {
            // A host without the tool has no rules.
            Err(ToolError::Spawn { .. }) => Ok(()),
            other => other,
        }
    }
}

impl Rules {
    pub(crate) fn new(mode: Mode, settings: Settings) -> Rules {
        match mode {
            Mode::Iptables => Rules::Iptables(iptables::syncer::Syncer::new(settings)),
            Mode::Nftables => Rules::Nftables(nftables::syncer::Syncer::new(settings)),
        }
    }

    /// Whether the next sync writes everything.
    pub(crate) fn is_dirty(&self) -> bool {
        match self {
            Rules::Iptables(syncer) => syncer.is_dirty(),
            Rules::Nftables(syncer) => syncer.is_dirty(),
        }
    }

    /// Takes new settings; they change rules that no Service owns, so everything is written.
    pub(crate) fn set_settings(&mut self, settings: Settings) {
        match self {
            Rules::Iptables(syncer) => syncer.set_settings(settings),
            Rules::Nftables(syncer) => syncer.set_settings(settings),
        }
    }

    /// The Services that have rules.
    pub(crate) fn services(&self) -> Vec<String> {
        match self {
            Rules::Iptables(syncer) => syncer.services().map(str::to_owned).collect(),
            Rules::Nftables(syncer) => syncer.services().map(str::to_owned).collect(),
        }
    }

    /// Rules that filter, and rules that translate.
    pub(crate) fn counts(&self) -> (usize, usize) {
        match self {
            Rules::Iptables(syncer) => syncer.counts(),
            Rules::Nftables(syncer) => syncer.counts(),
        }
    }

    /// Makes the kernel have the rules of these Services; one without ports has none any more.
    pub(crate) async fn sync(
        &mut self,
        ports: &BTreeMap<String, Ports>,
        node: &NodeView,
        is_brief: bool,
    ) -> Result<Outcome, ToolError> {
        match self {
            Rules::Iptables(syncer) => {
                let compiler = iptables::rules::Compiler { settings: syncer.settings(), node, brief: is_brief };
                let rules = compiled(ports, |ports| compiler.service(ports));
                syncer.sync(rules).await
            }
            Rules::Nftables(syncer) => {
                let compiler = nftables::rules::Compiler { settings: syncer.settings(), node };
                let tables = compiled(ports, |ports| compiler.service(ports));
                syncer.sync(tables).await
            }
        }
    }

    /// Looks whether somebody removed what was written.
    pub(crate) async fn check(&mut self) {
        match self {
            Rules::Iptables(syncer) => syncer.check_canaries().await,
            Rules::Nftables(syncer) => syncer.check().await,
        }
    }
}

fn compiled<T>(ports: &BTreeMap<String, Ports>, compile: impl Fn(&Ports) -> T) -> BTreeMap<String, Option<Arc<T>>> {
    let one = |(key, ports): (&String, &Ports)| (key.clone(), (!ports.is_empty()).then(|| Arc::new(compile(ports))));
    ports.iter().map(one).collect()
}
