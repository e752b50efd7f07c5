//! What is mounted where, and the mounts that volumes need. Blocking.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// All mount points of this mount namespace, in the order that they were made.
pub(super) fn mount_points() -> io::Result<Vec<PathBuf>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// The fifth field of each line of mountinfo; blanks and backslashes come as octal escapes.
fn parse(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescape(field))).collect()
}

fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

pub(super) fn is_mounted(folder: &Path) -> io::Result<bool> {
    Ok(mount_points()?.iter().any(|point| point == folder))
}

pub(super) fn mount_tmpfs(folder: &Path, size_bytes: Option<i64>) -> io::Result<()> {
    let options = size_bytes.filter(|size| *size > 0).map(|size| format!("size={size}"));
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), options.as_deref()).map_err(io::Error::from)
}

pub(super) fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).map_err(io::Error::from)
}

/// Makes a fresh mount read-only at this point alone; where that fails, the mount is undone.
pub(super) fn make_read_only(folder: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let result = mount(None::<&str>, folder, None::<&str>, flags, None::<&str>);
    if result.is_err() {
        unmount_below(folder)?;
    }
    result.map_err(io::Error::from)
}

/// Unmounts everything at or below `folder`, the last mounted first.
///
/// # Errors
/// A mount that is still there afterwards: removing the folder then would remove what is mounted.
pub(super) fn unmount_below(folder: &Path) -> io::Result<()> {
    for point in mount_points()?.iter().rev().filter(|point| point.starts_with(folder)) {
        if let Err(error) = umount2(point, MntFlags::MNT_DETACH) {
            tracing::warn!(path = %point.display(), %error, "a volume's mount cannot be undone");
        }
    }
    match mount_points()?.into_iter().find(|point| point.starts_with(folder)) {
        Some(left) => Err(io::Error::other(format!("{} is still mounted", left.display()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
                    37 35 0:44 / /with\\040blank rw - tmpfs tmpfs rw\n";
        assert_eq!(parse(text), [PathBuf::from("/mnt2"), PathBuf::from("/with blank")]);
    }
}
