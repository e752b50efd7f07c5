//! The termination message of a container that ended: from its file, or from the end of its log.

use std::path::Path;

use rustix::fs::OFlags;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::{
    runtime::{ContainerRecord, ContainerState, Observed, labels},
    server::logs::format,
    volumes::mounts::absolute,
};

const MESSAGE_BYTES_MAX: u64 = 4096;
const LOG_LINES_MAX: usize = 80;
const LOG_BYTES_MAX: usize = 2048;
/// As long as runtimes make one entry of a log, with what stands before its text.
const ENTRY_BYTES_MAX: usize = 16 * 1024 + STAMP_BYTES_MAX;
const STAMP_BYTES_MAX: usize = 64;

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
    // What could not even be started has no log.
    let falls_back = record.annotation(labels::TERMINATION_MESSAGE_POLICY) == Some("FallbackToLogsOnError")
        && record.exit_code != 0
        && record.reason != "ContainerCannotRun";
    let path = record.annotation(labels::TERMINATION_MESSAGE_PATH).filter(|path| !path.is_empty());
    let file = path.map(absolute).and_then(|path| record.mounts.iter().find(|(inside, _)| *inside == path));
    if let Some((_, file)) = file {
        match read_end(Path::new(file)).await {
            Ok(text) if !text.is_empty() => return text,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return format!("Error on reading termination log {file}: {error}"),
        }
    }
    if falls_back { log_tail(Path::new(&record.log_path)).await } else { String::new() }
}

async fn read_end(path: &Path) -> std::io::Result<String> {
    // The container may have put anything in its place: a link out of it, or a pipe that nobody ever writes to.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = tokio::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).await?;
    let meta = file.metadata().await?;
    if !meta.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let from = meta.len().saturating_sub(MESSAGE_BYTES_MAX);
    file.seek(std::io::SeekFrom::Start(from)).await?;
    let mut bytes = Vec::new();
    file.take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of the log, without their stamps, at most so many lines and bytes.
async fn log_tail(path: &Path) -> String {
    let read = async {
        let mut file = tokio::fs::File::open(path).await?;
        let length = file.metadata().await?.len();
        // One entry more than needed: the first may be cut, and is left out then.
        let most = LOG_BYTES_MAX + LOG_LINES_MAX * STAMP_BYTES_MAX + ENTRY_BYTES_MAX;
        let from = length.saturating_sub(most as u64);
        file.seek(std::io::SeekFrom::Start(from)).await?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await?;
        std::io::Result::Ok((bytes, from > 0))
    };
    let (bytes, is_cut) = match read.await {
        Ok(read) => read,
        Err(error) => return format!("Error on reading termination message from logs: {}: {error}", path.display()),
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_the_message_counts_and_errors_fall_back_to_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, log) = (folder.path().join("message"), folder.path().join("0.log"));
        let entries = |texts: &[String]| -> String {
            texts.iter().map(|text| format!("2024-01-02T03:04:05.678901234Z stdout F {text}\n")).collect()
        };
        let of = async |message: &str, entries: String, exit_code: i32| {
            std::fs::write(&file, message).expect("a file");
            std::fs::write(&log, entries).expect("a log");
            let mut record = ContainerRecord::for_test("c", ContainerState::Exited);
            record.exit_code = exit_code;
            record.log_path = log.display().to_string();
            record.mounts = vec![("/dev/end".to_owned(), file.display().to_string())];
            record.annotations = [
                (labels::TERMINATION_MESSAGE_PATH.to_owned(), "dev/end".to_owned()),
                (labels::TERMINATION_MESSAGE_POLICY.to_owned(), "FallbackToLogsOnError".to_owned()),
            ]
            .into();
            super::message(&record).await
        };
        let long = format!("{}end", "x".repeat(5000));
        let told = of(&long, String::new(), 0).await;
        assert_eq!((told.len(), told.ends_with("xend")), (4096, true));
        assert_eq!(of("", entries(&["log".into()]), 0).await, "", "it went well");
        assert_eq!(of("", entries(&["one".into(), "two".into()]), 1).await, "one\ntwo\n");
        let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert!(of("", entries(&many), 1).await.starts_with("20\n21\n"), "the last 80 lines");
        let told = of("", entries(&["short".into(), "y".repeat(16 * 1024)]), 1).await;
        assert_eq!((told.len(), told.ends_with("yyy\n")), (2048, true), "of one long line the end");
    }

    #[tokio::test]
    async fn what_is_no_regular_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).expect("a pipe");
        std::os::unix::fs::symlink("/etc/hostname", &link).expect("a link");
        for path in [&pipe, &link, &folder.path().to_owned()] {
            assert!(read_end(path).await.is_err(), "{}", path.display());
        }
    }
}
