//! hostPath volumes: what `type` asks of the path. Blocking.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Checks the path, or makes it for the `…OrCreate` types.
///
/// # Errors
/// Upstream's words for a path of another kind.
pub(super) fn ensure(path: &Path, type_: &str) -> io::Result<()> {
    let shown = path.display();
    let failed = |what: String| Err(io::Error::other(format!("hostPath type check failed: {what}")));
    let kind = fs::metadata(path).ok().map(|meta| meta.file_type());
    match type_ {
        "" => Ok(()),
        "DirectoryOrCreate" => match kind {
            None => {
                fs::create_dir_all(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            }
            Some(kind) if kind.is_dir() => Ok(()),
            Some(_) => failed(format!("{shown} is not a directory")),
        },
        "FileOrCreate" => match kind {
            None => fs::OpenOptions::new().create(true).append(true).mode(0o644).open(path).map(drop),
            Some(kind) if kind.is_file() => Ok(()),
            Some(_) => failed(format!("{shown} is not a file")),
        },
        "Directory" if kind.is_some_and(|kind| kind.is_dir()) => Ok(()),
        "Directory" => failed(format!("{shown} is not a directory")),
        "File" if kind.is_some_and(|kind| kind.is_file()) => Ok(()),
        "File" => failed(format!("{shown} is not a file")),
        "Socket" if kind.is_some_and(|kind| kind.is_socket()) => Ok(()),
        "Socket" => failed(format!("{shown} is not a socket file")),
        "CharDevice" if kind.is_some_and(|kind| kind.is_char_device()) => Ok(()),
        "CharDevice" => failed(format!("{shown} is not a character device")),
        "BlockDevice" if kind.is_some_and(|kind| kind.is_block_device()) => Ok(()),
        "BlockDevice" => failed(format!("{shown} is not a block device")),
        other => failed(format!("{other} is an invalid volume type")),
    }
}
