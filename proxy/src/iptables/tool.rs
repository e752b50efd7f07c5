//! Running the host's iptables tools. Which back end they use (nft or legacy) is the host's choice.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::transaction::Saved;
use crate::model::Family;

/// A tool that could not run, or refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("failed to run {tool}: {source}")]
    Spawn { tool: String, source: std::io::Error },
    #[error("{tool} failed ({status}): {stderr}")]
    Failed { tool: String, status: std::process::ExitStatus, stderr: String },
    #[error("{tool} did not end within {seconds} s")]
    Stuck { tool: String, seconds: u64 },
}

/// Longer than anybody holds the xtables lock; a stuck tool must not stop the loop for ever.
const DEADLINE: Duration = Duration::from_secs(120);
const LOCK_WAIT_SECONDS: &str = "30";

/// One family's tools.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool(pub(crate) Family);

impl Tool {
    fn name(self, suffix: &str) -> String {
        match self.0 {
            Family::V4 => format!("iptables{suffix}"),
            Family::V6 => format!("ip6tables{suffix}"),
        }
    }

    /// Applies a text of [`super::transaction`].
    pub(crate) async fn restore(self, text: &str) -> Result<(), ToolError> {
        run(&self.name("-restore"), &["--noflush", "--wait", LOCK_WAIT_SECONDS], text).await.map(|_| ())
    }

    /// All tables as they are.
    pub(crate) async fn save(self) -> Result<Saved, ToolError> {
        Ok(Saved::parse(&self.save_text().await?))
    }

    /// The same as the tool prints it.
    pub(crate) async fn save_text(self) -> Result<String, ToolError> {
        run(&self.name("-save"), &[], "").await
    }

    /// Whether the tables can be used: the tool is there and the kernel has the family's nat table.
    pub(crate) async fn is_usable(self) -> Result<(), ToolError> {
        run(&self.name(""), &["--wait", LOCK_WAIT_SECONDS, "-t", "nat", "-S", "POSTROUTING"], "").await.map(|_| ())
    }

    /// The first rule of a chain, empty when it has none; `None` when there is no such chain.
    pub(crate) async fn first_rule(self, table: &str, chain: &str) -> Result<Option<String>, ToolError> {
        match run(&self.name(""), &["--wait", LOCK_WAIT_SECONDS, "-t", table, "-S", chain, "1"], "").await {
            Ok(text) => Ok(Some(text.trim().to_string())),
            Err(ToolError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `MASQUERADE --random-fully` came with iptables 1.6.2.
    pub(crate) async fn has_random_fully(self) -> bool {
        version(&self.version().await).is_some_and(|version| version >= [1, 6, 2])
    }

    /// Whether the back end is nftables; `None` when the tool did not say.
    pub(crate) async fn is_nft(self) -> Option<bool> {
        is_nft(&self.version().await)
    }

    async fn version(self) -> String {
        run(&self.name(""), &["--version"], "").await.unwrap_or_default()
    }
}

/// From `iptables v1.8.9 (nf_tables)`.
fn version(text: &str) -> Option<[u32; 3]> {
    let word = text.split_whitespace().find_map(|word| word.strip_prefix('v'))?;
    let mut numbers = word.split('.').map(|part| part.parse().unwrap_or(0));
    Some([numbers.next()?, numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)])
}

fn is_nft(version: &str) -> Option<bool> {
    (!version.is_empty()).then(|| version.contains("nf_tables"))
}

/// Runs a tool to its end; what it printed, or why it failed.
async fn run(tool: &str, args: &[&str], input: &str) -> Result<String, ToolError> {
    let spawn_error = |source| ToolError::Spawn { tool: tool.to_string(), source };
    let mut child = Command::new(tool)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(spawn_error)?;
    let mut stdin = child.stdin.take();
    let feed = async {
        if let Some(stdin) = &mut stdin {
            // The tool's own words about why it stopped reading say more than "broken pipe".
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        drop(stdin);
    };
    let work = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = match tokio::time::timeout(DEADLINE, work).await {
        Ok(output) => output.map_err(spawn_error)?,
        Err(_) => return Err(ToolError::Stuck { tool: tool.to_string(), seconds: DEADLINE.as_secs() }),
    };
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(ToolError::Failed { tool: tool.to_string(), status: output.status, stderr });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_either_back_end() {
        assert_eq!(version("iptables v1.8.9 (nf_tables)\n"), Some([1, 8, 9]));
        assert_eq!(version("iptables v1.6.1"), Some([1, 6, 1]));
        assert_eq!(version(""), None);
        let back_ends =
            ["iptables v1.8.9 (nf_tables)\n", "iptables v1.8.9 (legacy)\n", "iptables v1.6.1", ""].map(is_nft);
        assert_eq!(back_ends, [Some(true), Some(false), Some(false), None]);
    }
}
