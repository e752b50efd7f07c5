//! Reads a log file as the options ask, following it as it grows.
//!
//! Enter at [`stream`]. Following waits for inotify, not for time: on the file for new lines, on its folder for the
//! rotation to a new file, and for the word that the container has ended.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use component::file_watch::FileWatch;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom},
    sync::mpsc,
};

use super::{format, options::LogOptions};
use crate::runtime::Runtime;

const CHUNK_BYTES: usize = 32 * 1024;
/// How often a follower looks whether its container still runs; new lines do not wait for this.
const LIVENESS_PERIOD: Duration = Duration::from_secs(1);

/// A log to read.
pub struct Source {
    pub path: PathBuf,
    pub container_id: String,
    pub runtime: Arc<dyn Runtime>,
}

/// Sends the log in pieces. Ends at its end, or with `follow` when the container has ended and all is sent, or when
/// nobody listens any more.
///
/// # Errors
/// The file cannot be read.
pub async fn stream(source: Source, options: LogOptions, out: mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut file = File::open(&source.path).await?;
    let from = match options.tail_lines {
        Some(lines) => tail_offset(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(from)).await?;
    let mut writer = Writer { out, left: options.limit_bytes, options: &options, pending: Vec::new() };
    if !options.follow {
        return writer.copy(&mut file).await.map(drop);
    }
    let watch = FileWatch::new()?;
    watch.add_file(&source.path)?;
    if let Some(folder) = source.path.parent() {
        watch.add_folder(folder)?;
    }
    loop {
        // Asked before the read: what a container wrote before it ended is then surely read below.
        let ended = !is_running(&source).await;
        if !writer.copy(&mut file).await? {
            return Ok(());
        }
        if was_rotated(&file, &source.path).await {
            if let Ok(next) = File::open(&source.path).await {
                writer.copy(&mut file).await?;
                file = next;
                watch.add_file(&source.path)?;
            }
            continue;
        }
        if ended {
            return writer.flush().await;
        }
        tokio::select! {
            changed = watch.changed() => drop(changed?),
            () = tokio::time::sleep(LIVENESS_PERIOD) => {}
            () = writer.out.closed() => return Ok(()),
        }
    }
}

async fn is_running(source: &Source) -> bool {
    let status = source.runtime.container_status(&source.container_id).await;
    status.is_ok_and(|status| status.state == k8s_cri::v1::ContainerState::ContainerRunning as i32)
}

async fn was_rotated(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (open.metadata().await, tokio::fs::metadata(path).await) {
        (Ok(open), Ok(named)) => open.ino() != named.ino(),
        _ => false,
    }
}

/// Where the last `lines` lines begin; found from the end, so that a long log costs nothing.
async fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    let mut end = file.metadata().await?.len();
    if lines == 0 {
        return Ok(end);
    }
    let mut found = 0;
    let mut first = true;
    let mut chunk = vec![0; CHUNK_BYTES];
    while end > 0 {
        let size = usize::try_from(end).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let start = end - size as u64;
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut chunk[..size]).await?;
        for at in (0..size).rev() {
            // The line end at the very end closes the last line, it does not begin another.
            let is_last = std::mem::take(&mut first);
            if chunk[at] == b'\n' && !is_last {
                found += 1;
                if found == lines {
                    return Ok(start + at as u64 + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// Turns file contents into what the client asked for.
struct Writer<'a> {
    out: mpsc::Sender<Bytes>,
    left: Option<u64>,
    options: &'a LogOptions,
    /// A line whose end is not written yet.
    pending: Vec<u8>,
}

impl Writer<'_> {
    /// Copies up to the file's end; false when no more is wanted.
    async fn copy(&mut self, file: &mut File) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let size = file.read(&mut chunk).await?;
            if size == 0 {
                return Ok(true);
            }
            self.pending.extend_from_slice(&chunk[..size]);
            let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') else { continue };
            let rest = self.pending.split_off(end + 1);
            let lines = std::mem::replace(&mut self.pending, rest);
            if !self.send(&lines).await {
                return Ok(false);
            }
        }
    }

    /// The runtime writes a last line without line end only when the stream ends.
    async fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending);
        self.send(&rest).await;
        Ok(())
    }

    async fn send(&mut self, lines: &[u8]) -> bool {
        let mut text = Vec::with_capacity(lines.len());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let Some(entry) = format::parse(line) else { continue };
            let is_old = self.options.since.is_some_and(|since| entry.time().is_some_and(|time| time < since));
            if is_old || self.options.stream.is_some_and(|stream| stream != entry.stream) {
                continue;
            }
            if self.options.timestamps {
                text.extend_from_slice(entry.stamp.as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(&entry.with_newline());
        }
        if let Some(left) = &mut self.left {
            text.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= text.len() as u64;
        }
        let more = self.left != Some(0);
        let sent = text.is_empty() || self.out.send(text.into()).await.is_ok();
        sent && more
    }
}
