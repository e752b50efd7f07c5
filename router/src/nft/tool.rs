//! Running `nft`. The `nftables` crate speaks the same program's JSON, which is ten times as long as the text.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// `nft` could not run, or the kernel refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("failed to run nft: {0}")]
    Spawn(std::io::Error),
    #[error("nft failed ({status}): {stderr}")]
    Failed { status: std::process::ExitStatus, stderr: String },
    #[error("nft did not end within {0:?}")]
    Stuck(Duration),
}

/// A stuck tool must not stop the loop for ever.
const DEADLINE: Duration = Duration::from_secs(60);

/// Applies a transaction: all of it or nothing.
pub(crate) async fn apply(transaction: &str) -> Result<(), ToolError> {
    run(&["-f", "-"], transaction).await.map(|_| ())
}

/// A table (`inet NAME`) as the kernel has it: the same text as long as nobody changes it. `None` when it is not there.
pub(crate) async fn listing(table: &str) -> Result<Option<String>, ToolError> {
    let arguments: Vec<&str> = ["--stateless", "list", "table"].into_iter().chain(table.split(' ')).collect();
    match run(&arguments, "").await {
        Ok(text) => Ok(Some(text)),
        Err(ToolError::Failed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn run(arguments: &[&str], input: &str) -> Result<String, ToolError> {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(ToolError::Spawn)?;
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
        Ok(output) => output.map_err(ToolError::Spawn)?,
        Err(_) => return Err(ToolError::Stuck(DEADLINE)),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ToolError::Failed { status: output.status, stderr })
}
