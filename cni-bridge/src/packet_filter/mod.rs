//! Rules in the host's packet filter: texts for `iptables-restore`, and running it.
//!
//! The pure parts (`masq`, `portmap::rules`) write and read rule texts; [`Iptables`] hands them to the tools that the
//! host has, so the back end (nft or legacy) is the host's choice and rules of other programs stay as they are.

pub(crate) mod masq;
pub(crate) mod names;
pub(crate) mod nft;
pub(crate) mod nft_masq;
pub(crate) mod rules;

use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::cni::Failure;

/// The address family whose tools are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Family; 2] = [Family::V4, Family::V6];

    pub(crate) fn of(address: std::net::IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn tool(self) -> &'static str {
        match self {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }
    }
}

/// Which tool writes rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Iptables,
    Nftables,
}

impl Backend {
    pub(crate) fn parse(name: &str) -> Option<Backend> {
        [Backend::Iptables, Backend::Nftables].into_iter().find(|backend| backend.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Backend::Iptables => "iptables",
            Backend::Nftables => "nftables",
        }
    }

    pub(crate) fn other(self) -> Backend {
        match self {
            Backend::Iptables => Backend::Nftables,
            Backend::Nftables => Backend::Iptables,
        }
    }

    /// For configurations that name none: iptables, but where a host only has the other.
    pub(crate) fn of_host() -> Backend {
        Backend::among(is_program)
    }

    fn among(is_there: impl Fn(&str) -> bool) -> Backend {
        if !is_there(Family::V4.tool()) && is_there("nft") { Backend::Nftables } else { Backend::Iptables }
    }
}

fn is_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// The family's iptables, holding the xtables lock only inside one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Iptables(pub(crate) Family);

impl Iptables {
    /// Applies a table's changes (lines between `*nat` and `COMMIT`) in one transaction: all of them or none.
    ///
    /// `Ok(Err(text))`: the tool refused, as it does when a chain is there already or a rule to delete is not.
    pub(crate) fn restore(self, table: &str, lines: &[String]) -> Result<Result<(), String>, Failure> {
        self.start_restore(table, lines)?.finish()
    }

    /// As [`Iptables::restore`], without waiting: the kernel takes its time over a deletion, and so it does over a link.
    pub(crate) fn start_restore(self, table: &str, lines: &[String]) -> Result<Restore, Failure> {
        let tool = format!("{}-restore", self.0.tool());
        let input = format!("*{table}\n{}\nCOMMIT\n", lines.join("\n"));
        match start(Command::new(&tool).args(["--noflush", "--wait", "60"]), &input) {
            Ok(child) => Ok(Restore { tool, child }),
            Err(error) => Err(Failure::internal(format!("failed to run {tool}: {error}"))),
        }
    }

    /// Some chains of a table as `-N …` and `-A …` lines; nothing of those that are not there.
    ///
    /// Never the whole table where these are enough: with the rules of thousands of Services that takes iptables-nft
    /// half a minute.
    pub(crate) fn list_chains(self, table: &str, chains: &[&str]) -> Result<Vec<String>, Failure> {
        let started: Vec<_> = chains.iter().map(|chain| self.start_list(table, &[*chain])).collect();
        let mut lines = Vec::new();
        for child in started {
            lines.extend(self.finish_list(child)?);
        }
        Ok(lines)
    }

    /// A whole table; see [`Iptables::list_chains`] for what it costs. Empty when the table cannot be read.
    pub(crate) fn list(self, table: &str) -> Result<Vec<String>, Failure> {
        self.finish_list(self.start_list(table, &[]))
    }

    fn start_list(self, table: &str, chain: &[&str]) -> std::io::Result<Child> {
        Command::new(self.0.tool())
            .args(["--wait", "60", "-t", table, "-S"])
            .args(chain)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
    }

    fn finish_list(self, child: std::io::Result<Child>) -> Result<Vec<String>, Failure> {
        let output = child.and_then(Child::wait_with_output);
        let output = output.map_err(|error| Failure::internal(format!("failed to run {}: {error}", self.0.tool())))?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect())
    }

    /// Whether the tool is there at all; a host without IPv6 tools has no IPv6 rules to take away.
    pub(crate) fn is_there(self) -> bool {
        is_program(self.0.tool())
    }
}

/// A restore that runs.
pub(crate) struct Restore {
    tool: String,
    child: Child,
}

impl Restore {
    pub(crate) fn finish(self) -> Result<Result<(), String>, Failure> {
        let output = self.child.wait_with_output();
        let output = output.map_err(|error| Failure::internal(format!("failed to wait for {}: {error}", self.tool)))?;
        if output.status.success() {
            return Ok(Ok(()));
        }
        Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_string()))
    }
}

/// Runs a tool with `input` on stdin.
fn pipe(command: &mut Command, input: &str) -> std::io::Result<std::process::Output> {
    start(command, input)?.wait_with_output()
}

fn start(command: &mut Command, input: &str) -> std::io::Result<Child> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // The tool's own words about why it stopped reading say more than "broken pipe".
        let _ = stdin.write_all(input.as_bytes());
    }
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nftables_only_where_there_is_nothing_else() {
        let among = |programs: &[&str]| Backend::among(|name| programs.contains(&name));
        assert_eq!(among(&["iptables", "nft"]), Backend::Iptables);
        assert_eq!(among(&["nft"]), Backend::Nftables);
        assert_eq!(among(&[]), Backend::Iptables, "whose absence is then told");
    }
}
