//! A local volume that is a device with a file system: made where there is none, mounted. Blocking.
//!
//! Enter at [`mount_device`]. The programs `blkid` and `mkfs.TYPE` know file systems; nothing here does.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::FileTypeExt as _,
    path::Path,
    process::Command,
};

use nix::errno::Errno;

use super::mount_table::{self, run};

/// The file system of volumes that name none.
const FS_TYPE: &str = "ext4";

pub(super) fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device())
}

/// What a local volume says of its mount.
pub(super) struct How {
    /// The file system, where it is named.
    pub(super) fs_type: Option<String>,
    pub(super) is_read_only: bool,
    /// `mountOptions`.
    pub(super) options: Vec<String>,
}

/// Mounts the device on `folder`, with a new file system where it has none yet and may be written to.
///
/// # Errors
/// A device that has another file system than the one asked for, or programs and mounts that fail.
pub(super) fn mount_device(device: &Path, folder: &Path, how: &How) -> io::Result<()> {
    let wanted = how.fs_type.as_deref().filter(|fs_type| !fs_type.is_empty());
    let found = match found(device)? {
        Some(found) => found,
        None if how.is_read_only => return Err(failed(device, "cannot mount unformatted disk as it is read-only")),
        None => format(device, wanted.unwrap_or(FS_TYPE))?,
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
        return Err(failed(device, &format!("it has the file system {found}, {wanted} was asked for")));
    }
    fs::create_dir_all(folder)?;
    // Only the mount point is read-only: what the kernel holds of a device is one for all its mounts, and another pod's
    // may be for writing. Where the device itself is not for writing there can be no such other.
    match mount_table::mount(device, folder, &found, &how.options) {
        Err(error) if how.is_read_only && is_unwritable(&error) => {
            let mut options = how.options.clone();
            options.push("ro".to_owned());
            mount_table::mount(device, folder, &found, &options)
        }
        mounted => mounted.and_then(|()| match how.is_read_only {
            true => mount_table::restrict(folder, true, &how.options),
            false => Ok(()),
        }),
    }
}

fn is_unwritable(error: &io::Error) -> bool {
    [Errno::EACCES, Errno::EROFS].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// The file system that the device has; None only where it holds nothing that `blkid` knows.
fn found(device: &Path) -> io::Result<Option<String>> {
    // `blkid` ends alike where it finds nothing and where it cannot read.
    let readable = fs::File::open(device).and_then(|mut file| file.read(&mut [0; 512]));
    readable.map_err(|error| failed(device, &error.to_string()))?;
    let output = run(Command::new("blkid").args(["-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export"]).arg(device))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let value = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    match (output.status.code(), value("PTTYPE"), value("TYPE")) {
        (Some(0), Some(_), _) => Err(failed(device, "it has partitions: it is neither formatted nor mounted")),
        (Some(0), None, Some(fs_type)) => Ok(Some(fs_type.to_owned())),
        (Some(0), None, None) => Err(failed(device, "blkid does not say what it holds: it is not formatted")),
        (Some(2), ..) => Ok(None),
        _ => Err(failed(device, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn format(device: &Path, fs_type: &str) -> io::Result<String> {
    // Both forms of "do not ask"; nothing of the disk is kept for root, as upstream has it.
    let options: &[&str] = match fs_type {
        "ext3" | "ext4" => &["-q", "-F", "-m0"],
        "xfs" => &["-f"],
        _ => &[],
    };
    tracing::info!(device = %device.display(), fs_type, "a volume gets its file system");
    let output = run(Command::new(format!("mkfs.{fs_type}")).args(options).arg(device))?;
    match output.status.success() {
        true => Ok(fs_type.to_owned()),
        false => Err(failed(device, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn failed(device: &Path, problem: &str) -> io::Error {
    io::Error::other(format!("local volume {}: {problem}", device.display()))
}

#[test]
fn a_blank_device_gets_a_file_system_and_keeps_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = folder.path().join("device");
    fs::File::create(&device).and_then(|file| file.set_len(8 << 20)).expect("a file in its place");
    assert_eq!(found(&device).expect("is looked at"), None);
    assert_eq!(format(&device, "ext4").expect("is made"), "ext4");
    assert_eq!(found(&device).expect("is looked at").as_deref(), Some("ext4"));
    let xfs = How { fs_type: Some("xfs".into()), is_read_only: false, options: Vec::new() };
    let other = mount_device(&device, folder.path(), &xfs).expect_err("not what it has").to_string();
    assert!(other.ends_with("it has the file system ext4, xfs was asked for"), "{other}");
    assert!(!is_device(&device));
}

#[test]
fn a_device_with_partitions_or_that_is_not_there_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = folder.path().join("device");
    let mut disk = vec![0; 8 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    // One partition of Linux: sector 2048, of the same length.
    disk[446..462].copy_from_slice(&[0, 0x20, 0x21, 0, 0x83, 0x20, 0x20, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    fs::write(&device, &disk).expect("a file in its place");
    let any = How { fs_type: None, is_read_only: false, options: Vec::new() };
    let refused = mount_device(&device, folder.path(), &any).expect_err("it holds something").to_string();
    assert!(refused.ends_with("it has partitions: it is neither formatted nor mounted"), "{refused}");
    assert!(fs::read(&device).expect("reads") == disk, "nothing is written");
    assert!(found(&folder.path().join("absent")).is_err(), "what cannot be read is not blank");
}
