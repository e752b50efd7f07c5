//! What is mounted where, and the mounts that volumes need. Blocking.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix::mount::{MntFlags, MsFlags, mount as sys_mount, umount2};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;

const TABLE: &str = "/proc/self/mountinfo";

/// All mount points of this mount namespace, in the order that they were made.
pub(super) fn mount_points() -> io::Result<Vec<PathBuf>> {
    Ok(parse(&fs::read_to_string(TABLE)?).map(|(_, point)| point).collect())
}

/// Where below `root` else the same is mounted as on `folder`.
pub(super) fn twins(folder: &Path, root: &Path) -> io::Result<Vec<PathBuf>> {
    // The table has paths without links.
    Ok(twins_in(&fs::read_to_string(TABLE)?, &fs::canonicalize(folder)?, &fs::canonicalize(root)?))
}

fn twins_in(mountinfo: &str, folder: &Path, root: &Path) -> Vec<PathBuf> {
    let Some((mounted, _)) = parse(mountinfo).filter(|(_, point)| point == folder).last() else {
        return Vec::new();
    };
    let others = parse(mountinfo).filter(|(of, point)| *of == mounted && point != folder && point.starts_with(root));
    others.map(|(_, point)| point).collect()
}

/// Of each line of mountinfo the device with the part of it that is mounted, and where; blanks and backslashes come as
/// octal escapes.
fn parse(mountinfo: &str) -> impl Iterator<Item = ((&str, &str), PathBuf)> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let mounted = (fields.next()?, fields.next()?);
        Some((mounted, PathBuf::from(unescape(fields.next()?))))
    })
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

/// The kernel tells of one path; the table of all grows with the node's pods. Kernels before 5.8 have only the table.
pub(super) fn is_mounted(folder: &Path) -> io::Result<bool> {
    match statx(CWD, folder, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::empty()) {
        Ok(found) if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        Err(Errno::NOENT) => Ok(false),
        // A mount whose server is gone cannot be looked at, but it is in the table.
        _ => Ok(mount_points()?.iter().any(|point| point == folder)),
    }
}

/// Kept out of swap, for secrets to stay off disks, where the kernel can: not before 6.4, nor in a user namespace.
pub(super) fn mount_tmpfs(folder: &Path, size_bytes: Option<i64>) -> io::Result<()> {
    let size = size_bytes.filter(|size| *size > 0).map(|size| format!("size={size}"));
    let unswapped = size.iter().map(String::as_str).chain(["noswap"]).collect::<Vec<_>>().join(",");
    let mount = |options| sys_mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), options);
    let mounted = match mount(Some(unswapped.as_str())) {
        Err(nix::errno::Errno::EINVAL) => mount(size.as_deref()),
        mounted => mounted,
    };
    mounted.map_err(io::Error::from)
}

pub(super) fn mount_huge_pages(folder: &Path, page_bytes: i64) -> io::Result<()> {
    let options = format!("pagesize={page_bytes}");
    let flags = MsFlags::empty();
    sys_mount(Some("nodev"), folder, Some("hugetlbfs"), flags, Some(options.as_str())).map_err(io::Error::from)
}

pub(super) fn bind(from: &Path, to: &Path) -> io::Result<()> {
    sys_mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).map_err(io::Error::from)
}

/// Mounts a device. Options are `mount`'s to understand: some are the kernel's flags, others the file system's own.
///
/// # Errors
/// The kernel's, or the program's words.
pub(super) fn mount(device: &Path, folder: &Path, fs_type: &str, options: &[String]) -> io::Result<()> {
    if options.is_empty() {
        let flags = MsFlags::empty();
        return sys_mount(Some(device), folder, Some(fs_type), flags, None::<&str>).map_err(io::Error::from);
    }
    let mut command = Command::new("mount");
    command.args(["-t", fs_type, "-o", &options.join(",")]).arg(device).arg(folder);
    finish(&mut command)
}

