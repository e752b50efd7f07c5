//! The files and folders below the node's /var/log.
//!
//! A path is opened by the kernel so that no link leads out of the folder.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use tokio::io::AsyncReadExt as _;

use super::super::body::{self, Body, text};

const CHUNK_BYTES: usize = 64 * 1024;

/// What lies at a path.
pub(super) enum Found {
    Folder(Vec<String>),
    File(fs::File),
}

/// Answers with a list of a folder's names, or a file. `path` is what follows `/logs/`.
pub(super) async fn answer(folder: PathBuf, path: &str) -> Response<Body> {
    let relative: PathBuf = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let found = tokio::task::spawn_blocking(move || open(&folder, &relative)).await;
    match found.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(Found::Folder(names)) => {
            let lines: String = names.iter().map(|name| format!("<a href=\"{0}\">{0}</a>\n", escaped(name))).collect();
            body::with_type(StatusCode::OK, "text/html; charset=utf-8", format!("<pre>\n{lines}</pre>\n").into())
        }
        Ok(Found::File(file)) => stream(tokio::fs::File::from_std(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        Err(_) => text(StatusCode::FORBIDDEN, "403 Forbidden\n"),
    }
}

pub(super) fn open(folder: &Path, relative: &Path) -> io::Result<Found> {
    let root = rustix::fs::openat(CWD, folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let path = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // Not to wait for a writer, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = fs::File::from(rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)?);
    let meta = file.metadata()?;
    if meta.is_file() {
        return Ok(Found::File(file));
    }
    if !meta.is_dir() {
        return Err(io::Error::other("neither a file nor a folder"));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join(relative))? {
        let entry = entry?;
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(Found::Folder(names))
}

/// Whether there is anything at the path.
pub(super) fn look(folder: &Path, path: &str) -> io::Result<()> {
    open(folder, Path::new(path)).map(drop)
}

fn stream(file: tokio::fs::File) -> Response<Body> {
    let pieces = futures::stream::unfold(Some(file), |file| async {
        let mut file = file?;
        let mut chunk = vec![0; CHUNK_BYTES];
        match file.read(&mut chunk).await {
            Ok(0) => None,
            Ok(size) => {
                chunk.truncate(size);
                Some((Ok(Bytes::from(chunk)), Some(file)))
            }
            Err(error) => Some((Err(Box::new(error) as body::BoxError), None)),
        }
    });
    let mut response = Response::new(body::of_stream(pieces));
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn escaped(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}
