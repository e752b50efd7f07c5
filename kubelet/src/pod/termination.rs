//! The termination message of a container that ended: from its file, or from the end of its log.

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::{
    runtime::{ContainerRecord, ContainerState, Observed, labels},
    server::logs::format,
};

const MESSAGE_BYTES_MAX: u64 = 4096;
const LOG_LINES_MAX: usize = 80;
const LOG_BYTES_MAX: usize = 2048;

/// Puts the messages of ended containers into their records; only into those that were read just now, for the others
/// have theirs.
pub async fn enrich(observed: &mut Observed, is_fresh: impl Fn(&str) -> bool) {
    let ended = |record: &ContainerRecord| record.state == ContainerState::Exited;
    for record in observed.containers.iter_mut().filter(|record| ended(record) && is_fresh(&record.id)) {
        let message = message(record).await;
        if message.is_empty() {
            continue;
        }
        if !record.message.is_empty() {
            record.message.push_str(": ");
        }
        record.message.push_str(&message);
    }
}

async fn message(record: &ContainerRecord) -> String {
    let falls_back = record.annotation(labels::TERMINATION_MESSAGE_POLICY) == Some("FallbackToLogsOnError")
        && (record.exit_code != 0 || record.reason == "OOMKilled");
    let path = record.annotation(labels::TERMINATION_MESSAGE_PATH).filter(|path| !path.is_empty());
    let file = path.and_then(|path| record.mounts.iter().find(|(inside, _)| inside == path));
    if let Some((_, file)) = file {
        match read_start(Path::new(file)).await {
            Ok(text) if !text.is_empty() => return text,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return format!("Error on reading termination log {file}: {error}"),
        }
    }
    if falls_back { log_tail(Path::new(&record.log_path)).await } else { String::new() }
}

async fn read_start(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    tokio::fs::File::open(path).await?.take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of the log, without their stamps, at most so many lines and bytes.
async fn log_tail(path: &Path) -> String {
    let read = async {
        let mut file = tokio::fs::File::open(path).await?;
        let length = file.metadata().await?.len();
        let stamps = (LOG_LINES_MAX * 64) as u64;
        let from = length.saturating_sub(LOG_BYTES_MAX as u64 + stamps);
        file.seek(std::io::SeekFrom::Start(from)).await?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await?;
        std::io::Result::Ok((bytes, from > 0))
    };
    let Ok((bytes, is_cut)) = read.await else { return String::new() };
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if is_cut && !lines.is_empty() {
        lines.remove(0);
    }
    let from = lines.len().saturating_sub(LOG_LINES_MAX);
    let contents = lines[from..].iter().filter_map(|line| format::parse(line)).flat_map(|entry| entry.with_newline());
    let text: Vec<u8> = contents.collect();
    let cut = text.len().saturating_sub(LOG_BYTES_MAX);
    String::from_utf8_lossy(&text[cut..]).into_owned()
}
