//! The two ways to write rules, behind one face: what the loop asks of either.

use std::collections::BTreeMap;

use crate::iptables::backend::Iptables;
use crate::iptables::tool::{Tool, ToolError};
use crate::iptables::{self, Settings};
use crate::model::{Endpoint, Family, NodeView, ServicePort};
use crate::nftables;
use crate::nftables::backend::Nftables;
use crate::syncer::{Outcome, Syncer, WriteError};

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
    Iptables(Syncer<Iptables>),
    Nftables(Syncer<Nftables>),
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Iptables => "iptables",
            Mode::Nftables => "nftables",
        }
    }

    pub(crate) async fn is_usable(self, family: Family) -> Result<(), WriteError> {
        match self {
            Mode::Iptables => Ok(Tool(family).is_usable().await?),
            Mode::Nftables => nftables::backend::is_usable(family).await,
        }
    }

    /// Takes away what the other mode left on this host: both would answer for the same Services.
    pub(crate) async fn clean_up_other(self, family: Family) -> Result<(), WriteError> {
        let done = match self {
            Mode::Iptables => nftables::backend::cleanup(family).await,
            Mode::Nftables => Ok(iptables::cleanup::cleanup(Tool(family)).await?),
        };
        match done {
            // A host without the tool has no rules.
            Err(WriteError::Tool(ToolError::Spawn { .. })) => Ok(()),
            other => other,
        }
    }
}

/// The same call to either.
macro_rules! either {
    ($rules:expr, $syncer:ident => $call:expr) => {
        match $rules {
            Rules::Iptables($syncer) => $call,
            Rules::Nftables($syncer) => $call,
        }
    };
}

impl Rules {
    pub(crate) fn new(mode: Mode, settings: Settings) -> Rules {
        match mode {
            Mode::Iptables => Rules::Iptables(Syncer::new(settings)),
            Mode::Nftables => Rules::Nftables(Syncer::new(settings)),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        match self {
            Rules::Iptables(_) => Mode::Iptables,
            Rules::Nftables(_) => Mode::Nftables,
        }
    }

    /// Whether the next sync writes everything.
    pub(crate) fn is_dirty(&self) -> bool {
        either!(self, syncer => syncer.is_dirty())
    }

    /// The next sync writes everything.
    pub(crate) fn set_dirty(&mut self) {
        either!(self, syncer => syncer.set_dirty());
    }

    /// Takes new settings; they change rules that no Service owns, so everything is written.
    pub(crate) fn set_settings(&mut self, settings: Settings) {
        either!(self, syncer => syncer.set_settings(settings));
    }

    /// The Services that have rules.
    pub(crate) fn services(&self) -> Vec<String> {
        either!(self, syncer => syncer.services())
    }

    /// Rules that filter, and rules that translate.
    pub(crate) fn counts(&self) -> (usize, usize) {
        either!(self, syncer => syncer.counts())
    }

    pub(crate) async fn sync(
        &mut self,
        ports: &BTreeMap<String, Ports>,
        node: &NodeView,
        is_brief: bool,
    ) -> Result<Outcome, WriteError> {
        either!(self, syncer => syncer.sync(ports, node, is_brief).await)
    }

    /// Looks whether somebody removed what was written.
    pub(crate) async fn check(&mut self) {
        either!(self, syncer => syncer.check().await);
    }
}
