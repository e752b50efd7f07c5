//! `/logs/`: the files below the node's /var/log, for whoever may read `nodes/log`.
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

use super::body::{self, Body, text};

const CHUNK_BYTES: usize = 64 * 1024;

/// What lies at a path.
enum Found {
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

fn open(folder: &Path, relative: &Path) -> io::Result<Found> {
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn files_and_folders_are_shown_and_nothing_outside() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("pods")).expect("a folder");
        fs::write(folder.path().join("kubelet.log"), "hello\n").expect("a file");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("out")).expect("a link");
        let get = async |path: &str| {
            let answer = answer(folder.path().into(), path).await;
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
            (status, String::from_utf8_lossy(&bytes).into_owned())
        };
        assert_eq!(get("kubelet.log").await, (200, "hello\n".to_owned()));
        let (_, list) = get("").await;
        assert!(list.contains("<a href=\"pods/\">pods/</a>"), "{list}");
        assert_eq!(get("nothing").await.0, 404);
        assert_eq!(get("out").await.0, 403);
        assert_eq!(get("../../etc/passwd").await.0, 404, "steps out are no steps");
    }
}
