//! Logs of the node's services: out of the journal where it has them, else out of files named after them.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::unix::pipe,
    process::Command,
    sync::mpsc,
};

use super::{
    super::body::{self, Body},
    files,
    query::{LogQuery, Options},
};

const CHUNK_BYTES: usize = 64 * 1024;
/// Pieces that may wait for a slow reader.
const PIECES_MAX: usize = 4;
/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Answers with the logs as they are read; what goes wrong on the way is a line among them, as upstream has it.
pub(super) fn answer(folder: PathBuf, journal: PathBuf, query: LogQuery) -> Response<Body> {
    let (sender, receiver) = mpsc::channel::<Bytes>(PIECES_MAX);
    tokio::spawn(async move {
        let out = Out(sender);
        // A reader that has gone ends the work, and with it the program.
        let _ = tokio::time::timeout(LIMIT, write(&folder, &journal, &query, &out)).await;
    });
    let stream =
        futures::stream::unfold(receiver, |mut receiver| async { Some((Ok(receiver.recv().await?), receiver)) });
    let mut response = Response::new(body::of_stream(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=UTF-8"));
    response
}

/// Where the answer goes.
struct Out(mpsc::Sender<Bytes>);

impl Out {
    async fn send(&self, bytes: impl Into<Bytes>) -> io::Result<()> {
        self.0.send(bytes.into()).await.map_err(io::Error::other)
    }

    async fn copy(&self, mut from: impl AsyncRead + Unpin) -> io::Result<()> {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            match from.read(&mut chunk).await? {
                0 => return Ok(()),
                size => chunk.truncate(size),
            }
            self.send(chunk).await?;
        }
    }
}

async fn write(folder: &Path, journal: &Path, query: &LogQuery, out: &Out) -> io::Result<()> {
    let known = units(journal).await;
    let is_native = |service: &&String| known.contains(&format!("{service}.service"));
    let (native, others): (Vec<&String>, Vec<&String>) = query.services.iter().partition(is_native);
    let native: Vec<String> = native.into_iter().cloned().collect();
    if !native.is_empty() {
        from_journal(journal, &query.options.arguments(&native), out).await?;
    }
    if others.is_empty() {
        return Ok(());
    }
    if query.options != Options::default() {
        let names = others.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
        let words = format!(
            "\noptions present and query resolved to log files for [{names}]\ntry without specifying options\n"
        );
        return out.send(words).await;
    }
    for service in others {
        from_files(folder, service, out).await?;
    }
    Ok(())
}

/// The units that the journal knows, a line each; empty where there is no journal.
async fn units(journal: &Path) -> String {
    let mut command = Command::new(journal);
    let output = command.args(["--field", "_SYSTEMD_UNIT"]).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.ok().filter(|output| output.status.success());
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

async fn from_journal(journal: &Path, arguments: &[String], out: &Out) -> io::Result<()> {
    // The reader sees its end only once nobody here holds a writing end any more: the command does, until it is dropped.
    let (reader, writer) = io::pipe()?;
    let spawned = {
        let mut command = Command::new(journal);
        command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).kill_on_drop(true);
        command.spawn()
    };
    match spawned {
        Ok(mut child) => {
            out.copy(pipe::Receiver::from_owned_fd(reader.into())?).await?;
            child.wait().await.map(drop)
        }
        Err(_) => out.send("\nerror: journal output not available\n").await,
    }
}

/// `service`, `service.log` or `service/service.log`: the first that is a file.
async fn from_files(folder: &Path, service: &str, out: &Out) -> io::Result<()> {
    for name in [service.to_owned(), format!("{service}.log"), format!("{service}/{service}.log")] {
        match files::open(folder, Path::new(&name)) {
            Ok(files::Found::File(file)) => return out.copy(tokio::fs::File::from_std(file)).await,
            Ok(files::Found::Folder(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return out.send(format!("\nerror getting log for {service}: {error}\n")).await,
        }
    }
    out.send(format!("\nlog not found for {service}\n")).await
}