/// Makes a fresh mount read-only at this point alone, and gives it options; where that fails, the mount is undone.
pub(super) fn restrict(folder: &Path, is_read_only: bool, options: &[String]) -> io::Result<()> {
    let result = match (is_read_only, options) {
        (false, []) => Ok(()),
        (true, []) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            sys_mount(None::<&str>, folder, None::<&str>, flags, None::<&str>).map_err(io::Error::from)
        }
        (_, options) => {
            let mut command = Command::new("mount");
            command.args(["-o", &remount_options(is_read_only, options)]).arg(folder);
            finish(&mut command)
        }
    };
    if result.is_err() {
        unmount_below(folder)?;
    }
    result
}

/// The last word counts: whatever a volume's own options say, `rw` and `defaults` too, what may only be read stays so.
fn remount_options(is_read_only: bool, options: &[String]) -> String {
    let options = options.iter().map(String::as_str);
    let all: Vec<&str> = ["bind", "remount"].into_iter().chain(options).chain(is_read_only.then_some("ro")).collect();
    all.join(",")
}

/// Runs a program and waits for it.
///
/// # Errors
/// A program that cannot be started; how it ends is in the answer.
pub(super) fn run(command: &mut Command) -> io::Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    output.map_err(|error| io::Error::new(error.kind(), format!("run {program}: {error}")))
}

fn finish(command: &mut Command) -> io::Result<()> {
    let output = run(command)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// Unmounts everything at or below `folder`, the last mounted first.
///
/// # Errors
/// A mount that is still there afterwards: removing the folder then would remove what is mounted.
pub(super) fn unmount_below(folder: &Path) -> io::Result<()> {
    let mut below = mount_points()?;
    below.retain(|point| point.starts_with(folder));
    if below.is_empty() {
        return Ok(());
    }
    for point in below.iter().rev() {
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
    fn what_may_only_be_read_stays_so() {
        let options = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        for (is_read_only, given, wanted) in [
            (true, &["rw"][..], "bind,remount,rw,ro"),
            (true, &["defaults", "noatime"], "bind,remount,defaults,noatime,ro"),
            (true, &["noexec,rw"], "bind,remount,noexec,rw,ro"),
            (false, &["rw", "noexec"], "bind,remount,rw,noexec"),
            (false, &["ro"], "bind,remount,ro"),
        ] {
            assert_eq!(remount_options(is_read_only, &options(given)), wanted);
        }
    }

    #[test]
    fn the_kernel_and_its_table_agree_on_what_is_mounted() {
        let points = mount_points().unwrap();
        assert!(is_mounted(Path::new("/proc")).unwrap() && points.contains(&PathBuf::from("/proc")));
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_mounted(folder.path()).unwrap() && !is_mounted(&folder.path().join("none")).unwrap());
    }

    #[test]
    fn mount_points_are_unescaped() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
                    37 35 0:44 / /with\\040blank rw - tmpfs tmpfs rw\n";
        let points: Vec<PathBuf> = parse(text).map(|(_, point)| point).collect();
        assert_eq!(points, [PathBuf::from("/mnt2"), PathBuf::from("/with blank")]);
    }

    #[test]
    fn twins_have_the_same_part_of_the_same_device() {
        let text = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    2 1 8:1 /data /pods/a/v rw - ext4 /dev/sda1 rw\n\
                    3 1 8:1 /data /pods/b/v rw - ext4 /dev/sda1 rw\n\
                    4 1 8:1 /data /elsewhere rw - ext4 /dev/sda1 rw\n\
                    5 1 8:1 /data/deep /pods/c/v rw - ext4 /dev/sda1 rw\n\
                    6 1 8:2 /data /pods/d/v rw - ext4 /dev/sdb1 rw\n";
        let of = |folder: &str| twins_in(text, Path::new(folder), Path::new("/pods"));
        assert_eq!(of("/pods/a/v"), [PathBuf::from("/pods/b/v")]);
        assert_eq!(of("/pods/c/v"), Vec::<PathBuf>::new());
        assert_eq!(of("/pods/none"), Vec::<PathBuf>::new());
    }
}
