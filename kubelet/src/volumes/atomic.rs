//! Writes a set of files so that a reader sees the old set or the new one, never a mixture.
//!
//! Upstream's layout (`pkg/volume/util/atomic_writer.go`): the files live in a folder `..<time>`, the link `..data`
//! points at it and is swapped by a rename, and every first path part is a link `name -> ..data/name`. Blocking.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use component::removal::remove_tree;
use jiff::Timestamp;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";
const PATH_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 255;

/// One file: its bytes and permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
}

/// Relative path → file.
pub type Payload = BTreeMap<String, File>;

/// Makes `folder` hold exactly `payload`; answers whether anything changed. `before_swap` is called with the new
/// folder when it is complete and not yet visible, to set owners.
///
/// # Errors
/// The first operation that failed; the visible set is then still the old one.
pub fn write(
    folder: &Path,
    payload: &Payload,
    now: Timestamp,
    before_swap: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<bool> {
    for path in payload.keys() {
        check(path).map_err(|problem| io::Error::other(format!("invalid path: {problem}")))?;
    }
    fs::create_dir_all(folder)?;
    let old = fs::read_link(folder.join(DATA)).ok();
    if let Some(old) = &old
        && holds(&folder.join(old), payload)
    {
        link_entries(folder, payload)?;
        return Ok(false);
    }
    let name = fresh_name(folder, now);
    let next = folder.join(&name);
    fs::create_dir(&next)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        write_file(&next, path, file)?;
    }
    before_swap(&next)?;
    let link = folder.join(DATA_NEXT);
    let _ = fs::remove_file(&link);
    symlink(&name, &link)?;
    fs::rename(&link, folder.join(DATA))?;
    link_entries(folder, payload)?;
    remove_leftovers(folder, payload, &name)?;
    Ok(true)
}

/// An API server checks what it is given, but what it did not check is not to be written beside the folder.
fn check(path: &str) -> Result<(), String> {
    let names: Vec<&str> = path.split('/').collect();
    match path {
        "" => Err("must not be empty: \"\"".to_owned()),
        _ if path.starts_with('/') => Err(format!("must be relative path: {path}")),
        _ if path.len() > PATH_BYTES_MAX => Err(format!("must be less than or equal to {PATH_BYTES_MAX} characters")),
        _ if names.contains(&"..") => Err(format!("must not contain '..': {path}")),
        _ if names.iter().any(|name| name.len() > NAME_BYTES_MAX) => {
            Err(format!("filenames must be less than or equal to {NAME_BYTES_MAX} characters"))
        }
        _ if path.starts_with("..") => Err(format!("must not start with '..': {path}")),
        _ => Ok(()),
    }
}

fn fresh_name(folder: &Path, now: Timestamp) -> String {
    let stem = now.strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let mut number = now.subsec_nanosecond().unsigned_abs();
    while folder.join(format!("{stem}.{number}")).exists() {
        number += 1;
    }
    format!("{stem}.{number}")
}

fn write_file(root: &Path, path: &str, file: &File) -> io::Result<()> {
    let path = root.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, &file.content)?;
    // Set apart from the creation: the umask must not take bits away.
    fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))
}

/// Does `folder` hold exactly the payload? Contents count alone: modes are the pod's, which never change, and the group's
/// bits may have been added to them.
fn holds(folder: &Path, payload: &Payload) -> bool {
    let same = |(path, file): (&String, &File)| fs::read(folder.join(path)).is_ok_and(|bytes| bytes == file.content);
    payload.iter().all(same) && count_files(folder) == payload.len()
}

fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

fn first_parts(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().filter_map(|path| path.split('/').next()).collect()
}

fn link_entries(folder: &Path, payload: &Payload) -> io::Result<()> {
    for entry in first_parts(payload) {
        let link = folder.join(entry);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(entry), link)?;
        }
    }
    Ok(())
}

fn remove_leftovers(folder: &Path, payload: &Payload, current: &str) -> io::Result<()> {
    let wanted = first_parts(payload);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == DATA || name == current || wanted.contains(name.as_str()) {
            continue;
        }
        remove_tree(&entry.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { content: text.as_bytes().to_vec(), mode: 0o644 };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn swaps_whole_sets_and_clears_the_old() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path();
        let read = |path: &str| fs::read_to_string(folder.join(path)).ok();
        let at = |second| Timestamp::from_second(second).expect("a time");
        let first = payload(&[("a", "1"), ("deep/b", "2")]);
        assert!(write(folder, &first, at(1), |_| Ok(())).expect("writes"));
        assert!(!write(folder, &first, at(2), |_| Ok(())).expect("writes"), "the same set changes nothing");
        assert_eq!((read("a").as_deref(), read("deep/b").as_deref()), (Some("1"), Some("2")));
        assert_eq!(fs::read_link(folder.join("a")).expect("a link"), Path::new("..data/a"));
        assert!(write(folder, &payload(&[("a", "3")]), at(3), |_| Ok(())).expect("writes"));
        assert_eq!((read("a").as_deref(), read("deep/b")), (Some("3"), None));
        assert_eq!(fs::read_dir(folder).expect("lists").count(), 3, "..data, its folder, a");
    }

    #[test]
    fn a_failure_before_the_swap_leaves_the_old_set() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path();
        let at = |second| Timestamp::from_second(second).expect("a time");
        write(folder, &payload(&[("a", "1")]), at(1), |_| Ok(())).expect("writes");
        let failed = write(folder, &payload(&[("a", "2")]), at(2), |_| Err(io::Error::other("no owner")));
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(folder.join("a")).expect("reads"), "1");
    }

    #[test]
    fn nothing_is_written_beside_the_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("volume");
        let absolute = root.path().join("absolute").display().to_string();
        let (long_name, long_path) = ("n".repeat(256), "n/".repeat(2048) + "n");
        for (path, problem) in [
            ("", "must not be empty: \"\""),
            (&*absolute, "must be relative path: /"),
            ("../beside", "must not contain '..': ../beside"),
            ("a/../../beside", "must not contain '..': a/../../beside"),
            ("..data/a", "must not start with '..': ..data/a"),
            (&*long_name, "filenames must be less than or equal to 255 characters"),
            (&*long_path, "must be less than or equal to 4096 characters"),
        ] {
            let all = payload(&[("good", "1"), (path, "2")]);
            let refused = write(&folder, &all, Timestamp::UNIX_EPOCH, |_| Ok(())).expect_err("not there");
            assert!(refused.to_string().starts_with(&format!("invalid path: {problem}")), "{refused}");
            assert_eq!(fs::read_dir(root.path()).expect("lists").count(), 0, "{path}");
        }
        write(&folder, &payload(&[("a..b/c..", "1")]), Timestamp::UNIX_EPOCH, |_| Ok(())).expect("a good name");
    }
}
